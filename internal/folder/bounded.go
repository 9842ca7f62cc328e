package folder

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"mailpoller/internal/mail"
)

// Patience is for how long a call into a folder is waited for. A slow disk, or a
// server that fails over, answers within it.
const Patience = 2 * time.Minute

// Bounded is a Store whose calls end when their context does, and after Patience at
// the latest. A call into a file system that hangs, such as that of an NFS server that
// is gone, cannot be interrupted: it is given up, and goes on beside the program until
// the file system answers. Until then nothing else is begun in that folder. Apart from
// that, methods are those of Store. It may be used by many goroutines.
type Bounded struct {
	*Store
	Patience time.Duration // not changed after the first use

	mu     sync.Mutex
	lost   map[string]*lost // by folder
	pieces sync.Pool        // of messages on their way into a file
}

// Bound makes a Bounded of s.
func Bound(s *Store) *Bounded {
	return &Bounded{
		Store: s, Patience: Patience, lost: make(map[string]*lost),
		pieces: sync.Pool{New: func() any { return new(piece) }},
	}
}

// lost is what was given up in a folder and goes on there.
type lost struct {
	calls int
	over  chan struct{} // closed when there is none any more
}

// Ready reports why no message could be written into a folder, as far as that can be
// known without writing.
func (b *Bounded) Ready(ctx context.Context, folder string) error {
	_, err := within(ctx, b, folder, func() (none, error) { return none{}, b.Store.Ready(folder) }, nil)
	return err
}

// Answers waits until a folder answers, whatever it says: what is wrong with it is for
// Ready to say.
func (b *Bounded) Answers(ctx context.Context, folder string) error {
	_, err := within(ctx, b, folder, func() (none, error) {
		_, _ = os.Stat(folder) // an error is an answer
		return none{}, nil
	}, nil)
	return err
}

// Try does in the folder of c what a poll does, and leaves nothing behind.
func (b *Bounded) Try(ctx context.Context, c *mail.Connection) (warnings []string, err error) {
	return within(ctx, b, c.Folder, func() ([]string, error) { return b.Store.Try(ctx, c) }, nil)
}

// Sync makes entries durable, and returns them as they are then.
func (b *Bounded) Sync(ctx context.Context, folder string, entries []mail.Entry) ([]mail.Entry, error) {
	entries = slices.Clone(entries) // also those of work that was given up change
	return within(ctx, b, folder, func() ([]mail.Entry, error) { return entries, b.Store.Sync(folder, entries) }, nil)
}

// Settle gives entries in a folder their names, and returns them with these.
func (b *Bounded) Settle(ctx context.Context, folder string, entries []mail.Entry) ([]mail.Entry, error) {
	entries = slices.Clone(entries)
	return within(ctx, b, folder, func() ([]mail.Entry, error) { return entries, b.Store.Settle(entries) }, nil)
}

// Publish makes the messages of entries visible, in one folder after the other.
func (b *Bounded) Publish(ctx context.Context, entries []mail.Entry, renamed func(mail.Entry) error) (published, vanished []mail.Entry, err error) {
	type found struct{ published, vanished []mail.Entry }
	for len(entries) > 0 {
		folder, n := entries[0].Dir, 1
		for n < len(entries) && entries[n].Dir == folder {
			n++
		}
		part := slices.Clone(entries[:n])
		f, err := within(ctx, b, folder, func() (f found, err error) {
			f.published, f.vanished, err = b.Store.Publish(ctx, part, renamed)
			return f, err
		}, nil)
		published, vanished = append(published, f.published...), append(vanished, f.vanished...)
		if err != nil {
			return published, vanished, err
		}
		entries = entries[n:]
	}
	return published, vanished, nil
}

// Discard removes the temporary file of an entry that will not be published. Where
// that cannot be done now, the next start does it.
func (b *Bounded) Discard(ctx context.Context, e mail.Entry) error {
	if b.waits(e.Dir) { // who gives a message up has waited long enough
		b.Leave()
		return b.hangs(e.Dir)
	}
	_, err := within(ctx, b, e.Dir, func() (none, error) { return none{}, b.Store.Discard(e) }, nil)
	if err != nil {
		b.Leave()
	}
	return err
}

// Clean removes what a crash left in a folder.
func (b *Bounded) Clean(ctx context.Context, folder string, keep map[string]bool) (int, error) {
	n, err := within(ctx, b, folder, func() (int, error) { return b.Store.Clean(folder, keep) }, nil)
	if err != nil {
		b.Leave()
	}
	return n, err
}

// Planned returns what says as what messages would be saved.
func (b *Bounded) Planned(c *mail.Connection, box mail.Box) func(context.Context, mail.Message) (mail.Entry, error) {
	planned := b.Store.Planned(c, box)
	return func(ctx context.Context, m mail.Message) (mail.Entry, error) {
		return b.feed(ctx, c.Folder, m, planned, nil)
	}
}

// Write writes a message under a temporary name in the folder of c.
func (b *Bounded) Write(ctx context.Context, c *mail.Connection, box mail.Box, m mail.Message) (mail.Entry, error) {
	return b.feed(ctx, c.Folder, m, func(m mail.Message) (mail.Entry, error) {
		return b.Store.Write(c, box, m)
	}, func(e mail.Entry) { _ = b.Store.Discard(e) })
}

// feed does work with a message whose body the caller's goroutine reads, and hands
// over piece by piece: what is given up touches nothing of the session. Patience is
// for each piece.
func (b *Bounded) feed(ctx context.Context, folder string, m mail.Message, work func(mail.Message) (mail.Entry, error), undo func(mail.Entry)) (mail.Entry, error) {
	if err := b.free(ctx, folder); err != nil {
		return mail.Entry{}, err
	}
	if m.Body == nil {
		return begin(b, folder, func() (mail.Entry, error) { return work(m) }, undo).wait(ctx)
	}
	f := &feeder{b: b, ctx: ctx, folder: folder, pieces: make(chan *piece), ended: make(chan struct{})}
	body := m.Body
	m.Body = (*fed)(f)
	call := begin(b, folder, func() (mail.Entry, error) {
		defer close(f.ended)
		return work(m)
	}, undo)
	f.read(body, call)
	if f.gaveUp != nil {
		return mail.Entry{}, f.gaveUp
	}
	return call.wait(ctx)
}

// none is what there is to say of work that returns an error alone.
type none struct{}

// within does work in a folder.
func within[T any](ctx context.Context, b *Bounded, folder string, work func() (T, error), undo func(T)) (T, error) {
	if err := b.free(ctx, folder); err != nil {
		var nothing T
		return nothing, err
	}
	return begin(b, folder, work, undo).wait(ctx)
}

// waits reports whether something that was given up goes on in a folder.
func (b *Bounded) waits(folder string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lost[filepath.Clean(folder)] != nil
}

// free waits until nothing that was given up goes on in a folder.
func (b *Bounded) free(ctx context.Context, folder string) error {
	b.mu.Lock()
	at := b.lost[filepath.Clean(folder)]
	b.mu.Unlock()
	if at == nil {
		return nil
	}
	late := time.NewTimer(b.Patience)
	defer late.Stop()
	select {
	case <-at.over:
		return nil
	case <-late.C:
		return b.hangs(folder)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// hangs is what is said of a folder that does not answer.
func (b *Bounded) hangs(folder string) error {
	e := mail.Errorf(mail.OpSave, mail.KindStorage, "folder %s has not answered for %v", folder, b.Patience)
	e.Hint = "see whether its file system hangs, such as a mount whose server is gone; jobs of this folder wait for it, and go on when it answers"
	return e
}

// call is work on a goroutine of its own.
type call[T any] struct {
	b      *Bounded
	folder string
	done   chan answer[T]
	leave  chan struct{} // closed when nobody waits any more
}

type answer[T any] struct {
	value T
	err   error
	fault any // of a panic
}

// told is the outcome. A panic goes on.
func (o answer[T]) told() (T, error) {
	if o.fault != nil {
		panic(o.fault)
	}
	return o.value, o.err
}

// begin begins work, which is undone, unless undo is nil, when it succeeds once
// nobody waits for it.
func begin[T any](b *Bounded, folder string, work func() (T, error), undo func(T)) *call[T] {
	c := &call[T]{b: b, folder: filepath.Clean(folder), done: make(chan answer[T]), leave: make(chan struct{})}
	go func() {
		var o answer[T]
		func() {
			defer func() { o.fault = recover() }()
			o.value, o.err = work()
		}()
		select {
		case c.done <- o:
		case <-c.leave:
			if undo != nil && o.err == nil && o.fault == nil {
				undo(o.value)
			}
			c.returned()
		}
	}()
	return c
}

// moment is for how long a call is waited for once its context has ended: where the
// folder answers, it comes back by then, and it is known what came of it.
const moment = time.Second

// wait waits for the outcome.
func (c *call[T]) wait(ctx context.Context) (T, error) {
	var nothing T
	late := time.NewTimer(c.b.Patience)
	defer late.Stop()
	select {
	case o := <-c.done:
		return o.told()
	case <-late.C:
		return nothing, c.giveUp(c.b.hangs(c.folder))
	case <-ctx.Done():
	}
	soon := time.NewTimer(moment)
	defer soon.Stop()
	select {
	case o := <-c.done:
		return o.told()
	case <-soon.C:
		return nothing, c.giveUp(context.Cause(ctx))
	}
}

// giveUp waits no more, for that reason.
func (c *call[T]) giveUp(reason error) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	at := c.b.lost[c.folder]
	if at == nil {
		at = &lost{over: make(chan struct{})}
		c.b.lost[c.folder] = at
	}
	at.calls++
	close(c.leave)
	return reason
}

// returned ends what was given up.
func (c *call[T]) returned() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	at := c.b.lost[c.folder]
	if at.calls--; at.calls == 0 {
		delete(c.b.lost, c.folder)
		close(at.over)
	}
}

// piece is a part of a message, in the hands of one goroutine at a time.
type piece struct {
	n    int
	text [32 << 10]byte
}

// feeder is the side of a message's body that reads it; fed is the other one.
type feeder struct {
	b      *Bounded
	ctx    context.Context //nolint:containedctx // of the call that it is a part of
	folder string
	pieces chan *piece
	ended  chan struct{} // closed when nobody takes pieces any more
	at     *piece        // the one that is being filled
	gaveUp error         // that the folder does not answer
	failed error         // of the body; set before pieces is closed
}

var (
	errCutShort = errors.New("message was cut short")
	errEnded    = errors.New("nobody takes it any more")
)

// read hands over all of a body to a call. It gives the call up where it waits no
// more, and also when the body panics.
func (f *feeder) read(body io.WriterTo, call *call[mail.Entry]) {
	f.failed = errCutShort
	whole := false
	defer func() {
		close(f.pieces)
		if !whole {
			_ = call.giveUp(f.gaveUp)
		}
	}()
	_, err := body.WriteTo(f)
	if err == nil {
		err = f.flush()
	}
	f.failed = err
	whole = f.gaveUp == nil
}

// Write implements io.Writer.
func (f *feeder) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if f.at == nil {
			f.at = f.b.pieces.Get().(*piece)
			f.at.n = 0
		}
		k := copy(f.at.text[f.at.n:], p[n:])
		f.at.n += k
		n += k
		if f.at.n == len(f.at.text) {
			if err := f.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// flush hands over what there is.
func (f *feeder) flush() error {
	if f.at == nil {
		return nil
	}
	late := time.NewTimer(f.b.Patience)
	defer late.Stop()
	select {
	case f.pieces <- f.at:
		f.at = nil
		return nil
	case <-f.ended:
		return errEnded // its outcome says why
	case <-late.C:
		f.gaveUp = f.b.hangs(f.folder)
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	return f.gaveUp
}

type fed feeder

// WriteTo implements io.WriterTo, and fails as the body did.
func (f *fed) WriteTo(w io.Writer) (n int64, err error) {
	for p := range f.pieces {
		k, err := w.Write(p.text[:p.n])
		f.b.pieces.Put(p)
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
	return n, f.failed
}
