package match

import (
	"bytes"
	"mime"
	"net/mail"
	"net/textproto"
	"strings"
	"time"
	"unicode"
)

// Head is what a message says of itself: all that can be known of it without
// its body.
type Head struct {
	fields map[string][]string // by canonical name; each as it is written, and decoded where that differs
	day    time.Time           // of the field Date, as the clock of the sender showed it; zero for none
}

// words decodes encoded words (RFC 2047). Those in a character set that it does
// not know are left as they are.
var words mime.WordDecoder

// ReadHead reads a header. What is no field of one is passed over.
func ReadHead(header []byte) Head {
	h := Head{fields: make(map[string][]string)}
	name, value := "", ""
	add := func() {
		if name == "" {
			return
		}
		value = strings.TrimSpace(value)
		h.fields[name] = append(h.fields[name], folded(value))
		if decoded, err := words.DecodeHeader(value); err == nil && decoded != value {
			h.fields[name] = append(h.fields[name], folded(decoded))
		}
		if name == "Date" && h.day.IsZero() {
			if at, err := mail.ParseDate(value); err == nil {
				h.day = time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
			}
		}
	}
	for line := range bytes.Lines(header) {
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			value += string(line)
			continue
		}
		add()
		before, after, ok := bytes.Cut(line, []byte(":"))
		if name, value = "", string(after); ok {
			name = textproto.CanonicalMIMEHeaderKey(strings.TrimRight(string(before), " \t"))
		}
	}
	add()
	return h
}

// folded is a text so that case makes no difference.
func folded(s string) string {
	return strings.Map(func(r rune) rune { return unicode.ToLower(unicode.ToUpper(r)) }, s)
}

// contains reports whether a field of this name holds the text.
func (h Head) contains(name, text string) bool {
	text = folded(text)
	for _, value := range h.fields[textproto.CanonicalMIMEHeaderKey(name)] {
		if strings.Contains(value, text) {
			return true
		}
	}
	return false
}

// attached reports whether the header is one of a message with attachments: it
// has several parts of different kinds, or is itself one.
func (h Head) attached() bool {
	for _, value := range h.fields["Content-Type"] {
		if kind, params, _ := mime.ParseMediaType(value); kind == "multipart/mixed" || params["name"] != "" {
			return true
		}
	}
	for _, value := range h.fields["Content-Disposition"] {
		if kind, params, _ := mime.ParseMediaType(value); kind == "attachment" || params["filename"] != "" {
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
			return h.attached(), true
		}
		return false, true
	}).IsAlways()
}
