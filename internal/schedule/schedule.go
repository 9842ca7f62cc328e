// Package schedule says when a connection is polled: by its schedule, never
// twice at once, within the limits, and less often while it keeps failing.
//
// A Scheduler keeps what it knows by the name of the connection, so that it
// lasts over reloads. runner.go makes the runs that are due, hold.go says who
// has a connection, and job.go takes one job from its start to its end.
package schedule

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/cronspec"
	"mailpoller/internal/mail"
)

// Why a connection cannot be had.
var (
	ErrUnknown  = errors.New("no such connection")
	ErrBusy     = errors.New("connection is busy")
	ErrDisabled = errors.New("connection is disabled")
	ErrStopping = errors.New("scheduler is stopping")
)

// Options are what a Scheduler works with. They are not changed after New.
type Options struct {
	Polls        int // jobs in progress at once
	PollsPerHost int // of those, with one host

	Gate Gate // nil: always says yes
	// Ready returns when the target of a connection can be written to, or says
	// why it cannot. It is called before a job takes a place of its host or of
	// all, so that a target that hangs keeps none, and must return when ctx
	// ends. nil: every target is always ready.
	Ready func(ctx context.Context, c *mail.Connection) error
	// Run runs one job to its end. When Ready failed, notReady is why, and the
	// job has no place: it must end at once as one that failed with that error.
	// Run is called by many goroutines, but never by two for one connection.
	Run func(ctx context.Context, c *mail.Connection, notReady error) mail.Result

	Skipped func(c *mail.Connection)                    // a run fell due while a job was in progress
	Started func(c *mail.Connection, lag time.Duration) // a job starts this long after its run was due
	Log     *zap.Logger
}

// Scheduler starts the jobs of connections. Its methods may be called by many
// goroutines.
type Scheduler struct {
	options Options
	polls   slots
	hosts   hosts
	clock   func() (wall, monotonic time.Time) // one moment, as both clocks have it; for tests
	changed chan struct{}                      // wakes the runner
	beat    atomic.Pointer[time.Time]          // when the runner last looked; nil before Run

	mu      sync.Mutex
	entries map[string]*entry
	order   []string // as configured
	agenda  agenda
	looked  struct{ wall, monotonic time.Time }
	ctx     context.Context // of Run; nil before
	stopped bool
	jobs    sync.WaitGroup // added to only while not stopped
}

// entry is what is known of one connection. A removed one stays until whoever
// holds it lets go.
type entry struct {
	c       *mail.Connection
	times   times     // nil: never due
	due     time.Time // of its next run; zero when there is none
	place   int       // in the agenda
	removed bool
	holder  holder
	waiting time.Time // when the run was due that waits for the holder; zero when none does

	failures int // scheduled jobs that failed, in a row
	until    time.Time
	last     *mail.Result
	skipped  int
}

// times is when a connection is due: a schedule of package cronspec.
type times interface {
	Next(after time.Time) time.Time // zero: never again
}

// Status is how a connection stands.
type Status struct {
	Name            string
	Enabled         bool
	Busy            bool      // a job waits for its turn or is in progress, or somebody holds the connection
	Next            time.Time // when the next run is due; zero when there is none
	BackingOffUntil time.Time // zero when it is not backing off
	FailuresInRow   int
	Skipped         int          // runs that fell due while a job was in progress
	Last            *mail.Result // the last job since the start; not to be changed
}

// New makes a Scheduler without connections.
func New(o Options) *Scheduler {
	return &Scheduler{
		options: o,
		polls:   slots{limit: o.Polls},
		hosts:   hosts{limit: o.PollsPerHost, byName: make(map[string]*host)},
		changed: make(chan struct{}, 1),
		entries: make(map[string]*entry),
		clock: func() (wall, monotonic time.Time) {
			now := time.Now()
			return now.Round(0), now
		},
	}
}

// SetLimits changes the limits. Jobs in progress are left alone.
func (s *Scheduler) SetLimits(polls, perHost int) {
	s.polls.resize(polls)
	s.hosts.resize(perHost)
}

// Update puts connections into force. Unchanged ones keep when they are due,
// and their history; changed ones use their new settings from their next job
// on, and no longer back off; those that are gone end with the job in progress.
// The slice must not be changed any more.
func (s *Scheduler) Update(connections []mail.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wall, _ := s.clock()
	now := make(map[string]bool, len(connections))
	s.order = make([]string, len(connections))
	for i := range connections {
		c := &connections[i]
		s.order[i], now[c.Name] = c.Name, true
		e, ok := s.entries[c.Name]
		if !ok {
			e = &entry{place: absent}
			s.entries[c.Name] = e
		}
		if ok && !e.removed && e.c.Fingerprint == c.Fingerprint {
			e.c = c
			continue
		}
		if e.times == nil || !c.Enabled || e.c.Schedule != c.Schedule {
			e.times = s.timesOf(c)
			s.plan(e, wall)
		}
		e.c, e.removed, e.failures, e.until = c, false, 0, time.Time{}
	}
	for name, e := range s.entries {
		if !now[name] {
			e.times, e.removed = nil, true
			s.plan(e, wall)
			if e.holder == nobody {
				delete(s.entries, name)
			}
		}
	}
	s.wake()
}

// timesOf is when c is due, nil when it is never polled.
func (s *Scheduler) timesOf(c *mail.Connection) times {
	if !c.Enabled {
		return nil
	}
	spec, err := cronspec.Parse(c.Schedule)
	if err != nil { // the configuration has been validated
		s.options.Log.Error("connection is not polled", zap.String("connection", c.Name), zap.Error(err))
		return nil
	}
	return spec.For(c.Name)
}

// plan puts the first run of e after now into the agenda. A connection that is
// never polled has none, and what waited for its holder is not made. s.mu is
// held.
func (s *Scheduler) plan(e *entry, now time.Time) {
	if e.times == nil {
		e.waiting = time.Time{}
		s.agenda.set(e, time.Time{})
		return
	}
	s.agenda.set(e, e.times.Next(now))
}

// next is when e is first due after a moment; zero when it never is.
func (e *entry) next(after time.Time) time.Time {
	switch {
	case e.times == nil:
		return time.Time{}
	case e.due.After(after):
		return e.due
	}
	return e.times.Next(after)
}

// All is how every configured connection stands, in their order.
func (s *Scheduler) All() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	wall, now := s.clock()
	all := make([]Status, len(s.order))
	for i, name := range s.order {
		e := s.entries[name]
		all[i] = Status{
			Name: name, Enabled: e.c.Enabled, Busy: e.holder != nobody, Next: e.next(wall),
			FailuresInRow: e.failures, Skipped: e.skipped, Last: e.last,
		}
		if e.until.After(now) {
			all[i].BackingOffUntil, all[i].Next = e.until, e.next(e.until)
		}
	}
	return all
}

// BackingOff is which connections back off, and until when they are not due.
// One backs off until it works again: the time may be past.
func (s *Scheduler) BackingOff() map[string]time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := make(map[string]time.Time)
	for name, e := range s.entries {
		if !e.until.IsZero() && !e.removed {
			until[name] = e.until
		}
	}
	return until
}
