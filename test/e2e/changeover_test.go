package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestAnotherProgramIsReplaced goes the way of docs/migration.md: a trial beside
// the other program changes nothing, and after the change every message is
// delivered by one of the two, once. The other program deletes what it takes.
func TestAnotherProgramIsReplaced(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			messages := rig.Numbered(5)
			d.Deliver(t, u, messages[:3]...)
			orders := rig.Connect(t, d, "orders", u, store, mail.SSLTLS).With(rig.Settings{"max_messages": 0})
			trial := orders.With(rig.Settings{"folder": "trial", "disposition": "KEEP"})
			s := rig.New(t, trial)

			if out, errs, code := s.Run("poll", "--dry-run", "orders"); code != 0 {
				t.Errorf("the dry run ends with %d: %s%s", code, out, errs)
			}
			if found := rig.Files(t, s.Dir+"/trial"); len(found) != 0 {
				t.Errorf("the dry run saved %d messages", len(found))
			}
			if v := s.Poll("orders")[0]; v.Messages != 3 {
				t.Errorf("the trial: %+v", v)
			}
			if left := d.Messages(t, u); len(left) != 3 {
				t.Errorf("the trial left %d messages of 3", len(left))
			}

			// The other program takes what is there and is stopped. One more comes, which
			// the trial takes.
			other := rig.New(t, orders.With(rig.Settings{"disposition": "DELETE", "pull_disposition": "GET_FIRST_MESSAGE"}))
			other.Poll("orders")
			d.Deliver(t, u, messages[3])
			s.Poll("orders")

			s.Configure(orders.With(rig.Settings{"disposition": "DELETE"}))
			if out, errs, code := s.Run("forget", "--yes", "orders"); code != 0 {
				t.Errorf("forget ends with %d: %s%s", code, out, errs)
			}
			s.Poll("orders")
			d.Deliver(t, u, messages[4])
			s.Poll("orders")
			wantFiles(t, filepath.Join(other.Dir, "orders"), messages, 1, 2, 3)
			wantFiles(t, filepath.Join(s.Dir, "orders"), messages, 4, 5)
			if left := d.Messages(t, u); len(left) != 0 {
				t.Errorf("%d messages are left", len(left))
			}
		})
	}
}

// TestAProgramThatKeepsIsReplaced: what the other program has delivered, and
// knows by a list of its own, is put on record by a poll into a folder that nobody
// reads. Later it can be deleted on the server without being delivered.
func TestAProgramThatKeepsIsReplaced(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			messages := rig.Numbered(6)
			d.Deliver(t, u, messages[:3]...)
			orders := rig.Connect(t, d, "orders", u, store, mail.SSLTLS).With(rig.Settings{
				"max_messages": 0, "disposition": "KEEP", "pull_disposition": "GET_FIRST_MESSAGE",
			})
			s := rig.New(t, orders.With(rig.Settings{"folder": "delivered"}))
			s.Poll("orders")
			d.Deliver(t, u, messages[3])
			s.Run("forget", "--yes", "orders")
			for name := range rig.Files(t, s.Dir+"/delivered") {
				if err := os.Remove(filepath.Join(s.Dir, "delivered", name)); err != nil {
					t.Error(err)
				}
			}
			v := s.Poll("orders")[0]
			if v.Messages != 4 {
				t.Errorf("what is there: %+v", v)
			}
			for i, path := range v.Files {
				if saved, err := os.ReadFile(path); err != nil || !bytes.Equal(saved, messages[i]) {
					t.Errorf("file %d is not message %d: %q, %v", i+1, i+1, saved, err)
				}
			}

			s.Configure(orders)
			if v := s.Poll("orders")[0]; v.Outcome != "unchanged" {
				t.Errorf("in another folder: %+v", v)
			}
			d.Deliver(t, u, messages[4])
			s.Poll("orders")
			s.Configure(orders.With(rig.Settings{"disposition": "DELETE"}))
			d.Deliver(t, u, messages[5])
			if v := s.Poll("orders")[0]; v.Messages != 1 {
				t.Errorf("one is new: %+v", v)
			}
			wantFiles(t, filepath.Join(s.Dir, "delivered"), messages, 1, 2, 3, 4)
			wantFiles(t, filepath.Join(s.Dir, "orders"), messages, 5, 6)
			if left := d.Messages(t, u); len(left) != 0 {
				t.Errorf("%d messages are left", len(left))
			}
		})
	}
}
