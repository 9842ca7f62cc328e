// Package rig runs the real binary for tests: once, or as a daemon, each in a
// directory of its own.
package rig

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// Binary is the path of the program under test. Main builds it.
var Binary string

// Main is the TestMain of a package that uses the rig; what it returns is the
// exit code.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "poller-rig")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	Binary = filepath.Join(dir, "poller")
	// As the module of the program builds it, also for tests of another module.
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "mailpoller").Output()
	if err != nil {
		fmt.Fprintf(os.Stderr, "find the program under test: %v\n", err)
		return 1
	}
	build := exec.Command("go", "build", "-o", Binary, "./cmd/poller")
	build.Dir = strings.TrimSpace(string(root))
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program under test: %v\n", err)
		return 1
	}
	code := m.Run()
	printTallies(os.Stdout)
	return code
}

// Patience bounds every wait for something that has to happen.
const Patience = 60 * time.Second

// Site is a directory with a configuration, its state and its folders.
type Site struct {
	Dir    string
	Config string     // path of the file
	Keys   []Settings // keys: of the file
	Top    Settings   // further keys at its top

	t       testing.TB
	secrets []string // passwords that were ever in the file
}

// Settings are the keys of one connection.
type Settings map[string]any

// New makes a site whose configuration has these connections.
func New(t testing.TB, connections ...Settings) *Site {
	t.Helper()
	s := &Site{t: t, Dir: t.TempDir()}
	s.Config = filepath.Join(s.Dir, "poller.yaml")
	s.Configure(connections...)
	return s
}

// Configure writes the configuration. JSON is YAML.
func (s *Site) Configure(connections ...Settings) {
	s.t.Helper()
	all := []Settings{}
	for _, c := range connections {
		if folder, ok := c["folder"].(string); ok {
			if !filepath.IsAbs(folder) {
				c["folder"] = filepath.Join(s.Dir, folder)
				s.Mkdir(folder)
			}
		} else {
			c["folder"] = s.Mkdir(strings.ReplaceAll(c["name"].(string), "/", "_"))
		}
		if password, ok := c["password"].(string); ok && len(password) >= shortestSecret {
			s.secrets = append(s.secrets, password)
		}
		all = append(all, c)
	}
	s.Write(Settings{
		"listen": "127.0.0.1:0", "state_dir": filepath.Join(s.Dir, "state"), "shutdown_grace": "10s",
		"log": map[string]any{"level": "debug"}, "connections": all, "keys": s.Keys,
	}.With(s.Top))
}

func (s *Site) Write(config any) {
	s.t.Helper()
	text, err := json.MarshalIndent(config, "", " ")
	if err == nil {
		err = os.WriteFile(s.Config, text, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// Mkdir makes a directory of the site and returns its path.
func (s *Site) Mkdir(name string) string {
	s.t.Helper()
	dir := filepath.Join(s.Dir, name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// Connect is the settings for a user's mailbox on a Dovecot.
func Connect(t testing.TB, d *mailtest.Dovecot, name, user string, store mail.StoreType, security mail.Security) Settings {
	return Settings{
		"name": name, "host": mailtest.Host, "port": d.Port(store, security), "username": user, "password": d.Password,
		"store_type": store, "connection_security": security, "ca_file": d.CA.PEMFile(t),
	}
}

// With is c with more settings.
func (c Settings) With(more Settings) Settings {
	all := Settings{}
	for _, from := range []Settings{c, more} {
		for k, v := range from {
			all[k] = v
		}
	}
	return all
}

// Run runs the program to its end.
func (s *Site) Run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), Binary, append(args, "--config", s.Config)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	s.discreet(strings.Join(args, " "), out.String()+errs.String())
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// shortestSecret is the length from which a password is no common word.
const shortestSecret = 8

// discreet fails the test when a password stands in what the program said, in
// clear or as protocols encode it. Every test watches for it.
func (s *Site) discreet(where, text string) {
	s.t.Helper()
	for _, secret := range s.secrets {
		for _, spelling := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
			if strings.Contains(text, spelling) {
				s.t.Errorf("%s shows a password:\n%.2000s", where, text)
			}
		}
	}
}

// PollView is what `poller poll --json` promises.
type PollView struct {
	Connection, State, Outcome string
	Attempts, Messages         int
	Quarantined, Unwanted      int
	Unheard                    int
	HookError                  string `json:"hook_error"`
	Bytes                      int64
	Duration                   float64 `json:"duration_seconds"`
	Files, Warnings, Then      []string
	Error                      *struct{ Op, Kind, Message, Hint string }
}

// Poll runs `poller poll` and returns what it says of each connection.
func (s *Site) Poll(names ...string) []PollView {
	s.t.Helper()
	out, errs, _ := s.Run(append([]string{"poll", "--json"}, names...)...)
	var views []PollView
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var v PollView
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			s.t.Fatalf("%v in %s%s", err, out, errs)
		}
		views = append(views, v)
	}
	if len(views) != len(names) {
		s.t.Fatalf("%d results for %d connections: %s%s", len(views), len(names), out, errs)
	}
	return views
}

// Files are the octets of what is visible in a folder, by name.
func Files(t testing.TB, folder string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]byte)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[e.Name()] = data
	}
	return found
}

// Numbered makes distinct messages.
func Numbered(n int) [][]byte {
	messages := make([][]byte, n)
	for i := range messages {
		messages[i] = fmt.Appendf(nil, "From: a@example.com\r\nSubject: %d\r\n\r\n.\r\nmessage %d\r\n", i+1, i+1)
	}
	return messages
}
