package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// slow is a POP3 server with one message, of which it keeps the end back until
// it is told.
func slow(t *testing.T) (port int, asked <-chan struct{}, finish func()) {
	t.Helper()
	retr, release := make(chan struct{}), make(chan struct{})
	s := mailtest.Script(t, func(c *mailtest.Conn) {
		if c.Number > 1 {
			c.Cut() // one session is enough
			return
		}
		c.Send("+OK hi\r\n")
		for {
			switch word, _, _ := strings.Cut(c.Line(), " "); word {
			case "STAT":
				c.Send("+OK 1 22\r\n")
			case "UIDL":
				c.Send("+OK\r\n1 one\r\n.\r\n")
			case "LIST":
				c.Send("+OK 1 22\r\n")
			case "RETR":
				c.Send("+OK\r\nSubject: x\r\n\r\n")
				close(retr)
				<-release
				c.Send("slowly\r\n.\r\n")
			case "CAPA":
				c.Send("-ERR\r\n")
			case "QUIT":
				c.Send("+OK\r\n")
				return
			default:
				c.Send("+OK\r\n")
			}
		}
	})
	return s.Port, retr, func() { close(release) }
}

func TestReload(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := func(n int) string {
		u := d.NewUser(t)
		d.Deliver(t, u, rig.Numbered(n)...)
		return u
	}
	every := rig.Settings{"schedule": "@every 1s", "max_messages": 0}
	a, b, c, e := user(1), user(1), user(1), user(1)
	port, asked, finish := slow(t)
	stays := rig.Connect(t, d, "stays", a, mail.IMAP, mail.SSLTLS).With(every)
	changes := rig.Connect(t, d, "changes", b, mail.IMAP, mail.SSLTLS).With(every).With(rig.Settings{"disposition": "KEEP"})
	stops := rig.Connect(t, d, "stops", c, mail.IMAP, mail.SSLTLS).With(every)
	goes := rig.Connect(t, d, "goes", e, mail.IMAP, mail.SSLTLS).With(every)
	running := rig.Settings{
		"name": "running", "host": mailtest.Host, "port": port, "username": "u", "password": "p", "store_type": "POP3",
		"connection_security": "NONE", "schedule": "@every 1s", "disposition": "DELETE",
	}
	s := rig.New(t, stays, changes, stops, goes, running)
	p := s.Start().Ready()
	<-asked // a poll is in progress from here on, through every reload
	for _, name := range []string{"stays", "changes", "stops", "goes"} {
		p.Await(0, `"msg":"poll finished","connection":"`+name+`".*"messages":1`)
	}

	reload := func(expect string) {
		t.Helper()
		mark := p.Mark()
		p.Signal(syscall.SIGHUP)
		p.Await(mark, expect)
	}

	// A broken file changes nothing, and says why wherever one looks.
	broken := "state_dir: " + s.Dir + "/state\nconnections:\n  - name: stays\n    hots: x\n"
	if err := os.WriteFile(s.Config, []byte(broken), 0o600); err != nil {
		t.Fatal(err)
	}
	reload(`"msg":"configuration not reloaded.*unknown key \\"hots\\"; did you mean \\"host\\"`)
	if text, _ := p.Get("/metrics"); !strings.Contains(text, "poller_config_last_reload_successful 0") {
		t.Error("the metric does not say that the reload failed")
	}
	if out, _, code := s.Run("status"); code != 0 || !strings.Contains(out, "poller.yaml:4:5: unknown key") || !strings.Contains(out, "stays") {
		t.Errorf("status: %d\n%s", code, out)
	}
	if out, errs, code := s.Run("jobs"); code != 0 || !strings.Contains(out, "stays") || !strings.Contains(errs, "the daemon, with the one before") {
		t.Errorf("jobs: %d\n%s%s", code, out, errs)
	}
	d.Deliver(t, a, []byte("Subject: after the broken file\r\n\r\nx\r\n"))
	p.Await(p.Mark(), `"connection":"stays".*"messages":1`)

	// Added, changed, disabled, removed; unchanged.
	added := user(2)
	s.Configure(
		stays, changes.With(rig.Settings{"disposition": "DELETE", "pull_disposition": "GET_FIRST_MESSAGE"}), stops.With(rig.Settings{"status": "DISABLED"}),
		running, rig.Connect(t, d, "added", added, mail.POP3, mail.StartTLS).With(every),
	)
	reload(`"msg":"configuration reloaded"`)
	p.Await(0, `"connection":"added".*"messages":2`)
	p.Await(0, `"connection":"changes".*"messages":0.*"disposed":1`)
	if left := d.Messages(t, b); len(left) != 0 {
		t.Errorf("a message kept before is still there after the change to DELETE: %v", left)
	}
	d.Deliver(t, c, []byte("Subject: to a disabled connection\r\n\r\nx\r\n"))
	d.Deliver(t, e, []byte("Subject: to a removed connection\r\n\r\nx\r\n"))
	mark := p.Mark()
	d.Deliver(t, a, []byte("Subject: to one that stays\r\n\r\nx\r\n"))
	p.Await(mark, `"connection":"stays".*"messages":1`)
	for _, name := range []string{"stops", "goes"} {
		if n := len(rig.Files(t, s.Dir+"/"+name)); n != 1 {
			t.Errorf("%s was polled: %d files", name, n)
		}
	}
	if text, _ := p.Get("/metrics"); strings.Contains(text, `connection="goes"`) || !strings.Contains(text, "poller_config_last_reload_successful 1") {
		t.Error("metrics do not follow the reload")
	}

	// The poll in progress has come through all of it.
	finish()
	p.Await(0, `"msg":"poll finished","connection":"running".*"messages":1.*"disposed":1`)
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestDaemonFromOutside(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	u := d.NewUser(t)
	d.Deliver(t, u, rig.Numbered(3)...)
	s := rig.New(t, rig.Connect(t, d, "a/b", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{"schedule": "@every 1h"}))
	p := s.Start().Ready()
	for path, want := range map[string]string{"/-/healthy": "healthy", "/-/ready": "ready"} {
		if text, code := p.Get(path); code != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	// The daemon does the work for the command, and what it did is seen by all.
	if v := s.Poll("a/b")[0]; v.State != "SUCCEEDED" || v.Messages != 1 {
		t.Errorf("poll: %+v", v)
	}
	if text, _ := p.Get("/metrics"); !strings.Contains(text, `poller_messages_saved_total{connection="a/b"} 1`) {
		t.Error("the poll is not in the metrics")
	}
	if out, errs, code := s.Run("poll", "--dry-run", "a/b"); code != 0 || !strings.Contains(out, "would save 1 message") {
		t.Errorf("dry run: %d %s%s", code, out, errs)
	}
	if n := len(rig.Files(t, s.Dir+"/a_b")); n != 1 {
		t.Errorf("%d files after a dry run", n)
	}
	for _, args := range [][]string{{"status"}, {"jobs"}} {
		if out, errs, code := s.Run(args...); code != 0 || !strings.Contains(out, "a/b") {
			t.Errorf("%v: %d %s%s", args, code, out, errs)
		}
	}
	// A second daemon refuses to start.
	second := s.Start()
	<-second.Done
	if text, _ := second.Log.From(0); second.Cmd.ProcessState.ExitCode() != 1 || !strings.Contains(text, "in use") {
		t.Errorf("a second daemon: %v, %s", second.Cmd.ProcessState, text)
	}
	if out, errs, code := s.Run("forget", "--yes", "a/b"); code != 0 || !strings.Contains(out, "forgot 1 message") {
		t.Errorf("forget: %d %s%s", code, out, errs)
	}
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out, errs, code := s.Run("jobs", "--json"); code != 0 || !strings.Contains(out, `"outcome": "saved"`) {
		t.Errorf("jobs without a daemon: %d %s%s", code, out, errs)
	}
	if _, errs, code := s.Run("status"); code != 1 || !strings.Contains(errs, "no daemon is running") {
		t.Errorf("status without a daemon: %d %s", code, errs)
	}
}
