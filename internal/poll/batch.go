package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"go.uber.org/zap"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// A batch is what is recorded, published and disposed of together. The next
// one is fetched in the meantime.
const (
	batchMessages = 512
	batchOctets   = 16 << 20
)

// pickMessages is how many messages are picked at once where more than one is
// wanted: behind the last of them nothing is fetched while the others are
// recorded and disposed of.
const pickMessages = 4096

// maxFailed bounds how many messages of one attempt may fail before it ends: a
// server could name new ones without end.
const maxFailed = 1000

// errStopping ends a Fetch between two messages.
var errStopping = errors.New("stopping")

// drain takes messages, batch by batch, until enough are taken or there are
// no more.
func (p *pass) drain(ctx, hard context.Context) error {
	query := mail.Query{
		Pull:  p.c.Pull,
		Sizes: p.c.MaxMessageSize > 0 || p.c.MaxMessages != 1 || p.dry,
	}
	for {
		query.Limit = pickMessages
		if p.ledger.Rebuilt {
			query.Limit = 1 // a record of the old mailbox stands for one message of this one
		}
		if p.c.MaxMessages > 0 {
			query.Limit = min(query.Limit, p.c.MaxMessages-p.result.Messages-p.standing)
		}
		if query.Limit <= 0 || len(p.failed) >= maxFailed {
			return nil
		}
		query.Exclude = []mail.Set{p.skip, p.passedOver()}
		refs, err := p.session.Pick(ctx, query) // 5
		if err != nil || len(refs) == 0 {
			return err
		}
		query.After = &refs[len(refs)-1]
		if err := p.takeAll(ctx, hard, refs); err != nil {
			return err
		}
		if p.c.MaxMessages == 0 && len(refs) < query.Limit && !p.ledger.Rebuilt {
			return nil
		}
	}
}

// passedOver is the saved messages that a pick need not see: all of them when
// it takes unread ones alone, and those that it would leave as they are when
// it takes the whole mailbox. Where a pick takes a given number, saved ones
// count.
func (p *pass) passedOver() mail.Set {
	switch {
	case p.c.Pull.Unread:
		return p.ledger.Saved
	case p.c.MaxMessages > 0 || p.c.Ending().Removes():
		return mail.Set{}
	case p.c.Ending() == disposition.Seen:
		p.standing = p.ledger.Seen.Len()
		return p.ledger.Seen
	}
	p.standing = p.ledger.Saved.Len()
	return p.ledger.Saved
}

// bounded is the beginning of refs that fits into a batch, at least one.
func bounded(refs []mail.Ref) []mail.Ref {
	var octets int64
	refs = refs[:min(len(refs), batchMessages)]
	for i, r := range refs {
		if octets += r.Size; octets > batchOctets && i > 0 {
			return refs[:i]
		}
	}
	return refs
}

// takeAll takes the messages of refs: fetches what is new, and puts the
// disposition in force for all of them.
func (p *pass) takeAll(ctx, hard context.Context, refs []mail.Ref) error {
	var fresh, again []mail.Ref
	for _, ref := range refs {
		switch {
		case p.tooLarge(ref):
			p.setTooLarge(ref)
		case !p.ledger.Saved.Has(ref):
			fresh = append(fresh, ref)
		case p.c.Ending().Satisfied(p.inForce(ref)):
			p.standing++
		default:
			again = append(again, ref)
		}
	}
	if p.dry {
		return p.plan(ctx, fresh, again)
	}
	if err := p.dispose(hard, again); err != nil {
		return err
	}
	return p.takeFresh(ctx, hard, fresh)
}

// takeFresh takes messages that were not saved before. Each batch is recorded
// while the one before it is disposed of and the next one is fetched.
func (p *pass) takeFresh(ctx, hard context.Context, fresh []mail.Ref) error {
	var before *recording // of the batch ahead of the one that is fetched
	defer func() {
		if before != nil {
			_ = before.wait() // also when this goroutine panics; what it came to is known, or will be
		}
	}()
	for len(fresh) > 0 && ctx.Err() == nil {
		batch := bounded(fresh)
		entries, err := p.fetch(ctx, hard, batch)
		if err != nil && !errors.Is(err, errStopping) {
			// The session is gone; a new one finishes what is pending. What
			// arrived whole is recorded all the same.
			_, failed := p.finish(hard, before)
			before = p.record(hard, batch, entries)
			_, last := p.finish(hard, before)
			return cmp.Or(failed, last, err)
		}
		saved, failed := p.finish(hard, before)
		if failed != nil {
			return p.discard(entries, failed)
		}
		before = p.record(hard, batch, entries)
		if failed := p.dispose(hard, saved); failed != nil {
			_, last := p.finish(hard, before)
			return cmp.Or(failed, last)
		}
		if err != nil {
			break
		}
		if err := p.pardonGone(ctx); err != nil {
			_, failed := p.finish(hard, before)
			return cmp.Or(failed, err)
		}
		fresh = fresh[len(batch):]
	}
	if err := p.recorded(hard, before); err != nil || len(fresh) == 0 {
		return err
	}
	if err := p.commit(hard); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// inForce is the disposition that is in force for a saved message.
func (p *pass) inForce(ref mail.Ref) disposition.Disposition {
	if p.ledger.Seen.Has(ref) {
		return disposition.Seen
	}
	return disposition.Keep
}

func (p *pass) tooLarge(ref mail.Ref) bool {
	return p.c.MaxMessageSize > 0 && ref.Size > p.c.MaxMessageSize
}

// setTooLarge notes a message that will not be fetched, and says so once.
func (p *pass) setTooLarge(ref mail.Ref) {
	p.skip.Add(ref)
	p.result.Aside++
	reason := fmt.Sprintf("%d octets are more than max_message_size of %d", ref.Size, p.c.MaxMessageSize)
	p.faults[ref.ID()] = mail.Fault{Ref: ref, TooLarge: true, Reason: reason}
	p.log.Warn("message left alone", zap.String("uid", ref.ID()), zap.String("reason", reason))
}

// fetch writes messages into the folder, under temporary names (6). What it
// returns is whole, also beside an error.
func (p *pass) fetch(ctx, hard context.Context, refs []mail.Ref) ([]mail.Entry, error) {
	var entries []mail.Entry
	var failed error // in our own hands, not in the session's
	left := slices.Clone(refs)
	err := p.session.Fetch(hard, refs, func(m mail.Message) error {
		left = slices.DeleteFunc(left, m.Same)
		if at := slices.IndexFunc(entries, func(e mail.Entry) bool { return m.Same(e.Ref) }); at >= 0 { // taken back
			taken := entries[at]
			entries = slices.Delete(entries, at, at+1)
			_ = p.discard([]mail.Entry{taken}, nil) // what stopped us, if anything did, goes on to
		}
		switch {
		case m.Retracted:
			left = append(left, m.Ref)
			return nil
		case m.Err != nil:
			p.fail(m.Ref, m.Err)
		default:
			var entry mail.Entry
			switch entry, failed = p.take(hard, m); {
			case errors.Is(failed, mail.ErrNoAttachments):
				failed = nil
				p.setAside(m.Ref, mail.ErrNoAttachments)
			case failed != nil:
				return failed
			default:
				entries = append(entries, entry)
			}
		}
		if ctx.Err() != nil && len(left) > 0 {
			failed = errStopping
		}
		return failed
	})
	switch {
	case failed != nil:
		return entries, failed
	case err != nil && len(left) > 0:
		return entries, p.lost(left[0], err) // the wire broke when this one was asked for
	}
	return entries, err
}

// take writes one message into the folder. One that was delivered before, out
// of a mailbox that has been rebuilt since, is known by its digest and not
// written again.
func (p *pass) take(ctx context.Context, m mail.Message) (mail.Entry, error) {
	if limit := p.c.MaxMessageSize; limit > 0 {
		m.Body = limited{m.Body, limit}
	}
	m.Body = p.progress(m)
	p.sequence++
	m.Sequence = p.sequence
	entry, err := p.Folder.Write(p.c, p.box, m)
	if errors.Is(err, mail.ErrNoAttachments) {
		return entry, err
	}
	if err != nil {
		return entry, p.lost(m.Ref, err)
	}
	if !p.ledger.Rebuilt {
		return entry, nil
	}
	known, err := p.Journal.Recognise(ctx, p.c.Name, entry.Digest)
	if err == nil && !known {
		return entry, nil
	}
	if err = errors.Join(err, p.Folder.Discard(entry)); err != nil {
		return entry, err
	}
	return mail.Entry{Ref: entry.Ref, Octets: entry.Octets, Digest: entry.Digest}, nil
}

// lost says what a message that did not arrive whole means. A failure of the
// folder, or of the wire, fails the attempt. Any other belongs to the message
// itself: the ones behind it can be had on a new session.
func (p *pass) lost(ref mail.Ref, err error) error {
	e := mail.AsError(err, mail.OpFetch, mail.KindProtocol)
	if e.Kind == mail.KindStorage || e.Kind == mail.KindCanceled {
		return e
	}
	p.fail(ref, e)
	if e.Kind == mail.KindProtocol {
		return errSessionLost
	}
	return e
}

// fail notes a message that could not be had.
func (p *pass) fail(ref mail.Ref, err error) {
	p.failed = append(p.failed, failure{ref, err})
	p.skip.Add(ref)
	p.faults[ref.ID()] = mail.Fault{Ref: ref, Reason: err.Error()}
	p.log.Warn("message not fetched", append(ErrorFields(mail.AsError(err, mail.OpFetch, mail.KindProtocol)), zap.String("uid", ref.ID()))...)
}

// setAside notes a message that is not wanted, and says so once.
func (p *pass) setAside(ref mail.Ref, reason error) {
	p.skip.Add(ref)
	p.faults[ref.ID()] = mail.Fault{Ref: ref, Jobs: mail.FaultsBeforeAside, Reason: reason.Error()}
}

// pardonGone takes back the failures of messages that somebody else has
// removed since they were picked.
func (p *pass) pardonGone(ctx context.Context) error {
	if len(p.failed) == 0 {
		return nil
	}
	var failed, held mail.Set
	for _, f := range p.failed {
		failed.Add(f.ref)
	}
	refs, err := p.session.Pick(ctx, mail.Query{Only: &failed})
	if err != nil {
		return err
	}
	for _, ref := range refs {
		held.Add(ref)
	}
	p.failed = slices.DeleteFunc(p.failed, func(f failure) bool {
		if held.Has(f.ref) {
			return false
		}
		delete(p.faults, f.ref.ID())
		p.log.Info("message was removed by somebody else before it was fetched", zap.String("uid", f.ref.ID()))
		return true
	})
	return nil
}

// dispose puts the disposition in force for messages that are saved, or, with
// POP3, notes it for the end of the session (9, 10).
func (p *pass) dispose(ctx context.Context, refs []mail.Ref) error {
	if len(refs) == 0 {
		return nil
	}
	d := p.c.Ending()
	if d == disposition.Keep || d == disposition.Seen && p.c.Store == mail.POP3 {
		return p.disposed(ctx, refs) // nothing to do on the server
	}
	p.session.Apply(refs, d)
	p.applied = append(p.applied, refs...)
	if p.c.Store == mail.POP3 { // QUIT does it, and ends the session
		for _, ref := range refs {
			p.skip.Add(ref)
		}
		return nil
	}
	return p.commit(ctx)
}

// commit puts in force what was noted, and records it.
func (p *pass) commit(ctx context.Context) error {
	if len(p.applied) == 0 {
		return nil
	}
	warning, err := p.session.Commit(ctx)
	if err != nil {
		return err
	}
	if warning != "" && !slices.Contains(p.result.Warnings, warning) {
		p.result.Warnings = append(p.result.Warnings, warning)
	}
	refs := p.applied
	p.applied = nil
	return p.disposed(ctx, refs)
}

// disposed begins to record that the disposition of messages is in force (10).
// Until it is recorded, the journal has them as pending, which is as true: so the
// next batch is fetched meanwhile.
func (p *pass) disposed(ctx context.Context, refs []mail.Ref) error {
	if err := p.settled(); err != nil { // of the batch before
		return err
	}
	if p.c.Ending() == disposition.Seen {
		for _, ref := range refs {
			p.ledger.Seen.Add(ref)
		}
	}
	p.disposing = p.beside(func() error {
		return p.Journal.Dispose(context.WithoutCancel(ctx), p.c.Name, p.box, refs, p.c.Ending())
	})
	p.disposal = len(refs)
	return nil
}

// settled waits until what disposed has begun is recorded.
func (p *pass) settled() error {
	if p.disposing == nil {
		return nil
	}
	wait := p.disposing
	p.disposing = nil
	if err := wait(); err != nil {
		return err
	}
	p.result.Disposed += p.disposal
	return nil
}

// progress reports the octets of a message as they arrive.
func (p *pass) progress(m mail.Message) io.WriterTo {
	if p.trace.Progress == nil {
		return m.Body
	}
	return progress{m, p.trace.Progress}
}

// limited is a message that turns out to be no larger than this, whatever size
// the server announced.
type limited struct {
	io.WriterTo
	octets int64
}

func (l limited) WriteTo(w io.Writer) (int64, error) {
	return l.WriterTo.WriteTo(&limitedWriter{w, l.octets, l.octets})
}

type limitedWriter struct {
	io.Writer
	left, octets int64
}

func (l *limitedWriter) Write(b []byte) (int, error) {
	if l.left -= int64(len(b)); l.left < 0 {
		e := mail.Errorf(mail.OpFetch, mail.KindProtocol, "message is larger than the server announced, and than max_message_size of %d octets", l.octets)
		e.Hint = "it stays on the server; raise max_message_size: if the message is wanted"
		return 0, e
	}
	return l.Writer.Write(b)
}

type progress struct {
	message mail.Message
	report  func(ref mail.Ref, done, size int64)
}

func (b progress) WriteTo(w io.Writer) (int64, error) {
	return b.message.Body.WriteTo(&counter{Writer: w, progress: b})
}

type counter struct {
	io.Writer
	progress
	done int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.done += int64(n)
	c.report(c.message.Ref, c.done, c.message.Size)
	return n, err
}
