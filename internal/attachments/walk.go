package attachments

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// visitor is told what a walk comes by. Its errors end the walk.
type visitor interface {
	// begins is told of each part, and whether it is a multipart.
	begins(path string, h *partHeader, multipart bool) error
	// body reads the body of a part that is no multipart, up to where it ends.
	// inline is how the part is to be shown where it does not say that.
	body(path string, h *partHeader, inline bool) (*stop, error)
	// odd is told what is wrong with the structure of a part.
	odd(path, text string) error
}

// walk goes through the parts of a message, in their order.
type walk struct {
	*lines
	visitor            visitor
	maxParts, maxDepth int
	parts              int
}

func newWalk(ctx context.Context, r io.Reader, v visitor, o Options) *walk {
	return &walk{lines: newLines(ctx, r), visitor: v, maxParts: cmp.Or(o.MaxParts, 1000), maxDepth: cmp.Or(o.MaxDepth, 20)}
}

// message goes through the whole message.
func (w *walk) message() error {
	_, err := w.part("", 0, "text/plain", false)
	return err
}

// counted counts a part, and reports whether it is one too many.
func (w *walk) counted() (tooMany bool, err error) {
	if w.parts++; w.parts == w.maxParts+1 {
		err = w.visitor.odd("", fmt.Sprintf("it has more than %d parts", w.maxParts))
	}
	return w.parts > w.maxParts, err
}

// part goes through the part that begins here, and says what it ends at. otherwise
// is its type where it does not say its own.
func (w *walk) part(path string, depth int, otherwise string, inline bool) (*stop, error) {
	if tooMany, err := w.counted(); err != nil {
		return nil, err
	} else if tooMany {
		return w.skip()
	}
	h, at, err := w.header()
	if err != nil {
		return nil, err
	}
	if at != nil {
		h.fault("its header has no end")
		w.again = at
	}
	h.settle(otherwise)
	subtype, multipart := strings.CutPrefix(h.contentType.Value, "multipart/")
	if err := w.visitor.begins(path, h, multipart); err != nil {
		return nil, err
	}
	if multipart {
		return w.multipart(path, depth, subtype, strings.TrimRight(h.contentType.Raw("boundary"), " \t"))
	}
	return w.visitor.body(path, h, inline)
}

// multipart goes through the parts between its boundaries.
func (w *walk) multipart(path string, depth int, subtype, boundary string) (*stop, error) {
	unreadable := ""
	switch {
	case boundary == "":
		unreadable = "it does not say what its boundary is"
	case depth >= w.maxDepth:
		unreadable = "it lies too deep"
	}
	if unreadable != "" {
		if err := w.visitor.odd(path, unreadable); err != nil {
			return nil, err
		}
		return w.skip()
	}
	otherwise := "text/plain"
	if subtype == "digest" { // RFC 2046, section 5.1.5
		otherwise = message
	}
	level := len(w.open)
	w.open = append(w.open, boundary)
	defer func() { w.open = w.open[:level] }()

	n, closed := 0, false
	at, err := w.skip() // what stands before the first part
	for err == nil && at.level == level {
		if at.last { // and what stands behind the last
			closed = true
			at, err = w.skip()
			continue
		}
		if closed {
			if err := w.visitor.odd(path, "it goes on behind its last boundary"); err != nil {
				return nil, err
			}
			closed = false
		}
		n++
		at, err = w.part(strings.TrimPrefix(path+"."+strconv.Itoa(n), "."), depth+1, otherwise, subtype == "related")
	}
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		err = w.visitor.odd(path, "its boundary never comes")
	case !closed:
		err = w.visitor.odd(path, "it ends before its last boundary")
	}
	return at, err
}
