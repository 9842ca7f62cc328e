// Package e2e runs the real binary against real servers, as an operator would.
package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "poller-e2e")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "poller")
	build := exec.Command("go", "build", "-o", binary, "mailpoller/cmd/poller")
	build.Stderr = os.Stderr
	code := 1
	if err := build.Run(); err == nil {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// patience bounds every wait for something that has to happen.
const patience = 60 * time.Second

// site is a directory with a configuration, its state and its folders.
type site struct {
	t      testing.TB
	dir    string
	config string
}

// settings are the keys of one connection.
type settings map[string]any

func newSite(t testing.TB, connections ...settings) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir()}
	s.config = filepath.Join(s.dir, "poller.yaml")
	s.configure(connections...)
	return s
}

// configure writes the configuration. JSON is YAML.
func (s *site) configure(connections ...settings) {
	s.t.Helper()
	all := []settings{}
	for _, c := range connections {
		if folder, ok := c["folder"].(string); ok {
			if !filepath.IsAbs(folder) {
				c["folder"] = filepath.Join(s.dir, folder)
				s.mkdir(folder)
			}
		} else {
			c["folder"] = s.mkdir(strings.ReplaceAll(c["name"].(string), "/", "_"))
		}
		all = append(all, c)
	}
	s.write(map[string]any{
		"listen": "127.0.0.1:0", "state_dir": filepath.Join(s.dir, "state"), "shutdown_grace": "10s",
		"log": map[string]any{"level": "debug"}, "connections": all,
	})
}

func (s *site) write(config any) {
	s.t.Helper()
	text, err := json.MarshalIndent(config, "", " ")
	if err == nil {
		err = os.WriteFile(s.config, text, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) mkdir(name string) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		s.t.Fatal(err)
	}
	return dir
}

// connect is the settings for a user's mailbox on a Dovecot.
func connect(t testing.TB, d *mailtest.Dovecot, name, user string, store mail.StoreType, security mail.Security) settings {
	return settings{
		"name": name, "host": mailtest.Host, "port": d.Port(store, security), "username": user, "password": d.Password,
		"store_type": store, "connection_security": security, "ca_file": d.CA.PEMFile(t),
	}
}

// with is c with more settings.
func (c settings) with(more settings) settings {
	all := settings{}
	for _, from := range []settings{c, more} {
		for k, v := range from {
			all[k] = v
		}
	}
	return all
}

// run runs the program to its end.
func (s *site) run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), binary, append(args, "--config", s.config)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// pollView is what `poller poll --json` promises.
type pollView struct {
	Connection, State, Outcome string
	Attempts, Messages         int
	Bytes                      int64
	Duration                   float64 `json:"duration_seconds"`
	Files                      []string
	Error                      *struct{ Op, Kind, Message, Hint string }
}

// poll runs `poller poll` and returns what it says of each connection.
func (s *site) poll(names ...string) []pollView {
	s.t.Helper()
	out, errs, _ := s.run(append([]string{"poll", "--json"}, names...)...)
	var views []pollView
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var v pollView
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

// files are the octets of what is visible in a folder, by name.
func files(t testing.TB, folder string) map[string][]byte {
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

// daemon is `poller run` in progress.
type daemon struct {
	*site
	cmd    *exec.Cmd
	log    *lockedBuffer
	done   chan struct{} // closed when the process is gone
	listen string
}

// lockedBuffer can be read while it is written, and waited on.
type lockedBuffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed at the next write
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.b.Write(p)
}

func (b *lockedBuffer) from(offset int) (text string, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.b.String()[offset:], b.changed
}

// start runs the daemon; it is killed when the test ends, if it still runs.
func (s *site) start() *daemon {
	s.t.Helper()
	d := &daemon{site: s, log: &lockedBuffer{}, done: make(chan struct{})}
	d.cmd = exec.Command(binary, "run", "--config", s.config)
	d.cmd.Stderr = d.log
	if err := d.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in ProcessState
		close(d.done)
	}()
	s.t.Cleanup(func() {
		d.kill()
		if s.t.Failed() {
			text, _ := d.log.from(0)
			s.t.Logf("the daemon said:\n%.20000s", text)
		}
	})
	return d
}

// ready waits until the daemon polls.
func (d *daemon) ready() *daemon {
	d.t.Helper()
	d.listen = d.await(0, `"msg":"polling".*"listen":"(http[^"]*)"`)[1]
	return d
}

// mark is the present end of the log.
func (d *daemon) mark() int {
	text, _ := d.log.from(0)
	return len(text)
}

// await waits for a line of the log behind a mark and returns its submatches.
func (d *daemon) await(mark int, pattern string) []string {
	d.t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(patience)
	for {
		text, changed := d.log.from(mark)
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-d.done:
			if text, _ = d.log.from(mark); re.MatchString(text) {
				return re.FindStringSubmatch(text)
			}
			d.t.Fatalf("the daemon ended before it said %q", pattern)
		case <-late:
			d.t.Fatalf("the daemon did not say %q", pattern)
		}
	}
}

func (d *daemon) signal(sig os.Signal) {
	d.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
}

// kill stops the daemon dead.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may be gone already
	<-d.done
}

// stop ends the daemon in order and returns its exit code.
func (d *daemon) stop() int {
	d.t.Helper()
	d.signal(syscall.SIGTERM)
	select {
	case <-d.done:
	case <-time.After(patience):
		d.t.Fatal("the daemon did not end")
	}
	return d.cmd.ProcessState.ExitCode()
}

// get asks the daemon over HTTP.
func (d *daemon) get(path string) (string, int) {
	d.t.Helper()
	r, err := http.Get(d.listen + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(body), r.StatusCode
}

// numbered makes distinct messages.
func numbered(n int) [][]byte {
	messages := make([][]byte, n)
	for i := range messages {
		messages[i] = fmt.Appendf(nil, "From: a@example.com\r\nSubject: %d\r\n\r\n.\r\nmessage %d\r\n", i+1, i+1)
	}
	return messages
}
