package state

import (
	"fmt"
	"path/filepath"
	"testing"
)

// older makes a database as version left it, with three messages of c on record.
func older(t *testing.T, path string, version int) {
	t.Helper()
	var statements []string
	for _, file := range schemas()[:version] {
		text, err := migrations.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		statements = append(statements, string(text))
	}
	box := kinds["imap"].box
	raw(t, path, append(statements,
		fmt.Sprintf("PRAGMA application_id = %d", applicationID),
		fmt.Sprintf("PRAGMA user_version = %d", version),
		fmt.Sprintf("INSERT INTO box (connection, account, validity, saved, seen) VALUES ('c', '%s', %d, '1:3', '')", box.Account, box.Validity))...)
}

// TestAnOlderDatabaseIsBroughtUpToDate: from every version that there was, and
// what was saved is known.
func TestAnOlderDatabaseIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	for version := 1; version < len(schemas()); version++ {
		t.Run(fmt.Sprint("version ", version), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			older(t, filepath.Join(dir, databaseName), version)
			for range 2 {
				s := openIn(t, dir)
				ledger, err := s.Load(t.Context(), "c", kinds["imap"].box)
				if err != nil || ledger.Saved.Len() != 3 || !ledger.Saved.Has(uid(3)) {
					t.Errorf("on record are %d messages, %v", ledger.Saved.Len(), err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestMessagesThatAServerWasToBlameForAreReleased by the fifth version: until
// then, a server that refused everything counted against each of them.
func TestMessagesThatAServerWasToBlameForAreReleased(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, databaseName)
	older(t, path, 4)
	raw(t, path, `INSERT INTO fault (box, uid, uidl, size, too_large, jobs, reason) VALUES
		(1, 7, '', 0, 0, 3, 'fetch: server refused: [UNAVAILABLE] later'), (1, 8, '', 9, 1, 0, 'too large'), (1, 9, '', 0, 0, 3, 'message has no attachments')`)
	s := openIn(t, dir)
	ledger, err := s.Load(t.Context(), "c", kinds["imap"].box)
	if err != nil || len(ledger.Unsaved) != 2 || ledger.Unsaved[0].UID != 8 || ledger.Unsaved[1].UID != 9 {
		t.Errorf("on record are %+v, %v", ledger.Unsaved, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestAStepThatFailsIsNotHalfDone: the database stays one of the version before,
// which the older program can go on with.
func TestAStepThatFailsIsNotHalfDone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, databaseName)
	older(t, path, 1)
	raw(t, path, "CREATE TABLE trusted (in_the_way)") // of the second step
	if s, err := Open(t.Context(), dir); err == nil {
		t.Error("it was opened", s.Close())
	}
	raw(t, path, "DROP TABLE trusted", "CREATE TABLE refused (a)") // which the step makes first
	db, err := connect(path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var version int
	if err := db.QueryRowContext(t.Context(), "PRAGMA user_version").Scan(&version); err != nil || version != 1 {
		t.Errorf("it is of version %d, %v", version, err)
	}
}
