package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
	"mailpoller/internal/match"
)

// maxHead is how much of a header is looked at, in octets.
const maxHead = 256 << 10

// matching are those of refs that match, up to a number of them, 0 for all. What
// their sizes do not decide takes a look at their headers, once in a run.
func (s *pop3Session) matching(refs []mail.Ref, limit int) ([]mail.Ref, error) {
	if s.filter.Asks(match.Larger) || s.filter.Asks(match.Smaller) {
		if err := s.fillSizes(refs); err != nil {
			return nil, err
		}
	}
	most := 1
	if s.pipelines() {
		most = pipelined
	}
	var found []mail.Ref
	for window := 1; len(refs) > 0; window = min(window*2, most) {
		chunk := refs[:min(window, len(refs))]
		refs = refs[len(chunk):]
		verdicts, err := s.judge(chunk)
		if err != nil {
			return nil, err
		}
		for i, matches := range verdicts {
			if !matches {
				s.judging.left++
				continue
			}
			if found = append(found, chunk[i]); len(found) == limit {
				return found, nil
			}
		}
		if len(verdicts) < len(chunk) {
			break
		}
	}
	return found, nil
}

// judge says which messages match. It says nothing of any when there is no time
// to look at them.
func (s *pop3Session) judge(refs []mail.Ref) ([]bool, error) {
	box, _ := s.Box()
	about := boxed(box) + " " + s.filter.String()
	verdicts := make([]bool, len(refs))
	var unknown []int
	for i, ref := range refs {
		left := s.filter.WithSize(ref.Size)
		verdicts[i] = left.IsAlways()
		if left.IsAlways() || left.IsNever() {
			continue
		}
		var ok bool
		if verdicts[i], ok = s.opener.verdicts.verdict(s.c.Name, about, ref.UIDL); !ok {
			unknown = append(unknown, i)
		}
	}
	if len(unknown) == 0 {
		return verdicts, nil
	}
	if !s.mayJudge() {
		return nil, nil
	}
	var commands []byte
	for _, i := range unknown {
		commands = fmt.Appendf(commands, "TOP %d 0\r\n", refs[i].Num)
	}
	s.ahead = len(unknown) > 1
	defer func() { s.ahead = false }()
	if err := s.send(commands); err != nil {
		return nil, err
	}
	_, hasTop := s.caps["TOP"]
	for _, i := range unknown {
		head, err := s.head()
		switch {
		case isRefusal(err) && (s.headed || hasTop): // this one alone: it is left where it is, and asked for again
			s.headless(about, refs[i], err)
			continue
		case isRefusal(err):
			return nil, s.noTop(err)
		case err != nil:
			s.done = true
			return nil, s.fail(mail.OpPick, err)
		}
		verdicts[i] = s.filter.Judge(match.ReadHead(head), refs[i].Size)
		s.opener.verdicts.note(s.c.Name, about, refs[i].UIDL, verdicts[i])
	}
	return verdicts, nil
}

// headless says once that a message cannot be judged. No unique-id holds a
// blank, so what is remembered of it is no verdict.
func (s *pop3Session) headless(about string, ref mail.Ref, err error) {
	key := "refused " + ref.UIDL
	if _, said := s.opener.verdicts.verdict(s.c.Name, about, key); !said {
		s.opener.verdicts.note(s.c.Name, about, key, true)
		s.log.Warn("server does not show the header of a message, which is left where it is: match cannot be judged",
			zap.String("uid", ref.UIDL), zap.Error(s.fail(mail.OpPick, err)))
	}
}

// head reads the answer to a TOP. What follows the header, from servers that send
// all of the message, is read past.
func (s *pop3Session) head() ([]byte, error) {
	s.conn.limit(replyBudget + slack)
	if err := s.ok(); err != nil {
		return nil, err
	}
	b := &beginning{most: maxHead}
	if _, err := s.body(b); err != nil {
		return nil, err
	}
	s.headed = true
	return b.Bytes(), nil
}

// Heads implements poll.Session. A server without TOP has none to show.
func (s *pop3Session) Heads(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error {
	defer s.conn.begin(ctx, replyBudget)()
	for _, ref := range refs {
		if err := s.send(fmt.Appendf(nil, "TOP %d 0\r\n", ref.Num)); err != nil {
			return s.fail(mail.OpFetch, err)
		}
		m := mail.Message{Ref: ref}
		switch head, err := s.head(); {
		case isRefusal(err):
			m.Err = s.fail(mail.OpFetch, err)
		case err != nil:
			s.done = true
			return s.fail(mail.OpFetch, err)
		default:
			m.Body = bytes.NewReader(head)
		}
		if err := each(m); err != nil {
			return err
		}
	}
	return nil
}

// noTop says that a server cannot tell what a filter asks for.
func (s *pop3Session) noTop(err error) error {
	s.done = true
	return s.cleaned(&mail.Error{
		Op: mail.OpPick, Kind: mail.KindConfig, Err: errors.Join(errors.New("server has no TOP, so match: cannot be judged"), err),
		Hint: "leave out match:, or ask only for larger and smaller, or use store_type: IMAP where the server has it",
	})
}

// beginning keeps the first octets that are written to it.
type beginning struct {
	bytes.Buffer
	most int
}

func (b *beginning) Write(p []byte) (int, error) {
	_, err := b.Buffer.Write(p[:min(len(p), max(b.most-b.Len(), 0))])
	return len(p), err
}
