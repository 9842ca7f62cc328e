package mailbox

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// statusConn is the connection that go-pop3 is given. It hands out one line a
// Read, so that the library's own buffer is empty between two replies, and the
// session may read what follows a reply itself, or put TLS under it. The
// library reads nothing but status lines through it, and would take an empty
// one for success; any line that is none ends the session here.
type statusConn struct {
	*wire
	rest string // of the line that is being handed out
	err  error  // what the library was told; nil after an error means that the server said -ERR
}

// Read implements io.Reader.
func (c *statusConn) Read(p []byte) (int, error) {
	if c.rest == "" {
		line, err := c.status()
		if err != nil {
			c.err = err
			return 0, err
		}
		c.rest = line + "\r\n"
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// status reads a status line (RFC 1939, section 3), its first word in upper
// case.
func (w *wire) status() (string, error) {
	line, err := w.line()
	if err != nil {
		return "", err
	}
	word, text, _ := strings.Cut(line, " ")
	switch word = strings.ToUpper(word); {
	case word != "+OK" && word != "-ERR":
		return "", fmt.Errorf("this is no answer of a POP3 server: %q", line)
	case text == "":
		return word, nil
	}
	return word + " " + text, nil
}

// pop3Refusal is the refusal behind the text of a -ERR (RFC 2449, section 8:
// a response code stands in brackets at its beginning).
func pop3Refusal(text string) *refusal {
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if code, text, ok := strings.Cut(rest, "]"); ok {
			return &refusal{code: strings.ToUpper(code), text: strings.TrimSpace(text)}
		}
	}
	return &refusal{text: text}
}

// body copies the multi-line reply that follows to dst, as RFC 1939, section 3
// transmits it; see unstuff. Whatever follows stays to be read.
func (w *wire) body(dst io.Writer) (int64, error) {
	if w.out == nil {
		w.out = bufio.NewWriterSize(dst, readBuffer)
	}
	w.out.Reset(dst)
	n, err := unstuff(w.r, w.out, w.lf)
	if err != nil {
		return n, err
	}
	return n, w.out.Flush()
}

// unstuff takes off the dot that was put before a line that begins with one,
// and keeps every other octet: also a dot that no other one follows, since it is
// part of a line to which the server has not added any. Only CRLF "." CRLF ends a
// reply, so that a line of a lone dot with bare LFs around it, inside a message,
// does not. From a server that ends its own lines in a bare LF, LF "." LF ends it.
func unstuff(r *bufio.Reader, out *bufio.Writer, lf bool) (n int64, err error) {
	start, last := true, byte(0) // at the start of a line; the octet before
	for {
		part, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		if start && part[0] == '.' {
			if string(part) == ".\r\n" || lf && string(part) == ".\n" {
				return n, nil
			}
			if len(part) > 1 && part[1] == '.' {
				part = part[1:]
			}
		}
		k, err := out.Write(part)
		n += int64(k)
		if err != nil {
			return n, err
		}
		if len(part) > 1 {
			last = part[len(part)-2]
		}
		start = part[len(part)-1] == '\n' && (lf || last == '\r')
		last = part[len(part)-1]
	}
}

// lines calls each for every line of the multi-line reply that follows,
// without its end. An error of each ends the reading.
func (w *wire) lines(each func(line string) error) error {
	l := &lineWriter{each: each}
	_, err := w.body(l)
	return err
}

// lineWriter cuts what is written to it into lines.
type lineWriter struct {
	each func(string) error
	part []byte
}

func (l *lineWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			l.part = append(l.part, rest...)
			if len(l.part) > maxLine {
				return 0, errTooMuch
			}
			return len(p), nil
		}
		line := string(append(l.part, rest[:i]...))
		l.part, rest = l.part[:0], rest[i+1:]
		if err := l.each(strings.TrimSuffix(line, "\r")); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
