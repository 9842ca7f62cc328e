package mailbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"mailpoller/internal/mail"
)

// Pick implements poll.Session. POP3 has no search: the choice is made over
// the list of unique-ids, unless the oldest message alone will do.
func (s *pop3Session) Pick(ctx context.Context, q mail.Query) ([]mail.Ref, error) {
	defer s.conn.begin(ctx, replyBudget+2*listBudget*int64(min(s.count, maxListed)))()
	s.slow()
	if s.count == 0 {
		return nil, nil
	}
	refs, err := s.oldest(q)
	if err == nil && refs == nil {
		if err = s.list(); err == nil {
			refs, err = s.chooseMatching(q)
		}
	}
	if err != nil {
		return nil, s.fail(mail.OpPick, err)
	}
	// The size bounds what a RETR may bring, and tells when it is short: it
	// is needed for every message that is to be fetched.
	if q.Only == nil || q.Sizes {
		if err := s.fillSizes(refs); err != nil {
			return nil, s.fail(mail.OpPick, err)
		}
	}
	return refs, nil
}

// oldest answers a query for one message, read or not, from the oldest on,
// without a list. It is nil when a list is needed after all.
func (s *pop3Session) oldest(q mail.Query) ([]mail.Ref, error) {
	if s.ids != nil || !s.filter.IsAlways() || q.Only != nil || q.After != nil || q.Limit != 1 || q.Pull.Unread || q.Pull.Newest {
		return nil, nil
	}
	id, err := s.uidl(1)
	if isRefusal(err) {
		id, err = s.top(1)
	}
	ref := mail.Ref{Num: 1, UIDL: id}
	if err != nil || id == "" || excluded(q, ref) {
		return nil, ignoreRefusal(err)
	}
	return []mail.Ref{ref}, nil
}

// ignoreRefusal is err, unless the server just said no: then the list will
// tell what is the matter.
func ignoreRefusal(err error) error {
	if isRefusal(err) {
		return nil
	}
	return err
}

// chooseMatching chooses among the messages that match.
func (s *pop3Session) chooseMatching(q mail.Query) ([]mail.Ref, error) {
	if q.Only != nil || s.filter.IsAlways() {
		return s.choose(q), nil
	}
	limit := q.Limit
	q.Limit = 0
	return s.matching(s.choose(q), limit)
}

// choose goes through the listed messages in the order of the pull.
func (s *pop3Session) choose(q mail.Query) []mail.Ref {
	var refs []mail.Ref
	if q.Only != nil {
		refs = make([]mail.Ref, 0, min(len(s.ids), q.Only.Len()))
	}
	for num := range q.Pull.Positions(len(s.ids)) {
		ref := mail.Ref{Num: num, UIDL: s.ids[num-1]}
		if ref.UIDL == "" || excluded(q, ref) {
			continue
		}
		if refs = append(refs, ref); len(refs) == q.Limit {
			break
		}
	}
	return refs
}

func excluded(q mail.Query, ref mail.Ref) bool {
	switch {
	case q.Only != nil:
		return !q.Only.Has(ref)
	case q.After != nil && (ref.Num == q.After.Num || ref.Num > q.After.Num == q.Pull.Newest):
		return true
	}
	return slices.ContainsFunc(q.Exclude, func(set mail.Set) bool { return set.Has(ref) })
}

// What a server may list: more than any mailbox that POP3 is of use for. It is
// kept as it comes, whatever STAT said.
const (
	maxListed = 1_000_000
	maxIDs    = 48 << 20 // octets of all unique-ids together
)

// list finds out the id of every message: its unique-id, or where the server
// knows no UIDL, a digest of its header. Messages that would have the same id
// are told apart by a number, in the order of the mailbox. No unique-id holds
// a blank, so none looks like a numbered one. A message of which the server says
// nothing that can be understood is left where it is.
func (s *pop3Session) list() error {
	if s.ids != nil {
		return nil
	}
	ids := []string{}
	kept := 0
	odd, err := s.listing("UIDL", func(num int, value string) error {
		id := s.idOf(value)
		if kept += len(id); kept > maxIDs {
			return fmt.Errorf("server lists unique-ids of more than %d octets", maxIDs)
		}
		ids = put(ids, num, id)
		return nil
	})
	switch {
	case err != nil || odd.lines == 0:
	case kept == 0:
		err = fmt.Errorf("server lists no message in answer to UIDL: %q", odd.first)
	default:
		s.note(fmt.Sprintf("the server lists %d messages in a way that cannot be understood, such as %q: they are left on the server", odd.lines, odd.first))
	}
	if isRefusal(err) {
		ids, err = s.tops()
	}
	if err != nil {
		return err
	}
	seen := make(map[string]int, len(ids))
	for i, id := range ids {
		if seen[id]++; seen[id] > 1 && id != "" {
			s.repeats = true
			ids[i] = fmt.Sprintf("%s #%d", id, seen[id])
		}
	}
	s.ids = ids
	return nil
}

// put puts the value of a message into what is known of all.
func put[V any](all []V, num int, value V) []V {
	for len(all) < num {
		all = append(all, *new(V))
	}
	all[num-1] = value
	return all
}

// tops are the ids of all messages by their headers.
func (s *pop3Session) tops() ([]string, error) {
	if s.count > maxListed {
		return nil, fmt.Errorf("server says that it holds %d messages, and does not list their unique-ids", s.count)
	}
	ids := []string{}
	for num := 1; num <= s.count; num++ {
		id, err := s.top(num)
		if err != nil {
			return nil, err
		}
		ids = put(ids, num, id)
	}
	return ids, nil
}

// ahead is how far ahead of the lines that came a number in a listing may be: it
// is what has room made for it.
const aheadOfLines = 10_000

// oddLines are lines of a listing that name no message.
type oddLines struct {
	lines int
	first string
}

// listing runs UIDL or LIST for all messages. Empty lines mean nothing.
func (s *pop3Session) listing(command string, each func(num int, value string) error) (odd oddLines, err error) {
	if _, err := s.do(command); err != nil {
		return odd, err
	}
	came := 0
	err = s.lines(func(line string) error {
		line = strings.TrimSpace(line)
		if line == "" {
			return nil
		}
		if came++; came > maxListed {
			return fmt.Errorf("server lists more than %d messages in answer to %s", maxListed, command)
		}
		num, value, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(num)
		if value = strings.TrimSpace(value); value == "" || err != nil || n < 1 || n > s.count || n > came+aheadOfLines {
			if odd.lines++; odd.lines == 1 {
				odd.first = s.clean(line)
			}
			return nil
		}
		return each(n, value)
	})
	return odd, err
}

// uidl asks for the unique-id of one message.
func (s *pop3Session) uidl(num int) (string, error) {
	value, err := s.one("UIDL", num)
	return s.idOf(value), err
}

// one runs UIDL or LIST for one message. It is empty where the server says nothing
// of it.
func (s *pop3Session) one(command string, num int) (string, error) {
	text, err := s.do(command, num)
	if err != nil {
		return "", err
	}
	fields := strings.Fields(text)
	if len(fields) == 0 || fields[0] != strconv.Itoa(num) {
		return "", fmt.Errorf("server lists no message in answer to %s %d: %q", command, num, text)
	}
	return strings.Join(fields[1:min(2, len(fields))], ""), nil
}

// maxID bounds an id, in octets. RFC 1939 allows a unique-id 70; longer ones
// are replaced by a digest.
const maxID = 200

// shortestSecret is the length, in octets, from which a secret is not part of a
// unique-id by chance.
const shortestSecret = 8

// idOf is the id of a message with this unique-id: the same, with octets that
// RFC 1939 does not allow in it spelled out. Ids are shown and recorded, so one
// that holds the secret, which only a hostile server makes, is replaced too.
func (w *wire) idOf(uidl string) string {
	id := uidl
	if strings.IndexFunc(uidl, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		var b strings.Builder
		for i := range len(uidl) {
			if c := uidl[i]; c > ' ' && c <= '~' {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
		id = b.String()
	}
	secret := slices.ContainsFunc(w.secrets, func(s string) bool { return len(s) >= shortestSecret && strings.Contains(uidl, s) })
	if len(id) > maxID || secret {
		return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(uidl)))
	}
	return id
}

// topPrefix begins the ids that are made of headers.
const topPrefix = "top:"

// top makes an id out of the header of a message.
func (s *pop3Session) top(num int) (string, error) {
	s.conn.limit(replyBudget + slack) // there are servers that send all of the message
	if _, err := s.do("TOP", num, 0); err != nil {
		if isRefusal(err) {
			err = fmt.Errorf("%w: %w", errNoID, err)
		}
		return "", err
	}
	digest := sha256.New()
	if _, err := s.body(&upToBody{w: digest}); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%x", topPrefix, digest.Sum(nil)), nil
}

// upToBody passes on what is written up to the end of a header, and drops the rest.
type upToBody struct {
	w    io.Writer
	line int // octets of the line at hand, without its end
	over bool
}

func (u *upToBody) Write(p []byte) (int, error) {
	if u.over {
		return len(p), nil
	}
	for i, c := range p {
		switch {
		case c == '\n' && u.line == 0:
			u.over = true
			_, err := u.w.Write(p[:i+1])
			return len(p), err
		case c == '\n':
			u.line = 0
		case c != '\r':
			u.line++
		}
	}
	return u.w.Write(p)
}

var errNoID = errors.New("server has neither UIDL nor TOP, so a message cannot be told from one that was saved before")

// oneByOne is up to how many messages are asked for their size singly instead
// of all at once.
const oneByOne = 8

// fillSizes asks for the sizes of messages. They are hints: a size that is not
// said, or cannot be understood, is 0.
func (s *pop3Session) fillSizes(refs []mail.Ref) error {
	if s.sizes == nil && len(refs) > oneByOne {
		sizes := []int64{}
		_, err := s.listing("LIST", func(num int, value string) error {
			sizes = put(sizes, num, parseSize(value))
			return nil
		})
		if err = ignoreRefusal(err); err != nil {
			return err
		}
		s.sizes = sizes
	}
	for i := range refs {
		switch num := refs[i].Num; {
		case s.sizes == nil:
			value, err := s.one("LIST", num)
			if err = ignoreRefusal(err); err != nil {
				return err
			}
			refs[i].Size = parseSize(value)
		case num <= len(s.sizes):
			refs[i].Size = s.sizes[num-1]
		}
	}
	return nil
}

// maxSize bounds what a server may say the size of a message is, in octets.
const maxSize = 1 << 50

func parseSize(value string) int64 {
	value, _, _ = strings.Cut(value, " ")
	size, err := strconv.ParseInt(value, 10, 64)
	if err != nil || size < 0 || size > maxSize {
		return 0
	}
	return size
}
