package mailbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"mailpoller/internal/mail"
)

// What may be asked for ahead of the message at hand. It is little enough to be
// read to its end when a poll stops in the middle, and for the commands to fit
// into the server's buffers while it writes.
const (
	pipelined          = 64
	pipelinedOctets    = 512 << 10
	pipelinedDeletions = 512
)

// Fetch implements poll.Session. Where the server has PIPELINING, small messages
// are asked for ahead. Where its sizes are estimates, each is followed by a
// question whose answer shows that it was whole.
func (s *pop3Session) Fetch(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error {
	defer s.conn.begin(ctx, replyBudget)()
	ahead := s.pipelines()
	estimates := s.manners.estimates.Load()
	asked, octets := 0, int64(0) // of refs; what of them was not read yet
	for i, ref := range refs {
		if n := s.r.Buffered(); n > 0 && asked == i {
			return s.fail(mail.OpFetch, fmt.Errorf("server sent %d octets that it was not asked for", n))
		}
		var commands []byte
		for asked < len(refs) && (asked == i || ahead && asked-i < pipelined && octets+refs[asked].Size <= pipelinedOctets && refs[asked].Size > 0) {
			commands = fmt.Appendf(commands, "RETR %d\r\n", refs[asked].Num)
			if ahead && estimates {
				commands = fmt.Appendf(commands, "%s\r\n", proofOf(refs[asked]).command)
			}
			octets += refs[asked].Size
			asked++
		}
		if err := s.send(commands); err != nil {
			return s.fail(mail.OpFetch, err)
		}
		b := &retrieved{s: s, ref: ref, proved: ahead && estimates, alone: asked == i+1}
		s.ahead = s.ahead || asked > i+1
		if err := s.retrieve(b, each); err != nil {
			return s.settle(refs[i+1:asked], b.proved, err)
		}
		s.ahead = asked > i+1
		octets -= ref.Size
	}
	return nil
}

// retrieve reads the answer to a RETR.
func (s *pop3Session) retrieve(b *retrieved, each func(mail.Message) error) error {
	// What LIST says is a hint: a message may be longer than that.
	s.conn.limit(replyBudget/16 + 2*b.ref.Size + slack)
	m := mail.Message{Ref: b.ref}
	err := s.ok()
	empty := false
	if err == nil {
		empty, err = s.empty()
	}
	switch {
	case empty: // or a message that begins with a dot of its own
		if err = b.check(0); err == nil {
			m.Err = s.fail(mail.OpFetch, fmt.Errorf("server hands over an empty message; it says that it has %d bytes", b.ref.Size))
		}
	case isRefusal(err):
		if m.Err, err = s.fail(mail.OpFetch, err), nil; b.proved {
			_, err = s.status() // the answer to the question behind it
		}
	case err == nil:
		m.Body = b
	}
	if err != nil {
		s.done = true
		return s.fail(mail.OpFetch, err)
	}
	err = each(m)
	if m.Body != nil && !b.whole {
		s.done = true // out of step: no QUIT
		if err == nil {
			err = s.fail(mail.OpFetch, io.ErrUnexpectedEOF)
		}
	}
	return err
}

// slack is how much longer than twice its size a message may be, in octets.
const slack = 16 << 20

// empty reads past a message of no octets, or of an end of a line, if that is what
// comes next.
func (s *pop3Session) empty() (bool, error) {
	for _, nothing := range []string{".\r\n", "\r\n.\r\n"} { // each as short as what else there can be
		next, err := s.r.Peek(len(nothing))
		if err != nil {
			return false, err
		}
		if string(next) == nothing {
			_, err = s.r.Discard(len(nothing))
			return true, err
		}
	}
	return false, nil
}

// settle brings the session back into step after err of a caller that will
// have no more: what was asked for ahead is read and dropped.
func (s *pop3Session) settle(ahead []mail.Ref, proved bool, err error) error {
	for _, ref := range ahead {
		if s.done {
			break
		}
		drop := func(m mail.Message) (err error) {
			if m.Body != nil {
				_, err = m.Body.WriteTo(io.Discard)
			}
			return err
		}
		if failed := s.retrieve(&retrieved{s: s, ref: ref, proved: proved}, drop); failed != nil {
			s.done = true
		}
	}
	s.ahead = false
	return err
}

// retrieved is the body of a message on its way from the server.
type retrieved struct {
	s      *pop3Session
	ref    mail.Ref
	proved bool // the question whose answer proves it was sent behind it
	alone  bool // nothing else was asked for
	whole  bool // read to its end: the session is in step
}

// WriteTo implements io.WriterTo. What ends a message is CRLF "." CRLF (RFC 1939,
// section 3); its size is a hint. But what ends it may be part of it, and the rest
// of it would be read as the server's answers: Dovecot 2.3 does not add a dot to
// one that begins a message. So a message that is not as long as announced counts
// when the answer to a question behind it shows that the session is in step.
func (b *retrieved) WriteTo(w io.Writer) (int64, error) {
	s := b.s
	n, err := s.body(w)
	switch {
	case err != nil && s.conn.err() == nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return n, err // the writer's
	case err != nil:
		return n, s.fail(mail.OpFetch, err)
	}
	if n != b.ref.Size || b.proved {
		if err := b.check(n); err != nil {
			return n, err
		}
	}
	b.whole = true
	return n, nil
}

// check reports why a message of n octets is not whole.
func (b *retrieved) check(n int64) error {
	s := b.s
	s.manners.estimates.Store(true)
	if !b.proved && !b.alone { // too late to ask; the next session will
		e := mail.Errorf(mail.OpFetch, mail.KindProtocol, "server announced %d octets and sent %d", b.ref.Size, n)
		e.Reopen = true
		return e
	}
	if err := b.inStep(); err != nil {
		return s.cleaned(&mail.Error{
			Op: mail.OpFetch, Kind: mail.KindProtocol,
			Err:  fmt.Errorf("server announced %d octets and sent %d, and then %w", b.ref.Size, n, err),
			Hint: "the message stays on the server; read the mailbox with store_type: IMAP, where the server has it",
		})
	}
	return nil
}

// proof is a question about a message whose answer no part of the message can be
// taken for.
type proof struct {
	command string
	answer  func(w *wire, text string) bool
}

// proofOf is the proof for a message: its unique-id, else its size.
func proofOf(ref mail.Ref) proof {
	id, _, _ := strings.Cut(ref.UIDL, " ")
	if strings.HasPrefix(id, topPrefix) {
		return proof{fmt.Sprintf("LIST %d", ref.Num), func(_ *wire, text string) bool {
			fields := strings.Fields(text)
			return len(fields) >= 2 && fields[0] == strconv.Itoa(ref.Num) && fields[1] == strconv.FormatInt(ref.Size, 10)
		}}
	}
	return proof{fmt.Sprintf("UIDL %d", ref.Num), func(w *wire, text string) bool {
		num, said, _ := strings.Cut(strings.TrimSpace(text), " ")
		return num == strconv.Itoa(ref.Num) && w.idOf(strings.TrimSpace(said)) == id
	}}
}

// inStep reports why the session is not in step behind a message. Where the server
// refuses the question, NOOP has to do.
func (b *retrieved) inStep() error {
	s, p := b.s, proofOf(b.ref)
	if !b.proved {
		if err := s.send([]byte(p.command + "\r\n")); err != nil {
			return err
		}
	}
	line, err := s.status()
	switch text, ok := strings.CutPrefix(line, "+OK"); {
	case err != nil:
		return err
	case ok && p.answer(s.wire, text):
		return nil
	case ok:
		return fmt.Errorf("answers %s with %q", p.command, line)
	case !b.alone:
		return nil // what is in flight behind it will tell
	}
	if n := s.r.Buffered(); n > 0 {
		return fmt.Errorf("goes on with %d octets", n)
	}
	if err := s.send([]byte("NOOP\r\n")); err != nil {
		return err
	}
	return ignoreRefusal(s.ok())
}
