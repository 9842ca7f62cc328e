package mailbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/lenient"
)

// Fetch implements poll.Session.
func (s *imapSession) Fetch(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error {
	return s.fetchAll(ctx, refs, imap.PartSpecifierNone, each)
}

// Heads implements poll.Session.
func (s *imapSession) Heads(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error {
	return s.fetchAll(ctx, refs, imap.PartSpecifierHeader, func(m mail.Message) error {
		if m.Body != nil {
			head := &beginning{most: maxHead}
			if _, err := m.Body.WriteTo(head); err != nil {
				return err
			}
			m.Body = bytes.NewReader(head.Bytes())
		}
		return each(m)
	})
}

// fetchAll asks for all messages with one command. Those that do not come with it
// are asked for again, one by one, so that each has a verdict of its own; and all
// of them, where the server ends it with NO: which of them it gave up at, it does
// not say.
func (s *imapSession) fetchAll(ctx context.Context, refs []mail.Ref, part imap.PartSpecifier, each func(mail.Message) error) error {
	defer s.conn.begin(ctx, replyBudget)()
	if s.c.Described() {
		if err := s.describe(refs); err != nil {
			return err
		}
	}
	if len(refs) > 1 && !s.manners.singly.Load() {
		f, err := s.fetch(refs, part, each)
		switch {
		case f.refused(): // what came is not known to be whole
			for _, ref := range refs {
				if !slices.ContainsFunc(f.left, func(r mail.Ref) bool { return r.UID == ref.UID }) {
					err = errors.Join(err, each(mail.Message{Ref: ref, Retracted: true}))
				}
			}
		case err == nil:
			refs = f.left
		}
		if s.in.UIDBehind() {
			s.manners.singly.Store(true)
		}
		if err != nil {
			return err
		}
	}
	for _, ref := range refs {
		f, err := s.fetch([]mail.Ref{ref}, part, each)
		if err == nil && len(f.left) > 0 {
			err = each(mail.Message{Ref: ref, Err: s.fail(mail.OpFetch, cmp.Or(f.result, s.missing(ref)))})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// missing is why there is no message although the server said OK.
func (s *imapSession) missing(ref mail.Ref) error {
	for _, m := range s.in.Messages() {
		if m.UID == ref.UID && m.Empty {
			return fmt.Errorf("server hands over an empty message; it says that it has %d bytes", m.Size)
		}
	}
	return errNotThere
}

// facts are what a server tells of a message beside its octets.
type facts struct {
	received time.Time
	flags    []string
}

// describe asks for the facts of messages ahead of their octets: in one answer
// with them, they might come behind. A server that refuses to tell them may hand
// over the messages all the same.
func (s *imapSession) describe(refs []mail.Ref) error {
	s.facts = make(map[uint32]facts, len(refs))
	found, err := s.ask(mail.OpFetch, setOf(refs), &imap.FetchOptions{UID: true, Flags: true, InternalDate: true}, lenient.Want{}, replyBudget/16)
	if err != nil && !isRefusal(err) {
		return err
	}
	for _, m := range found {
		s.facts[m.UID] = facts{received: m.Received, flags: m.Flags}
	}
	return nil
}

// setOf is the set of messages.
func setOf(refs []mail.Ref) imap.UIDSet {
	var set imap.UIDSet
	for _, ref := range refs {
		set.AddNum(imap.UID(ref.UID))
	}
	return set
}

// ask asks for facts of messages, of which each may take so many bytes. What it
// returns beside an error is true.
func (s *imapSession) ask(op string, set imap.UIDSet, items *imap.FetchOptions, want lenient.Want, budget int64) ([]lenient.Message, error) {
	s.conn.allow(budget * int64(count(set)))
	want.Facts = true
	var all []lenient.Message
	for ranges := range slices.Chunk(set, maxRanges) {
		s.in.Await(want)
		err := s.client.Fetch(ranges, items).Close()
		all = append(all, s.in.Messages()...)
		if err != nil {
			return all, s.fail(op, err)
		}
	}
	return all, nil
}

// errNotThere is a FETCH that the server says went well, without the message.
var errNotThere = errors.New("server answers OK without the message: it may be gone")

// fetching is a FETCH in progress.
type fetching struct {
	s      *imapSession
	cmd    *imapclient.FetchCommand
	left   []mail.Ref                   // what did not come yet
	data   *imapclient.FetchMessageData // the response at hand; nil when the command has ended
	result error                        // of the command, when it has ended
	alone  bool                         // one message was asked for
}

// fetch fetches messages, or that part of them, with BODY.PEEK, which leaves their flags alone.
// What it returns has ended, with OK or with NO. Only what is needed is asked
// for: every further item is one more that a server can get wrong.
func (s *imapSession) fetch(refs []mail.Ref, part imap.PartSpecifier, each func(mail.Message) error) (*fetching, error) {
	s.conn.allow(replyBudget / 16 * int64(len(refs)))
	want := lenient.Want{Section: string(part), Body: true}
	if len(refs) == 1 {
		want.UID = refs[0].UID
	}
	s.in.Await(want)
	f := &fetching{s: s, left: slices.Clone(refs), alone: len(refs) == 1, cmd: s.client.Fetch(setOf(refs), &imap.FetchOptions{
		UID:         true,
		RFC822Size:  true,
		BodySection: []*imap.FetchItemBodySection{{Specifier: part, Peek: true}},
	})}
	ended := false
	defer func() {
		if !ended { // each panics, and the library waits for somebody to read on
			f.drop()
		}
	}()
	var stop error // of each; the command is brought to its end all the same
	for f.next(); f.data != nil; {
		var m mail.Message
		body := f.body(&m)
		if body == nil {
			f.next()
			continue
		}
		at := slices.IndexFunc(f.left, func(r mail.Ref) bool { return r.UID == m.UID })
		if at < 0 {
			ended = true
			return f, f.another(refs, m, each)
		}
		if part != imap.PartSpecifierNone { // what came is not the size of the message
			m.Size = f.left[at].Size
		}
		f.left = slices.Delete(f.left, at, at+1)
		if stop != nil {
			s.conn.allow(body.size + body.size/64)
			f.next() // the library reads past it
			continue
		}
		m.Body, m.Received, m.Flags = body, s.facts[m.UID].received, s.facts[m.UID].flags
		if stop = each(m); !body.whole {
			f.drop()
			ended = true
			if stop == nil {
				stop = s.fail(mail.OpFetch, io.ErrUnexpectedEOF)
			}
			return f, stop
		}
	}
	ended = true
	if stop == nil && f.result != nil && !f.refused() {
		stop = s.fail(mail.OpFetch, f.result)
	}
	return f, stop
}

// refused reports whether the command has ended with NO or BAD.
func (f *fetching) refused() bool {
	var answer *imap.Error
	return f.data == nil && f.s.conn.err() == nil && errors.As(f.result, &answer)
}

// next goes on to the next response, past what is left of the one at hand.
func (f *fetching) next() {
	if f.data = f.cmd.Next(); f.data == nil {
		f.result = f.cmd.Close()
	}
}

// body reads the response at hand up to the octets of a message. It is nil
// where there are none: servers may mention any message at any time.
func (f *fetching) body(m *mail.Message) *literal {
	for item := f.data.Next(); item != nil; item = f.data.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			m.UID = uint32(item.UID)
		case imapclient.FetchItemDataBodySection:
			if item.Literal != nil {
				m.Size = item.Literal.Size()
				return &literal{f: f, r: item.Literal, size: item.Literal.Size()}
			}
		}
	}
	return nil
}

// another ends a session in which the server sends a message that was not
// asked for, or one a second time, which takes the first back.
func (f *fetching) another(refs []mail.Ref, m mail.Message, each func(mail.Message) error) error {
	which := refs[0].ID()
	if !f.alone {
		which = fmt.Sprintf("%s and %d others", which, len(refs)-1)
	}
	err := f.s.fail(mail.OpFetch, fmt.Errorf("server answers the request for message %s with something else", which))
	f.drop()
	if slices.ContainsFunc(refs, func(r mail.Ref) bool { return r.UID == m.UID }) {
		m.Err = err
		return errors.Join(each(m), err)
	}
	return err
}

// literal is the body of a message on its way from the server.
type literal struct {
	f     *fetching
	r     io.Reader
	size  int64
	read  int64
	whole bool // read and written to its end, and what follows is in order
}

// WriteTo implements io.WriterTo. The library ends a literal that was cut off
// without an error, so what counts is whether all of it came. And a server that
// announced less than it sends shows that only behind the literal: the message
// is whole when the next response, or the end of the command, was understood.
func (l *literal) WriteTo(w io.Writer) (int64, error) {
	s := l.f.s
	s.conn.allow(l.size + l.size/64) // and what TLS adds
	if s.buffer == nil {
		s.buffer = make([]byte, readBuffer)
	}
	n, err := io.CopyBuffer(w, io.TeeReader(l.r, (*tally)(&l.read)), s.buffer)
	switch {
	case err != nil && s.conn.err() == nil:
		return n, err // the writer's
	case err != nil || l.read < l.size:
		return n, s.fail(mail.OpFetch, fmt.Errorf("message ends after %d of %d octets: %w", l.read, l.size, io.ErrUnexpectedEOF))
	}
	if err := l.end(); err != nil {
		return n, err
	}
	l.whole = true
	return n, nil
}

// end reads what follows the literal. A NO at the end of the command counts
// against the message when it was asked for alone; else all are asked for
// again.
func (l *literal) end() error {
	l.f.next()
	var answer *imap.Error
	if err := l.f.result; err != nil && (l.f.alone || !errors.As(err, &answer)) {
		return l.f.s.fail(mail.OpFetch, err)
	}
	return nil
}

// drop ends the session in the middle of a FETCH. The library would drain what
// it holds to its end, however large it is, and its goroutine waits until
// somebody reads it: so the wire goes first, and then what was buffered is read
// past, the messages behind the one at hand included. Where it was the wire that
// failed, nothing is buffered, and the library reads on by itself.
func (f *fetching) drop() {
	f.s.broken = true
	failed := f.s.conn.err() != nil
	f.s.close()
	if !failed {
		_ = f.cmd.Close() // what went wrong is known
	}
}

// tally counts the octets written to it.
type tally int64

func (t *tally) Write(p []byte) (int, error) {
	*t += tally(len(p))
	return len(p), nil
}
