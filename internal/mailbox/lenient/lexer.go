package lenient

import (
	"bytes"
	"strings"
)

// maxLiteral is how long the announcement of a literal may be, in bytes.
const maxLiteral = 32

// literalAtEnd is the size of the literal that a line announces at its end
// (RFC 9051, section 4.3), and where the announcement begins.
func literalAtEnd(line []byte) (size int64, at int, ok bool) {
	if !bytes.HasSuffix(line, []byte("}")) {
		return 0, 0, false
	}
	at = bytes.LastIndexByte(line[max(0, len(line)-maxLiteral):], '{')
	if at < 0 {
		return 0, 0, false
	}
	at += max(0, len(line)-maxLiteral)
	digits := bytes.TrimSuffix(line[at+1:len(line)-1], []byte("+"))
	if len(digits) == 0 || len(digits) > 18 {
		return 0, 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, 0, false
		}
		size = size*10 + int64(c-'0')
	}
	if at > 0 && line[at-1] == '~' { // of 8-bit data (RFC 3516)
		at--
	}
	return size, at, true
}

// lexer reads the values of a response of data, one by one, over its literals.
type lexer struct {
	r    *Reader
	line []byte
	pos  int
	end  int // of the line, without the announcement of a literal
	size int64
	lit  bool // a literal of that size follows the line
	dry  bool // no quote in the rest of the line ends a string for certain
}

// lexer is a lexer of a response, behind what was read of its first line.
func (r *Reader) lexer(args, first []byte, long bool) (*lexer, error) {
	read := len(first) - len(args)
	line, err := r.whole(first, long, maxLine)
	if err != nil {
		return nil, err
	}
	l := &lexer{r: r, pos: read}
	l.set(line)
	return l, nil
}

// withLine hands a response to read, as a lexer behind its second word.
func (r *Reader) withLine(first []byte, long bool, read func(*lexer) error) error {
	_, behind := cut(first)
	_, args := cut(behind)
	l, err := r.lexer(args, first, long)
	if err != nil {
		return err
	}
	return read(l)
}

func (l *lexer) set(line []byte) {
	l.line, l.end, l.dry = line, len(line), false
	if size, at, ok := literalAtEnd(line); ok && at >= l.pos {
		l.size, l.lit, l.end = size, true, at
	} else {
		l.lit = false
	}
}

// nextLine goes on with the line behind a literal.
func (l *lexer) nextLine() error {
	first, long, err := l.r.begin()
	if err != nil {
		return unexpected(err)
	}
	line, err := l.r.whole(first, long, maxLine)
	if err != nil {
		return err
	}
	l.pos = 0
	l.set(line)
	return nil
}

// finish reads past the rest of the response.
func (l *lexer) finish() error {
	for l.lit {
		if err := l.r.skip(l.size); err != nil {
			return err
		}
		if err := l.nextLine(); err != nil {
			return err
		}
	}
	return nil
}

func (l *lexer) blanks() {
	for l.pos < l.end && (l.line[l.pos] == ' ' || l.line[l.pos] == '\t') {
		l.pos++
	}
}

// over reports whether the response is at its end.
func (l *lexer) over() bool { return l.pos >= l.end && !l.lit }

// take takes a character, if it is the next one.
func (l *lexer) take(c byte) bool {
	if l.pos < l.end && l.line[l.pos] == c {
		l.pos++
		return true
	}
	return false
}

// name is the name of a data item, with its section in brackets.
func (l *lexer) name() string {
	start, depth := l.pos, 0
	for l.pos < l.end {
		c := l.line[l.pos]
		if depth == 0 && (c == ' ' || c == '\t' || c == '(' || c == ')') {
			break
		}
		switch c {
		case '[':
			depth++
		case ']':
			depth--
		}
		l.pos++
	}
	return strings.ToUpper(string(l.line[start:l.pos]))
}

// Kinds of tokens.
type kind int

const (
	atom kind = iota
	text
	list
	closed  // the end of a list, or of the response
	literal // of a size, that was not read yet
)

// token is the next one behind blanks. A list is only begun, and a literal not
// read.
func (l *lexer) token() (kind, []byte) {
	l.blanks()
	switch {
	case l.pos >= l.end && l.lit:
		return literal, nil
	case l.pos >= l.end:
		return closed, nil
	}
	switch c := l.line[l.pos]; c {
	case '(':
		l.pos++
		return list, nil
	case ')':
		l.pos++
		return closed, nil
	case '"':
		return text, l.quoted()
	}
	start := l.pos
	for l.pos < l.end && bytes.IndexByte([]byte(" \t()"), l.line[l.pos]) < 0 {
		l.pos++
	}
	return atom, l.line[start:l.pos]
}

// quoted is a quoted string, which begins here. A quote ends it when what follows
// can follow a string: servers do not escape all that are within one.
func (l *lexer) quoted() []byte {
	at := -1
	if !l.dry { // else each of many quotes would have the rest of the line searched
		at = l.closing(func(i int) bool { return i+1 == l.end || bytes.IndexByte([]byte(" \t()"), l.line[i+1]) >= 0 })
		l.dry = at < 0
	}
	if at < 0 {
		at = l.closing(func(int) bool { return true })
	}
	start := l.pos + 1
	if at < 0 { // its end is missing
		l.pos = l.end
		return l.line[start:l.end]
	}
	l.pos = at + 1
	within := l.line[start:at]
	if bytes.IndexByte(within, '\\') < 0 {
		return within
	}
	var b []byte
	for i := 0; i < len(within); i++ {
		if escapes(within, i) {
			i++
		}
		b = append(b, within[i])
	}
	return b
}

// closing is the place of the first quote that is not escaped and that ends the
// string that begins here; less than 0 where there is none.
func (l *lexer) closing(ends func(i int) bool) int {
	for i := l.pos + 1; i < l.end; i++ {
		switch {
		case escapes(l.line[:l.end], i):
			i++
		case l.line[i] == '"' && ends(i):
			return i
		}
	}
	return -1
}

// escapes reports whether the character at i escapes the next one.
func escapes(text []byte, i int) bool {
	return text[i] == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\')
}

// value is the next value as a text, if it is one; a list is read past. What a
// literal has beyond a bound is dropped.
func (l *lexer) value() (value []byte, ok bool, err error) {
	switch kind, value := l.token(); kind {
	case atom:
		return value, !bytes.EqualFold(value, []byte("NIL")), nil
	case text:
		return value, true, nil
	case literal:
		value, err := l.literal()
		return value, err == nil, err
	case list:
		return nil, false, l.skipList()
	}
	return nil, false, nil
}

// literal reads the literal that is next.
func (l *lexer) literal() ([]byte, error) {
	value := make([]byte, min(l.size, maxValue))
	for n := 0; n < len(value); {
		k, err := l.r.src.Read(value[n:])
		if n += k; err != nil && n < len(value) {
			return nil, unexpected(err)
		}
	}
	if err := l.r.skip(l.size - int64(len(value))); err != nil {
		return nil, err
	}
	return value, l.nextLine()
}

// skipList reads past the rest of a list that was begun, and of what is in it.
func (l *lexer) skipList() error {
	for depth := 1; depth > 0; {
		switch kind, _ := l.token(); kind {
		case list:
			depth++
		case closed:
			if depth--; l.over() {
				return nil
			}
		case literal:
			if err := l.r.skip(l.size); err != nil {
				return err
			}
			if err := l.nextLine(); err != nil {
				return err
			}
		}
	}
	return nil
}
