package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// closedPort is tcpmux: nothing has listened there for decades.
const closedPort = 1

// TestWhatGoesWrongIsSaidPlainly: the connection, the step, the reason and a
// hint, in one line each; nothing is deleted.
func TestWhatGoesWrongIsSaidPlainly(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	hangsUp := mailtest.Script(t, func(c *mailtest.Conn) { c.Send("* O") })
	other := mailtest.NewCA(t)
	missing := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		name         string
		set          rig.Settings
		op, kind     string
		reason, hint string
	}{
		{"unknown host", rig.Settings{"host": "host.invalid"}, "resolve", "network", "host.invalid", "check host:"},
		{"refused connection", rig.Settings{"port": closedPort}, "connect", "network", "refused", "whether the server is running"},
		{"a server that hangs up", rig.Settings{"port": hangsUp.Port, "connection_security": "NONE"}, "greeting", "network", "closed the connection", "log may say why"},
		{"wrong password", rig.Settings{"password": "canary-wrong"}, "authenticate", "auth", "AUTHENTICATIONFAILED", "check username: and password:"},
		{"missing mailbox", rig.Settings{"mailbox": "Nowhere"}, "open mailbox", "config", "Mailbox doesn't exist", "name an existing mailbox in mailbox:; there are: INBOX"},
		{"missing folder", rig.Settings{"folder": missing}, "save", "storage", "no such file or directory", "create " + missing},
		{"clear text on a TLS port", rig.Settings{"connection_security": "SSL_TLS", "port": d.Port(mail.IMAP, mail.NoTLS)}, "tls", "tls", "does not look like a TLS handshake", "STARTTLS"},
		{"TLS on a clear text port", rig.Settings{"connection_security": "NONE", "port": d.Port(mail.IMAP, mail.SSLTLS), "timeout": "1s"}, "greeting", "timeout", "silent for 1s", "a port for TLS needs connection_security: SSL_TLS"},
		{"unknown issuer", rig.Settings{"ca_file": other.PEMFile(t)}, "certificate", "tls", "unknown authority", "ca_file:"},
		{"secret that is not there", rig.Settings{"password": rig.Settings{"file": "/nonexistent/secret"}}, "read secret", "config", "/nonexistent/secret", "write the secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			d.Deliver(t, u, rig.Numbered(1)...)
			s := rig.New(t, rig.Connect(t, d, "orders", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{"disposition": "DELETE"}).With(c.set))
			v := s.Poll("orders")[0]
			if v.State != "FAILED" || v.Outcome != "failed" || v.Error == nil {
				t.Fatalf("%+v", v)
			}
			if e := v.Error; e.Op != c.op || e.Kind != c.kind || !strings.Contains(e.Message, c.reason) || !strings.Contains(e.Hint, c.hint) || e.Hint == "" || strings.Contains(e.Message, "\n") {
				t.Errorf("%+v", *e)
			}
			out, errs, code := s.Run("poll", "orders")
			if code != 1 || !strings.HasPrefix(out, "orders: FAILED after 1 attempt: "+c.op+": ") || !strings.Contains(out, "hint: ") {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
			for _, canary := range []string{d.Password, "canary-wrong"} {
				if strings.Contains(out+errs, canary) {
					t.Errorf("a secret is in the output:\n%s%s", out, errs)
				}
			}
			if left := d.Messages(t, u); len(left) != 1 || len(left[0].Flags) != 0 {
				t.Errorf("left on the server: %+v", left)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	s := rig.New(t)
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"version"}, 0, "poller "},
		{[]string{"check"}, 0, "0 connections"},
		{[]string{"bogus"}, 2, "unknown command"},
		{[]string{"poll"}, 2, "requires at least 1 arg"},
		{[]string{"run", "--bogus"}, 2, "unknown flag"},
		{[]string{"poll", "nobody"}, 1, `"nobody": no connection of this name is configured`},
	} {
		out, errs, code := s.Run(c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%v: exit code %d, not %d\n%s%s", c.args, code, c.code, out, errs)
		}
	}
	if err := os.WriteFile(s.Config, []byte("connections: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]int{"check": 1, "run": 78} {
		if _, errs, code := s.Run(command); code != want || errs != s.Config+":1:14: connections: found \"5\"; accepted: a list of connections\n" {
			t.Errorf("%s of a broken file: exit code %d, %q", command, code, errs)
		}
	}
}

// TestAWrongNameStopsNoOther of the connections that are polled beside it.
func TestAWrongNameStopsNoOther(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	u := d.NewUser(t)
	d.Deliver(t, u, []byte("Subject: 1\r\n\r\nx\r\n"))
	s := rig.New(t, rig.Connect(t, d, "orders", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{"disposition": "DELETE"}))
	out, errs, code := s.Run("poll", "nobody", "orders")
	if code != 1 || !strings.Contains(errs, `"nobody": no connection`) || !strings.Contains(out, "orders: saved 1 message") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if left := d.Messages(t, u); len(left) != 0 || len(rig.Files(t, s.Dir+"/orders")) != 1 {
		t.Errorf("%d messages are left", len(left))
	}
}
