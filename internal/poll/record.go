package poll

import (
	"cmp"
	"context"
	"path/filepath"
	"runtime/debug"
	"slices"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

// recording is a batch on its way to be saved and visible. It works beside the
// session, on the folder and the journal alone.
type recording struct {
	entries   []mail.Entry
	synced    bool         // durable under their temporary names, and their names are settled
	saved     bool         // journaled
	published []mail.Entry // the part that is visible
	vanished  []mail.Entry // the part whose folder was replaced
	wait      func() error // until it has ended, for why it ended early
}

// beside begins to do something, and returns what waits for it to end. A panic
// goes on there.
func (p *pass) beside(do func() error) (wait func() error) {
	done := make(chan struct{})
	var err error
	var fault any
	go func() {
		defer close(done)
		defer func() {
			if fault = recover(); fault != nil {
				p.log.Error("panic beside the session", zap.ByteString("stack", debug.Stack()))
			}
		}()
		err = do()
	}()
	return func() error {
		<-done
		if fault != nil {
			panic(fault)
		}
		return err
	}
}

// record begins to make messages durable (6), to journal (7) and to publish
// them (8), in this order. A server hands over a batch in an order of its own;
// its messages become visible in the order of the pull. Once begun it is local
// work, and short: what arrived whole is recorded also when the time of the
// attempt is up, or a batch that takes longer would never be.
func (p *pass) record(ctx context.Context, batch []mail.Ref, entries []mail.Entry) *recording {
	if len(entries) == 0 {
		return nil
	}
	r := &recording{entries: entries}
	r.wait = p.beside(func() (err error) {
		entries, err = p.Folder.Sync(ctx, p.c.Folder, entries)
		if err != nil {
			return err
		}
		place := func(e mail.Entry) int { return slices.IndexFunc(batch, e.Same) }
		slices.SortFunc(entries, func(a, b mail.Entry) int { return cmp.Compare(place(a), place(b)) })
		entries, err = p.Folder.Settle(ctx, p.c.Folder, entries)
		if err != nil {
			return err
		}
		r.entries, r.synced = entries, true
		if err := p.Journal.Save(ctx, p.c.Name, p.box, entries); err != nil {
			return err
		}
		r.saved = true
		r.published, r.vanished, err = p.Folder.Publish(ctx, entries, p.renamed(ctx))
		return err
	})
	return r
}

// finish waits for a recording, unless it is nil, and returns the messages
// that are saved and visible now. It is called once for each.
func (p *pass) finish(l lifetimes, r *recording) ([]mail.Ref, error) {
	if r == nil {
		return nil, nil
	}
	failed := r.wait()
	switch {
	case !r.synced:
		return nil, p.discard(l.commit, r.entries, failed)
	case !r.saved:
		return nil, p.unrecorded(l.commit, r.entries, failed)
	}
	for _, e := range r.entries {
		p.ledger.Saved.Add(e.Ref)
		delete(p.faults, e.ID())
	}
	p.show(r.published)
	saved := make([]mail.Ref, 0, len(r.published))
	for _, e := range r.published {
		saved = append(saved, e.Ref)
		p.count(e)
	}
	p.report()
	if err := p.taken(l.commit, r.vanished); err != nil {
		return saved, err
	}
	if failed == nil && len(r.vanished) > 0 {
		failed = mail.Errorf(mail.OpSave, mail.KindStorage, "folder %s was replaced while messages were put into it", p.c.Folder)
	}
	return saved, failed
}

// recorded waits for a recording and puts the disposition in force for what it
// saved.
func (p *pass) recorded(l lifetimes, r *recording) error {
	saved, err := p.finish(l, r)
	if err != nil {
		return err
	}
	return p.dispose(l, saved)
}

// renamed records the name that a message will get instead of the recorded
// one, before it gets it: once it has, only the journal knows which of several
// files it is, and where its description is. It is nil where nobody asks.
func (p *pass) renamed(ctx context.Context) func(mail.Entry) error {
	if p.c.Notify == nil && !p.c.Metadata {
		return nil
	}
	return func(e mail.Entry) error { return p.Journal.Renamed(ctx, p.c.Name, e) }
}

// count puts a message that is saved into the result.
func (p *pass) count(e mail.Entry) {
	if e.Temp == "" { // delivered before
		if !p.c.Pull.Unread && !p.c.Ending().Removes() {
			p.standing++
		}
		return
	}
	path := filepath.Join(e.Dir, e.Name)
	p.result.Messages++
	p.result.Bytes += e.Octets
	p.result.Files = append(p.result.Files, path)
	if p.trace.Saved != nil {
		p.trace.Saved(e.Ref, path, e.Octets)
	}
}

// unrecorded removes the temporary files of entries that the journal failed
// to record. Where it cannot be asked whether it failed, they stay: recorded
// after all, they are published by the next poll; if not, the next start
// removes them.
func (p *pass) unrecorded(ctx context.Context, entries []mail.Entry, err error) error {
	ledger, failed := p.Journal.Load(ctx, p.c.Name, p.box)
	if failed != nil {
		p.Folder.Leave()
		return err
	}
	recorded := make(map[string]bool)
	for _, e := range ledger.Pending {
		recorded[e.Temp] = true
	}
	return p.discard(ctx, slices.DeleteFunc(entries, func(e mail.Entry) bool { return recorded[e.Temp] }), err)
}

// discard removes temporary files that the journal knows nothing of, and
// returns the error that made it so.
func (p *pass) discard(ctx context.Context, entries []mail.Entry, err error) error {
	for _, e := range entries {
		if e.Temp == "" {
			continue
		}
		if failed := p.Folder.Discard(ctx, e); failed != nil {
			p.log.Warn("temporary file stays behind until the next start", zap.String("file", filepath.Join(e.Dir, e.Temp)), zap.Error(failed))
		}
	}
	return err
}

// publish makes recorded entries visible and forgets those whose file went
// with its folder before it could be: they will be taken again.
func (p *pass) publish(ctx context.Context, entries []mail.Entry) ([]mail.Entry, error) {
	published, vanished, err := p.Folder.Publish(ctx, entries, p.renamed(ctx))
	p.show(published)
	if err := p.taken(ctx, vanished); err != nil {
		return published, err
	}
	return published, err
}

// taken forgets entries that went with their folder.
func (p *pass) taken(ctx context.Context, vanished []mail.Entry) error {
	if len(vanished) == 0 {
		return nil
	}
	p.log.Warn("folder was replaced before messages in it became visible; they are taken again", zap.Int("messages", len(vanished)))
	return p.forget(ctx, vanished)
}
