// Package cronspec says what a schedule: of the configuration means. It parses
// with github.com/robfig/cron/v3, refuses what that parser would panic on,
// round silently or never fire, keeps schedules through changes of the clock, and
// spreads @every polls over their interval.
// It is pure: no clock, no state; only the time zone database is read.
package cronspec

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Accepted says what Parse takes, for error messages and documentation.
const Accepted = `five or six cron fields ("*/5 * * * *"), ` +
	`@hourly, @daily, @weekly, @monthly, @yearly, or "@every 1m" (whole seconds, 1s to 8760h), ` +
	`each after an optional "CRON_TZ=Area/City "`

const (
	every       = "@every"
	maxInterval = 8760 * time.Hour
)

// Schedule is a parsed schedule. The zero value is not one; Parse makes them.
// It is never changed and may be used by many goroutines.
type Schedule struct {
	spec     string
	interval time.Duration // of @every, else 0
	fields   cron.Schedule // of cron fields or a descriptor; nil for @every
}

// Parse reads five or six cron fields, a descriptor such as @hourly, or
// "@every DURATION", each after an optional "CRON_TZ=ZONE " ("TZ=ZONE " too).
// What would never fire is an error. The errors say what was found and what is
// accepted.
func Parse(spec string) (Schedule, error) {
	s := Schedule{spec: spec}
	if err := s.parse(strings.Fields(spec)); err != nil {
		return Schedule{}, fmt.Errorf("%q is not a schedule: %w; accepted are %s", spec, err, Accepted)
	}
	return s, nil
}

func (s *Schedule) parse(words []string) error {
	zone := ""
	if len(words) > 0 && (strings.HasPrefix(words[0], "CRON_TZ=") || strings.HasPrefix(words[0], "TZ=")) {
		// The library panics when nothing follows, takes an empty name for UTC,
		// and looks for a blank where a tab may stand.
		zone, words = words[0]+" ", words[1:]
		if strings.HasSuffix(zone, "= ") {
			return errors.New("it names no time zone")
		}
	}
	if len(words) == 0 {
		return errors.New("it says no time")
	}
	if strings.HasPrefix(words[0], "@") {
		words[0] = strings.ToLower(words[0])
	}
	if words[0] == every {
		interval, err := parseInterval(words[1:])
		s.interval = interval
		if err != nil || zone == "" {
			return err
		}
		words = []string{"@hourly"} // has the zone judged, which changes no interval
	}
	words = sundays(words)
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	parsed, err := parser.Parse(zone + strings.Join(words, " "))
	if err != nil {
		return err
	}
	fields, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return fmt.Errorf("the cron library made a %T of it", parsed)
	}
	wall := clock{fields: fields, zone: fields.Location}
	if fields.Location == time.Local { // no CRON_TZ
		wall.zone = nil
	}
	fields.Location = time.UTC
	s.fields = daily{wall}
	if paced(words) {
		s.fields = steady{wall}
	}
	return fires(fields)
}

// paced reports whether a schedule has a wildcard or a step in its hours or
// minutes.
func paced(words []string) bool {
	if len(words) == 1 { // a descriptor
		return words[0] == "@hourly"
	}
	day := words[len(words)-5:] // without seconds
	return strings.ContainsAny(day[0]+day[1], "*?/") || day[1] == "0-23"
}

// parseInterval reads what follows @every. The library would round it to whole
// seconds, and up to one, without a word.
func parseInterval(words []string) (time.Duration, error) {
	if len(words) != 1 {
		return 0, fmt.Errorf("%s takes one duration, not %d", every, len(words))
	}
	interval, err := time.ParseDuration(words[0])
	switch {
	case err != nil:
		return 0, err
	case interval < time.Second || interval > maxInterval:
		return 0, fmt.Errorf("the interval %s is not between 1s and 8760h", words[0])
	case interval%time.Second != 0:
		return 0, fmt.Errorf("the interval %s is not in whole seconds", words[0])
	}
	return interval, nil
}

// fires reports why fields never match: a list without a value, or a day that
// no month of theirs has.
func fires(fields *cron.SpecSchedule) error {
	for _, f := range []struct {
		name string
		bits uint64
	}{
		{"second", fields.Second},
		{"minute", fields.Minute},
		{"hour", fields.Hour},
		{"day of month", fields.Dom},
		{"month", fields.Month},
		{"day of week", fields.Dow},
	} {
		// Judged first: Next would walk through every second of five years.
		if f.bits == 0 {
			return fmt.Errorf("the field %s has no value", f.name)
		}
	}
	// Any day there is occurs within five years from here, 29 February too.
	if fields.Next(time.Date(2024, time.January, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return errors.New("it never fires: there is no such day")
	}
	return nil
}

// String is the schedule as it was given to Parse.
func (s Schedule) String() string { return s.spec }

// Interval is the interval of @every, and 0 for every other schedule.
func (s Schedule) Interval() time.Duration { return s.interval }

// For is when the connection of that name is due. Cron fields match the clock
// of their CRON_TZ, else of the location of the time that Next is given; see
// daily and steady for the days on which it changes. @every fires at multiples of the interval since
// the Unix epoch, moved by whole seconds that depend on the name alone: many
// connections are spread over the interval, and a restart moves none of them.
// Next is always later than the time it is given.
func (s Schedule) For(name string) cron.Schedule {
	if s.interval == 0 {
		return s.fields
	}
	hash := fnv.New32a()
	hash.Write([]byte(name))
	seconds := int64(s.interval / time.Second)
	return spread{seconds: seconds, offset: int64(hash.Sum32()) % seconds}
}

// spread fires in the seconds of Unix time that leave offset when divided by
// seconds. Whole seconds keep the scheduler's wake-ups at one a second, however
// many connections there are.
type spread struct{ seconds, offset int64 }

// Next implements cron.Schedule.
func (s spread) Next(t time.Time) time.Time {
	since := (t.Unix() - s.offset) % s.seconds
	if since < 0 {
		since += s.seconds
	}
	return time.Unix(t.Unix()-since+s.seconds, 0).In(t.Location())
}
