package state

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mailpoller/internal/mail"
)

// A disk is a driver whose COMMIT fails: after it was done, or without.
type disk struct {
	driver.Connector
	code int
	done bool
}

type failingConn struct {
	driver.Conn
	*disk
}

type failingTx struct {
	driver.Tx
	*disk
}

type codeError int

func (c codeError) Code() int     { return int(c) }
func (c codeError) Error() string { return fmt.Sprintf("disk fails with code %d", int(c)) }

func (d *disk) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := d.Connector.Connect(ctx)
	return failingConn{conn, d}, err
}

func (c failingConn) Begin() (driver.Tx, error) {
	tx, err := c.Conn.Begin() //nolint:staticcheck // the one method that a wrapper of driver.Conn can take over
	return failingTx{tx, c.disk}, err
}

func (tx failingTx) Commit() error {
	end := tx.Rollback
	if tx.done {
		end = tx.Tx.Commit
	}
	return errors.Join(codeError(tx.code), end())
}

func TestCommitThatFails(t *testing.T) {
	t.Parallel()
	k := kinds["imap"]
	for name, row := range map[string]struct {
		code     int
		recorded bool
		trusted  bool // the store goes on
		hint     string
	}{
		"disk full":                    {code: sqlite3.SQLITE_FULL, trusted: true, hint: "make room"},
		"busy":                         {code: sqlite3.SQLITE_BUSY, trusted: true, hint: "another program"},
		"sync failed, not on disk":     {code: sqlite3.SQLITE_IOERR_FSYNC, hint: "restart poller"},
		"sync failed, and yet on disk": {code: sqlite3.SQLITE_IOERR_FSYNC, recorded: true, hint: "restart poller"},
		"out of memory behind the point of no return": {code: sqlite3.SQLITE_NOMEM, recorded: true, hint: "restart poller"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openIn(t, dir)
			connector, err := sqlite.NewConnector(filepath.Join(dir, databaseName))
			if err != nil {
				t.Fatal(err)
			}
			healthy := s.db.writes
			s.db.writes = sql.OpenDB(&disk{connector, row.code, row.recorded})
			entries := []mail.Entry{entry(k.a, 1)}
			e := mail.AsError(s.Save(t.Context(), "c", k.box, entries), "", "")
			if e == nil || e.Kind != mail.KindState || !strings.Contains(e.Hint, row.hint) || !strings.Contains(e.Error(), "save messages of c") {
				t.Fatalf("%+v", e)
			}
			_, loaded := s.Load(t.Context(), "c", k.box)
			for name, err := range map[string]error{"Load": loaded, "Check": s.Check(t.Context())} {
				if (err == nil) != row.trusted {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := errors.Join(healthy.Close(), s.Close()); err != nil {
				t.Fatal(err)
			}
			s = openIn(t, dir)
			defer s.Close()
			l, err := s.Load(t.Context(), "c", k.box)
			if err != nil || l.Saved.Has(k.a) != row.recorded {
				t.Errorf("after a restart: %+v, %v", l, err)
			}
		})
	}
}
