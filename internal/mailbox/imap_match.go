package mailbox

import (
	"cmp"
	"context"
	"io"
	"slices"

	"github.com/emersion/go-imap/v2"

	"mailpoller/internal/attachments"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/lenient"
	"mailpoller/internal/match"
)

// searchFor is a formula in the words of SEARCH (RFC 3501, section 6.4.4), which
// has none for attachments.
func searchFor(e match.Expr) *imap.SearchCriteria {
	c := &imap.SearchCriteria{}
	require(c, e)
	return c
}

// require adds a condition. The library's own And takes a missing SMALLER for
// the least.
func require(c *imap.SearchCriteria, e match.Expr) {
	switch e.Op {
	case match.And:
		for _, one := range e.Of {
			require(c, one)
		}
	case match.Or:
		switch half := len(e.Of) / 2; len(e.Of) {
		case 0:
			c.Not = append(c.Not, imap.SearchCriteria{})
		case 1:
			require(c, e.Of[0])
		default: // OR takes two; in halves, it lies no deeper than it has to
			c.Or = append(c.Or, [2]imap.SearchCriteria{
				*searchFor(match.Expr{Op: match.Or, Of: e.Of[:half]}),
				*searchFor(match.Expr{Op: match.Or, Of: e.Of[half:]}),
			})
		}
	case match.Not:
		c.Not = append(c.Not, *searchFor(e.Of[0]))
	case match.Contains:
		c.Header = append(c.Header, imap.SearchCriteriaHeaderField{Key: e.Field, Value: e.Text})
	case match.Larger:
		c.Larger = max(c.Larger, e.Size)
	case match.Smaller:
		if c.Smaller == 0 || e.Size < c.Smaller {
			c.Smaller = e.Size
		}
	case match.OnOrAfter:
		if e.Day.After(c.Since) {
			c.Since = e.Day
		}
	case match.Flagged:
		c.Flag = append(c.Flag, imap.FlagFlagged)
	}
}

// How many messages the server is asked for at first, and at most, before it is
// known which of them have attachments; and how many are looked at in one
// command.
const (
	firstLook  = 16
	lookGrowth = 4
	maxLook    = 4096
	looks      = 512
)

// chooseAttached chooses where it matters whether a message has attachments. The
// server is asked for what may match, and then for the structure of that. Who
// has attachments does not change, and is asked once; all else is the server's to
// tell at each poll.
func (s *imapSession) chooseAttached(ctx context.Context, q mail.Query) ([]uint32, error) {
	a := &attached{imapSession: s, having: s.filter.With(true), lacking: s.filter.With(false)}
	a.with, a.without = s.opener.verdicts.attachments(s.c.Name, boxed(s.box))
	either := match.Either(a.having, a.lacking)
	limit := q.Limit
	switch exclude := &q.Exclude; {
	case a.lacking.IsNever():
		*exclude = append(slices.Clone(*exclude), mail.Set{UIDs: a.without.Clone()})
	case a.having.IsNever():
		*exclude = append(slices.Clone(*exclude), mail.Set{UIDs: a.with.Clone()})
	}
	var picked []uint32
	for q.Limit = firstLook; ; q.Limit = min(q.Limit*lookGrowth, maxLook) {
		found, err := s.choose(q, either)
		if err != nil {
			return nil, err
		}
		for chunk := range slices.Chunk(found, looks) {
			matching, ok, err := a.judge(ctx, chunk)
			if err != nil {
				return nil, err
			}
			for _, uid := range chunk {
				if matching.Contains(uid) {
					if picked = append(picked, uid); len(picked) == limit {
						return picked, nil
					}
				}
			}
			if !ok {
				return picked, nil
			}
		}
		if len(found) < q.Limit {
			return picked, nil
		}
		q.After = &mail.Ref{UID: found[len(found)-1]}
	}
}

// attached is what chooseAttached knows.
type attached struct {
	*imapSession
	having, lacking match.Expr // the filter, for messages with and without attachments
	with, without   mail.UIDSet
}

// judge finds out which messages match. It is not ok when there was no time to.
func (a *attached) judge(ctx context.Context, uids []uint32) (matching mail.UIDSet, ok bool, err error) {
	var set mail.UIDSet
	for _, uid := range uids {
		set.Add(uid, uid)
	}
	if unknown := set.Minus(a.with).Minus(a.without); len(unknown) > 0 {
		if !a.mayJudge() {
			return nil, false, nil
		}
		with, without, err := a.structures(ctx, unknown)
		a.opener.verdicts.noteAttachments(a.c.Name, boxed(a.box), with, without)
		if err != nil {
			return nil, false, err
		}
		join(&a.with, with)
		join(&a.without, without)
	}
	with, err := a.those(set.And(a.with), a.having, a.lacking)
	if err != nil {
		return nil, false, err
	}
	without, err := a.those(set.And(a.without), a.lacking, a.having)
	if err != nil {
		return nil, false, err
	}
	join(&with, without)
	a.judging.left += set.Len() - with.Len()
	return with, true, nil
}

// those are the messages of a set that match. All of the set match one formula
// or the other.
func (a *attached) those(set mail.UIDSet, wanted, other match.Expr) (mail.UIDSet, error) {
	switch {
	case wanted.IsNever() || len(set) == 0:
		return nil, nil
	case wanted.IsAlways() || other.IsNever():
		return set.Clone(), nil
	}
	var all mail.UIDSet
	for chunk := range slices.Chunk(set, maxRanges) {
		p := &imapPick{imapSession: a.imapSession, wanted: wanted}
		found, err := p.searchAll(chunk)
		if err != nil {
			return nil, err
		}
		join(&all, found)
	}
	return all, nil
}

// structureBudget is how many octets the structure of a message may fill.
const structureBudget = 32 << 10

// structures asks which messages have attachments. What it says beside an error
// is true. A message whose structure cannot be understood is looked at itself.
func (s *imapSession) structures(ctx context.Context, set mail.UIDSet) (with, without mail.UIDSet, err error) {
	options := &imap.FetchOptions{UID: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}}
	found, err := s.ask(mail.OpPick, uidSet(set), options, lenient.Want{Structure: true}, structureBudget)
	var odd []uint32
	for _, m := range found {
		switch {
		case !set.Contains(m.UID):
		case m.Attached == lenient.With:
			with.Add(m.UID, m.UID)
		case m.Attached == lenient.Without:
			without.Add(m.UID, m.UID)
		default:
			odd = append(odd, m.UID)
		}
	}
	for _, uid := range odd {
		if err != nil || !s.mayJudge() {
			break
		}
		var has bool
		if has, err = s.attached(ctx, uid); err == nil && has {
			with.Add(uid, uid)
		} else if err == nil {
			without.Add(uid, uid)
		}
	}
	return with, without, err
}

// attached looks into a message itself. One that cannot be had counts as having an
// attachment: rather one too many than one that is never seen.
func (s *imapSession) attached(ctx context.Context, uid uint32) (has bool, err error) {
	has = true
	f, err := s.fetch([]mail.Ref{{UID: uid}}, imap.PartSpecifierNone, func(m mail.Message) error {
		r, w := io.Pipe()
		found := make(chan bool, 1)
		go func() {
			has, err := attachments.Has(ctx, r)
			_, _ = io.Copy(io.Discard, r) // the rest of the message is read past
			found <- has || err != nil
		}()
		_, err := m.Body.WriteTo(w)
		w.CloseWithError(cmp.Or(err, io.EOF))
		has = <-found
		return err
	})
	if f.refused() {
		err = nil
	}
	return has, err
}
