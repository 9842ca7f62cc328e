package cronspec

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func at(t *testing.T, zone, clock string) time.Time {
	t.Helper()
	location, err := time.LoadLocation(zone)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := time.ParseInLocation("2006-01-02 15:04:05", clock, location)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestSchedulesFireWhenTheySay(t *testing.T) {
	t.Parallel()
	const zone = "Europe/Berlin"
	for _, c := range []struct{ spec, now, next string }{
		{"*/5 * * * *", "2026-03-04 05:06:07", "2026-03-04 05:10:00"},
		{"30 */5 * * * *", "2026-03-04 05:06:07", "2026-03-04 05:10:30"},
		{"  0\t12 * * mon-fri ", "2026-03-06 12:00:00", "2026-03-09 12:00:00"},
		{"0 0 29 2 *", "2025-01-01 00:00:00", "2028-02-29 00:00:00"},
		{"0 0 31 2 mon", "2026-02-01 00:00:00", "2026-02-02 00:00:00"}, // a day of month or a day of week
		{"@hourly", "2026-03-04 05:06:07", "2026-03-04 06:00:00"},
		{"@daily", "2026-03-04 00:00:00", "2026-03-05 00:00:00"},
		{"@midnight", "2026-03-04 00:00:00", "2026-03-05 00:00:00"},
		{"@weekly", "2026-03-04 05:06:07", "2026-03-08 00:00:00"},
		{"@monthly", "2026-03-04 05:06:07", "2026-04-01 00:00:00"},
		{"@yearly", "2026-03-04 05:06:07", "2027-01-01 00:00:00"},
		{"CRON_TZ=America/New_York 0 12 * * *", "2026-01-04 05:06:07", "2026-01-04 18:00:00"},
		{"TZ=America/New_York\t0 12 * * *", "2026-01-04 05:06:07", "2026-01-04 18:00:00"},
		{"CRON_TZ=UTC @daily", "2026-07-04 05:06:07", "2026-07-05 02:00:00"},
		{"@Daily", "2026-03-04 05:06:07", "2026-03-05 00:00:00"},
	} {
		s, err := Parse(c.spec)
		if err != nil {
			t.Error(err)
			continue
		}
		if s.String() != c.spec || s.Interval() != 0 {
			t.Errorf("%q is remembered as %q with interval %v", c.spec, s, s.Interval())
		}
		next := s.For("any").Next(at(t, zone, c.now))
		if next.Format(time.DateTime) != c.next || next.Location().String() != zone {
			t.Errorf("%q at %s: next is %s, want %s", c.spec, c.now, next, c.next)
		}
	}
}

func TestIntervalsAreWholeSecondsUpToAYear(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]time.Duration{
		"@every 1s":                       time.Second,
		"@every  1m":                      time.Minute,
		"@every 1h30m":                    90 * time.Minute,
		"@every 2000ms":                   2 * time.Second,
		"@every 8760h":                    8760 * time.Hour,
		"CRON_TZ=Europe/Berlin @every 7s": 7 * time.Second,
	} {
		if s, err := Parse(spec); err != nil || s.Interval() != want || s.String() != spec {
			t.Errorf("%q: %v, %v", spec, s.Interval(), err)
		}
	}
}

func TestWhatIsNoScheduleIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ spec, reason string }{
		{"", "it says no time"},
		{" \t", "it says no time"},
		{"CRON_TZ=UTC", "it says no time"},
		{"TZ=UTC ", "it says no time"},
		{"CRON_TZ= * * * * *", "it names no time zone"},
		{"CRON_TZ=Europe/Atlantis * * * * *", "Europe/Atlantis"},
		{"CRON_TZ=Europe/Atlantis @every 1m", "Europe/Atlantis"},
		{"CRON_TZ=../../etc/passwd * * * * *", "passwd"},
		{"* * * *", "expected 5 to 6 fields, found 4"},
		{"* * * * * * *", "expected 5 to 6 fields, found 7"},
		{"60 * * * *", "above maximum (59)"},
		{"* * 0 * *", "below minimum (1)"},
		{"*/0 * * * *", "step of range should be a positive number"},
		{"-1 * * * *", "-1"},
		{"nine * * * *", "nine"},
		{"0 0 30 2 *", "it never fires"},
		{"0 0 31 4,6,9,11 *", "it never fires"},
		{", * * * * *", "the field second has no value"},
		{"* * * , *", "the field month has no value"},
		{"@reboot", "unrecognized descriptor: @reboot"},
		{"@hourly 1", "unrecognized descriptor: @hourly 1"},
		{"@every", "takes one duration, not 0"},
		{"@every 1h 30m", "takes one duration, not 2"},
		{"@every day", "invalid duration"},
		{"@every 60", "missing unit"},
		{"@every 0s", "not between 1s and 8760h"},
		{"@every -5s", "not between 1s and 8760h"},
		{"@every 999ms", "not between 1s and 8760h"},
		{"@every 8761h", "not between 1s and 8760h"},
		{"@every 1500ms", "not in whole seconds"},
		{"@every 99999999999999h", "invalid duration"},
	} {
		_, err := Parse(c.spec)
		if err == nil {
			t.Errorf("%q is accepted", c.spec)
			continue
		}
		for _, part := range []string{fmt.Sprintf("%q is not a schedule", c.spec), c.reason, Accepted} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q: the error does not say %q: %v", c.spec, part, err)
			}
		}
	}
}

func TestIntervalsAreSpreadOverTheirSeconds(t *testing.T) {
	t.Parallel()
	s, err := Parse("@every 1m")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_700_000_000, 0)
	perSecond := make(map[int64]int)
	for i := range 10_000 {
		next := s.For(fmt.Sprintf("connection-%d", i)).Next(now)
		if wait := next.Sub(now); wait <= 0 || wait > time.Minute {
			t.Fatalf("connection %d waits %v", i, wait)
		}
		perSecond[next.Unix()%60]++
	}
	for second := range int64(60) { // 167 each, were they even
		if n := perSecond[second]; n < 100 || n > 250 {
			t.Errorf("%d of 10,000 fire in second %d of the minute", n, second)
		}
	}
}

func TestIntervalsHoldAcrossRestartsAndClockChanges(t *testing.T) {
	t.Parallel()
	s, err := Parse("@every 1h")
	if err != nil {
		t.Fatal(err)
	}
	// The clock of Berlin goes forward in this night.
	now := at(t, "Europe/Berlin", "2026-03-28 23:00:00").Add(123 * time.Millisecond)
	first := s.For("a").Next(now)
	for range 20 {
		next := s.For("a").Next(now) // made anew: as after a restart
		if !next.After(now) || next.Sub(first)%time.Hour != 0 || next.Nanosecond() != 0 {
			t.Fatalf("after %s comes %s; the first was %s", now, next, first)
		}
		if again := s.For("a").Next(next); again.Sub(next) != time.Hour {
			t.Fatalf("after %s comes %s", next, again)
		}
		now = now.Add(17 * time.Minute)
	}
}

func FuzzParse(f *testing.F) {
	for _, spec := range []string{
		"* * * * *", "0 30 2 29 2 *", "@every 90s", "CRON_TZ=America/Sao_Paulo 0 0 * * *", "TZ=UTC",
		"1,, * * * *", "5/3 1-9/2 ? jan-dec sun,6", "@reboot", "CRON_TZ=Local @daily", "0 0 30 2 *",
		"0 0 * * 1-7/9223372036854775807", "CRON_TZ=Pacific/Apia 30 12 * * fri", "CRON_TZ=Australia/Lord_Howe */7 */2 * * *",
	} {
		f.Add(spec, int64(1_774_746_000))
	}
	f.Fuzz(func(t *testing.T, spec string, unix int64) {
		s, err := Parse(spec)
		if err != nil {
			return
		}
		now := time.Unix(unix%(1<<32), 999).UTC() // 1833 to 2106
		next := s.For(spec).Next(now)
		if !next.After(now) && !next.IsZero() {
			t.Errorf("%q: after %s comes %s", spec, now, next)
		}
		if half := now.Add(next.Sub(now) / 2); next.After(half) && !s.For(spec).Next(half).Equal(next) {
			t.Errorf("%q: after %s comes %s, and after %s %s", spec, now, next, half, s.For(spec).Next(half))
		}
	})
}
