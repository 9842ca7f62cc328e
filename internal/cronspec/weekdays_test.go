package cronspec

import (
	"strings"
	"testing"
	"time"
)

// TestSundayIsZeroOrSeven: the days of 2026-03-02, a Monday, and the week after
// it on which each field fires.
func TestSundayIsZeroOrSeven(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{
		"7":            "Sun",
		"0":            "Sun",
		"sun":          "Sun",
		"SUN":          "Sun",
		"07":           "Sun",
		"7-7":          "Sun",
		"7/2":          "Sun",
		"*/7":          "Sun",
		"0-7/7":        "Sun",
		"0,7":          "Sun",
		"5-7":          "Fri Sat Sun",
		"fri-sun":      "Fri Sat Sun",
		"Fri-7":        "Fri Sat Sun",
		"0-7":          "Mon Tue Wed Thu Fri Sat Sun",
		"1-7":          "Mon Tue Wed Thu Fri Sat Sun",
		"mon-sun":      "Mon Tue Wed Thu Fri Sat Sun",
		"sun-sat":      "Mon Tue Wed Thu Fri Sat Sun",
		"1-7/2":        "Mon Wed Fri Sun",
		"2-7/2":        "Tue Thu Sat",
		"0-7/2":        "Tue Thu Sat Sun",
		"6-7/99999999": "Sat",
		"wed,7":        "Wed Sun",
		"1,6-7":        "Mon Sat Sun",
		"sun-tue":      "Mon Tue Sun",
	} {
		for _, spec := range []string{"30 12 * * " + field, "0 30 12 * * " + field} {
			s, err := Parse(spec)
			if err != nil {
				t.Error(err)
				continue
			}
			var days []string
			end := at(t, "UTC", "2026-03-08 23:59:59")
			for now := s.For("a").Next(at(t, "UTC", "2026-03-02 00:00:00")); now.Before(end); now = s.For("a").Next(now) {
				days = append(days, now.Format("Mon"))
			}
			if got := strings.Join(days, " "); got != want {
				t.Errorf("%q fires on %s, want %s", spec, got, want)
			}
		}
	}
	for _, field := range []string{"8", "7-1", "6-8", "-7", "7-", "sat-mon", "sunday", "7/0", "1-7/0", "7,8", "sun-mon-7"} {
		if s, err := Parse("30 12 * * " + field); err == nil {
			t.Errorf("%q is accepted, and fires next at %v", field, s.For("a").Next(time.Now()))
		}
	}
}
