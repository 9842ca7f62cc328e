package header

import (
	"strconv"
	"strings"
	"time"
)

// maxDate is how many bytes of a date are read.
const maxDate = 200

// Date reads the value of a field such as Date (RFC 5322, sections 3.3 and 4.3), and
// whatever else is seen there that means one moment only: the formats of ctime and
// ISO 8601, and dates with a wrong weekday, or without a weekday, seconds or time.
//
// Its location is the offset of the sender. A zone that is missing, or whose name
// RFC 5322 does not know, is -0000, as it says. The clock and the zone of this host
// play no part.
func Date(value string) (time.Time, bool) {
	text := strings.ToLower(uncommented(Legible(value[:min(len(value), maxDate)])))
	if strings.Contains(text, ".m.") {
		text = strings.NewReplacer("a.m.", "am", "p.m.", "pm").Replace(text)
	}
	d := date{day: -1, month: -1, year: -1, hour: -1}
	for _, token := range dateTokens(text) {
		if !d.token(token) {
			return time.Time{}, false
		}
	}
	return d.time()
}

// dateTokens are the words of a date. Blanks may stand around a colon (section 4.3),
// and behind a sign.
func dateTokens(text string) []string {
	fields := strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == ',' || r == ';' || r == '"' || r == '\u00a0' })
	tokens := fields[:0]
	last := ""
	for _, field := range fields {
		if last != "" && (strings.HasSuffix(last, ":") || field[0] == ':' || (last == "+" || last == "-") && len(field) == 4) {
			last += field
			tokens[len(tokens)-1] = last
			continue
		}
		last = field
		tokens = append(tokens, field)
	}
	return tokens
}

// date is what is known of a date; a negative number is not known.
type date struct {
	day, month, year     int
	hour, minute, second int
	half                 string // "am" or "pm"
	zone                 int    // seconds east of Greenwich
	numbered             bool   // the zone was a number, which says it better than a name
	strange              int    // words without a meaning
}

// time is the moment, if there is one.
func (d *date) time() (time.Time, bool) {
	switch {
	case d.hour < 0: // a day without a time begins
		d.hour = 0
	case d.half == "pm" && d.hour < 12:
		d.hour += 12
	case d.half == "am" && d.hour == 12:
		d.hour = 0
	}
	midnight := d.hour == 24 && d.minute == 0 && d.second == 0
	if d.year < 0 || d.month < 1 || d.month > 12 || d.day < 1 || d.hour > 23 && !midnight || d.minute > 59 || d.second > 60 || d.strange > 2 {
		return time.Time{}, false
	}
	if time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, time.UTC).Day() != d.day {
		return time.Time{}, false
	}
	return time.Date(d.year, time.Month(d.month), d.day, d.hour, d.minute, d.second, 0, time.FixedZone("", d.zone)), true
}

// token reads one word, and reports whether it can be part of a date.
func (d *date) token(t string) bool {
	word, rest := span(t, isLetter)
	number, behind := span(t, isDigit)
	switch {
	case t == "":
		return true
	case rest == "" || rest == ".":
		return d.word(word)
	case isSign(rest[0]) && months[word[:min(3, len(word))]] == 0: // +0100, GMT+0100
		return d.offset(rest)
	case number != "" && strings.HasPrefix(behind, ":"):
		return d.clock(t)
	case number != "" && len(behind) > 1 && behind[0] == 't' && isDigit(behind[1]): // 20260131T082958Z
		return d.number(number) && d.clock(behind[1:])
	case number != "" && behind == "":
		return d.number(number)
	case number != "" && isLetter(behind[0]): // 31st, 31jan2026
		switch behind {
		case "st", "nd", "rd", "th":
			behind = ""
		}
		return d.number(number) && d.token(behind)
	case word != "" && isDigit(rest[0]):
		return d.word(word) && d.token(rest)
	}
	return d.parts(t)
}

// parts reads a word of several parts, such as 31-Jan-2026 or 2026-01-31T08:29:58Z.
func (d *date) parts(t string) bool {
	at := strings.IndexAny(t, "-/.")
	if at < 0 {
		return false
	}
	separator := t[at : at+1]
	parts := strings.SplitN(t, separator, 3)
	last := parts[len(parts)-1]
	if number, behind := span(last, isDigit); number != "" && len(parts) == 3 && behind != "" { // a time follows
		if !d.clock(strings.TrimLeft(behind, "t:")) {
			return false
		}
		parts[2] = number
	}
	if _, behind := span(strings.Join(parts, ""), isDigit); len(parts) < 3 || behind != "" {
		for _, part := range parts {
			if strings.ContainsAny(part, "-/.") || !d.token(part) {
				return false
			}
		}
		return true
	}
	day, month, year := parts[0], parts[1], parts[2]
	a, b := atoi(day), atoi(month)
	switch {
	case len(day) == 4: // 2026-01-31
		day, year = year, day
	case separator == ".", a > 12, a == b: // 31.01.2026; 31/01/2026
	case b > 12: // 01/31/2026
		day, month = month, day
	default: // the month, or the day?
		return false
	}
	if d.month >= 0 {
		return false
	}
	d.month = atoi(month)
	return d.number(day) && d.number(year)
}

// number reads a number that stands alone: a year where it cannot be a day.
func (d *date) number(digits string) bool {
	n := atoi(digits)
	switch {
	case len(digits) == 8: // 20260131
		if d.year >= 0 || d.month >= 0 || d.day >= 0 {
			return false
		}
		d.year, d.month, d.day = n/10000, n/100%100, n%100
		return true
	case len(digits) > 4:
		return false
	case len(digits) <= 2 && n <= 31 && d.day < 0:
		d.day = n
		return true
	case len(digits) == 1 || d.year >= 0:
		return false
	}
	switch d.year = n; { // section 4.3
	case len(digits) == 2 && n < 50:
		d.year += 2000
	case len(digits) <= 3:
		d.year += 1900
	}
	return true
}

// clock reads a time, and what stands right behind it.
func (d *date) clock(t string) bool {
	if d.hour >= 0 {
		return false
	}
	digits, rest := span(t, isDigit)
	if len(digits) == 6 || len(digits) == 4 { // 082958
		d.hour, d.minute, d.second = atoi(digits[:2]), atoi(digits[2:4]), atoi("0"+digits[4:])
		return d.token(rest)
	}
	fields := [3]int{}
	for i := range fields {
		if fields[i] = atoi(digits); len(digits) == 0 || len(digits) > 2 {
			return false
		}
		if !strings.HasPrefix(rest, ":") {
			if i == 0 {
				return false
			}
			break
		}
		if i < len(fields)-1 {
			digits, rest = span(rest[1:], isDigit)
		}
	}
	d.hour, d.minute, d.second = fields[0], fields[1], fields[2]
	if strings.HasPrefix(rest, ".") { // parts of a second
		_, rest = span(rest[1:], isDigit)
	}
	return d.token(rest)
}

// offset reads a zone in numbers. One that means nothing is -0000.
func (d *date) offset(t string) bool {
	digits, rest := span(t[1:], isDigit)
	if minutes, behind := span(strings.TrimPrefix(rest, ":"), isDigit); len(digits) <= 2 && len(minutes) == 2 && rest[0] == ':' {
		digits, rest = digits+minutes, behind
	}
	hours, minutes := digits, ""
	if len(digits) > 2 {
		hours, minutes = digits[:len(digits)-2], digits[len(digits)-2:]
	}
	if digits == "" { // a dash between two words
		return d.token(rest)
	}
	if len(digits) <= 4 && atoi(minutes) < 60 {
		d.zone, d.numbered = (atoi(hours)*60+atoi(minutes))*60, true
		if t[0] == '-' {
			d.zone = -d.zone
		}
	}
	return d.token(rest)
}

// word reads the name of a month, a zone, a weekday or half a day. The weekday means
// nothing: the date says it better.
func (d *date) word(w string) bool {
	short := w[:min(3, len(w))]
	month, named := months[short], strings.HasPrefix(monthNames[months[short]], w) || w == "sept"
	hours, known := zones[w]
	switch {
	case month > 0 && named && d.month < 0:
		d.month = month
	case w == "am", w == "pm":
		d.half = w
	case known && !d.numbered:
		d.zone = hours * 60 * 60
	case known, len(w) == 1, strings.Contains("sun mon tue wed thu fri sat", short) && len(short) == 3: // one letter is a zone of armies, which mail got wrong
	default:
		d.strange++
	}
	return true
}

var monthNames = [...]string{"", "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}

// months are their numbers by their first three letters.
var months = func() map[string]int {
	all := make(map[string]int)
	for i, name := range monthNames[1:] {
		all[name[:3]] = i + 1
	}
	return all
}()

// zones are the names that RFC 5322, section 4.3, knows, in hours east of Greenwich.
var zones = map[string]int{
	"ut": 0, "utc": 0, "gmt": 0, "z": 0,
	"edt": -4, "est": -5, "cdt": -5, "cst": -6, "mdt": -6, "mst": -7, "pdt": -7, "pst": -8,
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || c >= 0x80 }
func isSign(c byte) bool   { return c == '+' || c == '-' }

// span is the longest beginning of a text that is all of one kind, and the rest.
func span(text string, kind func(byte) bool) (begin, rest string) {
	for i := range len(text) {
		if !kind(text[i]) {
			return text[:i], text[i:]
		}
	}
	return text, ""
}

// atoi is the number of a few digits; that of none is 0.
func atoi(digits string) int {
	n, _ := strconv.Atoi(digits[:min(len(digits), 9)])
	return n
}
