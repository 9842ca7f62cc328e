package cronspec

import (
	"time"

	"github.com/robfig/cron/v3"
)

// The library matches cron fields against the clock on the wall, and leaves out
// what a change of the clock leaves out. Here it is asked only about days of 24
// hours: about the reading of a clock, which is a time labelled UTC. The
// schedules below turn readings into moments (docs/decisions/0022).

// clock is the wall clock of a schedule.
type clock struct {
	fields *cron.SpecSchedule // in UTC, so that the library knows no changes
	zone   *time.Location     // nil: that of the time that Next is given
}

func (c clock) in(t time.Time) time.Time {
	if c.zone == nil {
		return t
	}
	return t.In(c.zone)
}

// reading is what a clock that is ahead of UTC by so much shows at a moment.
func reading(t time.Time, offset time.Duration) time.Time { return t.UTC().Add(offset) }

// offset is how far the clock is ahead of UTC at a moment.
func offset(t time.Time) time.Duration {
	_, seconds := t.Zone()
	return time.Duration(seconds) * time.Second
}

// daily is a schedule with fixed times of the day. Each is due once a day: one
// that a change of the clock leaves out right after the change, and one that
// comes twice when it comes first.
type daily struct{ clock }

// Next implements cron.Schedule.
func (d daily) Next(t time.Time) time.Time {
	local := d.in(t)
	for shown := reading(local, offset(local)); ; {
		if shown = d.fields.Next(shown); shown.IsZero() {
			return shown
		}
		if due, ok := first(shown, local.Location()); ok && due.After(t) {
			return due.In(t.Location())
		}
	}
}

// first is the first moment at which the clock of a zone shows a reading or a
// later one. ok is false when the zone skipped the whole day.
func first(shown time.Time, zone *time.Location) (due time.Time, ok bool) {
	// No clock is a day and two hours from UTC: this is before the moment.
	for t := shown.Add(-26 * time.Hour).In(zone); ; {
		start, end := t.ZoneBounds()
		due := shown.Add(-offset(t)).In(zone)
		switch {
		case !end.IsZero() && !due.Before(end):
			t = end
		case start.IsZero() || !due.Before(start):
			return due, true
		default: // left out by the change at start
			before, day := start.Add(-1), shown.YearDay()
			return start, start.YearDay() == day || before.YearDay() == day
		}
	}
}

// steady is a schedule with a wildcard or a step in its hours or minutes. It
// keeps its pace through a change of the clock: it is due whenever the clock
// shows what it says, also in an hour that comes twice. What the change leaves
// out is due when the clock from before the change would have shown it, unless
// the new clock has something for it by then.
type steady struct{ clock }

// Next implements cron.Schedule.
func (s steady) Next(t time.Time) time.Time {
	local := s.in(t)
	for at, from := local, local; ; { // at: a moment of the period between two changes that is looked at
		start, end := at.ZoneBounds()
		next := s.after(from, offset(at))
		if late, ok := s.late(from, start); ok && (next.IsZero() || late.Before(next)) {
			next = late
		}
		if next.IsZero() || end.IsZero() || next.Before(end) {
			return next.In(t.Location())
		}
		at, from = end, end.Add(-1)
	}
}

// after is the first moment after t at which a clock shows what the fields say,
// when it is ahead of UTC by so much.
func (s steady) after(t time.Time, ahead time.Duration) time.Time {
	shown := s.fields.Next(reading(t, ahead))
	if shown.IsZero() {
		return shown
	}
	return shown.Add(-ahead)
}

// late is the first moment after t at which something is due that the change at
// start left out.
func (s steady) late(t, start time.Time) (due time.Time, ok bool) {
	if start.IsZero() {
		return due, false
	}
	now, before := offset(start), offset(start.Add(-1))
	over := start.Add(now - before) // when the clock from before would show what it shows now at start
	if !t.Before(over) {            // in particular where the clock went back
		return due, false
	}
	due = s.after(t, before)
	return due, !due.IsZero() && due.Before(over) && due.Before(s.after(start.Add(-1), now))
}
