package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestAPasswordIsChanged while the daemon runs: after a failure to log in it
// reads the file again, and the next attempt of the same job succeeds; after a
// reload there is no failure.
func TestAPasswordIsChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, dir := range []string{dir, filepath.Dir(dir)} { // Dovecot reads in it as another user
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	users := filepath.Join(dir, "users")
	d := mailtest.StartDovecot(t, "passdb {\ndriver = passwd-file\nargs = scheme=PLAIN "+users+"\n}")
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			user := d.NewUser(t)
			file := filepath.Join(t.TempDir(), "password")
			change := func(password string) {
				t.Helper()
				defer takes(t, d, user, password)
				for path, text := range map[string]string{users: user + ":" + password + "\n", file: password + "\n"} {
					if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
					if err := os.Rename(path+".new", path); err != nil {
						t.Fatal(err)
					}
				}
			}
			change("the first one")
			s := rig.New(t, rig.Connect(t, d, "orders", user, store, mail.SSLTLS).With(rig.Settings{
				"password": map[string]any{"file": file}, "schedule": "0 0 1 1 *", "max_retries": 1, "retry_interval": "100ms", "disposition": "DELETE",
			}))
			p := s.Start().Ready()
			for n, step := range []struct {
				change   func()
				attempts int
			}{
				{func() {}, 1},
				{func() { change("a second, longer one") }, 2},
				{
					func() {
						change("a third one, which is longer still")
						mark := p.Mark()
						p.Signal(syscall.SIGHUP)
						p.Await(mark, "configuration reloaded")
					},
					1,
				},
			} {
				step.change()
				d.Deliver(t, user, fmt.Appendf(nil, "Subject: %d\r\n\r\nx\r\n", n))
				if view := s.Poll("orders")[0]; view.State != "SUCCEEDED" || view.Messages != 1 || view.Attempts != step.attempts {
					t.Errorf("step %d: %+v", n, view)
				}
			}
		})
	}
}

// takes waits until the server takes a password: it looks at its file now and
// then.
func takes(t *testing.T, d *mailtest.Dovecot, user, password string) {
	t.Helper()
	for {
		c, err := net.Dial("tcp", net.JoinHostPort(mailtest.Host, strconv.Itoa(d.Port(mail.IMAP, mail.NoTLS))))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "a LOGIN %s %q\r\nb LOGOUT\r\n", user, password)
		said, err := io.ReadAll(c)
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(said), "a OK") {
			return
		}
	}
}
