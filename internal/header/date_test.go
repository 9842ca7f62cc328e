package header

import (
	"bytes"
	"net/mail"
	"os"
	"os/exec"
	"regexp"
	"testing"
	"time"
)

func TestDate(t *testing.T) {
	t.Parallel()
	const moment = "2026-01-31T08:29:58"
	for value, want := range map[string]string{
		"Sat, 31 Jan 2026 08:29:58 +0100":                moment + "+01:00",
		"31 Jan 2026 08:29:58 -0000":                     moment + "Z",
		"Sat, 31 Jan 2026 08:29 +0100":                   "2026-01-31T08:29:00+01:00",
		"Sat, 3 Jan 2026 8:9:5 +0100":                    "2026-01-03T08:09:05+01:00",
		"Sat,  03\tJan 2026\r\n 08:29:58 -0330":          "2026-01-03T08:29:58-03:30",
		"Sat,31 Jan 2026,08:29:58 +0100":                 moment + "+01:00",
		"Sat (a day), 31 Jan (((x))\\() 2026 08:29:58 Z": moment + "Z",
		"Mon, 31 Jan 2026 08:29:58 +0100":                moment + "+01:00", // it was a Saturday
		"Samstag, 31 Jan 2026 08:29:58 +0100":            moment + "+01:00",
		"Saturday, 31 January 2026 08:29:58 +0100":       moment + "+01:00",
		"sat, 31 JAN 2026 08:29:58 gmt":                  moment + "Z",
		"Sat, 31 Jan 2026 08 : 29: 58 + 0100":            moment + "+01:00",
		"Sat, 31 Jan 2026 08:29:58.123 +0100":            moment + "+01:00",
		"Sat, 31 Jan 2026 08:29:60 +0000":                "2026-01-31T08:30:00Z",
		"Sat, 31 Jan 2026 24:00:00 +0000":                "2026-02-01T00:00:00Z",
		"Sat, 31 Jan 2026":                               "2026-01-31T00:00:00Z",

		// Years (RFC 5322, section 4.3).
		"31 Jan 26 08:29:58 +0000":  moment + "Z",
		"31 Jan 49 08:29:58 +0000":  "2049-01-31T08:29:58Z",
		"31 Jan 50 08:29:58 +0000":  "1950-01-31T08:29:58Z",
		"31 Jan 126 08:29:58 +0000": moment + "Z",

		// Zones (section 4.3).
		"Sat, 31 Jan 2026 08:29:58 EST":           moment + "-05:00",
		"Sat, 31 Jan 2026 08:29:58 EDT":           moment + "-04:00",
		"Sat, 31 Jan 2026 08:29:58 CST":           moment + "-06:00",
		"Sat, 31 Jan 2026 08:29:58 CDT":           moment + "-05:00",
		"Sat, 31 Jan 2026 08:29:58 MST":           moment + "-07:00",
		"Sat, 31 Jan 2026 08:29:58 MDT":           moment + "-06:00",
		"Sat, 31 Jan 2026 08:29:58 PST":           moment + "-08:00",
		"Sat, 31 Jan 2026 08:29:58 PDT":           moment + "-07:00",
		"Sat, 31 Jan 2026 08:29:58 UT":            moment + "Z",
		"Sat, 31 Jan 2026 08:29:58 UTC":           moment + "Z",
		"Sat, 31 Jan 2026 08:29:58 A":             moment + "Z", // what armies call +1 was -1 in RFC 822
		"Sat, 31 Jan 2026 08:29:58 CET":           moment + "Z",
		"Sat, 31 Jan 2026 08:29:58 MEZ":           moment + "Z",
		"Sat, 31 Jan 2026 08:29:58 MET DST":       moment + "Z",
		"Sat, 31 Jan 2026 08:29:58":               moment + "Z",
		"Sat, 31 Jan 2026 08:29:58 -0500 (EST)":   moment + "-05:00",
		"Sat, 31 Jan 2026 08:29:58 (EST)":         moment + "Z", // a comment
		"Sat, 31 Jan 2026 08:29:58 +0100 CET":     moment + "+01:00",
		"Sat, 31 Jan 2026 08:29:58 EST -0600":     moment + "-06:00",
		"Sat, 31 Jan 2026 08:29:58 -0600 EST":     moment + "-06:00",
		"Sat, 31 Jan 2026 08:29:58 EST-0500":      moment + "-05:00",
		"Sat, 31 Jan 2026 08:29:58 GMT+0100":      moment + "+01:00",
		"Sat, 31 Jan 2026 08:29:58 UTC-5":         moment + "-05:00",
		"Sat, 31 Jan 2026 08:29:58 +01:00":        moment + "+01:00",
		"Sat, 31 Jan 2026 08:29:58 +1":            moment + "+01:00",
		"Sat, 31 Jan 2026 08:29:58 -500":          moment + "-05:00",
		"Sat, 31 Jan 2026 08:29:58+0100":          moment + "+01:00",
		"Sat, 31 Jan 2026 08:29:58 +0000GMT":      moment + "Z",
		"Sat, 31 Jan 2026 08:29:58 +0060":         moment + "Z", // there is no such zone
		"Sat, 31 Jan 2026 08:29:58 +01000":        moment + "Z",
		"Sat, 31 Jan 2026 08:29:58 \"EST\"":       moment + "-05:00",
		"Sat, 31 Jan 2026 08:29:58 EST (a (b) c)": moment + "-05:00",

		// What else is to be seen.
		"Sat Jan 31 08:29:58 2026":                         moment + "Z", // ctime
		"Sat Jan  3 08:29:58 2026 +0100":                   "2026-01-03T08:29:58+01:00",
		"Sat Jan 31 08:29:58 EST 2026":                     moment + "-05:00", // date(1)
		"Sat Jan 31 2026 08:29:58 GMT+0100 (CET)":          moment + "+01:00", // JavaScript
		"2026-01-31T08:29:58Z":                             moment + "Z",
		"2026-01-31T08:29:58.123-05:00":                    moment + "-05:00",
		"2026-01-31 08:29:58 +0100":                        moment + "+01:00",
		"2026/01/31 08:29:58":                              moment + "Z",
		"20260131T082958Z":                                 moment + "Z",
		"20260131":                                         "2026-01-31T00:00:00Z",
		"Sat, 31-Jan-2026 08:29:58 GMT":                    moment + "Z",
		"Sat, 31-Jan-26 08:29:58 GMT":                      moment + "Z",
		"31/Jan/2026:08:29:58 +0100":                       moment + "+01:00",
		"Jan-31-2026 08:29:58":                             moment + "Z",
		"31Jan2026 08:29:58":                               moment + "Z",
		"31.01.2026 08:29:58":                              moment + "Z",
		"1.2.2026 08:29:58":                                "2026-02-01T08:29:58Z",
		"31/01/2026 08:29:58":                              moment + "Z",
		"01/31/2026 08:29:58 AM":                           moment + "Z",
		"02/02/2026 08:29:58 PM":                           "2026-02-02T20:29:58Z",
		"Saturday, January 31st, 2026 at 8:29:58 p.m. PST": "2026-01-31T20:29:58-08:00",
		"31 Jan 2026 12:29:58am":                           "2026-01-31T00:29:58Z",
		"31 Jan 2026 12:29:58 PM":                          "2026-01-31T12:29:58Z",
		"31 Jan 2026 20:29:58 PM":                          "2026-01-31T20:29:58Z",
		"31 Jan 2026 - 08:29:58":                           moment + "Z",
		"31\u00a0Jan\xa02026 08:29:58 +0100":               moment + "+01:00",

		// What means nothing, or one of two moments.
		"":                                     "",
		"soon":                                 "",
		"Date: Sat":                            "",
		"01/02/2026 08:29:58":                  "",
		"01-02-2026 08:29:58":                  "",
		"Sat, 31 Jan 20260 08:29:58 +0100":     "",
		"Sat, 30 Feb 2026 08:29:58 +0100":      "",
		"Sat, 29 Feb 2025 08:29:58 +0100":      "",
		"Sat, 32 Jan 2026 08:29:58 +0100":      "",
		"Sat, 0 Jan 2026 08:29:58 +0100":       "",
		"Sat, 31 Jan 2026 25:00:00 +0100":      "",
		"Sat, 31 Jan 2026 24:00:01 +0100":      "",
		"Sat, 31 Jan 2026 08:60:00 +0100":      "",
		"Sat, 31 Jan 2026 08:29:61 +0100":      "",
		"Sat, 31 Jan 2026 08:29:580 +0100":     "",
		"Sat, 31 Jan 2026 08: +0100":           "",
		"Sat, 31 Jan 2026 :08:29 +0100":        "",
		"Sat, 31 Jan 08:29:58 +0100":           "",
		"Sat, 31 2026 08:29:58 +0100":          "",
		"Jan 2026 08:29:58":                    "",
		"31 Jan 2026 08:29:58 09:29:58":        "",
		"31 Jan 2026 2027 08:29:58":            "",
		"31 Jan 5 08:29:58":                    "",
		"31 Jan 2026 08:29:58 and so on, more": "",
		"1769848198":                           "",
		"2026-13-01T08:29:58Z":                 "",
		"2026-W05-6":                           "",
		"((((":                                 "",
		"\x1b$B7oL>\x1b(B":                     "",
	} {
		at, ok := Date(value)
		got := ""
		if ok {
			got = at.Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q: %q; wanted %q", value, got, want)
		}
	}
}

// TestTheZoneOfTheHostMeansNothing reads the dates of TestDate in other zones: EST is
// not that of New York, and no date is that of Berlin.
func TestTheZoneOfTheHostMeansNothing(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"UTC", "America/New_York", "Europe/Berlin", "Australia/Sydney"} { // which has an EST of its own
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDate$", "-test.v")
		command.Env = append(os.Environ(), "TZ="+zone)
		if out, err := command.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS: TestDate")) {
			t.Errorf("%s: %v\n%s", zone, err, out)
		}
	}
}

// FuzzDate: a date by the book is the one that the standard library reads.
func FuzzDate(f *testing.F) {
	for _, value := range []string{"Sat, 31 Jan 2026 08:29:58 +0100 (CET)", "3 Feb 2026 8:29 -0500", "2026-01-31T08:29:58.1Z", "Sat Jan 31 08:29:58 EST 26", "01/31/26 1:02 pm", "31-Jan-2026 + 0100"} {
		f.Add(value)
	}
	book := regexp.MustCompile(`^[A-Za-z]{3}, \d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d(:\d\d)? [+-]\d{4}( \([^()\\]*\))?$`)
	f.Fuzz(func(t *testing.T, value string) {
		at, ok := Date(value)
		if ok && (at.Year() < -1 || at.Year() > 10000) {
			t.Errorf("%v", at)
		}
		if want, err := mail.ParseDate(value); err == nil && book.MatchString(value) && (!ok || !at.Equal(want)) {
			t.Errorf("%q: %v, %t; by the standard library %v", value, at, ok, want)
		}
	})
}
