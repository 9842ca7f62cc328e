package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestARebuiltMailboxIsNotDeliveredAgain: UIDVALIDITY, and with it every UID
// and unique-id, is another one. What was saved is known by its content.
func TestARebuiltMailboxIsNotDeliveredAgain(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			messages := rig.Numbered(150)
			messages = append(messages, messages[7]) // the same twice is two messages
			d.Deliver(t, u, messages...)
			s := rig.New(t, rig.Connect(t, d, "kept", u, store, mail.SSLTLS).With(rig.Settings{"disposition": "KEEP", "max_messages": 0}))
			if v := s.Poll("kept")[0]; v.Messages != len(messages) {
				t.Fatalf("first poll: %+v", v)
			}
			d.Rebuild(t, u, 4242)
			d.Deliver(t, u, []byte("Subject: new\r\n\r\nnew\r\n"))
			if v := s.Poll("kept")[0]; v.State != "SUCCEEDED" || v.Messages != 1 {
				t.Fatalf("after the rebuild: %+v", v)
			}
			if v := s.Poll("kept")[0]; v.Outcome != "empty" {
				t.Fatalf("and again: %+v", v)
			}
			if n := len(rig.Files(t, s.Dir+"/kept")); n != len(messages)+1 {
				t.Errorf("%d files of %d messages", n, len(messages)+1)
			}
		})
	}
}

// TestOneBadMessageDoesNotBlockTheRest: Dovecot does not stuff a dot that
// begins a message, so that over POP3 it ends where it begins.
func TestOneBadMessageDoesNotBlockTheRest(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	u := d.NewUser(t)
	bad := []byte(".\r\n+OK 23 octets\r\nSubject: forged\r\n\r\nforged\r\n")
	good := rig.Numbered(4)
	d.Deliver(t, u, good[0], bad, good[1])
	s := rig.New(t, rig.Connect(t, d, "orders", u, mail.POP3, mail.SSLTLS).With(rig.Settings{"disposition": "DELETE", "max_messages": 0}))
	for job := 1; job <= 3; job++ {
		v := s.Poll("orders")[0]
		if v.State != "FAILED" || v.Error.Kind != "protocol" || !strings.Contains(v.Error.Message, "announced 45 octets and sent 0") {
			t.Fatalf("job %d: %+v %+v", job, v, v.Error)
		}
		want := 2
		if job > 1 {
			want = 0
		}
		if v.Messages != want {
			t.Errorf("job %d saved %d messages", job, v.Messages)
		}
	}
	d.Deliver(t, u, good[2])
	if v := s.Poll("orders")[0]; v.State != "SUCCEEDED" || v.Messages != 1 {
		t.Errorf("with the bad message in quarantine: %+v %+v", v, v.Error)
	}
	for _, body := range rig.Files(t, s.Dir+"/orders") {
		if bytes.Contains(body, []byte("forged")) {
			t.Errorf("a forged message was delivered: %q", body)
		}
	}
	if left := mailtest.Bodies(d.Messages(t, u)); len(left) != 1 || !bytes.Equal(left[0], bad) {
		t.Errorf("left on the server: %q", left)
	}
	if out, _, code := s.Run("retry", "orders"); code != 0 || !strings.Contains(out, "will try again 1 message") {
		t.Errorf("retry: %d %s", code, out)
	}
	if v := s.Poll("orders")[0]; v.State != "FAILED" {
		t.Errorf("after retry: %+v", v)
	}
}

func TestAMessageThatIsTooLargeIsSkipped(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			large := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat([]byte("x\r\n"), 5000)...)
			d.Deliver(t, u, large, rig.Numbered(1)[0])
			c := rig.Connect(t, d, "a", u, store, mail.SSLTLS).With(rig.Settings{"disposition": "DELETE", "max_message_size": "10KB"})
			s := rig.New(t, c)
			for n, want := range []string{"saved", "empty", "empty"} {
				if v := s.Poll("a")[0]; v.State != "SUCCEEDED" || v.Outcome != want {
					t.Errorf("poll %d: %+v %+v", n+1, v, v.Error)
				}
			}
			if out, _, _ := s.Run("poll", "a"); !strings.Contains(out, "skips 1 message larger than max_message_size") {
				t.Errorf("says %q", out)
			}
			s.Configure(c.With(rig.Settings{"max_message_size": "100KB"}))
			if v := s.Poll("a")[0]; v.Messages != 1 {
				t.Errorf("after the limit was raised: %+v", v)
			}
			if left := d.Messages(t, u); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestAnEmptyPollWritesNothing: no file of the state directory, and nothing in
// the folder, changes.
func TestAnEmptyPollWritesNothing(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			d.Deliver(t, u, rig.Numbered(3)...)
			s := rig.New(t, rig.Connect(t, d, "a", u, store, mail.SSLTLS).With(rig.Settings{"disposition": "KEEP", "max_messages": 0, "schedule": "@every 1s"}))
			p := s.Start().Ready()
			p.Await(0, `"msg":"poll finished","connection":"a".*"messages":3`)
			mark := p.Mark()
			p.Await(mark, `"msg":"poll finished","connection":"a".*"outcome":"empty"`)
			before := written(t, s)
			mark = p.Mark()
			for range 3 {
				p.Await(mark, `"msg":"poll finished","connection":"a".*"outcome":"empty"`)
				mark = p.Mark()
			}
			if after := written(t, s); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			if code := p.Stop(); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// written is what a write would change: sizes and times of all files.
func written(t *testing.T, s *rig.Site) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range []string{"state", "a"} {
		err := filepath.Walk(filepath.Join(s.Dir, dir), func(path string, info os.FileInfo, err error) error {
			if err == nil && !strings.HasSuffix(path, "-shm") { // SQLite's index in memory
				fmt.Fprintf(&b, "%s %d %v\n", path, info.Size(), info.ModTime())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}
