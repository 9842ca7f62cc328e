package poll

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// letter is a message on the server.
type letter struct {
	uid     uint32
	uidl    string
	text    string
	size    int64       // as announced; 0: that of the text
	seen    bool        // \Seen
	marked  bool        // \Deleted
	gone    bool        // removed
	refused error       // unless nil: why the server does not hand it over
	stays   *mail.Error // unless nil: why the server refuses to dispose of it
	lies    bool        // the server says OK to its disposition, and does nothing
	// body, unless nil, sends the text in place of the server.
	body func(ctx context.Context, w io.Writer) error
}

func (l *letter) octets() int64 {
	if l.size != 0 {
		return l.size
	}
	return int64(len(l.text))
}

// server is a mailbox in memory. It keeps the contract of Session and
// holds the caller to it.
type server struct {
	t        *testing.T
	store    mail.StoreType
	validity uint32
	letters  []*letter // in the order of the mailbox
	fetched  map[string]int
	opened   int
	closed   int
	others   int                      // messages that do not match
	headless bool                     // no header is shown
	retracts bool                     // the first message that is handed over next is taken back
	at       func(point string) error // called at each point where a test may interfere
	one      sync.Mutex               // at a time
	wait     time.Duration            // POP3: which it wants between logins
}

// add puts a message at the end of the mailbox.
func (s *server) add(uid uint32, text string) *letter {
	l := &letter{uid: uid, uidl: "id-" + strconv.FormatUint(uint64(uid), 10), text: text}
	s.letters = append(s.letters, l)
	return l
}

// remove takes a message out of the mailbox.
func (s *server) remove(l *letter) {
	l.gone = true
	s.letters = slices.DeleteFunc(s.letters, func(other *letter) bool { return other == l })
}

// Open implements Opener.
func (s *server) Open(ctx context.Context, c *mail.Connection) (Session, error) {
	if err := s.try(ctx, "open"); err != nil {
		return nil, err
	}
	s.opened++
	return &session{server: s, c: c, held: slices.Clone(s.letters)}, nil
}

// try is what interferes at a point: the end of the context, or the test.
func (s *server) try(ctx context.Context, point string) error {
	if err := s.comeBy(point); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// comeBy lets the test interfere at a point, in one at a time: the journal and
// the folder work beside the session.
func (s *server) comeBy(point string) error {
	s.one.Lock()
	defer s.one.Unlock()
	return s.at(point)
}

// session is an open mailbox.
type session struct {
	*server
	c       *mail.Connection
	held    []*letter // as of the opening; POP3 numbers them
	applied []applied
	over    bool // nothing but Close may be called
}

type applied struct {
	ref mail.Ref
	d   disposition.Disposition
}

// use holds the caller to the contract, and ends the session with an error.
func (s *session) use(ctx context.Context, point string) error {
	s.t.Helper()
	if s.over {
		s.t.Errorf("%s: the session is over", point)
	}
	err := s.try(ctx, point)
	s.over = err != nil
	return err
}

func (s *session) Box() (mail.Box, int) {
	box := mail.Box{Account: s.c.Account()}
	if s.store == mail.IMAP {
		box.Validity = s.validity
	}
	return box, len(s.held)
}

// ref names the message at a position of the mailbox as it was opened.
func (s *session) ref(at int) mail.Ref {
	if s.store == mail.IMAP {
		return mail.Ref{UID: s.held[at].uid}
	}
	return mail.Ref{UIDL: s.held[at].uidl, Num: at + 1, Size: s.held[at].octets()}
}

// find is the message that ref names, or nil when it is gone.
func (s *session) find(ref mail.Ref) *letter {
	for _, l := range s.held {
		if !l.gone && (ref.UID != 0 && l.uid == ref.UID || ref.UIDL != "" && l.uidl == ref.UIDL) {
			return l
		}
	}
	return nil
}

func (s *session) Pick(ctx context.Context, q mail.Query) ([]mail.Ref, error) {
	if err := s.use(ctx, "pick"); err != nil {
		return nil, err
	}
	var refs []mail.Ref
	behind := q.After == nil
	for position := range q.Pull.Positions(len(s.held)) {
		ref, l := s.ref(position-1), s.held[position-1]
		switch {
		case q.After != nil && ref.ID() == q.After.ID():
			behind = true
			continue
		case l.gone,
			q.Only != nil && !q.Only.Has(ref),
			q.Only == nil && (!behind || l.marked || s.store == mail.IMAP && q.Pull.Unread && l.seen && (q.Unread == nil || !q.Unread.Has(ref))),
			slices.ContainsFunc(q.Exclude, func(set mail.Set) bool { return set.Has(ref) }):
			continue
		}
		if q.Sizes {
			ref.Size = l.octets()
		}
		if refs = append(refs, ref); len(refs) == q.Limit {
			break
		}
	}
	return refs, nil
}

// Fetch hands over what IMAP is asked for in the order of the mailbox, as
// servers do.
func (s *session) Fetch(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error {
	if s.store == mail.IMAP {
		refs = slices.SortedFunc(slices.Values(refs), func(a, b mail.Ref) int { return cmp.Compare(a.UID, b.UID) })
	}
	if s.retracts {
		s.retracts = false
		err := each(mail.Message{Ref: refs[0], Body: &body{ctx: ctx, session: s, letter: s.find(refs[0])}})
		return errors.Join(err, each(mail.Message{Ref: refs[0], Retracted: true}))
	}
	for _, ref := range refs {
		if err := s.use(ctx, "fetch"); err != nil {
			return err
		}
		l := s.find(ref)
		m := mail.Message{Ref: ref}
		body := &body{ctx: ctx, session: s, letter: l}
		switch {
		case l == nil:
			m.Err = mail.Errorf(mail.OpFetch, mail.KindProtocol, "no such message")
		case l.refused != nil:
			m.Err = l.refused
		default:
			s.fetched[l.text]++
			m.Body, m.Size = body, l.octets()
		}
		err := each(m)
		s.over = m.Body != nil && !body.whole
		if err != nil {
			return err
		}
		if s.over {
			s.t.Error("a message that did not arrive whole was taken")
		}
	}
	return nil
}

// Heads hands over the part of a message in front of the first empty line.
func (s *session) Heads(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error {
	for _, ref := range refs {
		if err := s.use(ctx, "heads"); err != nil {
			return err
		}
		if s.headless {
			if err := each(mail.Message{Ref: ref, Err: errNo}); err != nil {
				return err
			}
			continue
		}
		head, _, _ := strings.Cut(s.find(ref).text, "\r\n\r\n")
		if err := each(mail.Message{Ref: ref, Body: strings.NewReader(head)}); err != nil {
			return err
		}
	}
	return nil
}

// Notes is what the test says.
func (s *session) Notes() (int, []string) { return s.others, nil }

// body is a message on its way.
type body struct {
	*session
	ctx    context.Context
	letter *letter
	whole  bool
}

func (b *body) WriteTo(w io.Writer) (int64, error) {
	send := func(part string) error {
		_, err := io.WriteString(w, part)
		return err
	}
	text := b.letter.text
	n := int64(len(text))
	if b.letter.body != nil {
		if err := b.letter.body(b.ctx, w); err != nil {
			return 0, err
		}
		b.whole = true
		return n, nil
	}
	half := len(text) / 2
	if err := send(text[:half]); err != nil {
		return 0, err
	}
	if err := b.try(b.ctx, "middle of a message"); err != nil {
		return int64(half), err
	}
	if err := send(text[half:]); err != nil {
		return int64(half), err
	}
	b.whole = true
	return n, nil
}

func (s *session) Apply(refs []mail.Ref, d disposition.Disposition) {
	if s.c.Ending() == disposition.Keep {
		s.t.Errorf("%s in a mailbox that was opened so that nothing can change in it", d)
	}
	for _, ref := range refs {
		s.applied = append(s.applied, applied{ref, d})
	}
}

func (s *session) Commit(ctx context.Context) (did mail.Commitment, err error) {
	if err := s.use(ctx, "commit"); err != nil {
		return did, err
	}
	refused := make(map[string]bool)
	for _, a := range s.applied {
		switch l := s.find(a.ref); {
		case l == nil:
		case l.stays != nil:
			refused[a.ref.ID()] = true
			did.Refused, did.Err = append(did.Refused, a.ref), l.stays
		case l.lies || s.store == mail.POP3:
			did.Asked = append(did.Asked, a.ref)
		case a.d == disposition.Seen:
			l.seen = true
		default:
			l.marked = true
		}
	}
	if err := s.use(ctx, "middle of a commit"); err != nil {
		return did, err
	}
	for _, a := range s.applied {
		if l := s.find(a.ref); l != nil && a.d == disposition.Delete && !l.lies && !refused[a.ref.ID()] {
			s.remove(l)
		}
	}
	s.applied = nil
	did.Wait = s.wait
	err = s.use(ctx, "committed")
	s.over = s.over || s.store == mail.POP3
	return did, err
}

func (s *session) Close() error {
	s.closed++
	return nil
}
