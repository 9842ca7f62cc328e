package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// hooked is a connection whose hook does what says makes it do from then on: a
// line of a shell script.
func hooked(t *testing.T, d *mailtest.Dovecot, messages int) (s *rig.Site, user string, says func(line string)) {
	t.Helper()
	user = d.NewUser(t)
	d.Deliver(t, user, rig.Numbered(messages)...)
	s = rig.New(t)
	script := filepath.Join(s.Dir, "hook")
	says = func(line string) {
		t.Helper()
		if err := os.WriteFile(script+".new", []byte("#!/bin/sh\n"+line+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(script+".new", script); err != nil {
			t.Fatal(err)
		}
	}
	s.Configure(rig.Connect(t, d, "told", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{
		"schedule": "@every 1h", "max_messages": 0, "disposition": "DELETE", "notify": rig.Settings{"command": []string{script}, "timeout": "5s"},
	}))
	return s, user, says
}

// hooksView is what `poller status --json` says of hooks.
type hooksView struct {
	Due          int
	Failing      bool
	FailingSince time.Time `json:"failing_since"`
	Error        string
}

func hooksOf(t *testing.T, s *rig.Site) *hooksView {
	t.Helper()
	out, errs, code := s.Run("status", "--json")
	var views []struct{ Hooks *hooksView }
	if err := json.Unmarshal([]byte(out), &views); err != nil || code != 0 || len(views) != 1 {
		t.Fatalf("%v: %d: %s%s", err, code, out, errs)
	}
	return views[0].Hooks
}

// TestAHookThatFailsIsSeenEverywhere: in the status, the jobs, the exit code and
// the metrics, over a restart of the daemon, until it does its work.
func TestAHookThatFailsIsSeenEverywhere(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	s, user, says := hooked(t, d, 3)
	began := time.Now().Add(-time.Second)
	p := s.Start().Ready()
	if h := hooksOf(t, s); h != nil {
		t.Errorf("before there is a message: %+v", h)
	}

	says("echo no database >&2; exit 3")
	out, errs, code := s.Run("poll", "told")
	if code != 1 || !strings.Contains(out, "saved 3 messages") || !strings.Contains(out, "exit status 3: no database") || !strings.Contains(out, "hooks failing") {
		t.Errorf("poll: %d: %s%s", code, out, errs)
	}
	failing := func() {
		t.Helper()
		h := hooksOf(t, s)
		if h == nil || !h.Failing || h.Due != 3 || h.Error != "exit status 3: no database" || h.FailingSince.Before(began) || h.FailingSince.After(time.Now()) {
			t.Errorf("status --json: %+v", h)
		}
		out, errs, code := s.Run("status")
		if code != 0 || !regexp.MustCompile(`(?m)^told .*hooks failing`).MatchString(out) ||
			!regexp.MustCompile(`told: .*hooks failing since \S+( \S+)?: 3 messages due; last error: exit status 3: no database`).MatchString(out) {
			t.Errorf("status: %d: %s%s", code, out, errs)
		}
		if text, _ := p.Get("/metrics"); !strings.Contains(text, `poller_hooks_due{connection="told"} 3`) || !strings.Contains(text, `poller_hooks_failing_since_timestamp_seconds{connection="told"} 1`) {
			t.Error("the metrics do not say that a hook fails")
		}
		if text, _ := p.Get("/api/v1/connections"); !strings.Contains(text, `"hooks":{"due":3,"failing":true`) {
			t.Errorf("the API: %s", text)
		}
	}
	failing()
	if out, _, _ := s.Run("status"); !strings.Contains(out, "told: SUCCEEDED, hooks failing since ") {
		t.Errorf("status: %s", out)
	}

	// A job that does nothing else is no news, unless it fails in another way.
	jobs := func(want int, says string) {
		t.Helper()
		out, _, code := s.Run("jobs")
		if got := strings.Count(out, "SUCCEEDED"); code != 0 || got != want || !strings.Contains(out, "hooks failing: "+says) {
			t.Errorf("%d jobs, not %d: %s", got, want, out)
		}
	}
	jobs(1, "exit status 3: no database")
	if v := s.Poll("told")[0]; v.State != "SUCCEEDED" || v.Outcome != "empty" || v.Unheard != 1 || v.HookError != "exit status 3: no database" {
		t.Errorf("poll --json: %+v", v)
	}
	jobs(1, "exit status 3: no database")
	failing()

	// A restart hides nothing.
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p = s.Start().Ready()
	failing()
	says("echo still none >&2; exit 4")
	if _, _, code := s.Run("poll", "told"); code != 1 {
		t.Errorf("exit code %d", code)
	}
	jobs(2, "exit status 4: still none")

	// It is mended.
	says("exit 0")
	d.Deliver(t, user, rig.Numbered(1)...)
	out, errs, code = s.Run("poll", "told")
	if code != 0 || strings.Contains(out, "failing") {
		t.Errorf("poll: %d: %s%s", code, out, errs)
	}
	if h := hooksOf(t, s); h != nil {
		t.Errorf("after it was mended: %+v", h)
	}
	if text, _ := p.Get("/metrics"); strings.Contains(text, "poller_hooks_") {
		t.Error("the metrics have not heard that it was mended")
	}
	if out, _, _ := s.Run("status"); strings.Contains(out, "failing") {
		t.Errorf("status: %s", out)
	}
}

// TestHooksThatFailWithoutADaemon: the exit code says so, and a daemon that is
// started later knows of them.
func TestHooksThatFailWithoutADaemon(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	s, _, says := hooked(t, d, 1)
	says("echo nowhere >&2; exit 1")
	for _, messages := range []string{"saved 1 message", "nothing to take"} {
		out, errs, code := s.Run("poll", "told")
		if code != 1 || !strings.Contains(out, messages) || !strings.Contains(out, "exit status 1: nowhere") {
			t.Errorf("%d: %s%s", code, out, errs)
		}
	}
	s.Start().Ready()
	if h := hooksOf(t, s); h == nil || !h.Failing || h.Due != 1 || h.Error != "exit status 1: nowhere" {
		t.Errorf("%+v", h)
	}
}

// TestAHookThatIsTakenAwayFailsNoMore: nothing will run what is due, so nothing
// is said to fail; what is forgotten is not due.
func TestAHookThatIsTakenAwayFailsNoMore(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	s, user, says := hooked(t, d, 1)
	says("exit 1")
	p := s.Start().Ready()
	if _, _, code := s.Run("poll", "told"); code != 1 {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	quiet := func() {
		t.Helper()
		if h := hooksOf(t, s); h != nil {
			t.Errorf("%+v", h)
		}
		if text, _ := p.Get("/metrics"); strings.Contains(text, "poller_hooks_") {
			t.Error("the metrics still have it")
		}
	}
	s.Configure(rig.Connect(t, d, "told", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{"schedule": "@every 1h"}))
	if _, errs, code := s.Run("reload"); code != 0 {
		t.Fatalf("%d: %s", code, errs)
	}
	quiet()
	rewrite(t, s, string(text))
	if _, errs, code := s.Run("reload"); code != 0 {
		t.Fatalf("%d: %s", code, errs)
	}
	if h := hooksOf(t, s); h == nil || !h.Failing {
		t.Errorf("after it is there again: %+v", h)
	}
	if _, errs, code := s.Run("forget", "--yes", "told"); code != 0 {
		t.Fatalf("%d: %s", code, errs)
	}
	quiet()
}
