// Package notify runs a command for a message that was saved.
package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Command is a program that is run without a shell.
type Command struct {
	Argv        []string // the program and its first arguments
	Timeout     time.Duration
	Environment []string // beside PATH, HOME and LANG, which are the daemon's
}

// maxSaid is how much of what a program writes on standard error is kept: the
// last of it, in octets.
const maxSaid = 4 << 10

// waitDelay is how long a program that was killed may keep its pipes open.
const waitDelay = 5 * time.Second

// Run runs the command with further arguments and with input on its standard
// input, in the root directory and in a process group of its own, which is
// killed as a whole when the timeout is over or ctx ends. An exit code other
// than 0 is an error that holds the end of what the program wrote on standard
// error. What it writes on standard output is nobody's business.
func (c Command) Run(ctx context.Context, input []byte, arguments ...string) error {
	late := fmt.Errorf("it took longer than %v", c.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, late)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Argv[0], append(c.Argv[1:len(c.Argv):len(c.Argv)], arguments...)...) //nolint:gosec // G204: what the operator configured
	cmd.Dir = "/"
	cmd.Env = c.Environment
	for _, name := range []string{"PATH", "HOME", "LANG"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Stdin = bytes.NewReader(input)
	var said tail
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = waitDelay
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrWaitDelay): // it is done, and what it left behind goes
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, syscall.EPIPE): // it did its work without reading its input
		return nil
	}
	if text := said.String(); text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// tail keeps the last octets that are written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - maxSaid; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is what was written, in one line that a log can hold.
func (t *tail) String() string {
	text := strings.ToValidUTF8(string(t.text), "\uFFFD")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
}
