package state

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailpoller/internal/mail"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestSQLite(t *testing.T) {
	t.Parallel()
	suite(t, func(t *testing.T) func(context.Context) (store, error) {
		dir := t.TempDir()
		return func(ctx context.Context) (store, error) { return Open(ctx, dir) }
	})
}

func openIn(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// raw runs statements on a database that is not open.
func raw(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range statements {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpenMakesTheDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b", "100%41?c#d")
	s := openIn(t, dir)
	instance := s.Instance()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]fs.FileMode{
		dir: fs.ModeDir | 0o700, filepath.Join(dir, databaseName): 0o600, filepath.Join(dir, lockName): 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	s = openIn(t, dir)
	defer s.Close()
	if s.Instance() != instance || len(strings.Trim(instance, "0123456789abcdef")) != 0 || len(instance) != 8 {
		t.Errorf("instance %q, then %q", instance, s.Instance())
	}
	other := openIn(t, t.TempDir())
	defer other.Close()
	if other.Instance() == instance {
		t.Errorf("two state directories are both %s", instance)
	}
}

// TestUnclean until somebody has the store who closes it and leaves nothing.
func TestUnclean(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, row := range []struct{ before, leave bool }{{false, true}, {true, true}, {true, false}, {false, false}} {
		s := openIn(t, dir)
		if s.Unclean() != row.before {
			t.Errorf("use %d: unclean %t", i, s.Unclean())
		}
		if row.leave {
			s.LeaveUnclean()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneStorePerDirectory(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openIn(t, dir)
	_, err := Open(t.Context(), dir)
	e := mail.AsError(err, "", "")
	want := fmt.Sprintf("open state: state directory %s is in use by process %d", dir, os.Getpid())
	if !errors.Is(err, ErrLocked) || e.Error() != want || e.Kind != mail.KindState || e.Hint == "" {
		t.Errorf("got %v (%+v), want %s", err, e, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openIn(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
}

// TestOpenRefuses holds that a file which cannot be used is left as it is.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		spoil      func(t *testing.T, path string)
		want, hint string
	}{
		"something else": {
			func(t *testing.T, path string) { write(t, path, []byte("Dear diary")) },
			"is not an SQLite file", "move",
		},
		"a header alone": {
			func(t *testing.T, path string) { write(t, path, []byte(fileHeader)) },
			"", "move",
		},
		"zeros": {
			func(t *testing.T, path string) { write(t, path, make([]byte, 8192)) },
			"is not an SQLite file", "move",
		},
		"a page that was overwritten": {
			func(t *testing.T, path string) {
				content := read(t, path)
				copy(content[3*4096:4*4096], bytes.Repeat([]byte{0xA5}, 4096))
				write(t, path, content)
			},
			"damaged", "move",
		},
		"a file that was cut off": {
			func(t *testing.T, path string) { write(t, path, read(t, path)[:3*4096]) },
			"malformed", "move",
		},
		"a newer version": {
			func(t *testing.T, path string) { raw(t, path, "PRAGMA user_version = 99") },
			fmt.Sprintf("written by a newer poller: it is of version 99, and this program knows versions up to %d", len(schemas())), "newer version",
		},
		"another program": {
			func(t *testing.T, path string) {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
				raw(t, path, "CREATE TABLE t (a)")
			},
			"is a database of another program", "of its own",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, databaseName)
			s := openIn(t, dir)
			if err := s.Save(t.Context(), "c", kinds["imap"].box, []mail.Entry{entry(uid(1), 1)}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			row.spoil(t, path)
			before := read(t, path)
			for range 2 { // the lock was given up
				_, err := Open(t.Context(), dir)
				e := mail.AsError(err, "", "")
				if e == nil || e.Kind != mail.KindState || e.Op != "open state" || !strings.Contains(e.Error(), row.want) || !strings.Contains(e.Hint, row.hint) {
					t.Fatalf("%v, hint %q", err, e.Hint)
				}
			}
			if !bytes.Equal(read(t, path), before) {
				t.Error("the file was changed")
			}
		})
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestOpenNeedsADirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, nil)
	for _, dir := range []string{path, filepath.Join(path, "below")} {
		if _, err := Open(t.Context(), dir); mail.AsError(err, "", "").Kind != mail.KindState {
			t.Errorf("%s: %v", dir, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ended, t.TempDir()); mail.AsError(err, "", "").Kind != mail.KindCanceled {
		t.Error(err)
	}
}

// TestSchema makes every change of the schema a deliberate one: an installed
// database gets there by a further file in migrations/, never by a change to
// an older one.
func TestSchema(t *testing.T) {
	t.Parallel()
	s := openIn(t, t.TempDir())
	defer s.Close()
	rows, err := s.db.reads.QueryContext(t.Context(), "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, name")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got strings.Builder
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s;\n", statement)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "schema.sql")
	if *update {
		write(t, golden, []byte(got.String()))
	}
	if diff := cmp.Diff(string(read(t, golden)), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestStoredJob holds that the history of an older version can be read.
func TestStoredJob(t *testing.T) {
	t.Parallel()
	s := openIn(t, t.TempDir())
	defer s.Close()
	_, err := s.db.writes.ExecContext(t.Context(), `INSERT INTO job (connection, state, started, result) VALUES ('c', 'FAILED', 0, $1)`,
		`{"Job":"j","Connection":"c","State":"FAILED","Outcome":"failed","Started":"2026-01-02T03:04:05.6Z","Duration":1500,"Attempts":2,
		"Messages":1,"Bytes":7,"Files":["/f"],"Disposed":1,"Failures":2,"Quarantined":3,"Warnings":["w"],
		"Err":{"Op":"tls","Kind":"tls","Message":"m","Hint":"h"},"Future":true}`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Jobs(t.Context(), JobFilter{})
	if err != nil {
		t.Fatal(err)
	}
	want := []mail.Result{{
		Job: "j", Connection: "c", State: mail.Failed, Outcome: mail.OutcomeFailed,
		Started: time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC), Duration: 1500, Attempts: 2,
		Messages: 1, Bytes: 7, Files: []string{"/f"}, Disposed: 1, Failures: 2, Quarantined: 3, Warnings: []string{"w"},
		Err: &mail.Error{Op: "tls", Kind: "tls", Err: errors.New("m"), Hint: "h"},
	}}
	if diff := cmp.Diff(want, got, compare...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestHistoryIsBoundedOverall pretends by the counter that there are more jobs
// than rows, because 100,000 rows take their time.
func TestHistoryIsBoundedOverall(t *testing.T) {
	t.Parallel()
	s := openIn(t, t.TempDir())
	defer s.Close()
	record := func(name string) {
		t.Helper()
		if err := s.RecordJob(t.Context(), mail.Result{Job: name, Connection: name, Started: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		record(fmt.Sprint(i))
	}
	var counted int
	if err := s.db.writes.QueryRowContext(t.Context(), `UPDATE store SET jobs = jobs + $1 - 8 RETURNING jobs`, jobsOverall).Scan(&counted); err != nil {
		t.Fatal(err)
	}
	if counted != jobsOverall+2 {
		t.Fatalf("10 jobs were counted as %d", counted-jobsOverall+8)
	}
	for _, want := range []string{"10 9 8 7 6 5 4 3", "11 10 9 8 7 6 5 4"} {
		record(strings.Fields(want)[0])
		jobs, err := s.Jobs(t.Context(), JobFilter{})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, j := range jobs {
			names = append(names, j.Job)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestReadingWritesNothing is why a poll without news costs no disk.
func TestReadingWritesNothing(t *testing.T) {
	t.Parallel()
	k := kinds["imap"]
	dir := t.TempDir()
	s := openIn(t, dir)
	defer s.Close()
	ctx := t.Context()
	if err := s.Save(ctx, "c", k.box, []mail.Entry{entry(k.a, 1)}); err != nil {
		t.Fatal(err)
	}
	files := func() (all []string) {
		for _, name := range []string{databaseName, databaseName + logSuffix} {
			info, err := os.Stat(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprint(name, info.Size(), info.ModTime()))
		}
		return all
	}
	before := files()
	for name, call := range map[string]func() error{
		"Load":              func() error { _, err := s.Load(ctx, "c", k.box); return err },
		"Load of a new one": func() error { _, err := s.Load(ctx, "new", k.box); return err },
		"Load of another":   func() error { _, err := s.Load(ctx, "c", k.rebuilt); return err },
		"Recognise":         func() error { _, err := s.Recognise(ctx, "c", digest(1)); return err },
		"Faults":            func() error { _, err := s.Unsaved(ctx); return err },
		"Temps":             func() error { _, err := s.Temps(ctx); return err },
		"Jobs":              func() error { _, err := s.Jobs(ctx, JobFilter{}); return err },
		"Check":             func() error { return s.Check(ctx) },
		"Save of nothing":   func() error { return s.Save(ctx, "c", k.rebuilt, nil) },
		"Keep of all":       func() error { return s.Keep(ctx, "c", k.box, set(k.a)) },
	} {
		if err := call(); err != nil {
			t.Error(name, err)
		}
		if diff := cmp.Diff(before, files()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestLoadDoesNotGrow holds that what a poll of an IMAP mailbox reads does not
// depend on how many messages were saved. It counts allocations and therefore
// runs alone.
func TestLoadDoesNotGrow(t *testing.T) {
	k := kinds["imap"]
	s := openIn(t, t.TempDir())
	defer s.Close()
	ctx := t.Context()
	if err := s.Save(ctx, "c", k.box, []mail.Entry{entry(uid(1), 1)}); err != nil {
		t.Fatal(err)
	}
	load := func() (l mail.Ledger) {
		var err error
		if l, err = s.Load(ctx, "c", k.box); err != nil {
			t.Fatal(err)
		}
		return l
	}
	few := testing.AllocsPerRun(10, func() { load() })
	_, err := s.db.writes.ExecContext(ctx, `
		WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
		INSERT INTO message SELECT box, i, '', size, octets, randomblob(32), '', 0, '', '', 0, 0, 0, '' FROM message, n;
		UPDATE box SET saved = '1:10000'`)
	if err != nil {
		t.Fatal(err)
	}
	if many := testing.AllocsPerRun(10, func() { load() }); many > few+20 {
		t.Errorf("%v allocations for one message, %v for 10,000", few, many)
	}
	if l := load(); l.Saved.Len() != 10_000 || len(l.Pending) != 1 {
		t.Errorf("%s saved, %d pending", l.Saved.UIDs, len(l.Pending))
	}

	// Every other message is gone: as many ranges as there can be.
	var held mail.Set
	for n := uint32(2); n <= 10_000; n += 2 {
		held.UIDs = append(held.UIDs, mail.UIDRange{Lo: n, Hi: n})
	}
	if err := s.Keep(ctx, "c", k.box, held); err != nil {
		t.Fatal(err)
	}
	l := load()
	var rows int
	if err := s.db.reads.QueryRowContext(ctx, `SELECT count(*) FROM message`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if l.Saved.Len() != 5_001 || rows != 5_001 || !l.Saved.Has(uid(1)) || l.Saved.Has(uid(3)) {
		t.Errorf("%d saved, %d rows", l.Saved.Len(), rows)
	}
}

// TestRecogniseReadsOneRow holds that a digest is looked up, and not searched
// for in all that was saved.
func TestRecogniseReadsOneRow(t *testing.T) {
	t.Parallel()
	s := openIn(t, t.TempDir())
	defer s.Close()
	rows, err := s.db.reads.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+recognise, "c", 0, []byte{})
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var step string
		if err := rows.Scan(new(int), new(int), new(int), &step); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(step + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(plan.String(), "message_digest (box=? AND digest=?)") {
		t.Error(plan.String())
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, name := range []string{lockName, databaseName} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openIn(t, dir)
			defer s.Close()
			check := func() *mail.Error { return mail.AsError(s.Check(t.Context()), "", "") }
			if e := check(); e != nil {
				t.Fatal(e)
			}
			path := filepath.Join(dir, name)
			if err := os.Rename(path, path+".moved"); err != nil {
				t.Fatal(err)
			}
			if e := check(); e == nil || e.Kind != mail.KindState || !strings.Contains(e.Error(), path) || e.Hint == "" {
				t.Errorf("moved away: %v", e)
			}
			write(t, path, nil)
			if e := check(); e == nil || !strings.Contains(e.Error(), "replaced") {
				t.Errorf("replaced: %v", e)
			}
		})
	}
}
