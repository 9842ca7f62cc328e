package schedule

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

// holder is who has a connection. There is one at a time.
type holder int

const (
	nobody    holder = iota
	aJob             // which waits for its turn or is in progress
	caretaker        // whoever called Hold
)

// Hold reserves a connection, for work on it that no job may meet: a dry run, a
// test, or to forget what was saved. It does not wait: a connection that cannot
// be had is ErrUnknown, ErrBusy or ErrStopping, and a ctx that has ended is an
// error too. A disabled connection can be held.
//
// A run that falls due meanwhile is made when the connection is released; it
// counts neither as skipped nor as failed. The end of the scheduler does not
// wait for release, which may be called more than once.
func (s *Scheduler) Hold(ctx context.Context, name string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.take(ctx, name, caretaker)
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.release(e)
	}), nil
}

// PollNow holds a connection, runs one job within the limits, and returns its
// result. The job ends with ctx, and when the scheduler does. Backing off does
// not hold it back. There is no job, and an error, where Hold has one, for a
// disabled connection, and when the gate says no.
func (s *Scheduler) PollNow(ctx context.Context, name string) (mail.Result, error) {
	s.mu.Lock()
	e, err := s.take(ctx, name, aJob)
	if err != nil {
		s.mu.Unlock()
		return mail.Result{}, err
	}
	s.jobs.Add(1)
	defer s.jobs.Done()
	c, all := e.c, s.ctx
	s.mu.Unlock()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if all != nil {
		defer context.AfterFunc(all, func() { cancel(context.Cause(all)) })()
	}
	result, err := s.job(ctx, c, func() {})
	s.finish(e, c, false, result, err)
	if err != nil {
		return mail.Result{}, fmt.Errorf("%s: %w", name, err)
	}
	return result, nil
}

// Trigger asks for a run and does not wait for it. However often it is called
// while the connection is held, one run follows, right behind: a caller that
// learned of a message knows that a job has begun after that. The run counts
// like a scheduled one, for failures and for backing off. One that is asked for
// before Run is made when Run begins.
//
// While the connection backs off, Trigger does nothing: what triggers is told by
// the very server that is to be left alone, and may be told again and again. What
// it was told of is still there when the connection is due again.
func (s *Scheduler) Trigger(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, err := s.find(name, aJob)
	if err == nil {
		wall, _ := s.clock()
		s.ask(e, wall)
	}
	return err
}

// find is the connection of that name, for whom it can serve. s.mu is held.
func (s *Scheduler) find(name string, who holder) (*entry, error) {
	e, ok := s.entries[name]
	var err error
	switch {
	case !ok || e.removed:
		err = ErrUnknown
	case s.stopped:
		err = ErrStopping
	case who == aJob && !e.c.Enabled:
		err = ErrDisabled
	default:
		return e, nil
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}

// take gives a connection to who asks for it. s.mu is held.
func (s *Scheduler) take(ctx context.Context, name string, who holder) (*entry, error) {
	e, err := s.find(name, who)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	if e.holder != nobody {
		return nil, fmt.Errorf("%s: %w", name, ErrBusy)
	}
	e.holder = who
	return e, nil
}

// release takes a connection from its holder, and makes the run that waited for
// that. One behind a job is due when the job ends: it is not late. s.mu is held.
func (s *Scheduler) release(e *entry) {
	if e.holder == aJob && !e.waiting.IsZero() {
		e.waiting, _ = s.clock()
	}
	e.holder = nobody
	if e.removed {
		delete(s.entries, e.c.Name)
		return
	}
	s.resume(e)
}

// ask has a run of e made that was due at that time: now, or when it can be had.
// s.mu is held.
func (s *Scheduler) ask(e *entry, due time.Time) {
	if e.waiting.IsZero() {
		e.waiting = due
	}
	s.resume(e)
}

// resume makes the run of e that waits, if nothing is in its way any more. One
// that may not be made is forgotten. s.mu is held.
func (s *Scheduler) resume(e *entry) {
	if e.waiting.IsZero() || e.holder != nobody || s.ctx == nil {
		return
	}
	due := e.waiting
	e.waiting = time.Time{}
	if s.stopped || e.backsOff() {
		return
	}
	e.holder = aJob
	ctx, c := s.ctx, e.c
	s.jobs.Go(func() {
		result, err := s.job(ctx, c, func() {
			wall, _ := s.clock()
			s.options.Started(c, max(0, wall.Sub(due)))
		})
		s.finish(e, c, true, result, err)
	})
}

// finish ends a job of e that ran with the settings of c, or that the gate did
// not let in.
func (s *Scheduler) finish(e *entry, c *mail.Connection, scheduled bool, result mail.Result, refused error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.release(e)
	if refused != nil {
		s.options.Log.Debug("no job", zap.String("connection", c.Name), zap.Error(refused))
		return
	}
	e.last = &result
	if !e.removed && s.ctx != nil { // else there is no schedule to back off from
		s.assess(e, c, scheduled, result)
	}
}
