package schedule

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

const (
	lookEvery  = 5 * time.Second // at least so often the runner looks at the clock
	clockJumps = 5 * time.Second // a clock that moved by more than this was set
	deadAfter  = time.Minute
)

// Run starts the runs that are due until ctx ends, and then waits for the jobs
// in progress, whose context has ended with it. It is called once.
//
// One goroutine sleeps until the next run is due, until something changes, and
// never for long: a timer counts seconds that passed, and does not see that the
// clock was set.
func (s *Scheduler) Run(ctx context.Context) error {
	s.begin(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			continue
		case <-timer.C:
		case <-s.changed:
		}
		timer.Reset(s.tick())
	}
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.jobs.Wait()
	return nil
}

// begin makes the scheduler one that runs. What would have been due before is
// not made up for; what was asked for is made now.
func (s *Scheduler) begin(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
	s.looked.wall, s.looked.monotonic = s.clock()
	for _, e := range s.entries {
		s.plan(e, s.looked.wall)
		s.resume(e)
	}
}

// wake has the runner look again. It never blocks.
func (s *Scheduler) wake() {
	select {
	case s.changed <- struct{}{}:
	default: // it will
	}
}

// tick starts the runs that are due, and says how long the runner may sleep then.
func (s *Scheduler) tick() time.Duration {
	for _, c := range s.startDue() {
		s.options.Skipped(c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.agenda) == 0 {
		return lookEvery
	}
	wall, _ := s.clock()
	return min(s.agenda[0].due.Sub(wall), lookEvery)
}

func (s *Scheduler) startDue() (skipped []*mail.Connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.look()
	for len(s.agenda) > 0 && !s.agenda[0].due.After(now) {
		e := s.agenda[0]
		switch {
		case e.backsOff():
		case e.holder == aJob:
			e.skipped++
			skipped = append(skipped, e.c)
		default:
			s.ask(e, e.due)
		}
		s.plan(e, now)
	}
	return skipped
}

// look is what the clock on the wall shows. When it was set, all is planned anew:
// what it jumped over is not made up for, and after a jump back nothing waits for
// a time that is far off now. s.mu is held.
func (s *Scheduler) look() time.Time {
	wall, monotonic := s.clock()
	jump := wall.Sub(s.looked.wall) - monotonic.Sub(s.looked.monotonic)
	s.looked.wall, s.looked.monotonic = wall, monotonic
	s.beat.Store(&monotonic)
	if jump.Abs() > clockJumps {
		s.options.Log.Warn("the clock was set", zap.Duration("by", jump))
		for _, e := range s.entries {
			s.plan(e, wall)
		}
	}
	return wall
}

// Check reports whether the runner still looks for what is due. It takes no
// lock, so that it answers whatever hangs.
func (s *Scheduler) Check(context.Context) error {
	beat := s.beat.Load()
	if beat == nil {
		return nil
	}
	if silent := time.Since(*beat); silent > deadAfter {
		return fmt.Errorf("the scheduler has not run for %v", silent.Round(time.Second))
	}
	return nil
}
