package torture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// stateFaults are what can be wrong with a state database, and what the
// operator reads of it.
var stateFaults = []struct {
	name         string
	spoil        func(db []byte) []byte
	crashed      bool // the log of the database is there, too
	reason, hint string
}{
	{"octets in the middle are overwritten", overwrite, false, "damaged", "put back a copy"},
	{"octets in the middle are overwritten after a crash", overwrite, true, "damaged", "put back a copy"},
	{"the header is overwritten", zeroHeader, false, "damaged", "put back a copy"},
	{"the header is overwritten after a crash", zeroHeader, true, "damaged", "put back a copy"},
	{"the file is cut off", cutOff, false, "malformed", "put back a copy"},
	{"the file is cut off after a crash", cutOff, true, "damaged", "put back a copy"},
	{"it is from a newer version", newerVersion, false, "written by a newer poller", "run that newer version"},
}

// overwrite spares the first of the pages of 4 KiB, by which SQLite knows its
// file.
func overwrite(db []byte) []byte {
	return append(db[:4096], bytes.Repeat([]byte{0xA5}, len(db)-4096)...)
}

func zeroHeader(db []byte) []byte { return append(make([]byte, 512), db[512:]...) }

func cutOff(db []byte) []byte { return db[:len(db)/2] }

// newerVersion raises the user_version:
// https://www.sqlite.org/fileformat2.html, section 1.3
func newerVersion(db []byte) []byte {
	binary.BigEndian.PutUint32(db[60:], binary.BigEndian.Uint32(db[60:])+1)
	return db
}

// TestAStateThatCannotBeTrustedIsLeftAlone: no command and no daemon starts on
// it, and each says why; nothing in the directory changes. With a copy put
// back, no message comes twice.
func TestAStateThatCannotBeTrustedIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, fault := range stateFaults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			user := d.NewUser(t)
			messages := rig.Numbered(3)
			d.Deliver(t, user, messages[:2]...)
			s := rig.New(t, rig.Connect(t, d, "kept", user, mail.IMAP, mail.NoTLS).With(rig.Settings{
				"disposition": "KEEP", "schedule": "@every 1h",
			}))
			polled(t, s)
			daemon := s.Start().Ready()
			polled(t, s)
			if fault.crashed {
				daemon.Kill()
			} else {
				daemon.Stop()
			}
			state := filepath.Join(s.Dir, "state")
			whole := stateFiles(t, state)
			if log := whole["poller.db-wal"]; fault.crashed != (len(log) > 0) {
				t.Fatalf("the log of the database has %d octets", len(log))
			}
			write(t, filepath.Join(state, "poller.db"), fault.spoil(slices.Clone(whole["poller.db"])))
			before := stateFiles(t, state)

			for range 2 {
				refuses(t, s, fault.reason, fault.hint)
			}
			if _, errs, code := s.Run("poll", "kept"); code != 1 || !strings.Contains(errs, fault.reason) {
				t.Errorf("poll: exit code %d, %s", code, errs)
			}
			if after := stateFiles(t, state); !maps.EqualFunc(before, after, bytes.Equal) {
				for name := range before {
					t.Errorf("%s was changed: %d octets, then %d", name, len(before[name]), len(after[name]))
				}
			}
			for name, content := range whole {
				write(t, filepath.Join(state, name), content)
			}
			d.Deliver(t, user, messages[2])
			polled(t, s)
			if v := s.Poll("kept")[0]; v.Outcome != "empty" {
				t.Errorf("with the copy put back: %+v, %+v", v, v.Error)
			}
			if n := len(rig.Files(t, s.Dir+"/kept")); n != len(messages) {
				t.Errorf("%d files", n)
			}
		})
	}
}

// polled polls one message.
func polled(t *testing.T, s *rig.Site) {
	t.Helper()
	if v := s.Poll("kept")[0]; v.State != "SUCCEEDED" || v.Messages != 1 {
		t.Fatalf("%+v, %+v", v, v.Error)
	}
}

// refuses holds that a daemon ends at once with exit code 1, and says why and
// what to do.
func refuses(t *testing.T, s *rig.Site, reason, hint string) {
	t.Helper()
	d := s.Start()
	select {
	case <-d.Done:
	case <-time.After(rig.Patience):
		t.Fatal("the daemon runs")
	}
	said, _ := d.Log.From(0)
	if code := d.Cmd.ProcessState.ExitCode(); code != 1 || !strings.HasPrefix(said, "poller: open state: ") ||
		!strings.Contains(said, reason) || !strings.Contains(said, "\n  hint: "+hint) {
		t.Errorf("exit code %d\n%s", code, said)
	}
}

// stateFiles are the database and its log, if it has one.
func stateFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for _, name := range []string{"poller.db", "poller.db-wal"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			files[name] = content
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return files
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestASecondDaemonDoesNotStart on the same state directory, and the first
// goes on.
func TestASecondDaemonDoesNotStart(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	messages := rig.Numbered(1)
	s := rig.New(t, rig.Connect(t, d, "once", user, mail.IMAP, mail.NoTLS).With(rig.Settings{"disposition": "DELETE", "schedule": "@every 1h"}))
	first := s.Start().Ready()
	path := filepath.Join(s.Dir, "state", "poller.db")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, s, fmt.Sprintf("is in use by process %d", first.Cmd.Process.Pid), "one poller at a time")
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the database was changed: %v", err)
	}
	d.Deliver(t, user, messages...)
	if v := s.Poll("once")[0]; v.Messages != 1 {
		t.Errorf("%+v, %+v", v, v.Error)
	}
	if code := first.Stop(); code != 0 {
		t.Errorf("the first ended with exit code %d", code)
	}
	if left := d.Messages(t, user); len(left) > 0 || len(rig.Files(t, s.Dir+"/once")) != 1 {
		t.Errorf("left on the server: %v", left)
	}
}
