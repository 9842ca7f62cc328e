package poll

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"go.uber.org/zap"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// prune drops from the journal what the server no longer holds. A POP3 server
// is always asked, since nothing else tells that it renamed its messages; an
// IMAP server only when the journal holds more than the mailbox does, so that
// an idle mailbox costs nothing and the journal never outgrows it.
func (p *pass) prune(ctx context.Context, messages int) error {
	known := p.ledger.Saved
	if len(p.ledger.Unsaved) > 0 {
		known = known.Clone()
	}
	for _, f := range p.ledger.Unsaved {
		known.Add(f.Ref)
	}
	if messages == 0 && p.c.Store == mail.IMAP {
		return p.pruneEmpty(ctx)
	}
	if known.Len() == 0 || p.c.Store == mail.IMAP && known.Len() <= messages && len(p.ledger.Unsaved) == 0 {
		return nil
	}
	refs, err := p.session.Pick(ctx, mail.Query{Only: &known})
	if err != nil || len(refs) == known.Len() {
		return err
	}
	stay := p.ledger.Saved.Len() - len(p.ledger.Pending) // those that are pending may be deleted by now
	if len(refs) == 0 && messages > 0 && stay > 0 && p.c.Store == mail.POP3 {
		// Every unique-id changed at once: the server renamed its messages.
		if err := p.Journal.Void(ctx, p.c.Name); err != nil {
			return err
		}
	} else {
		var held mail.Set
		for _, r := range refs {
			held.Add(r)
		}
		if err := p.Journal.Keep(ctx, p.c.Name, p.box, held); err != nil {
			return err
		}
	}
	p.ledger, err = p.Journal.Load(ctx, p.c.Name, p.box)
	return err
}

// pruneEmpty drops what is wrong with messages of an IMAP mailbox that holds none, and
// keeps which ones were saved: if it only looks empty for once, they are not
// delivered again, and since a UID never comes back, no other message is taken for one
// of them.
func (p *pass) pruneEmpty(ctx context.Context) (err error) {
	if len(p.ledger.Unsaved) == 0 {
		return nil
	}
	if err := p.Journal.Keep(ctx, p.c.Name, p.box, p.ledger.Saved); err != nil {
		return err
	}
	p.ledger, err = p.Journal.Load(ctx, p.c.Name, p.box)
	return err
}

// finishEarlier publishes and disposes of what an earlier poll was kept from.
func (p *pass) finishEarlier(l lifetimes) error {
	if len(p.ledger.Orphans) > 0 {
		published, err := p.publish(l.commit, p.ledger.Orphans)
		if err != nil {
			return err
		}
		if err := p.Journal.Settle(l.commit, p.c.Name, published); err != nil {
			return err
		}
		p.ledger.Rebuilt = p.ledger.Rebuilt || len(published) > 0 // their digests are known from here on
	}
	if len(p.ledger.Pending) == 0 {
		return nil
	}
	pending, err := p.publish(l.commit, p.ledger.Pending)
	if err != nil {
		return err
	}
	found, err := p.match(l.start, pending)
	if err != nil {
		return err
	}
	// Removed by the earlier poll, or by another client; or others by now, which are
	// new. What was delivered under their name was, and its command is still due.
	if err := p.Journal.Dispose(l.commit, p.c.Name, p.box, slices.Concat(found.gone, found.others), disposition.Delete); err != nil {
		return err
	}
	for _, ref := range found.others {
		p.ledger.Saved.Remove(ref)
	}
	p.result.Disposed += found.done
	if err := p.dispose(l, found.present); err != nil {
		return err
	}
	return p.disposeAs(l, found.copied, disposition.Delete)
}

// matched is what became of pending messages on the server.
type matched struct {
	present []mail.Ref // still there
	copied  []mail.Ref // likewise, and copied already to where they are to be moved
	gone    []mail.Ref
	done    int        // of those, for which nobody has counted that the server was asked
	others  []mail.Ref // the server has another message under the name
	kept    int        // of those that are present: a POP3 server was asked to remove them
}

// match finds pending messages on the server. A UID names one message for ever (RFC
// 9051, section 2.3.1.1); that an IMAP server says another size is no proof of another
// message, but a reason to doubt. A unique-id ought to name one, but there are POP3
// servers that number their messages by their position, or give a new one the id of
// one that they have removed. Where there is doubt, the digest of what the server
// holds decides, before anything is removed or saved.
func (p *pass) match(ctx context.Context, pending []mail.Entry) (m matched, err error) {
	var set mail.Set
	for _, e := range pending {
		set.Add(e.Ref)
	}
	found, err := p.session.Pick(ctx, mail.Query{Only: &set, Sizes: true})
	if err != nil {
		return m, err
	}
	byID := make(map[string]mail.Ref, len(found))
	for _, ref := range found {
		byID[ref.ID()] = ref
	}
	var doubted []mail.Entry
	for _, e := range pending {
		ref, ok := byID[e.ID()]
		switch {
		case !ok:
			m.gone = append(m.gone, e.Ref)
			if e.Stage != mail.Asked || p.c.Store != mail.POP3 {
				m.done++
			} else {
				p.Removals.saw(p.c)
			}
		case e.Stage == mail.Copied:
			m.copied = append(m.copied, ref)
		case e.Stage == mail.Asked && p.c.Store == mail.POP3 && p.Removals.seen(p.c), p.doubts(ref),
			ref.Size != e.Size && ref.Size != 0 && e.Size != 0:
			e.Ref = ref
			doubted = append(doubted, e)
		default:
			m.present = append(m.present, ref)
			if e.Stage == mail.Asked && p.c.Store == mail.POP3 {
				m.kept++
			}
		}
	}
	if len(doubted) > 0 {
		err = p.compare(ctx, doubted, &m)
	}
	if m.kept > 0 {
		p.warn(fmt.Sprintf("the server said OK to removing %d messages, and still has them: this is tried again by the next job, and they are not saved again", m.kept))
	}
	if len(m.others) > 0 {
		p.Removals.doubt(p.c)
		p.log.Warn("server has new messages under the names of those that were saved", zap.Int("messages", len(m.others)))
	}
	return m, err
}

// doubts reports whether a POP3 server may have another message by now under a
// unique-id that is about to be removed: until one was seen to stay the same, and
// always where it is no more than the position.
func (p *pass) doubts(ref mail.Ref) bool {
	return p.c.Store == mail.POP3 && p.c.Ending().Removes() && (ref.UIDL == strconv.Itoa(ref.Num) || !p.Removals.steady(p.c))
}

// compare fetches messages once more, to see whether they are those that were
// saved. One that cannot be had now stays as it is.
func (p *pass) compare(ctx context.Context, doubted []mail.Entry, m *matched) error {
	refs := make([]mail.Ref, len(doubted))
	for i, e := range doubted {
		refs[i] = e.Ref
	}
	return p.session.Fetch(ctx, refs, func(msg mail.Message) error {
		if msg.Body == nil {
			return nil
		}
		digester := mail.NewDigester()
		if _, err := msg.Body.WriteTo(digester); err != nil {
			return err
		}
		digest, whole := digester.Sum()
		at := slices.IndexFunc(doubted, func(e mail.Entry) bool { return msg.Same(e.Ref) })
		if at < 0 {
			return nil
		}
		e := doubted[at]
		asked := p.c.Store == mail.POP3 && e.Stage == mail.Asked
		switch same := e.Digest == digest || e.Digest == whole; { // as an earlier version recorded it
		case same && asked && p.Removals.seen(p.c):
			// What this server says it removes, it removes: it is one that is equal.
			m.others = append(m.others, e.Ref)
		case same:
			p.Removals.names(p.c, true)
			m.present = append(m.present, e.Ref)
			if asked {
				m.kept++
			}
		default:
			p.Removals.names(p.c, false)
			m.others = append(m.others, e.Ref)
		}
		return nil
	})
}

// forget takes entries out of the journal that were not delivered.
func (p *pass) forget(ctx context.Context, entries []mail.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := p.Journal.Discard(ctx, p.c.Name, entries); err != nil {
		return err
	}
	for _, e := range entries {
		p.ledger.Saved.Remove(e.Ref)
	}
	return nil
}

// Removals is which POP3 servers were seen to remove what they said they did.
// There, a message under the name of one that was removed is another one; of other
// servers it is what they have kept. And it is which servers were seen to have the
// same message under a name as before. The zero value knows none. It may be used by
// many goroutines; a nil one knows none for ever.
type Removals struct {
	servers sync.Map
	named   sync.Map // to whether it was the same
}

// steady reports whether a server was seen to have the same message under a name, and
// never another one.
func (r *Removals) steady(c *mail.Connection) bool {
	if r == nil {
		return false
	}
	same, _ := r.named.Load(c.Server())
	return same == true
}

// names notes what a server had under a name.
func (r *Removals) names(c *mail.Connection, same bool) {
	switch {
	case r == nil:
	case same:
		r.named.LoadOrStore(c.Server(), true)
	default:
		r.named.Store(c.Server(), false)
	}
}

func (r *Removals) seen(c *mail.Connection) bool {
	if r == nil {
		return false
	}
	_, ok := r.servers.Load(c.Server())
	return ok
}

func (r *Removals) saw(c *mail.Connection) {
	if r != nil {
		r.servers.Store(c.Server(), true)
	}
}

func (r *Removals) doubt(c *mail.Connection) {
	if r != nil {
		r.servers.Delete(c.Server())
	}
}

// mustLook reports whether a session has to look at once whether a POP3 server has
// removed what it said it did: while nobody has seen that it does.
func (p *pass) mustLook() bool { return p.asked.Len() > 0 && !p.Removals.seen(p.c) }

// look opens another session to see whether what was removed is gone. That it
// cannot is no failure: the next job sees it.
func (p *pass) look(l lifetimes) {
	gone, err := p.removed(l.start)
	if err == nil {
		err = p.Journal.Dispose(l.commit, p.c.Name, p.box, gone, disposition.Delete)
	}
	switch {
	case err != nil:
		p.log.Debug("what the server removed was not looked at", ErrorFields(mail.AsError(err, mail.OpDispose, mail.KindProtocol))...)
	case len(gone) == p.asked.Len():
		p.Removals.saw(p.c)
	default:
		p.warn(fmt.Sprintf("the server said OK to removing %d messages, and still has %d of them: this is tried again by the next job, and they are not saved again",
			p.asked.Len(), p.asked.Len()-len(gone)))
	}
}

// removed is which of the messages that the server was asked to remove are gone.
func (p *pass) removed(ctx context.Context) ([]mail.Ref, error) {
	session, err := p.open(ctx)
	if err != nil {
		return nil, err
	}
	defer session.Close() //nolint:errcheck // nothing was done that could be undone
	if box, _ := session.Box(); box != p.box {
		return nil, fmt.Errorf("another mailbox was opened")
	}
	refs, err := session.Pick(ctx, mail.Query{Only: &p.asked})
	if err != nil {
		return nil, err
	}
	gone := p.asked.Clone()
	for _, ref := range refs {
		gone.Remove(ref)
	}
	return gone.Refs(), nil
}
