package lenient

import (
	"bytes"
	"slices"
	"strings"
)

// status is a status response (RFC 9051, section 7.1) behind its first word or
// two.
type status struct {
	code string // upper case; empty for none, and for what is no code
	args string // of the code
	text string // for people; where there is no code, all of it
}

// parseStatus reads what follows OK, NO, BAD, BYE or PREAUTH.
func parseStatus(text string) status {
	text = strings.TrimLeft(text, " \t")
	inside, ok := strings.CutPrefix(text, "[")
	if !ok {
		return status{text: text}
	}
	end := closingBracket(inside)
	if end < 0 {
		return status{text: text}
	}
	name, args, _ := strings.Cut(strings.TrimSpace(inside[:end]), " ")
	if !isAtom(name) || strings.Contains(name, "=") {
		return status{text: text} // Exchange puts other things there
	}
	return status{code: strings.ToUpper(name), args: args, text: strings.TrimLeft(inside[end+1:], " \t")}
}

// closingBracket is the place of the bracket that ends a code: the first one
// that a blank or the end follows, since flags have brackets in them.
func closingBracket(inside string) int {
	for i := range len(inside) {
		if inside[i] == ']' && (i+1 == len(inside) || inside[i+1] == ' ') {
			return i
		}
	}
	return strings.IndexByte(inside, ']')
}

// isAtom reports whether a text is one for go-imap.
func isAtom[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return len(text) > 0
}

// note keeps what the session or people have to know of a status response.
func (r *Reader) note(kind string, s status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch s.code {
	case "CAPABILITY":
		r.capable(s.args)
	case "UIDVALIDITY":
		if n, ok := parseNumber(strings.TrimSpace(s.args)); ok {
			r.mailbox.Validity = n
		}
	case "READ-ONLY":
		r.mailbox.ReadOnly = true
	case "READ-WRITE":
		r.mailbox.ReadOnly = false
	}
	if (s.code == "ALERT" || kind == "BYE") && s.text != "" && len(r.texts) < maxKept && !slices.Contains(r.texts, s.text) {
		r.texts = append(r.texts, s.text)
	}
}

// capable takes over capabilities. The lock is held.
func (r *Reader) capable(names string) {
	r.caps = r.caps[:0:0]
	r.capsSaid++
	for name := range strings.FieldsSeq(names) {
		if isAtom(name) {
			r.caps = append(r.caps, strings.Replace(strings.ToUpper(name), "IMAP4REV", "IMAP4rev", 1)) // as go-imap spells them
		}
	}
}

// capabilities are the latest ones, as go-imap has to be told them. They are
// never none: go-imap would ask for them at a moment of its own choice.
func (r *Reader) capabilities() string {
	if len(r.caps) == 0 {
		return "IMAP4rev1"
	}
	return strings.Join(r.caps, " ")
}

// untagged is a status response that belongs to no command. Of these go-imap
// needs the greeting alone.
func (r *Reader) untagged(kind string, first []byte, long bool) error {
	line, err := r.text(first, long)
	if err != nil {
		return err
	}
	_, behind := cut([]byte(line))
	_, rest := cut(behind)
	s := parseStatus(string(rest))
	r.note(kind, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.greeted {
		return nil
	}
	r.greeted = true
	return r.pass("* %s [CAPABILITY %s] %s\r\n", kind, r.capabilities(), shown(s.text))
}

// tagged is the end of a command.
func (r *Reader) tagged(first []byte, long bool) error {
	line, err := r.text(first, long)
	if err != nil {
		return err
	}
	tag, behind := cut([]byte(line))
	word, rest := cut(behind)
	kind := strings.ToUpper(string(word))
	if !isAtom(tag) || kind != "OK" && kind != "NO" && kind != "BAD" {
		return errorf("server says what is no response of IMAP: %.200q", line)
	}
	s := parseStatus(string(rest))
	r.note(kind, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case kind == "OK" && r.login, s.code == "CAPABILITY":
		r.login = false
		s.code = "CAPABILITY " + r.capabilities()
	case s.code == "COPYUID", s.code == "APPENDUID": // of which go-imap would read the numbers
		s.code = ""
	}
	if s.code == "" {
		return r.pass("%s %s %s\r\n", tag, kind, shown(s.text))
	}
	return r.pass("%s %s [%s] %s\r\n", tag, kind, s.code, shown(s.text))
}

// shown is a text so that go-imap takes it for one: not empty, and not for a
// code.
func shown(text string) string {
	switch {
	case text == "":
		return "-"
	case text[0] == '[':
		return " " + text
	}
	return text
}

// capability is the answer to CAPABILITY.
func (r *Reader) capability(first []byte, long bool) error {
	line, err := r.whole(first, long, maxLine)
	if err != nil {
		return err
	}
	_, behind := cut(line)
	_, names := cut(behind)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.capable(string(names))
	return r.pass("* CAPABILITY %s\r\n", r.capabilities())
}

// passContinuation passes on that the server waits for more of a command.
func (r *Reader) passContinuation(first []byte, long bool) error {
	line, err := r.whole(first, long, maxText)
	if err != nil {
		return err
	}
	return r.pass("+ %s\r\n", bytes.TrimSpace(line[1:]))
}
