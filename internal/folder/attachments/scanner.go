package attachments

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// scanner reads a message line by line, as the bodies of its parts: each ends
// at the next boundary of a multipart that it lies in.
type scanner struct {
	r          *bufio.Reader
	boundaries []string // of the multiparts that are open, the outermost first
	met        boundary // that the last body has ended at
	ended      bool     // the body at hand has
	inLine     bool     // the last line was too long to be read in one piece
	held       []byte   // the end of the last line: it belongs to a boundary that follows
	queue      [2][]byte
	odd        bool // the body at hand was not encoded as it says
}

// boundary is one that was met; level is its place among those that are open,
// and -1 the end of the message.
type boundary struct {
	level int
	last  bool // nothing of its multipart follows
}

func newScanner(r io.Reader) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, maxOctets), met: boundary{level: -1}}
}

func (s *scanner) push(b string) (level int) {
	s.boundaries = append(s.boundaries, b)
	return len(s.boundaries) - 1
}

func (s *scanner) pop() { s.boundaries = s.boundaries[:len(s.boundaries)-1] }

// begin begins a body.
func (s *scanner) begin() {
	s.ended, s.odd, s.queue, s.held = false, false, [2][]byte{}, nil
}

// line is the next line, or a piece of a long one, good until the next call; it
// is nil at a boundary, and at the end of the message.
func (s *scanner) line() ([]byte, error) {
	if s.ended {
		return nil, nil
	}
	line, err := s.r.ReadSlice('\n')
	begins := !s.inLine
	s.inLine = errors.Is(err, bufio.ErrBufferFull)
	switch {
	case len(line) == 0 && errors.Is(err, io.EOF):
		s.met, s.ended = boundary{level: -1}, true
		return nil, nil
	case err != nil && !s.inLine && !errors.Is(err, io.EOF):
		return nil, err
	}
	if begins && bytes.HasPrefix(line, []byte("--")) {
		text := string(bytes.TrimRight(line[2:], " \t\r\n"))
		for i := len(s.boundaries) - 1; i >= 0; i-- {
			if rest, ok := strings.CutPrefix(text, s.boundaries[i]); ok && (rest == "" || rest == "--") {
				s.met, s.ended = boundary{i, rest == "--"}, true
				return nil, nil
			}
		}
	}
	return line, nil
}

// Read implements io.Reader for the body at hand. It ends at the boundary.
func (s *scanner) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(s.queue[0])+len(s.queue[1]) == 0 {
			line, err := s.line()
			if err != nil {
				return n, err
			}
			if line == nil {
				s.held = nil
				break
			}
			text := bytes.TrimSuffix(line, lf)
			if len(text) < len(line) {
				text = bytes.TrimSuffix(text, cr)
			}
			s.queue = [2][]byte{s.held, text}
			s.held = ends[len(line)-len(text)]
		}
		for i := range s.queue {
			m := copy(p[n:], s.queue[i])
			s.queue[i], n = s.queue[i][m:], n+m
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

var (
	cr, lf = []byte("\r"), []byte("\n")
	ends   = [...][]byte{nil, lf, []byte("\r\n")} // of lines, by their length
)

// skip reads to the next boundary.
func (s *scanner) skip() error {
	s.queue, s.held = [2][]byte{}, nil
	for {
		if line, err := s.line(); line == nil || err != nil {
			return err
		}
	}
}
