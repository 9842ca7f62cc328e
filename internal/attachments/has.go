package attachments

import (
	"context"
	"errors"
	"io"
)

// Has reports whether the message in r has an attachment: a part that is marked as
// one (Content-Disposition: attachment), or that has the name of a file and is not
// marked as inline. A message whose structure cannot be understood counts as having
// one. It reads no further than it has to. An error is one of r or of ctx.
func Has(ctx context.Context, r io.Reader) (bool, error) {
	l := &looker{}
	l.walk = newWalk(ctx, r, l, Options{})
	err := l.message()
	if errors.Is(err, errSeen) {
		return true, nil
	}
	return false, err
}

// looker looks for an attachment, and ends its walk with errSeen.
type looker struct{ *walk }

var errSeen = errors.New("there is an attachment")

// begins implements visitor.
func (l *looker) begins(_ string, h *partHeader, multipart bool) error {
	if said := h.disposition.Value; said == "attachment" || !multipart && said != "inline" && h.name() != "" {
		return errSeen
	}
	return nil
}

// body implements visitor.
func (l *looker) body(string, *partHeader, bool) (*stop, error) { return l.skip() }

// odd implements visitor.
func (l *looker) odd(string, string) error { return errSeen }
