package cronspec

import (
	"slices"
	"strconv"
	"strings"
)

// sunday is the number of the last day of a week that begins on Monday. The
// library knows it as 0 alone.
const sunday = 7

// sundays is the fields with Sunday as 0 in the day of week, where they have it
// as 7, or as the end of a range. Whatever else is there is left to the library.
func sundays(words []string) []string {
	if len(words) < 5 || len(words) > 6 {
		return words
	}
	last := len(words) - 1
	items := strings.Split(words[last], ",")
	for i, item := range items {
		items[i] = untilSunday(item)
	}
	return append(slices.Clone(words[:last]), strings.Join(items, ","))
}

// untilSunday is 7, a range up to 7, or such a range with a step, as the list of
// its days. Other items stay as they are.
func untilSunday(item string) string {
	days, by, stepped := strings.Cut(item, "/")
	from, to, ranged := strings.Cut(days, "-")
	first, ok := weekday(from)
	if !ok {
		return item
	}
	end := first
	if ranged {
		if end, ok = weekday(to); !ok {
			return item
		}
		if end == 0 && first > 0 { // fri-sun
			end = sunday
		}
	}
	step, err := 1, error(nil)
	if stepped {
		step, err = strconv.Atoi(by)
	}
	if end != sunday || first > end || err != nil || step < 1 {
		return item
	}
	var list []string
	for day := first; day <= sunday; day += min(step, sunday+1) {
		list = append(list, strconv.Itoa(day%sunday))
	}
	return strings.Join(list, ",")
}

// weekday is the number of a day of the week, 0 to 7, by its number or name.
func weekday(s string) (day int, ok bool) {
	names := []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	if i := slices.Index(names, strings.ToLower(s)); i >= 0 {
		return i, true
	}
	day, err := strconv.Atoi(s)
	return day, err == nil && day >= 0 && day <= sunday
}
