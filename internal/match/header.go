package match

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode"

	"mailpoller/internal/header"
)

// Head is what a message says of itself: all that can be known of it without
// its body.
type Head struct {
	fields map[string][]string // by name in lower case; each as it is written, and decoded where that differs
	day    time.Time           // of the field Date, as the clock of the sender showed it; zero for none
	mixed  bool                // the header is one of a message with attachments
}

// ReadHead reads a header. What is no field of one is passed over.
func ReadHead(text []byte) Head {
	fields, _ := header.Read(bytes.NewReader(text)) // memory does not fail
	h := Head{fields: make(map[string][]string, len(fields)), mixed: mixed(fields)}
	for name, values := range fields {
		texts := make([]string, 0, 2*len(values))
		for _, value := range values {
			value = strings.TrimSpace(value)
			texts = append(texts, folded(value))
			if decoded := header.Decode(value); decoded != value {
				texts = append(texts, folded(decoded))
			}
		}
		h.fields[name] = texts
	}
	for _, value := range fields["date"] {
		if at, ok := header.Date(value); ok {
			h.day = time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
			break
		}
	}
	return h
}

// folded is a text so that case makes no difference.
func folded(s string) string {
	return strings.Map(func(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }, s)
}

// contains reports whether a field of this name holds the text.
func (h Head) contains(name, text string) bool {
	text = folded(text)
	for _, value := range h.fields[strings.ToLower(name)] {
		if strings.Contains(value, text) {
			return true
		}
	}
	return false
}

// mixed reports whether a header is one of a message with attachments: it has
// several parts of different kinds, or is itself one.
func mixed(fields header.Header) bool {
	for _, value := range slices.Concat(fields["content-type"], fields["content-disposition"]) {
		v := header.ParseValue(value)
		if v.Value == "multipart/mixed" || v.Value == "attachment" || v.Param("name") != "" || v.Param("filename") != "" {
			return true
		}
	}
	return false
}

// Judge reports whether e holds for a message of so many octets with this
// header. Nothing is flagged.
func (e Expr) Judge(h Head, octets int64) bool {
	return e.WithSize(octets).Given(func(c Expr) (bool, bool) {
		switch c.Op {
		case Contains:
			return h.contains(c.Field, c.Text), true
		case OnOrAfter:
			return !h.day.IsZero() && !h.day.Before(c.Day), true
		case Attached:
			return h.mixed, true
		}
		return false, true
	}).IsAlways()
}
