package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"mailpoller/internal/app"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// command is one command line, and all that comes of it. DIR in the texts is the
// directory of the test, and CONFIG the configuration file in it.
type command struct {
	name   string
	config string           // instead of the usual one
	daemon *daemontest.Fake // that runs with it; nil for none
	args   string           // parted by blanks
	stdin  string
	code   int
	out    string // all of standard output
	errs   string // all of standard error
	golden bool   // both are in a file below testdata
}

// usual has two connections. Nothing listens where they lead.
const usual = `state_dir: DIR/state
defaults: {host: 127.0.0.1, port: 1, username: u, password: canary-password, folder: "DIR", match_server_hostname: ENABLED, max_retries: 0, back_off: DISABLED}
connections:
  - {name: a}
  - {name: b, status: DISABLED}
`

// try runs commands, each in a directory of its own.
func try(t *testing.T, commands []command) {
	t.Helper()
	for _, c := range commands {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.try(t.Context(), t)
		})
	}
}

func (c command) try(ctx context.Context, t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "poller.yaml")
	masked := strings.NewReplacer(config, "CONFIG", dir, "DIR", shown, at.Format(time.DateTime), shown[:len(shown)-len(":05")], at.Format("2006-01-02 15:04")).Replace
	filled := strings.NewReplacer("CONFIG", config, "DIR", dir).Replace
	text := c.config
	if text == "" {
		text = usual
	}
	if err := os.WriteFile(config, []byte(filled(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	if c.daemon != nil {
		state := filepath.Join(dir, "state")
		if err := os.Mkdir(state, 0o700); err != nil {
			t.Fatal(err)
		}
		daemon := *c.daemon // which other commands may be asking, too
		if daemon.State.Config == "" {
			daemon.State.Config = config
		}
		daemon.Control(t, app.SocketPath(state), zap.NewNop())
	}
	var out, errs bytes.Buffer
	args := append([]string{"--config", config}, strings.Fields(filled(c.args))...)
	code := run(ctx, args, input(t, c.stdin), &out, &errs)
	if code != c.code {
		t.Errorf("exit code %d, want %d", code, c.code)
	}
	if text := out.String() + errs.String(); strings.Contains(text, "canary") {
		t.Errorf("a secret: %s", text)
	}
	if c.golden {
		compareGolden(t, fmt.Sprintf("$ poller %s\n%s--- standard error\n%s--- exit code %d\n", c.args, masked(out.String()), masked(errs.String()), code))
		return
	}
	for _, stream := range []struct{ name, want, got string }{
		{"output", filled(c.out), out.String()}, {"error", filled(c.errs), errs.String()},
	} {
		if diff := cmp.Diff(stream.want, stream.got); diff != "" {
			t.Errorf("standard %s (-want +got):\n%s\nall of it:\n%s", stream.name, diff, stream.got)
		}
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// compareGolden holds a text against the file of the test.
func compareGolden(t *testing.T, got string) {
	t.Helper()
	path := filepath.Join("testdata", strings.NewReplacer("/", "-", ",", "").Replace(t.Name())+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// input is a file with a text to read, and nothing after it.
func input(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVersion(t *testing.T) {
	t.Parallel()
	try(t, []command{
		{name: "plain", args: "version", out: fmt.Sprintf("poller devel\ncommit unknown\n%s\n", runtime.Version())},
		{name: "as a flag", args: "--version", out: "poller version devel\n"},
	})
}

// TestWrongUsage: it is told from a failure by its exit code, and does nothing.
func TestWrongUsage(t *testing.T) {
	t.Parallel()
	const hint = "Run 'poller help' for usage.\n"
	daemon := &daemontest.Fake{
		OnForget: func(string) (int, error) { panic("a command with wrong usage did something") },
	}
	try(t, []command{
		{name: "command", args: "nosuch", code: 2, errs: "poller: unknown command \"nosuch\" for \"poller\"\n" + hint},
		{name: "flag", args: "status --nosuch", code: 2, errs: "poller: unknown flag: --nosuch\n" + hint},
		{name: "log level", args: "status --log-level loud", code: 2, errs: "poller: invalid argument \"loud\" for \"--log-level\" flag: accepted: debug, info, warn, error\n" + hint},
		{name: "no connection", args: "poll", code: 2, errs: "poller: requires at least 1 arg(s), only received 0\n" + hint},
		{name: "an argument too many", args: "status a", code: 2, errs: "poller: unknown command \"a\" for \"poller status\"\n" + hint},
		{name: "no fingerprint", args: "certs trust", code: 2, errs: "poller: accepts 1 arg(s), received 0\n" + hint},
		{name: "limit", args: "jobs --limit many", code: 2, errs: "poller: invalid argument \"many\" for \"--limit\" flag: strconv.ParseInt: parsing \"many\": invalid syntax\n" + hint},
		{name: "flag of another command", daemon: daemon, args: "forget --yes --json a", code: 2, errs: "poller: unknown flag: --json\n" + hint},
	})
}

// interruptedBy is a context, and how to end it as a signal does.
func interruptedBy(t *testing.T, s syscall.Signal) (ctx context.Context, interrupt func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	return ctx, func() { cancel(interrupted{s}) }
}

// fault is an error as a job has it.
func fault(op string, kind mail.Kind, text, hint string) *mail.Error {
	e := mail.Errorf(op, kind, "%s", text)
	e.Hint = hint
	return e
}
