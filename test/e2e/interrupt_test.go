package e2e

import (
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// process is a command that runs beside the test.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *rig.Log // both outputs
	done chan struct{}
}

func background(t *testing.T, s *rig.Site, args ...string) *process {
	t.Helper()
	p := &process{t, exec.Command(rig.Binary, append(args, "--config", s.Config)...), &rig.Log{}, make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may be gone already
		<-p.done
		if text, _ := p.log.From(0); t.Failed() {
			t.Logf("poller %s said:\n%s", strings.Join(args, " "), text)
		}
	})
	return p
}

// await waits for a text that matches.
func (p *process) await(pattern string) {
	p.t.Helper()
	for late := time.After(rig.Patience); ; {
		text, changed := p.log.From(0)
		if regexp.MustCompile(pattern).MatchString(text) {
			return
		}
		select {
		case <-changed:
		case <-p.done:
			if text, _ := p.log.From(0); !regexp.MustCompile(pattern).MatchString(text) {
				p.t.Fatalf("it ended before it said %q", pattern)
			}
			return
		case <-late:
			p.t.Fatalf("it did not say %q", pattern)
		}
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for the process, and is its exit code and all that it said.
func (p *process) end() (code int, text string) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(rig.Patience):
		p.t.Fatal("it did not end")
	}
	text, _ = p.log.From(0)
	return p.cmd.ProcessState.ExitCode(), text
}

// sleepy is a site whose one mailbox is on the server of slow.
func sleepy(t *testing.T, port int) *rig.Site {
	t.Helper()
	return rig.New(t, rig.Settings{
		"name": "in", "host": mailtest.Host, "port": port, "username": "u", "password": "p", "store_type": "POP3",
		"connection_security": "NONE", "schedule": "@every 1h", "disposition": "DELETE",
	})
}

// TestAPollThatIsInterrupted finishes the message at hand, says in plain words
// that nothing is lost, and ends as a shell expects it of a signal.
func TestAPollThatIsInterrupted(t *testing.T) {
	t.Parallel()
	for s, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			port, asked, finish := slow(t)
			site := sleepy(t, port)
			p := background(t, site, "poll", "in")
			<-asked
			p.signal(s)
			p.await("interrupted: the message at hand is finished, and nothing is lost")
			finish()
			code, text := p.end()
			if code != want || strings.Count(text, "interrupted: ") != 1 || strings.Contains(text, "daemon was stopping") {
				t.Errorf("exit code %d, want %d: %s", code, want, text)
			}
			if files := rig.Files(t, site.Dir+"/in"); len(files) != 1 {
				t.Errorf("%d files", len(files))
			}
		})
	}
}

// TestASecondInterruptDoesNotWait for a server that keeps its message back.
func TestASecondInterruptDoesNotWait(t *testing.T) {
	t.Parallel()
	port, asked, finish := slow(t)
	defer finish()
	site := sleepy(t, port)
	p := background(t, site, "poll", "in")
	<-asked
	p.signal(syscall.SIGINT)
	p.await("Ctrl-C again ends at once")
	p.signal(syscall.SIGINT)
	if _, text := p.end(); p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
		t.Errorf("%v: %s", p.cmd.ProcessState, text)
	}
	if files := rig.Files(t, site.Dir+"/in"); len(files) != 0 {
		t.Errorf("%d files", len(files))
	}
}

// TestWhatWaitsCanBeInterrupted: a wait between attempts, a server that says
// nothing, a poll by the daemon.
func TestWhatWaitsCanBeInterrupted(t *testing.T) {
	t.Parallel()
	const lost = "interrupted: .*nothing is lost"
	t.Run("between two attempts", func(t *testing.T) {
		t.Parallel()
		server := mailtest.Script(t, func(c *mailtest.Conn) { c.Send("-ERR no\r\n") })
		s := rig.New(t, rig.Settings{
			"name": "in", "host": mailtest.Host, "port": server.Port, "username": "u", "password": "p", "store_type": "POP3",
			"connection_security": "NONE", "max_retries": 1, "retry_interval": "1h",
		})
		p := background(t, s, "poll", "in")
		p.await("trying again in 1h")
		p.signal(syscall.SIGINT)
		if code, text := p.end(); code != 130 || !regexp.MustCompile(lost).MatchString(text) {
			t.Errorf("%d: %s", code, text)
		}
	})
	t.Run("a test of a silent server", func(t *testing.T) {
		t.Parallel()
		reached := make(chan struct{}, 1)
		server := mailtest.Script(t, func(c *mailtest.Conn) {
			reached <- struct{}{}
			c.Line()
		})
		p := background(t, sleepy(t, server.Port), "test", "in")
		<-reached
		p.signal(syscall.SIGINT)
		if code, text := p.end(); code != 130 || !regexp.MustCompile(lost).MatchString(text) {
			t.Errorf("%d: %s", code, text)
		}
	})
	t.Run("a poll by the daemon", func(t *testing.T) {
		t.Parallel()
		port, asked, finish := slow(t)
		s := sleepy(t, port)
		d := s.Start().Ready()
		p := background(t, s, "poll", "in")
		<-asked
		p.signal(syscall.SIGINT)
		if code, text := p.end(); code != 130 || !regexp.MustCompile(lost).MatchString(text) {
			t.Errorf("%d: %s", code, text)
		}
		finish()
		d.Await(0, `"msg":"message saved"`)
		// The daemon itself ends in order, with either signal.
		d.Signal(syscall.SIGINT)
		<-d.Done
		if code := d.Cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("the daemon: exit code %d", code)
		}
	})
}

// TestAQuestionCanBeInterrupted: nothing is done without an answer.
func TestAQuestionCanBeInterrupted(t *testing.T) {
	t.Parallel()
	s := rig.New(t, disabled())
	x := onTerminal(t, "forget", "off", "--config", s.Config)
	x.await("Go on? [y/N] ")
	x.keys("\x03")
	if text, code := x.end(); code != 130 || !strings.Contains(text, "interrupted: nothing forgotten") {
		t.Errorf("%d: %s", code, text)
	}
	// One that is meant to end this way has done all that it was to do.
	s.Start().Ready()
	p := background(t, s, "status", "--watch")
	p.await("off")
	p.signal(syscall.SIGINT)
	if code, text := p.end(); code != 0 || strings.Contains(text, "interrupted") {
		t.Errorf("%d: %s", code, text)
	}
}
