package mailbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mailpoller/internal/mail"
)

// Pick implements poll.Session. POP3 has no search: the choice is made over
// the list of unique-ids, unless the oldest message alone will do.
func (s *pop3Session) Pick(ctx context.Context, q mail.Query) ([]mail.Ref, error) {
	defer s.conn.begin(ctx, replyBudget+2*listBudget*int64(s.count))()
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
	if err != nil || excluded(q, ref) {
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
		refs = make([]mail.Ref, 0, min(s.count, q.Only.Len()))
	}
	for num := range q.Pull.Positions(s.count) {
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

// list finds out the id of every message: its unique-id, or where the server
// knows no UIDL, a digest of its header. Messages that would have the same id
// are told apart by a number, in the order of the mailbox. No unique-id holds
// a blank, so none looks like a numbered one.
func (s *pop3Session) list() error {
	if s.ids != nil {
		return nil
	}
	ids := make([]string, s.count)
	err := s.listing("UIDL", func(num int, value string) error {
		ids[num-1] = s.idOf(value)
		return nil
	})
	if isRefusal(err) {
		for i := range ids {
			s.conn.allow(replyBudget)
			if ids[i], err = s.top(i + 1); err != nil {
				break
			}
		}
	}
	if err != nil {
		return err
	}
	seen := make(map[string]int, len(ids))
	for i, id := range ids {
		if seen[id]++; seen[id] > 1 && id != "" {
			ids[i] = fmt.Sprintf("%s #%d", id, seen[id])
		}
	}
	s.ids = ids
	return nil
}

// listing runs UIDL or LIST for all messages.
func (s *pop3Session) listing(command string, each func(num int, value string) error) error {
	if _, err := s.do(command); err != nil {
		return err
	}
	return s.lines(func(line string) error {
		num, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(num)
		if !ok || err != nil || n < 1 || n > s.count {
			return fmt.Errorf("server lists no message in answer to %s: %q", command, line)
		}
		return each(n, strings.TrimSpace(value))
	})
}

// uidl asks for the unique-id of one message.
func (s *pop3Session) uidl(num int) (string, error) {
	value, err := s.one("UIDL", num)
	return s.idOf(value), err
}

// one runs UIDL or LIST for one message.
func (s *pop3Session) one(command string, num int) (string, error) {
	text, err := s.do(command, num)
	if err != nil {
		return "", err
	}
	fields := strings.Fields(text)
	if len(fields) < 2 || fields[0] != strconv.Itoa(num) {
		return "", fmt.Errorf("server lists no message in answer to %s %d: %q", command, num, text)
	}
	return fields[1], nil
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

// top makes an id out of the header of a message.
func (s *pop3Session) top(num int) (string, error) {
	if _, err := s.do("TOP", num, 0); err != nil {
		if isRefusal(err) {
			err = fmt.Errorf("%w: %w", errNoID, err)
		}
		return "", err
	}
	digest := sha256.New()
	if _, err := s.body(digest); err != nil {
		return "", err
	}
	return fmt.Sprintf("top:%x", digest.Sum(nil)), nil
}

var errNoID = errors.New("server has neither UIDL nor TOP, so a message cannot be told from one that was saved before")

// oneByOne is up to how many messages are asked for their size singly instead
// of all at once.
const oneByOne = 8

// fillSizes asks for the sizes of messages.
func (s *pop3Session) fillSizes(refs []mail.Ref) error {
	if s.sizes == nil && len(refs) > oneByOne {
		sizes := make([]int64, s.count)
		err := s.listing("LIST", func(num int, value string) (err error) {
			sizes[num-1], err = parseSize(value)
			return err
		})
		if err != nil {
			return err
		}
		s.sizes = sizes
	}
	for i := range refs {
		if s.sizes != nil {
			refs[i].Size = s.sizes[refs[i].Num-1]
			continue
		}
		value, err := s.one("LIST", refs[i].Num)
		if err == nil {
			refs[i].Size, err = parseSize(value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxSize bounds what a server may say the size of a message is, in octets.
const maxSize = 1 << 50

func parseSize(value string) (int64, error) {
	value, _, _ = strings.Cut(value, " ")
	size, err := strconv.ParseInt(value, 10, 64)
	if err != nil || size < 0 || size > maxSize {
		return 0, fmt.Errorf("server gives no size in octets: %q", value)
	}
	return size, nil
}
