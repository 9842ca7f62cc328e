package app

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"

	"go.uber.org/zap"

	"mailpoller/internal/folder"
	"mailpoller/internal/header"
	"mailpoller/internal/mail"
	"mailpoller/internal/state"
)

// marked is the folders. Before a file is written, a crash from now on is made
// one that the next start will know of, to clean the folders.
type marked struct {
	*folder.Bounded
	state *state.Store
	heads *heads
}

func (f marked) Write(ctx context.Context, c *mail.Connection, box mail.Box, m mail.Message) (mail.Entry, error) {
	if err := f.state.Mark(); err != nil {
		return mail.Entry{}, err
	}
	if !f.heads.wanted() {
		return f.Bounded.Write(ctx, c, box, m)
	}
	body := &headed{WriterTo: m.Body}
	m.Body = body
	e, err := f.Bounded.Write(ctx, c, box, m)
	if err == nil {
		f.heads.put(c.Name, m.ID(), whose(body.head))
	}
	return e, err
}

// Try implements poll.Folder.
func (f marked) Try(ctx context.Context, c *mail.Connection) ([]string, error) {
	if err := f.state.Mark(); err != nil {
		return nil, err
	}
	return f.Bounded.Try(ctx, c)
}

// heads are what the log tells of messages that are being saved, until they are
// visible.
type heads struct {
	wanted func() bool

	mu  sync.Mutex
	all map[string]map[string]head // by connection and ID
}

// head is what a header says of a message, for the log.
type head struct{ sender, subject string }

func (h *heads) put(connection, id string, one head) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all[connection] == nil {
		h.all[connection] = make(map[string]head)
	}
	h.all[connection][id] = one
}

func (h *heads) take(connection, id string) (one head, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	one, ok = h.all[connection][id]
	delete(h.all[connection], id)
	return one, ok
}

// forget drops what is left of the messages of a job that has ended.
func (h *heads) forget(connection string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, connection)
}

// Bounds of what is kept of a header, in bytes.
const (
	maxHead = 64 << 10
	maxText = 256
)

// whose reads the header of a message.
func whose(text []byte) head {
	fields, _ := header.Read(bytes.NewReader(text), "from", "subject") // memory does not fail
	return head{sender: bounded(header.Text(fields.First("from"))), subject: bounded(header.Text(fields.First("subject")))}
}

func bounded(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + " ..."
}

// headed is a message whose header is kept while it passes.
type headed struct {
	io.WriterTo
	head []byte
}

func (h *headed) WriteTo(w io.Writer) (int64, error) {
	return h.WriterTo.WriteTo(&headWriter{Writer: w, to: h})
}

type headWriter struct {
	io.Writer
	to   *headed
	done bool
}

func (w *headWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if !w.done {
		kept := w.to.head
		seen := max(0, len(kept)-3) // the end of the header may lie across two writes
		kept = append(kept, p[:min(n, maxHead-len(kept))]...)
		w.done = len(kept) == maxHead || bytes.Contains(kept[seen:], []byte("\n\r\n")) || bytes.Contains(kept[seen:], []byte("\n\n"))
		w.to.head = kept
	}
	return n, err
}

// logSaved is the line of a message that became visible.
func (a *App) logSaved(connection, job string, ref mail.Ref, path string, size int64) {
	fields := []zap.Field{
		zap.String("connection", connection), zap.String("job", job),
		zap.String("uid", ref.ID()), zap.String("file", path), zap.Int64("size", size),
	}
	if h, ok := a.heads.take(connection, ref.ID()); ok {
		fields = append(fields, zap.String("sender", h.sender), zap.String("subject", h.subject))
	}
	a.log.Named("poll").Info("message saved", fields...)
}
