package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"mailpoller/test/rig"
)

// terminal is a program on a terminal of its own.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	said *rig.Log
	done chan struct{}
	mark int
}

// onTerminal starts the program on a terminal.
func onTerminal(t *testing.T, args ...string) *terminal {
	t.Helper()
	x := &terminal{t: t, cmd: exec.Command(rig.Binary, args...), said: &rig.Log{}, done: make(chan struct{})}
	var err error
	if x.tty, err = pty.Start(x.cmd); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(x.done)
		buffer := make([]byte, 4096)
		for {
			n, err := x.tty.Read(buffer)
			_, _ = x.said.Write(buffer[:n])
			if err != nil { // EIO: nobody has the other end any more
				_ = x.cmd.Wait() // how it ended is in ProcessState
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill() // it may be gone already
		<-x.done
		x.tty.Close()
	})
	return x
}

// answer waits for a question, and types.
func (x *terminal) answer(question, keys string) {
	x.t.Helper()
	x.until(question, func(text string) bool { return strings.Contains(text, question) && strings.HasSuffix(text, ": ") })
	x.keys(keys)
}

// await waits for a text.
func (x *terminal) await(text string) {
	x.t.Helper()
	x.until(text, func(said string) bool { return strings.Contains(said, text) })
}

// keys types.
func (x *terminal) keys(keys string) {
	x.t.Helper()
	if _, err := x.tty.WriteString(keys); err != nil {
		x.t.Fatal(err)
	}
}

// until waits until what was said since the last time is enough.
func (x *terminal) until(question string, enough func(said string) bool) {
	x.t.Helper()
	for late := time.After(rig.Patience); ; {
		text, changed := x.said.From(x.mark)
		if enough(text) {
			x.mark += len(text)
			return
		}
		select {
		case <-changed:
		case <-x.done:
			x.t.Fatalf("it ended without asking %q:\n%s", question, text)
		case <-late:
			x.t.Fatalf("it did not ask %q:\n%s", question, text)
		}
	}
}

// end waits for the program, and is all that it said.
func (x *terminal) end() (text string, code int) {
	x.t.Helper()
	select {
	case <-x.done:
	case <-time.After(rig.Patience):
		x.t.Fatal("it did not end")
	}
	text, _ = x.said.From(0)
	return text, x.cmd.ProcessState.ExitCode()
}
