package schedule

import (
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

// A connection backs off when it has failed patience times in a row: by its
// own interval, at least minPause, doubled then and with each further failure,
// up to maxPause.
const (
	patience = 3
	minPause = time.Minute
	maxPause = time.Hour
)

// assess counts the result of a job of e that ran with the settings of c, and
// decides whether the connection backs off. s.mu is held.
func (s *Scheduler) assess(e *entry, c *mail.Connection, scheduled bool, result mail.Result) {
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
		if e.failures++; c.BackOff && e.failures >= patience && e.times != nil {
			e.until = now.Add(s.pause(e))
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

// pause is how long e backs off after so many failures.
func (s *Scheduler) pause(e *entry) time.Duration {
	wall, _ := s.clock()
	first := e.next(wall)
	gap := max(e.times.Next(first).Sub(first), minPause)
	for n := patience; n <= e.failures && gap < maxPause; n++ {
		gap *= 2
	}
	return min(gap, maxPause)
}

// backsOff reports whether runs of e are passed over.
func (e *entry) backsOff() bool { return time.Now().Before(e.until) }
