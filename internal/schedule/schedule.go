// Package schedule says when a connection is polled: by its schedule, never
// twice at once, within the limits, and less often while it keeps failing.
//
// The times are robfig/cron's; everything else is kept here, by the name of
// the connection, so that it lasts over reloads.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	"go.uber.org/zap"

	"mailpoller/internal/cronspec"
	"mailpoller/internal/mail"
)

// Why PollNow runs no job.
var (
	ErrUnknown  = errors.New("no such connection")
	ErrBusy     = errors.New("connection is being polled")
	ErrDisabled = errors.New("connection is disabled")
	ErrStopping = errors.New("scheduler is stopping")
)

// Options are what a Scheduler works with. They are not changed after New.
type Options struct {
	Polls        int // jobs in progress at once
	PollsPerHost int // of those, with one host
	// Run runs one job to its end. It is called by many goroutines, but
	// never by two for one connection.
	Run     func(ctx context.Context, c *mail.Connection) mail.Result
	Skipped func(c *mail.Connection)                    // a firing found the connection busy
	Started func(c *mail.Connection, lag time.Duration) // a job starts this long after its firing was due
	Log     *zap.Logger
}

// Scheduler fires the jobs of connections. Its methods may be called by many
// goroutines.
type Scheduler struct {
	options Options
	polls   slots
	hosts   hosts
	cron    *cron.Cron
	wall    func() time.Time // for tests

	mu      sync.Mutex
	entries map[string]*entry
	order   []string // as configured
	ctx     context.Context
	stopped bool
	beat    time.Time      // of cron's loop
	jobs    sync.WaitGroup // added to only while not stopped
}

// entry is what is known of one connection. A removed one stays until its job
// is over.
type entry struct {
	c       *mail.Connection
	timer   *timer // nil when it does not fire
	removed bool
	busy    bool

	failures int // scheduled jobs that failed, in a row
	until    time.Time
	last     *mail.Result
	skipped  int
}

// Status is how a connection stands.
type Status struct {
	Name            string
	Enabled         bool
	Busy            bool      // a job waits for its turn or is in progress
	Next            time.Time // the next firing; zero when there is none
	BackingOffUntil time.Time // zero when it is not backing off
	FailuresInRow   int
	Skipped         int          // firings that found the connection busy
	Last            *mail.Result // the last job since the start; not to be changed
}

// New makes a Scheduler without connections.
func New(o Options) *Scheduler {
	s := &Scheduler{
		options: o,
		polls:   slots{limit: o.Polls},
		hosts:   hosts{limit: o.PollsPerHost, byName: make(map[string]*host)},
		entries: make(map[string]*entry),
		wall:    time.Now,
		beat:    time.Now(),
	}
	s.cron = cron.New()
	return s
}

// SetLimits changes the limits. Jobs in progress are left alone.
func (s *Scheduler) SetLimits(polls, perHost int) {
	s.polls.resize(polls)
	s.hosts.resize(perHost)
}

// Update puts connections into force. Unchanged ones keep their firings and
// their history; changed ones use their new settings from their next job on,
// and no longer back off; those that are gone end with the job in progress. The
// slice must not be changed any more.
func (s *Scheduler) Update(connections []mail.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.renew()
	now := make(map[string]bool, len(connections))
	s.order = make([]string, len(connections))
	for i := range connections {
		c := &connections[i]
		s.order[i], now[c.Name] = c.Name, true
		e, ok := s.entries[c.Name]
		if !ok {
			e = &entry{}
			s.entries[c.Name] = e
		}
		if ok && !e.removed && e.c.Fingerprint == c.Fingerprint {
			e.c = c
			continue
		}
		if e.timer == nil || !c.Enabled || e.c.Schedule != c.Schedule {
			e.timer = s.timer(c)
		}
		e.c, e.removed, e.failures, e.until = c, false, 0, time.Time{}
	}
	for name, e := range s.entries {
		if !now[name] {
			e.timer, e.removed = nil, true
			if !e.busy {
				delete(s.entries, name)
			}
		}
	}
}

// timer is a new timer for c, nil when c is never polled.
func (s *Scheduler) timer(c *mail.Connection) *timer {
	if !c.Enabled {
		return nil
	}
	spec, err := cronspec.Parse(c.Schedule)
	if err != nil { // the configuration has been validated
		s.options.Log.Error("connection is not polled", zap.String("connection", c.Name), zap.Error(err))
		return nil
	}
	return &timer{schedule: spec.For(c.Name)}
}

// renew replaces cron by one that is told all timers and the heartbeat. A cron
// that runs sorts all it has for each timer that it is given, which takes
// seconds for a configuration of thousands, and it cannot be started again
// while jobs that it started are in progress. s.mu is held.
func (s *Scheduler) renew() {
	s.cron.Stop()
	s.cron = cron.New()
	s.cron.Schedule(cron.Every(heartbeat), cron.FuncJob(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.beat = time.Now()
	}))
	for _, e := range s.entries {
		if t := e.timer; t != nil {
			t.hold()
			s.cron.Schedule(t, cron.FuncJob(func() { s.fire(e, t) }))
		}
	}
	if s.ctx != nil && !s.stopped {
		s.beat = time.Now()
		s.cron.Start()
	}
}

// timer is a cron.Schedule that remembers what it said.
type timer struct {
	schedule cron.Schedule

	mu         sync.Mutex
	prev, next time.Time
	held       bool
}

// Next implements cron.Schedule.
func (t *timer) Next(now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.held {
		t.prev, t.next = t.next, t.schedule.Next(now)
	}
	t.held = false
	return t.next
}

// hold has Next say once more what it said last, so that a firing that one cron
// did not come to is made by the next, even if it is late.
func (t *timer) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = !t.next.IsZero()
}

// due is the firing that is due now. Cron may or may not have asked for the
// next one yet.
func (t *timer) due(now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next.After(now) {
		return t.prev
	}
	return t.next
}

// after is the first firing after now.
func (t *timer) after(now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next.After(now) {
		return t.next
	}
	return t.schedule.Next(now)
}

// fire is called by cron when a timer of e is due, on a goroutine of its own.
func (s *Scheduler) fire(e *entry, timer *timer) {
	now := time.Now()
	s.mu.Lock()
	c, ctx := e.c, s.ctx
	switch {
	case s.stopped || e.timer != timer || now.Before(e.until):
		s.mu.Unlock()
		return
	case e.busy:
		e.skipped++
		s.mu.Unlock()
		s.options.Skipped(c)
		return
	}
	e.busy = true
	s.jobs.Add(1)
	s.mu.Unlock()
	due := timer.due(now)
	s.finish(e, c, true, s.job(ctx, c, func() { s.options.Started(c, max(0, time.Since(due))) }))
}

// PollNow runs one job now, within the limits, and returns its result. It ends
// with ctx, and when the scheduler does. Backing off does not hold it back.
func (s *Scheduler) PollNow(ctx context.Context, name string) (mail.Result, error) {
	s.mu.Lock()
	e, ok := s.entries[name]
	var err error
	switch {
	case !ok || e.removed:
		err = ErrUnknown
	case s.stopped:
		err = ErrStopping
	case !e.c.Enabled:
		err = ErrDisabled
	case e.busy:
		err = ErrBusy
	}
	if err != nil {
		s.mu.Unlock()
		return mail.Result{}, fmt.Errorf("%s: %w", name, err)
	}
	e.busy = true
	s.jobs.Add(1)
	c, all := e.c, s.ctx
	s.mu.Unlock()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if all != nil {
		defer context.AfterFunc(all, func() { cancel(context.Cause(all)) })()
	}
	result := s.job(ctx, c, func() {})
	s.finish(e, c, false, result)
	return result, nil
}

// job waits for its turn and runs. The host's place comes first, so that those
// who wait for a slow host do not keep the places of the others.
func (s *Scheduler) job(ctx context.Context, c *mail.Connection, started func()) mail.Result {
	pending := mail.Result{Connection: c.Name, State: mail.Pending, Started: time.Now()}
	if trace := mail.TraceOf(ctx); trace.Job != nil {
		trace.Job(pending)
	}
	free, err := s.hosts.take(ctx, strings.ToLower(c.Host))
	if err == nil {
		defer free()
		if err = s.polls.take(ctx); err == nil {
			defer s.polls.free()
		}
	}
	if err != nil {
		pending.State, pending.Outcome = mail.Failed, mail.OutcomeFailed
		pending.Err = mail.AsError(err, mail.OpPoll, mail.KindCanceled)
		return pending
	}
	started()
	return s.guarded(ctx, c)
}

// guarded is Run, whatever happens in it.
func (s *Scheduler) guarded(ctx context.Context, c *mail.Connection) (result mail.Result) {
	defer func() {
		if fault := recover(); fault != nil {
			s.options.Log.Error("panic in job", zap.String("connection", c.Name), zap.Any("panic", fault), zap.ByteString("stack", debug.Stack()))
			result = mail.Result{
				Connection: c.Name, State: mail.Failed, Outcome: mail.OutcomeFailed,
				Err: mail.Errorf(mail.OpPoll, mail.KindInternal, "panic: %v", fault),
			}
		}
	}()
	return s.options.Run(ctx, c)
}

// finish ends a job of e that ran with the settings of c.
func (s *Scheduler) finish(e *entry, c *mail.Connection, scheduled bool, result mail.Result) {
	defer s.jobs.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	e.busy, e.last = false, &result
	if e.removed {
		delete(s.entries, c.Name)
		return
	}
	now := time.Now()
	canceled := result.Err != nil && result.Err.Kind == mail.KindCanceled
	switch {
	case result.State != mail.Failed:
		if !e.until.IsZero() {
			s.options.Log.Info("connection works again", zap.String("connection", c.Name))
		}
		e.failures, e.until = 0, time.Time{}
		return
	case canceled || e.c.Fingerprint != c.Fingerprint:
		return
	case scheduled:
		if e.failures++; c.BackOff && e.failures >= patience && e.timer != nil {
			e.until = now.Add(pause(e.timer, now, e.failures))
		}
	}
	if result.Err != nil && now.Add(result.Err.Wait).After(e.until) && result.Err.Wait > 0 { // the server asks for it
		e.until = now.Add(result.Err.Wait)
	}
	if e.until.After(now) {
		s.options.Log.Warn("connection keeps failing: backing off", zap.String("connection", c.Name),
			zap.Int("failures", e.failures), zap.Time("until", e.until))
	}
}

// A connection backs off when it has failed patience times in a row: by its
// own interval, at least minPause, doubled then and with each further failure,
// up to maxPause.
const (
	patience = 3
	minPause = time.Minute
	maxPause = time.Hour
)

func pause(t *timer, now time.Time, failures int) time.Duration {
	first := t.after(now)
	gap := max(t.schedule.Next(first).Sub(first), minPause)
	for n := patience; n <= failures && gap < maxPause; n++ {
		gap *= 2
	}
	return min(gap, maxPause)
}

// All is how every configured connection stands, in their order.
func (s *Scheduler) All() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := make([]Status, len(s.order))
	for i, name := range s.order {
		e := s.entries[name]
		all[i] = Status{
			Name: name, Enabled: e.c.Enabled, Busy: e.busy, FailuresInRow: e.failures, Skipped: e.skipped, Last: e.last,
		}
		if e.until.After(now) {
			all[i].BackingOffUntil = e.until
		}
		if e.timer != nil {
			all[i].Next = e.timer.after(slices.MaxFunc([]time.Time{now, e.until}, time.Time.Compare))
		}
	}
	return all
}

// BackingOff is which connections back off, and until when their firings are
// passed over. One backs off until it works again: the time may be past.
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

const (
	heartbeat  = 10 * time.Second // also how often the clock is looked at
	deadAfter  = time.Minute
	clockJumps = 5 * time.Second
)

// Check reports whether firings still come. It does no more than look.
func (s *Scheduler) Check(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if silent := time.Since(s.beat); silent > deadAfter && s.ctx != nil {
		return fmt.Errorf("the scheduler has not run for %v", silent.Round(time.Second))
	}
	return nil
}

// Run fires until ctx ends, and then waits for the jobs in progress, whose
// context has ended with it. It is called once.
func (s *Scheduler) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	s.renew()
	s.mu.Unlock()
	s.watchClock(ctx)
	s.mu.Lock()
	s.stopped = true
	s.cron.Stop()
	s.mu.Unlock()
	s.jobs.Wait()
	return nil
}

// watchClock starts cron anew when the clock was set: it sleeps until a time
// of day, and a clock that was set back would have it sleep for as long again.
func (s *Scheduler) watchClock(ctx context.Context) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	began, wall := time.Now(), s.wall().Round(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		jump := s.wall().Round(0).Sub(wall) - time.Since(began)
		if jump.Abs() <= clockJumps {
			continue
		}
		s.options.Log.Warn("the clock was set", zap.Duration("by", jump))
		began, wall = time.Now(), s.wall().Round(0)
		s.recompute()
	}
}

// recompute forgets when timers are due: what the clock jumped over is not made
// up for.
func (s *Scheduler) recompute() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.timer != nil {
			e.timer = &timer{schedule: e.timer.schedule}
		}
	}
	s.renew()
}
