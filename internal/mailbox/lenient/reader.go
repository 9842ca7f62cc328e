// Package lenient reads what an IMAP server says, and understands as much of it
// as a client can need.
//
// Servers say much that is odd and that nobody asked for: flags with brackets in
// them, dates that are none, blanks where none belong, responses that no standard
// knows. A Reader stands between the wire and go-imap, whose parser ends the
// session at the first of these. What go-imap needs is passed on, spelled as
// go-imap reads it; what a session needs besides is kept for the session to ask
// for; everything else is dropped. What an irreversible step depends on, such as
// which message a body belongs to, is read strictly.
//
// The work is bounded whatever a server sends: each byte is looked at a fixed
// number of times, nothing is parsed by recursion, a line has a limit, and a
// literal is kept only where a message is expected.
package lenient

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// Bounds of what one response may be, in bytes.
const (
	maxText  = 8 << 10   // of a line for people: the rest of a longer one is dropped
	maxLine  = 1 << 20   // of a line of data, without its literals
	maxValue = 64 << 10  // of a literal that is not a message: the rest of a longer one is dropped
	maxKept  = 20        // texts for people
	maxNames = 1000      // mailboxes that are listed
	maxOwn   = 256 << 10 // what is kept of all names and flags together
)

// Reader is the server's side of a session, as go-imap reads it. One goroutine
// reads; the other methods may be called by another one at any time.
type Reader struct {
	src *bufio.Reader

	dead error        // why nothing more is read
	out  []byte       // passed on next
	body int64        // bytes of a message, passed on as they come, behind out
	rest func() error // goes on with the response behind the body
	line []byte       // one that did not fit into the buffer of src

	mu      sync.Mutex
	err     error
	want    Want
	greeted bool
	login   bool // the next tagged OK is that of a login

	caps     []string
	capsSaid int
	mailbox  Mailbox
	texts    []string
	messages []Message
	names    []string
	status   map[string]uint32
	kept     int
	behind   bool
}

// NewReader reads what the server says from src. The first line is the greeting.
func NewReader(src *bufio.Reader) *Reader { return &Reader{src: src} }

// Want is what a session waits for. What is not wanted is dropped.
type Want struct {
	Section   string // of FETCH: "", the whole message, or "HEADER"
	Body      bool   // the section is passed on to go-imap
	UID       uint32 // the one message that is fetched; 0 for several
	Facts     bool   // Messages
	Structure bool   // Message.Attached
	Names     bool   // Names
}

// Mailbox is what the server says of the open mailbox.
type Mailbox struct {
	Validity uint32 // UIDVALIDITY; 0 where it was not said
	Exists   uint32 // how many messages it holds by now
	Expunged int    // how many EXPUNGE responses there were since it was opened
	ReadOnly bool   // nothing in it can be changed
}

// Await says what the next command is to bring, and drops what earlier ones
// brought.
func (r *Reader) Await(w Want) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want, r.messages, r.names, r.status, r.kept, r.behind = w, nil, nil, nil, 0, false
}

// LoggingIn says that the next tagged OK is that of a login, behind which
// go-imap is not to ask for capabilities by itself.
func (r *Reader) LoggingIn() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.login = true
}

// Opening forgets the mailbox that was open.
func (r *Reader) Opening() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mailbox = Mailbox{}
}

// Err is why the Reader does not go on, unless it is the wire.
func (r *Reader) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Caps are the latest capabilities, in upper case but for IMAP4rev1 and 2, and how
// often some were said.
func (r *Reader) Caps() (caps []string, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.caps), r.capsSaid
}

// Mailbox is the mailbox as the server described it so far.
func (r *Reader) Mailbox() Mailbox {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mailbox
}

// Texts are what the server wants people to read: its ALERTs, and why it says
// BYE, each once.
func (r *Reader) Texts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.texts)
}

// Messages are the facts that FETCH brought since Await.
func (r *Reader) Messages() []Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.messages
}

// Names are the mailboxes that LIST brought since Await, decoded as far as they
// can be.
func (r *Reader) Names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names
}

// Status is what STATUS brought since Await of an item, named in upper case.
func (r *Reader) Status(item string) (value uint32, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, ok = r.status[item]
	return value, ok
}

// UIDBehind reports whether a message of several came ahead of its UID since
// Await, and was therefore dropped.
func (r *Reader) UIDBehind() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.behind
}

// Read implements io.Reader. After an error it returns the same one for ever: go-imap
// reads once more.
func (r *Reader) Read(p []byte) (int, error) {
	for r.dead == nil {
		switch {
		case len(r.out) > 0:
			n := copy(p, r.out)
			r.out = r.out[n:]
			return n, nil
		case r.body > 0:
			n, err := r.src.Read(p[:min(int64(len(p)), r.body)])
			r.body -= int64(n)
			if r.dead = unexpected(err); n > 0 {
				return n, nil
			}
		default:
			r.dead = r.next()
		}
	}
	if errors.As(r.dead, new(*Error)) {
		r.mu.Lock()
		r.err = r.dead
		r.mu.Unlock()
	}
	return 0, r.dead
}

// Error is a response that cannot be, and that no session can go on behind.
type Error struct{ text string }

// Error implements error.
func (e *Error) Error() string { return e.text }

func errorf(format string, args ...any) error { return &Error{fmt.Sprintf(format, args...)} }

// next reads one response, or the rest of one, and passes on what is needed of
// it.
func (r *Reader) next() error {
	if rest := r.rest; rest != nil {
		r.rest = nil
		return rest()
	}
	first, long, err := r.begin()
	if err != nil {
		return err
	}
	word, behind := cut(first)
	switch {
	case len(word) == 0 && !long:
		return nil // an empty line means nothing
	case string(word) == "+":
		return r.passContinuation(first, long)
	case string(word) != "*":
		return r.tagged(first, long)
	}
	word, args := cut(behind)
	kind := strings.ToUpper(string(word))
	if number, ok := parseNumber(kind); ok {
		word, args = cut(args)
		return r.numbered(number, strings.ToUpper(string(word)), args, first, long)
	}
	switch kind {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		return r.untagged(kind, first, long)
	case "CAPABILITY":
		return r.capability(first, long)
	case "SEARCH":
		return r.search(args, long)
	case "ESEARCH":
		return r.withLine(first, long, r.esearch)
	case "LIST":
		return r.withLine(first, long, r.list)
	case "STATUS":
		return r.withLine(first, long, r.statusData)
	}
	return r.drop(first, long)
}

// numbered is a response that begins with a number.
func (r *Reader) numbered(number uint32, kind string, args, first []byte, long bool) error {
	switch {
	case kind == "FETCH":
		l, err := r.lexer(args, first, long)
		if err != nil {
			return err
		}
		return r.fetch(l, number)
	case kind == "EXISTS":
		r.mu.Lock()
		r.mailbox.Exists = number
		r.mu.Unlock()
	case strings.HasPrefix(kind, "EXPUNGE"): // mailutils says EXPUNGED
		r.mu.Lock()
		r.mailbox.Exists -= min(r.mailbox.Exists, 1)
		r.mailbox.Expunged++
		r.mu.Unlock()
	}
	return r.drop(first, long)
}

// begin reads the beginning of a line: all of it, without its end, unless it is
// long. It is good until the next read.
func (r *Reader) begin() (line []byte, long bool, err error) {
	line, err = r.src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return line, true, nil
	}
	if err != nil {
		if errors.Is(err, io.EOF) && len(line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return nil, false, err
	}
	return bytes.TrimRight(line, "\r\n"), false, nil
}

// whole is a line of which first is known, up to a limit. It is good until the
// next call.
func (r *Reader) whole(first []byte, long bool, limit int) ([]byte, error) {
	if !long {
		return first, nil
	}
	r.line = append(r.line[:0], first...)
	for {
		part, err := r.src.ReadSlice('\n')
		if len(r.line)+len(part) > limit {
			return nil, errorf("server sends a line of more than %d bytes", limit)
		}
		r.line = append(r.line, part...)
		switch {
		case err == nil:
			return bytes.TrimRight(r.line, "\r\n"), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, io.ErrUnexpectedEOF
		default:
			return nil, err
		}
	}
}

// text is a line for people, as far as it may be long.
func (r *Reader) text(first []byte, long bool) (string, error) {
	text := string(first[:min(len(first), maxText)])
	if long {
		return text, r.skipLine()
	}
	return text, nil
}

// skipLine reads past the rest of a line.
func (r *Reader) skipLine() error {
	for {
		switch _, err := r.src.ReadSlice('\n'); {
		case err == nil:
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}

// skip reads past so many bytes.
func (r *Reader) skip(n int64) error {
	for n > 0 {
		k, err := r.src.Discard(int(min(n, maxLine)))
		n -= int64(k)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// drop reads past a response that nobody needs, its literals included.
func (r *Reader) drop(first []byte, long bool) error {
	for {
		tail := first
		if long {
			tail = bytes.Clone(first[max(0, len(first)-maxLiteral):])
			for long {
				part, err := r.src.ReadSlice('\n')
				if long = errors.Is(err, bufio.ErrBufferFull); err != nil && !long {
					if errors.Is(err, io.EOF) {
						err = io.ErrUnexpectedEOF
					}
					return err
				}
				tail = append(tail, part...)
				tail = append(tail[:0], tail[max(0, len(tail)-maxLiteral):]...)
			}
			tail = bytes.TrimRight(tail, "\r\n")
		}
		size, _, ok := literalAtEnd(tail)
		if !ok {
			return nil
		}
		err := r.skip(size)
		if err == nil {
			first, long, err = r.begin()
		}
		if err != nil {
			return unexpected(err)
		}
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// pass passes on a response.
func (r *Reader) pass(format string, args ...any) error {
	r.out = fmt.Appendf(r.out[:0], format, args...)
	return nil
}

// cut is the first word of a text, behind blanks, and what follows it.
func cut(text []byte) (word, rest []byte) {
	text = bytes.TrimLeft(text, " \t")
	if i := bytes.IndexAny(text, " \t("); i > 0 {
		return text[:i], text[i:]
	}
	return text, nil
}

// parseNumber reads a number that IMAP counts messages with.
func parseNumber[T string | []byte](text T) (uint32, bool) {
	var n uint64
	for i := range len(text) {
		c := text[i]
		if c < '0' || c > '9' || i == 10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return uint32(n), n > 0 && n <= 1<<32-1
}
