package attachments

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
)

// maxPiece is how much of a line is looked at in one piece.
const maxPiece = 64 << 10

// lines reads a message line by line, and finds the boundaries of the
// multiparts that are open.
type lines struct {
	r      *bufio.Reader
	open   []string // boundaries, the outermost first
	inLine bool     // the last piece did not end its line
	again  *stop    // that has been met, and is met once more
}

func newLines(ctx context.Context, r io.Reader) *lines {
	return &lines{r: bufio.NewReaderSize(&cancelled{ctx, r}, maxPiece)}
}

// cancelled is a reader that ends with its context.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// stop is what a header or a body has ended at: a boundary, or the end of the
// message.
type stop struct {
	level int  // of the multipart among those that are open
	last  bool // no part of it follows
}

var endOfMessage = &stop{level: -1}

// next is the next line with its end, or a piece of a long one, good until the
// next call. begins says that the piece begins its line. Where a boundary or the
// end of the message comes instead, at is not nil.
func (l *lines) next() (piece []byte, begins bool, at *stop, err error) {
	if at = l.again; at != nil {
		l.again = nil
		return nil, false, at, nil
	}
	piece, err = l.r.ReadSlice('\n')
	begins = !l.inLine
	l.inLine = errors.Is(err, bufio.ErrBufferFull)
	switch {
	case errors.Is(err, io.EOF) && len(piece) == 0:
		return nil, false, endOfMessage, nil
	case err != nil && !l.inLine && !errors.Is(err, io.EOF):
		return nil, false, nil, err
	}
	if begins && bytes.HasPrefix(piece, []byte("--")) {
		at = l.boundary(piece[2:])
	}
	return piece, begins, at, nil
}

// boundary tells which one a line is, if it is one: the innermost, as the
// multiparts of broken mail share theirs. Blanks may follow it (RFC 2046,
// section 5.1.1), but nothing else: a boundary can be how another begins.
func (l *lines) boundary(line []byte) *stop {
	line = bytes.TrimRight(line, " \t\r\n")
	for level := len(l.open) - 1; level >= 0; level-- {
		rest, ok := bytes.CutPrefix(line, []byte(l.open[level]))
		if ok && (len(rest) == 0 || string(rest) == "--") {
			return &stop{level, len(rest) > 0}
		}
	}
	return nil
}

// read hands the octets of the body that begins here to write, up to the
// boundary that ends it. The end of the line before a boundary is part of that.
func (l *lines) read(write func([]byte)) (*stop, error) {
	var held []byte
	for {
		piece, begins, at, err := l.next()
		switch {
		case err != nil:
			return nil, err
		case at == endOfMessage:
			write(held)
			return at, nil
		case at != nil:
			return at, nil
		}
		text := bytes.TrimSuffix(bytes.TrimSuffix(piece, []byte("\n")), []byte("\r"))
		if begins || len(text) > 0 { // else it is the end of a line that was too long
			write(held)
			write(text)
			held = held[:0]
		}
		held = append(held, piece[len(text):]...)
	}
}

// skip reads to the end of the body that begins here.
func (l *lines) skip() (*stop, error) { return l.read(func([]byte) {}) }
