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
func (p *pass) drain(l lifetimes) error {
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
		if query.Limit <= 0 || len(p.blame.failed) >= maxFailed {
			return nil
		}
		query.Exclude = []mail.Set{p.skip, p.late, p.passedOver()}
		query.Unread = &p.unread
		refs, err := p.session.Pick(l.start, query) // 5
		if err != nil {
			return p.spoils(l.start, err)
		}
		if len(refs) > 0 {
			query.After = &refs[len(refs)-1]
			if err := p.takeAll(l, refs); err != nil {
				return err
			}
		}
		all := len(refs) == 0 || p.c.MaxMessages == 0 && len(refs) < query.Limit && !p.ledger.Rebuilt
		switch {
		case all && p.late.Len() > 0: // behind all others
			p.late, query.After = mail.Set{}, nil
		case all:
			return nil
		}
	}
}

// passedOver is the saved messages that a pick need not see: all of them when
// it takes unread ones alone, and those that it would leave as they are when
// it takes the whole mailbox. Where a pick takes a given number, saved ones
// count.
func (p *pass) passedOver() mail.Set {
	_, messages := p.session.Box() // which may be fewer than were saved
	switch {
	case p.c.Pull.Unread:
		return p.ledger.Saved
	case p.c.MaxMessages > 0 || p.c.Ending().Removes():
		return mail.Set{}
	case p.c.Ending() == disposition.Seen:
		p.standing = min(messages, p.ledger.Seen.Len())
		return p.ledger.Seen
	}
	p.standing = min(messages, p.ledger.Saved.Len())
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
func (p *pass) takeAll(l lifetimes, refs []mail.Ref) error {
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
		return p.plan(l.start, fresh, again)
	}
	if err := p.dispose(l, again); err != nil {
		return err
	}
	return p.takeFresh(l, fresh)
}

// takeFresh takes messages that were not saved before. Each batch is recorded
// while the one before it is disposed of and the next one is fetched.
func (p *pass) takeFresh(l lifetimes, fresh []mail.Ref) error {
	var before *recording // of the batch ahead of the one that is fetched
	defer func() {
		if before != nil {
			_ = before.wait() // also when this goroutine panics; what it came to is known, or will be
		}
	}()
	fresh = p.suspectsFirst(fresh)
	for len(fresh) > 0 && l.start.Err() == nil {
		batch := bounded(fresh)
		if p.suspects.Has(batch[0]) {
			batch = batch[:1]
		}
		entries, err := p.fetch(l, batch)
		if err != nil && !errors.Is(err, errStopping) {
			// The session is gone; a new one finishes what is pending. What
			// arrived whole is recorded all the same.
			_, failed := p.finish(l, before)
			before = p.record(l.commit, batch, entries)
			_, last := p.finish(l, before)
			return cmp.Or(failed, last, err)
		}
		saved, failed := p.finish(l, before)
		if failed != nil {
			return p.discard(l.commit, entries, failed)
		}
		before = p.record(l.commit, batch, entries)
		if failed := p.dispose(l, saved); failed != nil {
			_, last := p.finish(l, before)
			return cmp.Or(failed, last)
		}
		if err != nil {
			break
		}
		if err := p.pardonGone(l.start); err != nil {
			_, failed := p.finish(l, before)
			return cmp.Or(failed, err)
		}
		fresh = fresh[len(batch):]
	}
	if err := p.recorded(l, before); err != nil || len(fresh) == 0 {
		return err
	}
	if err := p.commit(l); err != nil {
		return err
	}
	return context.Cause(l.start)
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
	p.result.Oversized++
	reason := fmt.Sprintf("%d octets are more than max_message_size of %d", ref.Size, p.c.MaxMessageSize)
	p.faults[ref.ID()] = mail.Unsaved{Ref: ref, Oversized: true, Reason: reason}
	p.log.Warn("message skipped", zap.String("uid", ref.ID()), zap.String("reason", reason))
}

// fetch writes messages into the folder, under temporary names (6). What it
// returns is whole, also beside an error.
func (p *pass) fetch(l lifetimes, refs []mail.Ref) ([]mail.Entry, error) {
	var entries []mail.Entry
	var failed error   // in our own hands, not in the session's
	var broke mail.Set // the one that was coming when the session ended
	last := 0          // event at which one came whole
	left := slices.Clone(refs)
	p.asking = len(refs)
	err := p.session.Fetch(l.finish, refs, func(m mail.Message) error {
		left = slices.DeleteFunc(left, m.Same)
		if at := slices.IndexFunc(entries, func(e mail.Entry) bool { return m.Same(e.Ref) }); at >= 0 { // taken back
			taken := entries[at]
			entries = slices.Delete(entries, at, at+1)
			_ = p.discard(l.commit, []mail.Entry{taken}, nil) // what stopped us, if anything did, goes on to
		}
		switch {
		case m.Retracted:
			left = append(left, m.Ref)
			return nil
		case m.Err != nil:
			if e := mail.AsError(m.Err, mail.OpFetch, mail.KindProtocol); e.Kind == mail.KindServer || e.Kind == mail.KindAuth {
				if failed = p.troubled(m.Ref, e); failed != nil {
					return failed
				}
			} else {
				p.fail(failure{ref: m.Ref, err: m.Err})
			}
		default:
			var entry mail.Entry
			switch entry, failed = p.take(l.finish, m); {
			case errors.Is(failed, mail.ErrNoAttachments):
				failed = nil
				last = p.blame.came()
				p.setUnwanted(m.Ref, mail.ErrNoAttachments)
			case failed != nil:
				broke.Add(m.Ref)
				return failed
			default:
				last = p.blame.came()
				entries = append(entries, entry)
			}
		}
		if l.start.Err() != nil && len(left) > 0 {
			failed = errStopping
		}
		return failed
	})
	if len(entries)+p.result.Unwanted > 0 && last > 0 {
		p.blame.has(last)
	}
	if err == nil {
		return entries, p.confirm(l.finish, entries)
	}
	p.interrupted(append(broke.Refs(), left...), err)
	switch {
	case len(left) == 0:
	case failed == nil:
		return entries, p.lost(l.finish, p.next(left), err) // the wire broke when this one was asked for
	case errors.Is(failed, errSessionLost) && p.asking > 1:
		p.suspects.Add(p.next(left)) // one that came is not whole for what follows it
	}
	return entries, cmp.Or(failed, err)
}

// next is the one of some messages that a server hands over first.
func (p *pass) next(refs []mail.Ref) mail.Ref {
	if p.c.Store == mail.IMAP {
		return slices.MinFunc(refs, func(a, b mail.Ref) int { return cmp.Compare(a.UID, b.UID) })
	}
	return refs[0]
}

// suspectsFirst is refs with those ahead that may have ended a session.
func (p *pass) suspectsFirst(refs []mail.Ref) []mail.Ref {
	if p.suspects.Len() == 0 {
		return refs
	}
	refs = slices.Clone(refs)
	slices.SortStableFunc(refs, func(a, b mail.Ref) int {
		switch x, y := p.suspects.Has(a), p.suspects.Has(b); {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	})
	return refs
}

// interrupted notes messages that were asked for and did not come. A server may
// mark one as read that it has only begun to send, whatever it was asked; it
// counts as unread until it is saved.
func (p *pass) interrupted(refs []mail.Ref, err error) {
	if p.c.Store != mail.IMAP || !p.c.Pull.Unread || !p.c.Ending().ChangesServer() {
		return
	}
	for _, ref := range refs {
		p.unread.Add(ref)
		if _, known := p.faults[ref.ID()]; !known {
			p.faults[ref.ID()] = mail.Unsaved{Ref: ref, Interrupted: true, Reason: err.Error()}
		}
	}
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
	entry, err := p.Folder.Write(ctx, p.c, p.box, m)
	if errors.Is(err, mail.ErrNoAttachments) {
		return entry, err
	}
	if err != nil {
		return entry, p.lost(ctx, m.Ref, err)
	}
	if !p.ledger.Rebuilt {
		return entry, nil
	}
	digest := entry.Digest
	known, err := p.Journal.Recognise(ctx, p.c.Name, digest)
	if err == nil && !known && entry.SHA256 != digest { // as an earlier version recorded it
		digest = entry.SHA256
		known, err = p.Journal.Recognise(ctx, p.c.Name, digest)
	}
	if err == nil && !known {
		return entry, nil
	}
	if err = errors.Join(err, p.Folder.Discard(ctx, entry)); err != nil {
		return entry, err
	}
	return mail.Entry{Ref: entry.Ref, Octets: entry.Octets, Digest: digest}, nil
}

// setUnwanted notes a message that is not wanted.
func (p *pass) setUnwanted(ref mail.Ref, reason error) {
	p.skip.Add(ref)
	p.result.Unwanted++
	p.faults[ref.ID()] = mail.Unsaved{Ref: ref, Unwanted: true, Reason: reason.Error()}
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
