package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/api"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/internal/schedule"
)

// maildrop is one of a POP3 server that lets in one session at a time (RFC 1939,
// section 4), and keeps each waiting, once it is in, until the test says go.
type maildrop struct {
	port   int
	inside chan struct{} // a session has the lock
	leave  chan struct{} // let it go on

	mu      sync.Mutex
	locked  bool
	refused int
}

func newMaildrop(t *testing.T) *maildrop {
	m := &maildrop{inside: make(chan struct{}, 9), leave: make(chan struct{})}
	m.port = mailtest.Script(t, func(c *mailtest.Conn) { m.serve(t.Context(), c) }).Port
	return m
}

func (m *maildrop) serve(ctx context.Context, c *mailtest.Conn) {
	c.Send("+OK ready\r\n")
	mine := false
	unlock := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.locked, mine = m.locked && !mine, false
	}
	defer func() { unlock() }()
	for {
		switch line := c.Line(); strings.ToUpper(strings.Fields(line + " .")[0]) {
		case "CAPA":
			c.Send("+OK\r\nUSER\r\nUIDL\r\nRESP-CODES\r\n.\r\n")
		case "PASS":
			if mine = m.lock(); !mine {
				c.Send("-ERR [IN-USE] maildrop locked\r\n")
				continue
			}
			m.inside <- struct{}{}
			select {
			case <-m.leave:
			case <-ctx.Done():
				return
			}
			c.Send("+OK\r\n")
		case "STAT":
			c.Send("+OK 0 0\r\n")
		case "LIST", "UIDL":
			c.Send("+OK\r\n.\r\n")
		case "QUIT":
			unlock()
			c.Send("+OK\r\n")
			return
		default:
			c.Send("+OK\r\n")
		}
	}
}

func (m *maildrop) lock() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		m.refused++
		return false
	}
	m.locked = true
	return true
}

// turnedAway is how many sessions met a locked maildrop.
func (m *maildrop) turnedAway() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refused
}

// seldom is a schedule that falls due in no test; often, in each soon.
const seldom, often = "0 0 29 2 *", "@every 1s"

// rig is an App with its configuration file.
type rig struct {
	*App
	path string
	text func(schedule string) string
}

// newRig is an App with connections to the maildrop, that is not running
// yet, or does what a command does by itself.
func newRig(t *testing.T, m *maildrop, names ...string) *rig {
	t.Helper()
	dir := t.TempDir()
	d := &rig{path: filepath.Join(dir, "poller.yaml"), text: func(schedule string) string {
		text := fmt.Sprintf("listen: \"\"\nstate_dir: %s/state\nlimits: {polls: 1}\nconnections:\n", dir)
		for _, name := range names {
			text += fmt.Sprintf("  - {name: %s, host: %s, port: %d, username: u, password: secret-of-the-test, store_type: POP3, connection_security: NONE, folder: %s, schedule: %q}\n",
				name, mailtest.Host, m.port, dir, schedule)
		}
		return text
	}}
	d.write(t, seldom)
	conf, err := config.Load(d.path)
	if err != nil {
		t.Fatal(err)
	}
	if d.App, err = Open(t.Context(), conf, Build{}, zap.NewNop(), zap.NewAtomicLevel()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *rig) write(t *testing.T, schedule string) {
	t.Helper()
	if err := os.WriteFile(d.path, []byte(d.text(schedule)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// run runs the daemon until the end of the test.
func (d *rig) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan string, 1)
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx, nil, func(listen string) { ready <- listen }); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	<-ready
}

// becomes waits until something is true.
func becomes(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.After(20 * time.Second); !is(); {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("it never comes to %s", what)
		}
	}
}

// view is how the only connection of a daemon stands.
func (d *rig) view(t *testing.T) api.ConnectionView {
	t.Helper()
	views, err := d.Connections(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return views[0]
}

// works is what is done to a connection beside its jobs, and whether it went well.
func (d *rig) works() map[string]func(ctx context.Context, name string) error {
	return map[string]func(context.Context, string) error{
		"dry run": func(ctx context.Context, name string) error {
			result, err := d.Poll(ctx, name, true)
			if err == nil && result.State != mail.Succeeded {
				err = result.Err
			}
			return err
		},
		"test": func(ctx context.Context, name string) error {
			test, err := d.Test(ctx, name)
			for _, s := range test.Steps {
				err = errors.Join(err, s.Err)
			}
			return err
		},
		"forget": func(ctx context.Context, name string) error {
			_, err := d.Forget(ctx, name)
			return err
		},
	}
}

// TestAScheduledJobMeetsNoMaildropThatWeLocked: runs that fall due while a dry run
// or a test is in a POP3 mailbox wait for it.
func TestAScheduledJobMeetsNoMaildropThatWeLocked(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"dry run", "test"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			m := newMaildrop(t)
			d := newRig(t, m, "a")
			d.run(t)
			var worked sync.WaitGroup
			worked.Go(func() {
				if err := d.works()[what](t.Context(), "a"); err != nil {
					t.Error(err)
				}
			})
			<-m.inside
			d.write(t, often)
			if _, err := d.Reload(t.Context()); err != nil {
				t.Error(err)
			}
			first := d.view(t).Next
			becomes(t, "the third run that is due", func() bool { return d.view(t).Next.Sub(first) >= 2*time.Second })
			if v := d.view(t); v.State != api.Pending {
				t.Errorf("a connection that is held is %s", v.State)
			}
			for other, work := range d.works() {
				if err := work(t.Context(), "a"); !errors.Is(err, api.ErrBusy) || !strings.Contains(err.Error(), "a: ") {
					t.Errorf("%s: %v", other, err)
				}
			}
			close(m.leave)
			worked.Wait()
			becomes(t, "a job", func() bool { return d.view(t).Last != nil })
			if v := d.view(t); v.Last.State != mail.Succeeded || v.FailuresInRow != 0 || m.turnedAway() != 0 {
				t.Errorf("%d sessions met a locked maildrop; %+v", m.turnedAway(), v)
			}
		})
	}
}

// TestWorkBesideAJobIsRefused: at once, whether the job is in the mailbox or waits
// for its turn, and the mailbox is left alone.
func TestWorkBesideAJobIsRefused(t *testing.T) {
	t.Parallel()
	m := newMaildrop(t)
	d := newRig(t, m, "polled", "waiting")
	d.run(t)
	var polled sync.WaitGroup
	poll := func(name string) {
		polled.Go(func() {
			if result, err := d.Poll(t.Context(), name, false); err != nil || result.State != mail.Succeeded {
				t.Errorf("%s: %+v, %v", name, result.Err, err)
			}
		})
	}
	poll("polled")
	<-m.inside
	poll("waiting")
	becomes(t, "two jobs", func() bool {
		return !slices.ContainsFunc(d.scheduler.All(), func(s schedule.Status) bool { return !s.Busy })
	})
	for _, name := range []string{"polled", "waiting"} {
		for what, work := range d.works() {
			if err := work(t.Context(), name); !errors.Is(err, api.ErrBusy) {
				t.Errorf("%s of the one %s: %v", what, name, err)
			}
		}
	}
	close(m.leave)
	polled.Wait()
	for what, work := range d.works() { // and each lets go of the connection
		if err := work(t.Context(), "polled"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if m.turnedAway() != 0 {
		t.Errorf("%d sessions met a locked maildrop", m.turnedAway())
	}
}

// TestACommandAloneHoldsWhatItWorksOn: without a daemon, too.
func TestACommandAloneHoldsWhatItWorksOn(t *testing.T) {
	t.Parallel()
	m := newMaildrop(t)
	d := newRig(t, m, "a")
	var polled sync.WaitGroup
	polled.Go(func() {
		if result, err := d.Poll(t.Context(), "a", false); err != nil || result.State != mail.Succeeded {
			t.Errorf("%+v, %v", result.Err, err)
		}
	})
	<-m.inside
	for what, work := range d.works() {
		if err := work(t.Context(), "a"); !errors.Is(err, api.ErrBusy) {
			t.Errorf("%s: %v", what, err)
		}
	}
	close(m.leave)
	polled.Wait()
	for what, work := range d.works() {
		if err := work(t.Context(), "a"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := d.Poll(t.Context(), "other", false); !errors.Is(err, api.ErrUnknown) {
		t.Errorf("an unknown connection: %v", err)
	}
}

// TestAJobWhoseTargetIsNotReadyIsRecorded like any other that failed.
func TestAJobWhoseTargetIsNotReadyIsRecorded(t *testing.T) {
	t.Parallel()
	m := newMaildrop(t)
	d := newRig(t, m, "a")
	c, err := d.connection("a")
	if err != nil {
		t.Fatal(err)
	}
	var states []mail.State
	ctx := mail.WithTrace(t.Context(), &mail.Trace{Job: func(r mail.Result) { states = append(states, r.State) }})
	why := mail.Errorf(mail.OpSave, mail.KindStorage, "the mount is missing")
	result := d.App.run(ctx, c, why)
	if result.State != mail.Failed || result.Outcome != mail.OutcomeFailed || result.Err != why || result.Attempts != 0 || !slices.Equal(states, []mail.State{mail.Failed}) {
		t.Errorf("%+v; told %v", result, states)
	}
	jobs, err := d.Jobs(t.Context(), api.JobFilter{Connection: "a"})
	if err != nil || len(jobs) != 1 || jobs[0].Job != result.Job || jobs[0].Err.Error() != why.Error() {
		t.Fatalf("the history has %+v, %v", jobs, err)
	}
	jobs, err = d.Jobs(t.Context(), api.JobFilter{ID: result.Job})
	if err != nil || len(jobs) != 1 || len(jobs[0].Log) != 1 || !strings.Contains(jobs[0].Log[0], "the mount is missing") {
		t.Errorf("the log of the job: %+v, %v", jobs, err)
	}
	if len(m.inside) > 0 {
		t.Error("the server was asked")
	}
}
