package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mailpoller/test/rig"
)

// TestBrokenFilesAreExplained runs the real binary over the broken files of the
// configuration's own tests: every fault is on standard error, with its place.
func TestBrokenFilesAreExplained(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "internal", "config", "testdata", "bad")
	paths, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(paths) < 20 {
		t.Fatal(len(paths), err)
	}
	for _, path := range paths {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(strings.TrimSuffix(path, ".yaml") + ".golden")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), rig.Binary, "check", "--config", name)
			cmd.Dir = dir
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			var exit *exec.ExitError
			if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("%v", err)
			}
			if got := errs.String(); got != string(want) || out.Len() != 0 {
				t.Errorf("says\n%s%s\nand not\n%s", got, out.String(), want)
			}
		})
	}
}

func TestShowMasksSecrets(t *testing.T) {
	t.Parallel()
	s := rig.New(t, rig.Settings{"name": "a", "host": "h", "port": 993, "username": "u", "password": "canary-1"})
	out, errs, code := s.Run("check", "--show")
	if code != 0 || strings.Contains(out+errs, "canary") || !strings.Contains(out, "***") || !strings.Contains(out, "pull_disposition: GET_FIRST_UNREAD_MESSAGE") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// TestCheckLooksAtWhatTheFileNames: what is not there is a warning, since it may
// be there for the daemon, or later.
func TestCheckLooksAtWhatTheFileNames(t *testing.T) {
	t.Parallel()
	s := rig.New(t)
	text := `
api_tokens: [{name: deployment, secret: {file: /nowhere/token}}]
connections:
  - name: orders
    host: h.example.com
    port: 993
    username: u
    password: {file: /nowhere/password}
    match_server_hostname: ENABLED
    proxy: {url: "socks5://proxy.example.com:1080", username: p, password: {file: /nowhere/proxy}}
    folder: /nowhere
    notify: {command: [/nowhere/import]}
`
	if err := os.WriteFile(s.Config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := s.Run("check")
	for _, what := range []string{
		"token deployment of the API: file /nowhere/token:",
		"connection orders: password: file /nowhere/password:",
		"connection orders: proxy: password: file /nowhere/proxy:",
		"connection orders: folder: ", "connection orders: notify: ",
	} {
		if !strings.Contains(errs, "warning: "+what) {
			t.Errorf("nothing of %q", what)
		}
	}
	if code != 0 || strings.Count(errs, "warning: ") != 5 {
		t.Errorf("%d: %s%s", code, out, errs)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), rig.Binary, "demo", "--once")
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	paths := regexp.MustCompile(`(?m)\s(/\S+\.eml)$`).FindAllSubmatch(out, -1)
	if len(paths) < 12 || !strings.Contains(string(out), "/metrics") {
		t.Errorf("%d messages\n%s", len(paths), out)
	}
	for _, p := range paths {
		if info, err := os.Stat(string(p[1])); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", p[1], err)
		}
	}
}
