package rig

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// Daemon is `poller run` in progress.
type Daemon struct {
	*Site
	Cmd    *exec.Cmd
	Log    *Log
	Done   chan struct{} // closed when the process is gone
	Listen string        // the address of its HTTP listener, once it is ready
}

// Log is what a daemon says. It can be read while it is written, and waited on.
type Log struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{} // closed at the next write
}

func (b *Log) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed != nil {
		close(b.changed)
		b.changed = nil
	}
	return b.b.Write(p)
}

// From is what was said behind an offset, and a channel that is closed when
// there is more.
func (b *Log) From(offset int) (text string, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.changed == nil {
		b.changed = make(chan struct{})
	}
	return b.b.String()[offset:], b.changed
}

// Start runs the daemon; it is killed when the test ends, if it still runs. The
// variables are added to its environment.
func (s *Site) Start(environment ...string) *Daemon {
	s.t.Helper()
	d := &Daemon{Site: s, Log: &Log{}, Done: make(chan struct{})}
	d.Cmd = exec.Command(Binary, "run", "--config", s.Config)
	d.Cmd.Env = append(os.Environ(), environment...)
	d.Cmd.Stderr = d.Log
	if err := d.Cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = d.Cmd.Wait() // how it ended is in ProcessState
		close(d.Done)
	}()
	s.t.Cleanup(func() {
		d.Kill()
		text, _ := d.Log.From(0)
		s.discreet("the log", text)
		if s.t.Failed() {
			s.t.Logf("the daemon said:\n%.20000s", text)
		}
	})
	return d
}

// Ready waits until the daemon polls.
func (d *Daemon) Ready() *Daemon {
	d.t.Helper()
	d.Listen = d.Await(0, `"msg":"polling".*"listen":"(http[^"]*)"`)[1]
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", d.Cmd.Process.Pid))
	if err != nil {
		d.t.Fatal(err)
	}
	d.discreet("the list of processes", string(args))
	return d
}

// Mark is the present end of the log.
func (d *Daemon) Mark() int {
	text, _ := d.Log.From(0)
	return len(text)
}

// Await waits for a line of the log behind a mark and returns its submatches.
func (d *Daemon) Await(mark int, pattern string) []string {
	d.t.Helper()
	re, late := regexp.MustCompile(pattern), time.After(Patience)
	for {
		text, changed := d.Log.From(mark)
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-changed:
		case <-d.Done:
			if text, _ = d.Log.From(mark); re.MatchString(text) {
				return re.FindStringSubmatch(text)
			}
			d.t.Fatalf("the daemon ended before it said %q", pattern)
		case <-late:
			d.t.Fatalf("the daemon did not say %q", pattern)
		}
	}
}

// Signal sends the daemon a signal.
func (d *Daemon) Signal(sig os.Signal) {
	d.t.Helper()
	if err := d.Cmd.Process.Signal(sig); err != nil {
		d.t.Fatal(err)
	}
}

// Kill stops the daemon dead.
func (d *Daemon) Kill() {
	_ = d.Cmd.Process.Kill() // it may be gone already
	<-d.Done
}

// Stop ends the daemon in order and returns its exit code.
func (d *Daemon) Stop() int {
	d.t.Helper()
	d.Signal(syscall.SIGTERM)
	select {
	case <-d.Done:
	case <-time.After(Patience):
		d.t.Fatal("the daemon did not end")
	}
	return d.Cmd.ProcessState.ExitCode()
}

// Get asks the daemon over HTTP.
func (d *Daemon) Get(path string) (string, int) {
	d.t.Helper()
	r, err := http.Get(d.Listen + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	d.discreet(path, string(body))
	return string(body), r.StatusCode
}
