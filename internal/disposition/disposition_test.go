package disposition

import (
	"slices"
	"strings"
	"testing"
)

func TestValuesAreReadInAnyCase(t *testing.T) {
	t.Parallel()
	for _, d := range Dispositions() {
		for _, s := range []string{string(d), strings.ToLower(string(d))} {
			if got, err := Parse(s); err != nil || got != d {
				t.Errorf("Parse(%q) = %q, %v", s, got, err)
			}
		}
	}
	for _, p := range Pulls() {
		for _, s := range []string{p.String(), strings.ToLower(p.String())} {
			if got, err := ParsePull(s); err != nil || got != p {
				t.Errorf("ParsePull(%q) = %v, %v", s, got, err)
			}
		}
	}
	if _, err := Parse("ERASE"); err == nil || !strings.Contains(err.Error(), "DELETE, KEEP, SEEN") {
		t.Errorf("Parse(ERASE) says %v", err)
	}
	if _, err := ParsePull("FIRST"); err == nil || !strings.Contains(err.Error(), "GET_LAST_UNREAD_MESSAGE") {
		t.Errorf("ParsePull(FIRST) says %v", err)
	}
}

func TestFirstIsTheOldestAndLastTheNewest(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]int{
		"GET_FIRST_MESSAGE": {1, 2, 3}, "GET_FIRST_UNREAD_MESSAGE": {1, 2, 3},
		"GET_LAST_MESSAGE": {3, 2, 1}, "GET_LAST_UNREAD_MESSAGE": {3, 2, 1},
	} {
		p, err := ParsePull(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(p.Positions(3)); !slices.Equal(got, want) {
			t.Errorf("%s looks at %v", name, got)
		}
		if p.Unread != strings.Contains(name, "UNREAD") {
			t.Errorf("%s: unread is %v", name, p.Unread)
		}
	}
}

func TestWhatIsInForceSatisfies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wanted, was Disposition
		satisfied   bool
	}{
		{Keep, Keep, true},
		{Keep, Seen, true},
		{Seen, Seen, true},
		{Seen, Keep, false},
		{Delete, Keep, false},
		{Delete, Seen, false},
		{Delete, Delete, false},
	} {
		if got := c.wanted.Satisfied(c.was); got != c.satisfied {
			t.Errorf("%s after %s: %v", c.wanted, c.was, got)
		}
	}
}
