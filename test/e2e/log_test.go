package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// line is one of a log in JSON.
type line struct {
	Level, Msg, Connection, Job     string
	UID, File, Sender, Subject      string
	Step, Detail, Error, Kind, Hint string
	Size                            int64
	Duration                        *float64
}

// lines are those of a log that have this message.
func lines(t *testing.T, text, msg string) []line {
	t.Helper()
	var found []line
	for l := range strings.Lines(text) {
		var one line
		if json.Unmarshal([]byte(l), &one) == nil && one.Msg == msg { // what is no JSON is for people
			found = append(found, one)
		}
	}
	return found
}

// TestTheLineOfASavedMessage says which message it was and where it is, over
// either protocol and in each format, with the header decoded, and in one line
// whatever the sender wrote.
func TestTheLineOfASavedMessage(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	const body = "\r\n\r\nFrom: another\r\nSubject: another\r\n"
	messages := []struct{ text, sender, subject string }{
		{"From: =?utf-8?q?J=C3=B6rg?= <joerg@example.com>\r\nSubject: =?utf-8?q?R=C3=A4ume?=\r\n =?utf-8?q?_und_mehr?=" + body, "Jörg <joerg@example.com>", "Räume und mehr"},
		{"Subject: odd \x1b[31m\x07 and\x7f red" + body, "", "odd [31m and red"},
		{"X-Long: " + strings.Repeat("x", 90) + "\r\nFrom: a@example.com\r\nSubject: " + strings.Repeat("ä", 400) + body, "a@example.com", strings.Repeat("ä", 128) + " ..."},
		{"\r\nFrom: b@example.com\r\n\r\nno header\r\n", "", ""},
	}
	for name, settings := range map[string]rig.Settings{
		"IMAP":        {"store_type": "IMAP"},
		"POP3":        {"store_type": "POP3"},
		"MAILDIR":     {"store_type": "IMAP", "format": "MAILDIR"},
		"ATTACHMENTS": {"store_type": "POP3", "format": "ATTACHMENTS"},
		"no headers":  {"store_type": "IMAP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := d.NewUser(t)
			for _, m := range messages {
				d.Deliver(t, user, []byte(m.text))
			}
			s := rig.New(t)
			s.Top = rig.Settings{"log": rig.Settings{"level": "info", "headers": map[bool]string{true: "DISABLED", false: "ENABLED"}[name == "no headers"]}}
			store := mail.StoreType(settings["store_type"].(string))
			s.Configure(rig.Connect(t, d, "in", user, store, mail.SSLTLS).With(settings).With(rig.Settings{"schedule": "@every 1h", "max_messages": 0, "disposition": "DELETE"}))
			p := s.Start().Ready()
			v := s.Poll("in")[0]
			p.Await(0, `"msg":"poll finished"`)
			text, _ := p.Log.From(0)
			saved := lines(t, text, "message saved")
			if len(saved) != len(messages) || len(v.Files) != len(messages) {
				t.Fatalf("%d lines of %d files:\n%s", len(saved), len(v.Files), text)
			}
			for i, l := range saved {
				m := messages[i]
				if name == "no headers" {
					m.sender, m.subject = "", ""
				}
				if l.Level != "info" || l.Connection != "in" || l.Job == "" || l.UID == "" || l.File != v.Files[i] || l.Size < int64(len(m.text)) || l.Sender != m.sender || strings.Join(strings.Fields(l.Subject), " ") != m.subject {
					t.Errorf("%q: %+v", m.text, l)
				}
			}
			if strings.ContainsAny(text, "\x1b\x07\x7f") || strings.Contains(text, "another") {
				t.Errorf("the log has what it must not have:\n%q", text)
			}
			if name == "no headers" && strings.Contains(text, "sender") {
				t.Errorf("the log has senders:\n%s", text)
			}
		})
	}
}

// steps are those of a job that saves a message over IMAP and deletes it, in
// their order; connections to a name also resolve it.
var steps = []string{"resolve", "connect", "tls", "certificate", "greeting", "authenticate", "open mailbox", "pick", "fetch", "sync", "record", "publish", "dispose", "record", "close"}

// TestDebugShowsEachStep with its duration, in the log of the daemon, and for a
// command that asks for it, whoever does the work.
func TestDebugShowsEachStep(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	s := rig.New(t)
	s.Top = rig.Settings{"log": rig.Settings{"level": "info"}}
	s.Configure(rig.Connect(t, d, "in", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{"schedule": "@every 1h", "disposition": "DELETE"}))
	shows := func(text string) {
		t.Helper()
		var names []string
		for _, l := range lines(t, text, "step") {
			names = append(names, l.Step)
			if l.Level != "debug" || l.Connection != "in" || l.Duration == nil || *l.Duration < 0 || l.Error != "" {
				t.Errorf("%+v", l)
			}
		}
		missing := slices.Clone(steps)
		for _, name := range names {
			if at := slices.Index(missing, name); at >= 0 {
				missing = slices.Delete(missing, at, at+1)
			}
		}
		if len(missing) > 0 {
			t.Errorf("missing are %v of:\n%s", missing, text)
		}
		if !strings.Contains(text, `"step":"connect"`) || !strings.Contains(text, "127.0.0.1:") || !strings.Contains(text, `"detail":"1 message"`) {
			t.Errorf("no details in:\n%s", text)
		}
	}

	d.Deliver(t, user, rig.Numbered(1)...)
	out, errs, code := s.Run("poll", "in", "--log-level", "debug") // by itself
	if code != 0 || !strings.Contains(out, "saved 1 message") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	shows(errs)
	if _, errs, _ := s.Run("poll", "in"); strings.Contains(errs, `"step"`) {
		t.Errorf("nobody asked for this: %s", errs)
	}

	p := s.Start().Ready()
	d.Deliver(t, user, rig.Numbered(1)...)
	out, errs, code = s.Run("--log-level=DEBUG", "poll", "in") // by the daemon
	if code != 0 || !strings.Contains(out, "saved 1 message") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	shows(errs)
	if text, _ := p.Log.From(0); strings.Contains(text, `"step"`) {
		t.Errorf("the daemon was not asked: %s", text)
	}
	s.Top = rig.Settings{"log": rig.Settings{"level": "debug"}}
	s.Configure(rig.Connect(t, d, "in", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{"schedule": "@every 1h", "disposition": "DELETE"}))
	if _, errs, code := s.Run("reload"); code != 0 {
		t.Fatalf("%d: %s", code, errs)
	}
	mark := p.Mark()
	d.Deliver(t, user, rig.Numbered(1)...)
	s.Poll("in")
	p.Await(mark, `"msg":"poll finished"`)
	text, _ := p.Log.From(mark)
	shows(text)
	for _, l := range lines(t, text, "step") {
		if l.Job == "" && !slices.Contains(steps[:7], l.Step) {
			t.Errorf("of no job: %+v", l)
		}
	}
}

// TestAStepThatFailsSaysWhyInTheLog, and what to do.
func TestAStepThatFailsSaysWhyInTheLog(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	s := rig.New(t, rig.Connect(t, d, "in", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{"password": "canary-not-this-one"}))
	_, errs, code := s.Run("poll", "in", "--log-level", "debug")
	found := slices.ContainsFunc(lines(t, errs, "step"), func(l line) bool {
		return l.Step == "authenticate" && l.Kind == "auth" && strings.HasPrefix(l.Error, "authenticate: ") && l.Hint != ""
	})
	if code != 1 || !found {
		t.Errorf("%d: %s", code, errs)
	}
}

// TestEveryCommandTakesALogLevel, and none takes one that there is not.
func TestEveryCommandTakesALogLevel(t *testing.T) {
	t.Parallel()
	s := rig.New(t, disabled())
	help, _, _ := s.Run("help")
	_, help, _ = strings.Cut(help, "Available Commands:")
	commands := regexp.MustCompile(`(?m)^  ([a-z]+) `).FindAllStringSubmatch(help, -1)
	if len(commands) < 12 {
		t.Fatalf("%d commands: %s", len(commands), help)
	}
	for _, c := range commands {
		if out, errs, code := s.Run(c[1], "--log-level", "warn", "--help"); code != 0 || !strings.Contains(out, "--log-level level") {
			t.Errorf("%s: %d: %s%s", c[1], code, out, errs)
		}
	}
	if _, errs, code := s.Run("check", "--log-level", "loud"); code != 2 || !strings.Contains(errs, "debug, info, warn, error") {
		t.Errorf("%d: %s", code, errs)
	}
}

// TestTheLevelOfTheCommandOutlivesAReload: what the daemon was started with
// counts more than the file, as often as that is read.
func TestTheLevelOfTheCommandOutlivesAReload(t *testing.T) {
	t.Parallel()
	s := rig.New(t)
	s.Top = rig.Settings{"log": rig.Settings{"level": "error", "format": "console"}}
	s.Configure(disabled())
	p := background(t, s, "run", "--log-level", "info")
	p.await("polling")
	for range 2 {
		if _, errs, code := s.Run("reload"); code != 0 {
			t.Fatalf("%d: %s", code, errs)
		}
		p.await("configuration reloaded")
	}
	// On a terminal, or where it is asked for, a line says when it was.
	text, _ := p.log.From(0)
	stamp := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)\s+info\s+polling`)
	if !stamp.MatchString(text) {
		t.Errorf("no date, time and zone: %s", text)
	}
}

// TestAnAttemptThatFailsIsTold, with when the next one is made, by whoever makes
// it.
func TestAnAttemptThatFailsIsTold(t *testing.T) {
	t.Parallel()
	server := mailtest.Script(t, func(c *mailtest.Conn) { c.Send("-ERR not today\r\n") })
	s := rig.New(t, rig.Settings{
		"name": "in", "host": mailtest.Host, "port": server.Port, "username": "u", "password": "p", "store_type": "POP3",
		"connection_security": "NONE", "max_retries": 2, "retry_interval": "1s", "schedule": "@every 1h",
	})
	for _, who := range []string{"the command", "the daemon"} {
		if who == "the daemon" {
			s.Start().Ready()
		}
		for _, format := range [][]string{nil, {"--json"}} {
			out, errs, code := s.Run(append([]string{"poll", "in"}, format...)...)
			for _, attempt := range []int{1, 2} {
				if !regexp.MustCompile(fmt.Sprintf(`(?m)^in: attempt %d failed: .*not today.*; trying again in 1s, at \d\d:\d\d:\d\d$`, attempt)).MatchString(errs) {
					t.Errorf("%s does not tell of attempt %d: %s", who, attempt, errs)
				}
			}
			if code != 1 || strings.Contains(errs, "attempt 3") || format != nil && !json.Valid([]byte(out)) {
				t.Errorf("%s: %d: %s%s", who, code, out, errs)
			}
		}
	}
	if files := rig.Files(t, filepath.Join(s.Dir, "in")); len(files) != 0 {
		t.Errorf("%v", files)
	}
}
