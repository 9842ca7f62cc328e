package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mailpoller/test/rig"
)

// rewrite puts another text into the configuration.
func rewrite(t *testing.T, s *rig.Site, text string) {
	t.Helper()
	if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReloadWaitsForTheAnswer: a file that is right is in force when the command
// returns, and one that is not changes nothing, whatever is wrong with it.
func TestReloadWaitsForTheAnswer(t *testing.T) {
	t.Parallel()
	n, socket := listenNotify(t)
	s := rig.New(t, disabled())
	p := s.Start("NOTIFY_SOCKET=" + socket).Ready()
	n.await(t, `^READY=1`)
	state := "state_dir: " + s.Dir + "/state\n"
	names := func() string {
		out, errs, code := s.Run("status", "--json")
		if code != 0 {
			t.Fatalf("status: %d: %s%s", code, out, errs)
		}
		return out
	}

	for name, row := range map[string]struct {
		text string
		says []string
	}{
		"a key that is not known": {state + "connections:\n  - name: off\n    hots: x\n", []string{
			":4:5: unknown key \"hots\"; did you mean \"host\"?", // and what is missing because of it
			": host: missing",
		}},
		"values of which none is accepted": {state + "shutdown_grace: soon\nlog: {level: loud}\nconnections: 5\n", []string{":2:17: ", ":3:14: ", ":4:14: "}},
		"no YAML":                          {state + "connections: [\n", []string{s.Config + ":"}},
	} {
		rewrite(t, s, row.text)
		out, errs, code := s.Run("reload")
		if code != 1 || out != "" || !strings.Contains(errs, "stays in force") {
			t.Errorf("%s: %d: %s%s", name, code, out, errs)
		}
		for _, text := range row.says {
			if !strings.Contains(errs, text) {
				t.Errorf("%s: it does not say %q:\n%s", name, text, errs)
			}
		}
		_, checked, _ := s.Run("check")
		if !strings.HasPrefix(errs, checked) {
			t.Errorf("%s: reload says\n%sand check\n%s", name, errs, checked)
		}
		n.await(t, `^RELOADING=1\n`)
		n.await(t, `^READY=1\n.*the one before stays in force`)
		if text, _ := p.Get("/metrics"); !strings.Contains(text, "poller_config_last_reload_successful 0") || !strings.Contains(names(), `"off"`) {
			t.Errorf("%s: it is not known that the reload failed", name)
		}
	}

	s.Configure(disabled().With(rig.Settings{"name": "other", "match_server_hostname": "ENABLED"}))
	out, errs, code := s.Run("reload")
	if code != 0 || out != s.Config+": reloaded\n" || errs != "" {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if now := names(); !strings.Contains(now, `"other"`) || strings.Contains(now, `"off"`) {
		t.Errorf("the configuration is not in force: %s", now)
	}

	// What is doubtful, and what takes a restart.
	rewrite(t, s, state+"listen: 127.0.0.1:1\nconnections: []\n")
	_, errs, code = s.Run("reload")
	if code != 0 || !strings.Contains(errs, "warning: connections: there are none") || !strings.Contains(errs, s.Config+": warning: listen: a change takes a restart") {
		t.Errorf("%d: %s", code, errs)
	}

	// A signal does the same, and tells the log.
	mark := p.Mark()
	p.Signal(syscall.SIGHUP)
	p.Await(mark, `"msg":"configuration reloaded"`)
	if code := p.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestReloadReachesNoOtherDaemon: without a daemon it says what to do, and a
// daemon with another file on the same state directory is left alone. A file
// that cannot be read is told either way.
func TestReloadReachesNoOtherDaemon(t *testing.T) {
	t.Parallel()
	s := rig.New(t, disabled())
	out, errs, code := s.Run("reload")
	if code != 1 || out != "" || !strings.Contains(errs, "no daemon runs with "+s.Config) || !strings.Contains(errs, "hint: start the daemon") {
		t.Errorf("without a daemon: %d: %s%s", code, out, errs)
	}
	rewrite(t, s, "state_dir: "+s.Dir+"/state\nhots: 1\n")
	if _, errs, code := s.Run("reload"); code != 1 || !strings.Contains(errs, s.Config+":2:1: unknown key") || !strings.Contains(errs, "no daemon runs") {
		t.Errorf("without a daemon, a file with a problem: %d: %s", code, errs)
	}

	s.Configure(disabled())
	p := s.Start().Ready()
	mark := p.Mark()
	other := *s
	other.Config = filepath.Join(s.Dir, "other.yaml")
	other.Configure(disabled())
	out, errs, code = other.Run("reload")
	if code != 1 || out != "" || !strings.Contains(errs, "runs with "+s.Config+", not with "+other.Config) {
		t.Errorf("another file: %d: %s%s", code, out, errs)
	}
	if text, _ := p.Log.From(mark); strings.Contains(text, "reloaded") {
		t.Errorf("the daemon has reloaded:\n%s", text)
	}

	// The same file by another name is the same file.
	link := *s
	link.Config = filepath.Join(s.Dir, "link.yaml")
	if err := os.Symlink(s.Config, link.Config); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := link.Run("reload"); code != 0 {
		t.Errorf("by a link: %d: %s%s", code, out, errs)
	}
}
