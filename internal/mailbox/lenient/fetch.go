package lenient

import (
	"bytes"
	"strings"
	"time"
)

// Message is what FETCH says of a message beside its body. What cannot be read
// is as if it was not said.
type Message struct {
	UID      uint32
	Size     int64 // RFC822.SIZE
	Received time.Time
	Flags    []string
	Empty    bool     // the server answered the request for its body with nothing
	Attached Attached // where the structure was wanted
}

// maxFlags bounds how many flags are kept of one message.
const maxFlags = 200

// response is a FETCH response in progress.
type response struct {
	Message
	seq    uint32
	passed uint32 // the UID under which a body was passed on; 0 when there was none
	said   bool   // something but a body was said
}

// fetch reads a FETCH response. Its items come in any order.
func (r *Reader) fetch(l *lexer, seq uint32) error {
	l.blanks()
	if !l.take('(') {
		return l.finish()
	}
	return r.items(l, &response{seq: seq})
}

// items reads the items of a response, up to a body that is passed on, or to its
// end.
func (r *Reader) items(l *lexer, m *response) error {
	r.mu.Lock()
	want := r.want
	r.mu.Unlock()
	section, alias := "BODY["+want.Section+"]", "RFC822"
	if want.Section != "" {
		alias += "." + want.Section
	}
	if m.passed != 0 && l.pos < l.end && bytes.IndexByte([]byte(" )"), l.line[l.pos]) < 0 {
		return errBehind
	}
	for {
		l.blanks()
		if l.take(')') {
			break
		}
		if l.over() {
			if m.passed != 0 {
				return errBehind
			}
			break // without a parenthesis
		}
		name := l.name()
		if m.passed != 0 && !isItem(name) {
			return errBehind
		}
		var err error
		switch {
		case name == "":
			_, _, err = l.value() // something that has no name
		case want.Body && (name == section || name == alias):
			passed, failed := r.section(l, m, want)
			if passed || failed != nil {
				return failed
			}
		case name == "UID":
			var value []byte
			value, _, err = l.value()
			m.UID, _ = parseNumber(value)
		case name == "FLAGS":
			m.Flags = l.flags()
			m.said = true
		case name == "INTERNALDATE":
			var value []byte
			value, _, err = l.value()
			m.Received = date(string(value))
			m.said = true
		case name == "RFC822.SIZE":
			var value []byte
			value, _, err = l.value()
			if size, ok := parseNumber(value); ok {
				m.Size = int64(size)
			}
			m.said = true
		case want.Structure && (name == "BODYSTRUCTURE" || name == "BODY"):
			m.Attached, err = l.structure()
			m.said = true
		default:
			_, _, err = l.value()
		}
		if err != nil {
			return err
		}
	}
	if l.blanks(); m.passed != 0 && !l.over() {
		return errBehind
	}
	if err := l.finish(); err != nil {
		return err
	}
	return r.end(m, want)
}

// errBehind is a body that goes on behind its end: the server announced less than
// it sends, and what was passed on is not all of the message.
var errBehind = &Error{"server goes on with something else behind the end of a message: it announced fewer bytes than it sends"}

// items are the data items that may stand behind a body, which is not whole else.
// Items that begin with an X may, too.
var items = map[string]bool{
	"UID": true, "FLAGS": true, "INTERNALDATE": true, "RFC822.SIZE": true, "RFC822": true, "RFC822.HEADER": true, "RFC822.TEXT": true, "ENVELOPE": true,
	"BODY": true, "BODYSTRUCTURE": true, "MODSEQ": true, "EMAILID": true, "THREADID": true, "SAVEDATE": true, "PREVIEW": true, "SNIPPET": true,
	"ANNOTATION": true, "BINARY.SIZE": true, "DIGEST.SHA1": true,
}

func isItem(name string) bool {
	base, _, _ := strings.Cut(name, "[")
	return items[base] || strings.HasPrefix(base, "X-")
}

// end is the end of a response.
func (r *Reader) end(m *response, want Want) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.UID != 0 && (m.said || m.Empty) && (want.Facts || m.Empty) && r.keep(64+flagBytes(m.Flags)) {
		if !want.Facts {
			m.Flags = nil
		}
		r.messages = append(r.messages, m.Message)
	}
	switch {
	case m.passed == 0:
		return nil
	case m.UID == 0:
		return errorf("server does not say which message it sends, when asked for message %d", m.passed)
	case m.UID != m.passed:
		return errorf("server answers the request for message %d with message %d", m.passed, m.UID)
	}
	return r.pass(")\r\n")
}

func flagBytes(flags []string) (n int) {
	for _, f := range flags {
		n += len(f)
	}
	return n
}

// maxBlank is how many bytes may be no message, where there is nothing but ends of
// lines in them.
const maxBlank = 4

// section begins to pass on a body. An empty one is no message. Where the server
// has not said its UID yet, it is passed on as the one that was asked for alone,
// and it is an error when it turns out to be another one.
func (r *Reader) section(l *lexer, m *response, want Want) (passed bool, err error) {
	l.blanks()
	var value []byte // in memory; nil for a literal that follows
	size := l.size
	switch {
	case l.pos < l.end || !l.lit:
		var ok bool
		if value, ok, err = l.value(); err != nil || !ok {
			m.Empty = m.Empty || err == nil
			return false, err
		}
		value = append([]byte{}, value...)
	case size <= maxBlank:
		if value, err = l.literal(); err != nil {
			return false, err
		}
	}
	if value != nil {
		size = int64(len(value))
	}
	switch {
	case m.passed != 0 || m.Empty:
		return false, errorf("server sends two messages as one")
	case value != nil && len(value) <= maxBlank && len(bytes.TrimSpace(value)) == 0:
		m.Empty = true
		return false, nil
	}
	uid := m.UID
	if uid == 0 {
		uid = want.UID
	}
	if uid == 0 { // which one it is will be known when it is too late
		r.mu.Lock()
		r.behind = true
		r.mu.Unlock()
		if value == nil {
			if err = r.skip(size); err == nil {
				err = l.nextLine()
			}
		}
		return false, err
	}
	m.passed = uid
	if err := r.pass("* %d FETCH (UID %d BODY[%s] {%d}\r\n", m.seq, uid, want.Section, size); err != nil {
		return true, err
	}
	if value != nil {
		r.out = append(r.out, value...)
		line, at := bytes.Clone(l.line), l.pos
		r.rest = func() error {
			again := &lexer{r: r, pos: at}
			again.set(line)
			return r.items(again, m)
		}
		return true, nil
	}
	r.body = size
	r.rest = func() error {
		if err := l.nextLine(); err != nil {
			return err
		}
		return r.items(l, m)
	}
	return true, nil
}

// flags reads a list of flags: whatever stands between the parentheses.
func (l *lexer) flags() []string {
	l.blanks()
	if !l.take('(') {
		l.token()
		return nil
	}
	end := bytes.IndexByte(l.line[l.pos:l.end], ')')
	if end < 0 {
		end = l.end - l.pos
	}
	fields := bytes.Fields(l.line[l.pos : l.pos+end])
	l.pos = min(l.pos+end+1, l.end)
	var flags []string
	for _, f := range fields[:min(len(fields), maxFlags)] {
		if len(f) <= 250 {
			flags = append(flags, string(f))
		}
	}
	return flags
}

// date reads an INTERNALDATE; zero for what is none.
func date(text string) time.Time {
	text = strings.TrimSpace(text)
	for _, layout := range []string{"_2-Jan-2006 15:04:05 -0700", "_2-Jan-2006 15:04:05 MST", "_2-Jan-2006 15:04:05", "Mon, _2 Jan 2006 15:04:05 -0700", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() > 0 && t.Year() < 10000 {
			return t
		}
	}
	return time.Time{}
}
