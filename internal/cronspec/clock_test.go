package cronspec

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// runs are when a schedule is due between two readings of a clock, each with
// its offset from UTC.
func runs(t *testing.T, spec, zone, from, to string) []time.Time {
	t.Helper()
	s, err := Parse(spec)
	if err != nil {
		t.Fatal(err)
	}
	var all []time.Time
	end := at(t, zone, to)
	for now := s.For("a").Next(at(t, zone, from)); now.Before(end); now = s.For("a").Next(now) {
		if all = append(all, now); len(all) > 100_000 {
			t.Fatalf("%q in %s never gets past %s", spec, zone, now)
		}
	}
	return all
}

// TestTheDayOfAChange: what a day comes to on which the clock changes. Each row
// has the runs of 24 or more hours around the change, by the clock of the zone
// and with its offset.
func TestTheDayOfAChange(t *testing.T) {
	t.Parallel()
	const hour = "@hourly"
	for _, c := range []struct{ zone, spec, from, to, want string }{
		// The hour from 2 to 3 is left out on 29 March 2026, and comes twice on 25 October.
		{"Europe/Berlin", "30 2 * * *", "2026-03-28 12:00:00", "2026-03-30 12:00:00", "29 03:00 +2, 30 02:30 +2"},
		{"Europe/Berlin", "30 2 * * *", "2026-10-24 12:00:00", "2026-10-26 12:00:00", "25 02:30 +2, 26 02:30 +1"},
		{"Europe/Berlin", "0 2 * * *", "2026-03-28 12:00:00", "2026-03-29 12:00:00", "29 03:00 +2"},
		{"Europe/Berlin", "0 3 * * *", "2026-03-28 12:00:00", "2026-03-29 12:00:00", "29 03:00 +2"},
		{"Europe/Berlin", "0 3 * * *", "2026-10-24 12:00:00", "2026-10-25 12:00:00", "25 03:00 +1"},
		{"Europe/Berlin", "0 2 * * *", "2026-10-24 12:00:00", "2026-10-25 12:00:00", "25 02:00 +2"},
		{"Europe/Berlin", "59 1 * * *", "2026-03-28 12:00:00", "2026-03-29 12:00:00", "29 01:59 +1"},
		{"Europe/Berlin", "0,30 2,3 * * *", "2026-03-28 12:00:00", "2026-03-29 12:00:00", "29 03:00 +2, 29 03:30 +2"},
		{"Europe/Berlin", "0 1-4 * * *", "2026-10-25 00:00:00", "2026-10-25 12:00:00", "25 01:00 +2, 25 02:00 +2, 25 03:00 +1, 25 04:00 +1"},
		{"Europe/Berlin", "15 30 2 * * *", "2026-03-28 12:00:00", "2026-03-29 12:00:00", "29 03:00 +2"},
		{"Europe/Berlin", "30 2 29 3 *", "2026-03-01 12:00:00", "2026-04-30 12:00:00", "29 03:00 +2"},
		{"Europe/Berlin", "30 2 * * sun", "2026-03-28 12:00:00", "2026-04-01 12:00:00", "29 03:00 +2"},
		{"Europe/Berlin", hour, "2026-03-29 00:30:00", "2026-03-29 04:30:00", "29 01:00 +1, 29 03:00 +2, 29 04:00 +2"},
		{"Europe/Berlin", hour, "2026-10-25 00:30:00", "2026-10-25 04:30:00", "25 01:00 +2, 25 02:00 +2, 25 02:00 +1, 25 03:00 +1, 25 04:00 +1"},
		{"Europe/Berlin", "30 * * * *", "2026-03-29 01:00:00", "2026-03-29 05:00:00", "29 01:30 +1, 29 03:30 +2, 29 04:30 +2"},
		{"Europe/Berlin", "30 0-23 * * *", "2026-10-25 01:45:00", "2026-10-25 04:00:00", "25 02:30 +2, 25 02:30 +1, 25 03:30 +1"},
		{"Europe/Berlin", "0 */2 * * *", "2026-03-28 23:00:00", "2026-03-29 07:00:00", "29 00:00 +1, 29 03:00 +2, 29 04:00 +2, 29 06:00 +2"},
		{"Europe/Berlin", "0 */2 * * *", "2026-10-24 23:00:00", "2026-10-25 05:00:00", "25 00:00 +2, 25 02:00 +2, 25 02:00 +1, 25 04:00 +1"},
		{"Europe/Berlin", "*/20 2 * * *", "2026-03-28 12:00:00", "2026-03-29 12:00:00", "29 03:00 +2, 29 03:20 +2, 29 03:40 +2"},
		{"Europe/Berlin", "*/30 2 * * *", "2026-10-24 12:00:00", "2026-10-25 12:00:00", "25 02:00 +2, 25 02:30 +2, 25 02:00 +1, 25 02:30 +1"},

		// Midnight is left out, or comes twice.
		{"Africa/Cairo", "@daily", "2026-04-23 12:00:00", "2026-04-25 12:00:00", "24 01:00 +3, 25 00:00 +3"},
		{"Africa/Cairo", "0 0 * * *", "2026-10-29 12:00:00", "2026-10-30 12:00:00", "30 00:00 +2"},
		{"Africa/Cairo", "30 23 * * *", "2026-10-28 12:00:00", "2026-10-30 12:00:00", "28 23:30 +3, 29 23:30 +3"},
		{"Africa/Cairo", "0 */12 * * *", "2026-04-23 11:00:00", "2026-04-24 13:00:00", "23 12:00 +2, 24 01:00 +3, 24 12:00 +3"},
		{"Asia/Beirut", "0 0 * * *", "2026-03-28 12:00:00", "2026-03-30 12:00:00", "29 01:00 +3, 30 00:00 +3"},
		{"Asia/Beirut", "@midnight", "2026-10-24 12:00:00", "2026-10-26 12:00:00", "25 00:00 +2, 26 00:00 +2"},
		{"America/Havana", "@daily", "2026-03-07 12:00:00", "2026-03-09 12:00:00", "8 01:00 -4, 9 00:00 -4"},
		{"America/Havana", "@daily", "2026-10-31 12:00:00", "2026-11-02 12:00:00", "1 00:00 -4, 2 00:00 -5"},
		{"Atlantic/Azores", "15 0 * * *", "2026-03-28 12:00:00", "2026-03-30 12:00:00", "29 01:00 +0, 30 00:15 +0"},
		{"Atlantic/Azores", "15 0 * * *", "2026-10-24 12:00:00", "2026-10-26 12:00:00", "25 00:15 +0, 26 00:15 -1"},
		{"America/Sao_Paulo", "@weekly", "2018-11-01 12:00:00", "2018-11-12 12:00:00", "4 01:00 -2, 11 00:00 -2"},
		{"America/Asuncion", "@monthly", "2023-09-15 12:00:00", "2023-10-15 12:00:00", "1 01:00 -3"},
		{"America/Nuuk", "30 23 * * *", "2026-03-27 12:00:00", "2026-03-29 12:00:00", "27 23:30 -2, 29 00:00 -1"},

		// Half an hour, at 2: to 2:30 on 4 October 2026, to 1:30 on 5 April.
		{"Australia/Lord_Howe", "15 2 * * *", "2026-10-03 12:00:00", "2026-10-05 12:00:00", "4 02:30 +11, 5 02:15 +11"},
		{"Australia/Lord_Howe", "45 1 * * *", "2026-04-04 12:00:00", "2026-04-05 12:00:00", "5 01:45 +11"},
		{"Australia/Lord_Howe", "*/20 * * * *", "2026-10-04 01:30:00", "2026-10-04 03:10:00", "4 01:40 +10:30, 4 02:30 +11, 4 02:40 +11, 4 03:00 +11"},
		{"Australia/Lord_Howe", hour, "2026-10-04 00:30:00", "2026-10-04 04:30:00", "4 01:00 +10:30, 4 02:30 +11, 4 03:00 +11, 4 04:00 +11"},
		{"Australia/Lord_Howe", "*/15 * * * *", "2026-04-05 01:20:00", "2026-04-05 02:10:00", "5 01:30 +11, 5 01:45 +11, 5 01:30 +10:30, 5 01:45 +10:30, 5 02:00 +10:30"},

		// 30 December 2011 is no day in Samoa, 31 December 1994 none on Kiritimati.
		{"Pacific/Apia", "0 12 * * *", "2011-12-29 00:00:00", "2012-01-01 00:00:00", "29 12:00 -10, 31 12:00 +14"},
		{"Pacific/Apia", "@daily", "2011-12-28 12:00:00", "2012-01-01 12:00:00", "29 00:00 -10, 31 00:00 +14, 1 00:00 +14"},
		{"Pacific/Apia", "0 12 * * fri", "2011-12-20 00:00:00", "2012-01-07 00:00:00", "23 12:00 -10, 6 12:00 +14"},
		{"Pacific/Apia", hour, "2011-12-29 22:30:00", "2011-12-31 01:30:00", "29 23:00 -10, 31 00:00 +14, 31 01:00 +14"},
		{"Pacific/Kiritimati", "30 6 * * *", "1994-12-30 00:00:00", "1995-01-02 00:00:00", "30 06:30 -10, 1 06:30 +14"},

		// Two hours, in the Antarctic; a change of the zone, of no more than the
		// name, and none at all.
		{"Antarctica/Troll", "30 1 * * *", "2026-03-28 12:00:00", "2026-03-30 12:00:00", "29 03:00 +2, 30 01:30 +2"},
		{"Antarctica/Troll", "30 1 * * *", "2026-10-24 12:00:00", "2026-10-26 12:00:00", "25 01:30 +2, 26 01:30 +0"},
		{"Asia/Pyongyang", "15 0 * * *", "2018-05-04 00:30:00", "2018-05-06 00:30:00", "5 00:15 +9, 6 00:15 +9"},
		{"Asia/Pyongyang", "45 23 * * *", "2018-05-03 12:00:00", "2018-05-06 00:00:00", "3 23:45 +8:30, 5 00:00 +9, 5 23:45 +9"},
		{"Europe/Istanbul", "30 3 * * *", "2016-10-29 12:00:00", "2016-11-01 12:00:00", "30 03:30 +3, 31 03:30 +3, 1 03:30 +3"},
		{"UTC", "30 2 * * *", "2026-03-28 12:00:00", "2026-03-30 12:00:00", "29 02:30 +0, 30 02:30 +0"},
	} {
		for _, way := range []string{"", "CRON_TZ=" + c.zone + " "} { // the machine's zone, and the schedule's
			var got []string
			for _, due := range runs(t, way+c.spec, c.zone, c.from, c.to) {
				offset := strings.TrimSuffix(strings.Replace(due.Format("-07:00"), "0", "", 1), ":00")
				if due.Format("-07:00")[1] != '0' {
					offset = strings.TrimSuffix(due.Format("-07:00"), ":00")
				}
				got = append(got, due.Format("2 15:04 ")+offset)
			}
			if all := strings.Join(got, ", "); all != c.want {
				t.Errorf("%s%s in %s from %s\n got %s\nwant %s", way, c.spec, c.zone, c.from, all, c.want)
			}
		}
	}
}

// TestADailyRunIsThereOnceADay: over ten years, in zones with changes of each
// kind, each day of the calendar has one run, at the first moment at which the
// clock shows the time of the schedule or a later one. Days that a zone skipped
// have none.
func TestADailyRunIsThereOnceADay(t *testing.T) {
	t.Parallel()
	for zone, year := range map[string]int{
		"Africa/Cairo": 2020, "Africa/Casablanca": 2016, "America/Havana": 2016, "America/New_York": 2020, "America/Nuuk": 2018,
		"America/Sao_Paulo": 2010, "Antarctica/Troll": 2016, "Asia/Beirut": 2020, "Asia/Gaza": 2016, "Asia/Pyongyang": 2010,
		"Atlantic/Azores": 2020, "Australia/Lord_Howe": 2020, "Europe/Berlin": 2026, "Europe/Dublin": 2030, "Pacific/Apia": 2006,
		"Pacific/Kwajalein": 1988, "UTC": 2020,
	} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			from, to := fmt.Sprintf("%d-01-01 00:00:00", year), fmt.Sprintf("%d-01-01 00:00:00", year+10)
			wanted := quarters(at(t, zone, from), at(t, zone, to))
			for _, minute := range []int{0, 15, 60, 105, 120, 150, 180, 720, 1380, 1410} {
				spec := fmt.Sprintf("%d %d * * *", minute%60, minute/60)
				due := runs(t, spec, zone, at(t, zone, from).Add(-time.Second).Format(time.DateTime), to)
				for day := minute / 15; day < len(wanted); day += 96 {
					want := wanted[day]
					if want.IsZero() {
						continue
					}
					if len(due) == 0 || !due[0].Equal(want) {
						t.Fatalf("%s: the next run is %v, want %s", spec, due[:min(1, len(due))], want)
					}
					due = due[1:]
				}
				if len(due) > 0 {
					t.Fatalf("%s: %d runs too many, the first at %s", spec, len(due), due[0])
				}
			}
		})
	}
}

// quarters are the moments at which a clock first shows each quarter of an hour
// of some years, or a later one: what a person would write down who sits before
// the clock. Those of days that there are not are zero.
func quarters(begin, end time.Time) []time.Time {
	shown := func(m time.Time) int {
		_, ahead := m.Zone()
		_, first := begin.Zone()
		return int(m.Sub(begin)/time.Second) + ahead - first
	}
	const quarter, day = 15 * 60, 24 * 60 * 60
	moments := make([]time.Time, (shown(end)+quarter-1)/quarter)
	there := make(map[int]bool)
	next := 0
	for m := begin; m.Before(end); m = m.Add(quarter * time.Second) {
		now := shown(m)
		there[now/day] = true
		for ; next < len(moments) && next*quarter <= now; next++ {
			moments[next] = m
		}
	}
	for i := range moments {
		if !there[i*quarter/day] {
			moments[i] = time.Time{}
		}
	}
	return moments
}

// TestAnHourlyRunIsThereEachHour: what has a wildcard in its hours or minutes
// keeps its pace through every change by whole hours, and never waits longer in
// spring where it is by half an hour.
func TestAnHourlyRunIsThereEachHour(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Beirut", "Atlantic/Azores", "Antarctica/Troll", "Pacific/Apia"} {
		for spec, pace := range map[string]time.Duration{
			"@hourly": time.Hour, "17 * * * *": time.Hour, "*/20 * * * *": 20 * time.Minute, "30 0-23 * * *": time.Hour,
			"59 59 * * * *": time.Hour,
		} {
			var last time.Time
			for _, due := range runs(t, spec, zone, "2011-03-01 00:00:00", "2012-03-01 00:00:00") {
				if !last.IsZero() && due.Sub(last) != pace {
					t.Errorf("%s in %s: from %s to %s", spec, zone, last, due)
				}
				last = due
			}
		}
	}
	for _, zone := range []string{"Australia/Lord_Howe", "Europe/Berlin", "Africa/Cairo", "Antarctica/Troll"} {
		for spec, pace := range map[string]time.Duration{"0 */2 * * *": 2 * time.Hour, "0 */6 * * *": 6 * time.Hour, "30 */12 * * *": 12 * time.Hour} {
			var last time.Time
			for _, due := range runs(t, spec, zone, "2024-01-01 00:00:00", "2027-01-01 00:00:00") {
				_, ahead := due.Zone()
				_, before := last.Zone()
				if wait := due.Sub(last); !last.IsZero() && wait > pace && ahead >= before {
					t.Errorf("%s in %s: %v from %s to %s", spec, zone, wait, last, due)
				}
				last = due
			}
		}
	}
}
