// Package state is what survives a restart: the journal of saved messages, the
// history of jobs, and what operators think of certificates, in an SQLite
// database in the state directory.
//
// What a method that writes has recorded is on the disk when it returns nil
// (but for RecordJob), and is not recorded when it returns an error, with one
// exception, after which the store refuses to go on (see errUncertain). What
// changed nothing writes nothing: a poll of a mailbox without news only reads.
//
// The SQL is plain enough for other databases; what is SQLite's own is in
// sqlite.go.
package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"mailpoller/internal/mail"
)

const (
	databaseName = "poller.db"
	logSuffix    = "-wal"
	lockName     = "lock"

	opOpen = "open state" // of a mail.Error, beside mail.OpRecord
)

// Store is an open state directory. Its methods may be called by many
// goroutines; they end with their context, except that a commit that has
// begun is waited for, so that its outcome is known. Their errors are
// *mail.Error of kind state, or canceled or timeout when the context ended.
type Store struct {
	dir      string
	instance string
	lock     *os.File
	db       database
	files    []fs.FileInfo // as opened, to notice that they were replaced

	// stale is by connection the id of a box that is recorded as the present
	// one and is not: Load has seen another, which nothing is recorded of.
	stale sync.Map

	broken atomic.Pointer[error] // wraps errUncertain
	marked atomic.Bool           // the file of the log, whose presence means unclean, is durable
	leave  atomic.Bool           // Close leaves that file

	judging sync.Mutex // what is recorded of trust is put into force in its order
	trusted atomic.Pointer[certificates]
}

// errUncertain marks the end of a store. A commit failed in a way that leaves
// it to the disk whether it is found done after a restart. To go on from
// either guess could lose a message: its file is removed as not recorded, and
// the next start takes it for delivered. So nothing is guessed, every call
// fails, and the next Open reads what the disk holds.
var errUncertain = errors.New("the disk failed in the middle of a commit, and the state in memory can no longer be trusted")

// Open opens a state directory, made with mode 0700 if there is none, and
// takes its lock until Close. It fails with ErrLocked while another process,
// or another Store, has it; and leaves a database alone that is damaged, of
// another program, or of a newer version of this one.
func Open(ctx context.Context, dir string) (*Store, error) {
	s := &Store{}
	if err := s.open(ctx, dir); err != nil {
		return nil, failure(ctx, opOpen, s.dir, err)
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, dir string) (err error) {
	if s.dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) { // else Mark makes its name durable
		if err := makeDir(s.dir); err != nil {
			return err
		}
	}
	if s.lock, err = lock(s.dir); err != nil {
		return err
	}
	if s.db, err = openDatabase(ctx, filepath.Join(s.dir, databaseName)); err != nil {
		return errors.Join(err, s.lock.Close())
	}
	err = s.begin(ctx)
	if err != nil {
		return errors.Join(err, s.db.close(), s.lock.Close())
	}
	return nil
}

// begin reads what is fixed for the life of the store, and drops what was
// kept for long enough.
func (s *Store) begin(ctx context.Context) error {
	for _, name := range []string{lockName, databaseName} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil {
			return err
		}
		s.files = append(s.files, info)
	}
	err := s.transact(ctx, s.db.writes, func(tx *sql.Tx) error {
		if err := expire(ctx, tx); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT instance FROM store").Scan(&s.instance)
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(s.dir, databaseName), err)
	}
	return s.loadTrusted(ctx)
}

// Unclean reports whether whoever had the store before did not close it, or said
// LeaveUnclean: something may have been left behind. After a power failure it is sure to say so only
// of a store that was marked.
func (s *Store) Unclean() bool { return s.db.unclean }

// Mark makes it durable that the store is there, and open. It is called before
// something is written elsewhere that Unclean has to tell of, as it is before
// anything is written here, and costs nothing after the first time: who only reads
// syncs nothing.
func (s *Store) Mark() error {
	if s.marked.Load() {
		return nil
	}
	above := syncPath(filepath.Dir(s.dir))
	if errors.Is(above, fs.ErrPermission) { // then the directory is not one that we made
		above = nil
	}
	// The file may be a copy that an operator has just put there.
	if err := errors.Join(s.db.file.Sync(), syncPath(filepath.Join(s.dir, databaseName+logSuffix)), syncPath(s.dir), above); err != nil {
		return s.named(context.Background(), "mark "+s.dir+" as in use", err)
	}
	s.marked.Store(true)
	return nil
}

// LeaveUnclean has the next one who opens the store see it as Unclean.
func (s *Store) LeaveUnclean() { s.leave.Store(true) }

// Close closes the database and gives up the lock. It is called once, when
// every other call has returned.
func (s *Store) Close() error {
	err := s.db.close()
	if s.leave.Load() { // SQLite has removed its log, and takes an empty one for none
		log, opened := os.OpenFile(filepath.Join(s.dir, databaseName+logSuffix), os.O_CREATE, 0o600)
		err = errors.Join(err, opened)
		if opened == nil {
			err = errors.Join(err, log.Close(), syncPath(s.dir))
		}
	}
	return s.named(context.Background(), "close "+s.dir, errors.Join(err, s.lock.Close()))
}

// Instance is eight hex digits that tell this state directory from any other,
// for its whole life.
func (s *Store) Instance() string { return s.instance }

// Check reports why the store could not record anything now, as far as can be
// known without writing.
func (s *Store) Check(ctx context.Context) error {
	for _, opened := range s.files {
		path := filepath.Join(s.dir, opened.Name())
		now, err := os.Stat(path)
		if err == nil && !os.SameFile(opened, now) {
			err = fmt.Errorf("%s was replaced while it was in use", path)
		}
		if err != nil {
			e := mail.Errorf(mail.OpRecord, mail.KindState, "check state: %w", err)
			e.Hint = "put back what was moved or restored under the running poller, or restart it"
			return e
		}
	}
	return s.read(ctx, "check state", func(tx *sql.Tx) error {
		var instance string
		return tx.QueryRowContext(ctx, "SELECT instance FROM store").Scan(&instance)
	})
}

// write runs do in a transaction that excludes every other writer from its
// beginning on, so that what do has read holds until it is committed.
func (s *Store) write(ctx context.Context, what string, do func(*sql.Tx) error) error {
	if err := s.Mark(); err != nil {
		return err
	}
	return s.named(ctx, what, s.transact(ctx, s.db.writes, do))
}

// read runs do on one snapshot of the database.
func (s *Store) read(ctx context.Context, what string, do func(*sql.Tx) error) error {
	return s.named(ctx, what, s.transact(ctx, s.db.reads, do))
}

func (s *Store) transact(ctx context.Context, db *sql.DB, do func(*sql.Tx) error) error {
	if broken := s.broken.Load(); broken != nil {
		return *broken
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The statements of do end with ctx. The transaction itself does not: a
	// commit that is interrupted would hide whether it was done.
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := do(tx); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err = tx.Commit()
	if db == s.db.writes && uncertain(err) {
		err = fmt.Errorf("%w: %w", errUncertain, err)
		s.broken.Store(&err)
	}
	return err
}

func (s *Store) named(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	return failure(ctx, mail.OpRecord, s.dir, fmt.Errorf("%s: %w", what, err))
}

// failure is err as an operator reads it. Nil stays nil.
func failure(ctx context.Context, op, dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		if cause := context.Cause(ctx); !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", err, cause)
		}
		return mail.AsError(err, op, mail.KindCanceled)
	}
	return &mail.Error{Op: op, Kind: mail.KindState, Err: err, Hint: hint(dir, err)}
}

// makeDir makes a directory and those above it that are missing, and makes
// their names durable.
func makeDir(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeDir(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// A directory that is there may be ours, from a start that was cut off
	// before this sync. One whose parent we may not read is not ours.
	if synced := syncPath(filepath.Dir(dir)); !errors.Is(synced, fs.ErrPermission) || err == nil {
		return synced
	}
	return nil
}

// syncPath makes a file, or the names in a directory, durable.
func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}
