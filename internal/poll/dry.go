package poll

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// plan puts messages into the result of a dry run as if they had been saved: in
// the order in which they would come. Of those that were saved before it counts
// what would be disposed of anew; the pending ones are finished before.
func (p *pass) plan(ctx context.Context, refs, again []mail.Ref) error {
	for _, ref := range again {
		if !slices.ContainsFunc(p.ledger.Pending, func(e mail.Entry) bool { return ref.Same(e.Ref) }) {
			p.again++
		}
	}
	if p.planned == nil {
		p.planned = p.Folder.Planned(p.c, p.box)
	}
	for len(refs) > 0 {
		batch := bounded(refs)
		refs = refs[len(batch):]
		entries, err := p.wouldBe(ctx, batch)
		if err != nil {
			return err
		}
		for _, e := range entries {
			p.result.Messages++
			p.result.Bytes += e.Size
			p.result.Files = append(p.result.Files, filepath.Join(e.Dir, e.Name))
		}
	}
	return nil
}

// wouldBe is what a batch would be saved as.
func (p *pass) wouldBe(ctx context.Context, batch []mail.Ref) ([]mail.Entry, error) {
	var entries []mail.Entry
	each := func(m mail.Message) error {
		entries = slices.DeleteFunc(entries, func(e mail.Entry) bool { return m.Same(e.Ref) }) // taken back
		if m.Retracted {
			return nil
		}
		p.sequence++
		m.Sequence = p.sequence
		e, err := p.planned(ctx, m)
		entries = append(entries, e)
		return err
	}
	if p.c.NamedByContent() {
		err := p.session.Heads(ctx, batch, each)
		return entries, err
	}
	for _, ref := range batch {
		if err := each(mail.Message{Ref: ref}); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// then says what a poll would do beside saving what the dry run has found.
func (p *pass) then() []string {
	var then []string
	if n := len(p.ledger.Pending); n > 0 {
		then = append(then, fmt.Sprintf("finish what an earlier poll saved (%d), and %s", n, p.ending()))
	}
	if n := p.result.Messages + p.again; n > 0 {
		then = append(then, fmt.Sprintf("%s (%d)", p.ending(), n))
	}
	if p.c.Format == mail.Attachments && p.c.WithoutAttachments == mail.SetAside && p.result.Messages > 0 {
		then = append(then, "save none of them that turns out to have no attachments, and leave it on the server: only the whole message tells")
	}
	if p.c.Notify != nil && p.result.Messages > 0 {
		then = append(then, fmt.Sprintf("run %s for each that is saved", filepath.Base(p.c.Notify.Command[0])))
	}
	return then
}

// ending is what becomes of messages on the server, in words.
func (p *pass) ending() string {
	switch d := p.c.Ending(); {
	case d == disposition.Delete:
		return "delete them from the server"
	case d == disposition.Move:
		return fmt.Sprintf("move them to %q on the server", p.c.MoveTo)
	case d == disposition.Seen && p.c.Store == mail.IMAP:
		return "mark them as read on the server"
	default:
		return "leave them on the server as they are, and remember them"
	}
}
