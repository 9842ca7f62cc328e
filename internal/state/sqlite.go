package state

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Everything that is SQLite's own is in this file and in migrations/.

//go:embed migrations/*.sql
var migrations embed.FS

const (
	fileHeader    = "SQLite format 3\x00" // https://www.sqlite.org/fileformat2.html, section 1.3
	applicationID = 0x706f6c6c            // "poll", in the header of the file
	busyTimeout   = 5000                  // milliseconds to wait for a program that we do not know of
	readers       = 4                     // connections that read while another one writes

	// A check reads the whole file, at some 100 MiB a second. Up to this size
	// it never delays a start, not even that of poller poll, by more than a
	// moment. A larger file is checked only after a crash, which is when there
	// is something to find.
	alwaysChecked = 1 << 20
)

// errDamaged marks a file that cannot be trusted. It is never repaired or
// replaced here: that would deliver messages twice without anybody knowing.
var errDamaged = errors.New("state database is damaged")

// database is the file, opened for one writer and some readers, and apart from
// them for what need not survive a power failure.
type database struct {
	file                   *os.File // the same, to make it durable; open as long as the others are
	writes, reads, history *sql.DB
	unclean                bool // nobody closed it the last time
}

// openDatabase opens the file, made if there is none, in the newest schema. A
// file that cannot be used is left as it is.
func openDatabase(ctx context.Context, path string) (db database, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, db.close())
		}
	}()
	var size int64
	if db.file, size, err = openFile(path); err != nil {
		return db, err
	}
	// SQLite removes its log when the last connection is closed in order.
	crashed := false
	if wal, err := os.Stat(path + logSuffix); err == nil {
		db.unclean, crashed = true, wal.Size() > 0
	}
	if crashed {
		if err := inspect(ctx, path); err != nil {
			return db, err
		}
	}
	// FULL syncs the log at every commit, and its name at the first:
	// https://www.sqlite.org/pragma.html#pragma_synchronous
	if db.writes, err = connect(path, 1, "_txlock=immediate", "_pragma=synchronous(FULL)", "_pragma=foreign_keys(1)"); err != nil {
		return db, err
	}
	version, err := examine(ctx, db.writes, path, !crashed && size <= alwaysChecked)
	if err != nil {
		return db, err
	}
	const smallCache = "_pragma=cache_size(-512)" // KiB; with the 2 MiB that are usual, the six would take a third of all memory
	// NORMAL leaves the last commits to the next sync of the log.
	if db.history, err = connect(path, 1, "_txlock=immediate", "_pragma=synchronous(NORMAL)", smallCache); err != nil {
		return db, err
	}
	if db.reads, err = connect(path, readers, "_pragma=query_only(1)", smallCache); err != nil {
		return db, err
	}
	return db, migrate(ctx, db.writes, path, version)
}

// inspect says why a file that a crash left behind cannot be used. A connection
// that may write would move the log of the crash into the file when it is closed,
// also into a damaged one.
func inspect(ctx context.Context, path string) error {
	db, err := connect(path, 1, "mode=ro")
	if err != nil {
		return err
	}
	_, err = examine(ctx, db, path, true)
	return errors.Join(err, db.Close())
}

// openFile opens the database file, made if there is none, and returns its size.
// It must not be closed while the database is open: a process that closes a file
// loses the locks that SQLite has on it
// (https://www.sqlite.org/howtocorrupt.html, section 2.2).
func openFile(path string) (file *os.File, size int64, err error) {
	if file, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, 0, err
	}
	header := make([]byte, len(fileHeader))
	switch n, err := io.ReadFull(file, header); {
	case n == 0 && err == io.EOF: // new
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return file, 0, err
	case !bytes.Equal(header, []byte(fileHeader)):
		return file, 0, fmt.Errorf("%w: %s is not an SQLite file", errDamaged, path)
	}
	info, err := file.Stat()
	if err != nil {
		return file, 0, err
	}
	return file, info.Size(), nil
}

// joined is the values of a column of many rows, each in a line. None holds the
// end of one.
func joined(column string) string { return "group_concat(" + column + ", char(10))" }

func connect(path string, connections int, parameters ...string) (*sql.DB, error) {
	dsn := (&url.URL{Scheme: "file", Path: path}).String() + fmt.Sprintf("?_pragma=busy_timeout(%d)", busyTimeout)
	for _, p := range parameters {
		dsn += "&" + p
	}
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

func (db database) close() error {
	var errs []error
	for _, d := range []*sql.DB{db.reads, db.history, db.writes} {
		if d != nil {
			errs = append(errs, d.Close())
		}
	}
	if db.file != nil {
		errs = append(errs, db.file.Close())
	}
	return errors.Join(errs...)
}

// examine returns the version of the schema, or says why the file is not for
// this program, or, where the whole of it is to be read, that it is damaged. It
// only reads.
func examine(ctx context.Context, db *sql.DB, path string, whole bool) (version int, err error) {
	var application, objects int
	for _, q := range []struct {
		query string
		into  *int
	}{
		{"PRAGMA application_id", &application},
		{"PRAGMA user_version", &version},
		{"SELECT count(*) FROM sqlite_master", &objects},
	} {
		err := db.QueryRowContext(ctx, q.query).Scan(q.into)
		if c := code(err); c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB {
			return 0, fmt.Errorf("%w: read %s: %w", errDamaged, path, err)
		}
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", path, err)
		}
	}
	switch known := len(schemas()); {
	case application == 0 && version == 0 && objects == 0: // new
	case application != applicationID:
		return 0, fmt.Errorf("%s: %w", path, errForeign)
	case version > known:
		return 0, fmt.Errorf("%s: %w: it is of version %d, and this program knows versions up to %d", path, errNewer, version, known)
	}
	if whole {
		return version, check(ctx, db, path)
	}
	return version, nil
}

var (
	errForeign = errors.New("the file is a database of another program")
	errNewer   = errors.New("state database was written by a newer poller")
)

// check reads the whole file for damage.
func check(ctx context.Context, db *sql.DB, path string) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("check %s: %w", path, err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: check %s: %s", errDamaged, path, verdict)
	}
	return nil
}

// migrate brings the schema from version to the newest, each step whole or
// not at all.
func migrate(ctx context.Context, db *sql.DB, path string, version int) error {
	// The mode is a property of the file and holds for all connections.
	var mode string
	if err := db.QueryRowContext(ctx, "PRAGMA journal_mode = WAL").Scan(&mode); err != nil {
		return fmt.Errorf("switch %s to write-ahead logging: %w", path, err)
	}
	if mode != "wal" {
		return fmt.Errorf("switch %s to write-ahead logging: its file system does not support it, as network file systems do not", path)
	}
	files := schemas()
	for i := version; i < len(files); i++ {
		if err := migrateTo(ctx, db, files[i], i+1); err != nil {
			return fmt.Errorf("migrate %s to version %d: %w", path, i+1, err)
		}
	}
	return nil
}

func migrateTo(ctx context.Context, db *sql.DB, file string, version int) error {
	schema, err := migrations.ReadFile(file)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, statement := range []string{
		string(schema),
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", version),
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// schemas are the migrations, the one to version n at n-1.
func schemas() []string {
	files, _ := fs.Glob(migrations, "migrations/*.sql") // in the order of their names; the pattern is well formed
	return files
}

// code is the primary result code of an SQLite error
// (https://www.sqlite.org/rescode.html), or 0.
func code(err error) int {
	var coded interface{ Code() int }
	if !errors.As(err, &coded) {
		return 0
	}
	return coded.Code() & 0xff
}

// uncertain reports whether a COMMIT that failed with err may be found done
// after all when the file is opened the next time. A sync of the log that
// fails leaves the transaction in the log, whole; a full disk or a busy
// database keeps it out.
func uncertain(err error) bool {
	c := code(err)
	return err != nil && c != sqlite3.SQLITE_FULL && c != sqlite3.SQLITE_BUSY
}

// hint is what an operator can do about an error.
func hint(dir string, err error) string {
	switch c := code(err); {
	case errors.Is(err, ErrLocked):
		return "one poller at a time may use a state directory: talk to the running one, stop it, or give this one a state_dir of its own"
	case errors.Is(err, errNewer):
		return "run that newer version, or put back the copy of " + dir + " from before the upgrade"
	case errors.Is(err, errForeign):
		return "give poller a state_dir of its own"
	case errors.Is(err, errUncertain):
		return "look for disk errors in the system log, then restart poller: it goes on from what the disk really holds"
	case errors.Is(err, errDamaged), c == sqlite3.SQLITE_CORRUPT, c == sqlite3.SQLITE_NOTADB:
		return "put back a copy, or stop poller and move " + dir + "/" + databaseName + "* aside: it starts with an empty state then, and delivers again what was saved and is still on a server"
	case c == sqlite3.SQLITE_FULL, errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "make room on the file system of " + dir + "; what could not be recorded stays on the server"
	case c == sqlite3.SQLITE_READONLY, c == sqlite3.SQLITE_CANTOPEN, c == sqlite3.SQLITE_PERM,
		errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		return "make " + dir + " and the files in it writable for the user that runs poller, or name another state_dir: in the configuration"
	case c == sqlite3.SQLITE_BUSY:
		return "another program keeps " + dir + "/" + databaseName + " locked: end it"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "raise the limit of open files (LimitNOFILE= of the unit), or lower limits.polls"
	case c == sqlite3.SQLITE_IOERR, errors.Is(err, unix.EIO):
		return "look for disk errors of " + dir + " in the system log"
	}
	return ""
}
