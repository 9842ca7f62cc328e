package mailbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/emersion/go-imap/v2"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/lenient"
)

// Apply implements poll.Session.
func (s *imapSession) Apply(refs []mail.Ref, d disposition.Disposition) {
	set := s.applied[d]
	for _, ref := range refs {
		set.AddNum(imap.UID(ref.UID))
	}
	s.applied[d] = set
}

// change is a disposition as an IMAP server is asked for it. What it returns is
// not in force although the server said OK, as a search behind it has found.
type change func(imap.UIDSet) (left mail.UIDSet, err error)

// Commit implements poll.Session. Flags are added, never replaced; what is
// removed is exactly the messages that were applied. That the server says OK
// proves nothing: a search in the same flight says what it has done.
func (s *imapSession) Commit(ctx context.Context) (mail.Commitment, error) {
	defer s.conn.begin(ctx, replyBudget)()
	s.slow()
	c := &commit{imapSession: s}
	for _, step := range []struct {
		d      disposition.Disposition
		change change
		what   string
	}{
		{disposition.Seen, s.markSeen, "marking %d messages as read, and they are not"},
		{disposition.Move, c.move, "moving %d messages, and still has them here"},
		{disposition.Delete, c.remove, "removing %d messages, and still has them"},
	} {
		uids := s.applied[step.d]
		delete(s.applied, step.d)
		if len(uids) == 0 {
			continue
		}
		if err := c.run(step.d, uids, step.change, step.what); err != nil {
			return c.Commitment, err
		}
	}
	return c.Commitment, nil
}

// commit is a Commit in progress.
type commit struct {
	*imapSession
	mail.Commitment
	marked string // why messages that are marked as deleted were not removed; empty if they were
	copied imap.UIDSet
}

// run puts one disposition in force.
func (c *commit) run(d disposition.Disposition, uids imap.UIDSet, change change, what string) error {
	if c.in.Mailbox().ReadOnly {
		c.refuse(uids, c.fail(mail.OpDispose, &refusal{text: "the server has opened the mailbox so that nothing can be changed in it (READ-ONLY)"}))
		return nil
	}
	if d.Removes() {
		if err := c.checkValidity(); err != nil {
			return err
		}
	}
	for chunk := range slices.Chunk(uids, maxRanges) {
		c.copied, c.marked = nil, ""
		c.conn.allow(int64(count(chunk)) * 32) // an EXPUNGE each, and what the search finds
		left, err := change(chunk)
		if err != nil {
			if err = c.fail(mail.OpDispose, err); !isRefusal(err) {
				return err
			}
			c.refuse(chunk, err)
			continue
		}
		if len(left) == 0 {
			continue
		}
		refs := refsOf(left)
		switch {
		case len(c.copied) > 0:
			c.Copied = append(c.Copied, refs...)
		default:
			c.Asked = append(c.Asked, refs...)
		}
		if c.marked != "" {
			c.warn(c.marked)
		} else {
			c.warn(fmt.Sprintf("the server said OK to "+what+": this is tried again by the next job, and they are not saved again", len(refs)))
		}
	}
	return nil
}

func (c *commit) warn(text string) {
	if !slices.Contains(c.Warnings, text) {
		c.Warnings = append(c.Warnings, text)
	}
}

// refuse notes that the server refused. What was copied by then is not copied
// again.
func (c *commit) refuse(uids imap.UIDSet, err error) {
	refs := refsOf(rangesIn(uids))
	if len(c.copied) > 0 {
		c.Copied = append(c.Copied, refs...)
	} else {
		c.Refused = append(c.Refused, refs...)
	}
	if e := new(*mail.Error); c.Err == nil && errors.As(err, e) {
		c.Err = *e
	}
}

// refsOf are the messages of a set that this program has made.
func refsOf(set mail.UIDSet) []mail.Ref {
	var refs []mail.Ref
	for uid := range set.All(false) {
		refs = append(refs, mail.Ref{UID: uid})
	}
	return refs
}

// rangesIn is a set of the library's.
func rangesIn(uids imap.UIDSet) mail.UIDSet {
	var set mail.UIDSet
	for _, r := range uids {
		set.Add(uint32(r.Start), uint32(r.Stop))
	}
	return set
}

func count(uids imap.UIDSet) int { return rangesIn(uids).Len() }

// checkValidity makes sure that the UIDs still mean what they meant when the
// mailbox was opened. Servers need not answer STATUS for the open mailbox, and
// must not renumber it: only one that says that it did ends the session.
func (s *imapSession) checkValidity() error {
	s.in.Await(lenient.Want{})
	if _, err := s.client.Status(s.c.Mailbox, &imap.StatusOptions{UIDValidity: true}).Wait(); err != nil {
		if err = s.fail(mail.OpDispose, err); isRefusal(err) {
			return nil
		}
		return err
	}
	if now, ok := s.in.Status("UIDVALIDITY"); ok && now != s.box.Validity {
		return s.fail(mail.OpDispose, fmt.Errorf("UIDVALIDITY changed from %d to %d during the session, so nothing was deleted", s.box.Validity, now))
	}
	return nil
}

// markSeen marks messages as read.
func (s *imapSession) markSeen(uids imap.UIDSet) (mail.UIDSet, error) {
	unread := imap.SearchCriteria{UID: []imap.UIDSet{uids}, NotFlag: []imap.Flag{imap.FlagSeen}}
	return s.checked(uids, unread, func() func() error { return s.flag(uids, imap.FlagSeen) })
}

// remove removes messages. STORE is answered before EXPUNGE is asked for:
// Dovecot 2.3 now and then removes nothing when both come at once, and says OK.
// A server without UIDPLUS can only remove all that carry \Deleted: it is asked to
// only when they are ours.
func (c *commit) remove(uids imap.UIDSet) (mail.UIDSet, error) {
	if err := c.flag(uids, imap.FlagDeleted)(); err != nil {
		return nil, err
	}
	there := imap.SearchCriteria{UID: []imap.UIDSet{uids}}
	if c.caps.Has(imap.CapUIDPlus) || c.caps.Has(imap.CapIMAP4rev2) {
		return c.checked(uids, there, func() func() error { return c.client.UIDExpunge(uids).Close })
	}
	found, err := c.find(imap.SearchCriteria{Flag: []imap.Flag{imap.FlagDeleted}})()
	if err != nil {
		return nil, err
	}
	if others := found.Minus(rangesIn(uids)).Len(); others > 0 {
		c.marked = fmt.Sprintf("messages stay on the server, marked as deleted: it has no UIDPLUS, and %d other messages that are marked would be removed with them", others)
		return rangesIn(uids), nil
	}
	return c.checked(uids, there, func() func() error { return c.client.Expunge().Close })
}

// move moves messages to another mailbox: in one step where the server has MOVE
// (RFC 6851), else by copying and removing them. Stopped dead between the two it
// copies them again the next time: nothing tells a copy from another message.
func (c *commit) move(uids imap.UIDSet) (mail.UIDSet, error) {
	if c.c.Dispose == disposition.Seen {
		if err := c.flag(uids, imap.FlagSeen)(); err != nil {
			return nil, err
		}
	}
	if !c.caps.Has(imap.CapMove) && !c.caps.Has(imap.CapIMAP4rev2) { // the library would expunge what others have marked
		if _, err := c.client.Copy(uids, c.c.MoveTo).Wait(); err != nil {
			return nil, c.notMoved(c.fail(mail.OpDispose, err), notMovedYet)
		}
		c.copied = uids
		return c.remove(uids)
	}
	left, err := c.checked(uids, imap.SearchCriteria{UID: []imap.UIDSet{uids}}, func() func() error {
		command := c.client.Move(uids, c.c.MoveTo)
		return func() error {
			_, err := command.Wait()
			return err
		}
	})
	if err != nil {
		return nil, c.notMoved(c.fail(mail.OpDispose, err), notMovedYet)
	}
	return left, nil
}

const notMovedYet = "; the messages are saved, and the next job moves them"

// notMoved says what to do about a mailbox that takes no messages.
func (s *imapSession) notMoved(err error, rest string) error {
	var e *mail.Error
	if isRefusal(err) && errors.As(err, &e) {
		e.Err = fmt.Errorf("move to %q: %w", s.c.MoveTo, e.Err)
		if e.Kind != mail.KindServer {
			e.Hint = "create the mailbox on the server, or name another one in move_to:" + rest
		}
	}
	return err
}

// flag adds a flag to messages. What it returns waits for the answer.
func (s *imapSession) flag(uids imap.UIDSet, flag imap.Flag) (wait func() error) {
	store := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}
	return s.client.Store(uids, store, nil).Close
}

// find searches. What it returns waits for the answer.
func (s *imapSession) find(what imap.SearchCriteria) (wait func() (mail.UIDSet, error)) {
	command := s.client.UIDSearch(&what, s.listed())
	return func() (mail.UIDSet, error) {
		data, err := command.Wait()
		if err != nil {
			return nil, imapRefusal(err)
		}
		return rangesOf(data), nil
	}
}

// checked sends a command, and finds which of its messages it has left as they
// were: by a search in the same flight, and once more where that finds some, since
// a server may show what it did only when the command is over. A search that is
// refused proves nothing, as the refusal of the command itself would.
func (s *imapSession) checked(uids imap.UIDSet, undone imap.SearchCriteria, send func() (wait func() error)) (left mail.UIDSet, err error) {
	var look func() (mail.UIDSet, error)
	wait := send()
	if s.ahead = !s.manners.stepwise.Load(); s.ahead {
		look = s.find(undone)
	}
	if err = wait(); look == nil && err == nil {
		look = s.find(undone)
	}
	var found mail.UIDSet
	var failed error
	if look != nil {
		found, failed = look()
	}
	err = s.fail(mail.OpDispose, cmp.Or(err, failed)) // while it is known what was sent ahead
	s.ahead = false
	ours := rangesIn(uids)
	if err == nil && len(found.And(ours)) > 0 {
		if err = imapRefusal(s.client.Noop().Wait()); err == nil || isRefusal(err) {
			found, err = s.find(undone)()
		}
	}
	if err != nil {
		return nil, err
	}
	return found.And(ours), nil
}
