package mailbox

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/emersion/go-imap/v2"
	"go.uber.org/zap"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/lenient"
	"mailpoller/internal/match"
)

// Pick implements poll.Session. The server does the choosing. With ESEARCH it
// names the first or last message alone, so that a pick costs the same
// however large the mailbox is; without, it is asked for one stretch of the
// mailbox after the other.
func (s *imapSession) Pick(ctx context.Context, q mail.Query) ([]mail.Ref, error) {
	defer s.conn.begin(ctx, replyBudget)()
	s.slow()
	var uids []uint32
	var err error
	switch {
	case q.Only != nil:
		uids, err = s.among(q)
	case s.filter.Asks(match.Attached):
		uids, err = s.chooseAttached(ctx, q)
	default:
		uids, err = s.choose(q, s.filter)
	}
	if err != nil || len(uids) == 0 {
		return nil, err
	}
	refs := make([]mail.Ref, len(uids))
	for i, uid := range uids {
		refs[i] = mail.Ref{UID: uid}
	}
	if q.Sizes {
		return s.sized(refs)
	}
	return refs, nil
}

// allUIDs is every UID there can be. It is spelled out because "n:*" matches
// the last message also when its UID is below n.
var allUIDs = mail.UIDRange{Lo: 1, Hi: math.MaxUint32}

// maxRanges bounds the UID set in one command, in ranges: servers bound the
// length of a line, some at 8 KiB, and a range takes at most 22 octets.
const maxRanges = 300

// The first stretch of a search holds this many UIDs or messages, and each next
// one as many times more, up to the last number. What a server may answer hangs on
// the stretch that it was asked for, never on how many messages it says it holds.
const (
	firstStretch  = 512
	stretchGrowth = 8
	maxStretch    = 1 << 16
)

// number is how many bytes a number in the answer to a search may take.
const number = 11

// imapPick is one choice in progress.
type imapPick struct {
	*imapSession
	query  mail.Query
	wanted match.Expr
	uids   []uint32
}

// choose finds the messages of a query that takes from the whole mailbox what
// the server is to find.
func (s *imapSession) choose(q mail.Query, wanted match.Expr) ([]uint32, error) {
	if s.in.Mailbox().Exists == 0 || wanted.IsNever() {
		return nil, nil
	}
	allowed := mail.UIDSet{allUIDs}
	for _, set := range q.Exclude {
		allowed = allowed.Minus(set.UIDs)
	}
	if q.After != nil {
		behind := mail.UIDRange{Lo: q.After.UID, Hi: math.MaxUint32}
		if !q.Pull.Newest {
			behind = mail.UIDRange{Lo: 1, Hi: q.After.UID}
		}
		allowed = allowed.Minus(mail.UIDSet{behind})
	}
	if len(allowed) == 0 {
		return nil, nil
	}
	p := &imapPick{imapSession: s, query: q, wanted: wanted}
	err := errPlain
	if s.extended() {
		err = p.byExtremes(allowed)
	}
	if errors.Is(err, errPlain) {
		p.uids = nil
		err = p.bySequence(allowed)
	}
	return p.uids, err
}

// extended reports whether the server has ESEARCH (RFC 4731), and does not refuse
// it.
func (s *imapSession) extended() bool {
	return (s.caps.Has(imap.CapESearch) || s.caps.Has(imap.CapIMAP4rev2)) && !s.manners.plain.Load()
}

// errPlain is a search that has to be made without ESEARCH.
var errPlain = errors.New("server refuses SEARCH RETURN")

// full reports whether the pick has all that was asked for.
func (p *imapPick) full() bool { return p.query.Limit > 0 && len(p.uids) >= p.query.Limit }

// take adds messages in the order of the pull.
func (p *imapPick) take(found mail.UIDSet) {
	for uid := range found.All(p.query.Pull.Newest) {
		if p.full() {
			return
		}
		p.uids = append(p.uids, uid)
	}
}

// asking is what the server has to find in a set: the messages that a query could
// take, and that are wanted.
func (p *imapPick) asking(wanted match.Expr, within mail.UIDSet, seq imap.SeqSet) *imap.SearchCriteria {
	criteria := searchFor(wanted)
	if p.query.Only == nil { // else also those that were marked, and not yet removed
		criteria.NotFlag = append(criteria.NotFlag, imap.FlagDeleted)
	}
	if len(within) <= maxRanges && !slices.Equal(within, mail.UIDSet{allUIDs}) {
		criteria.UID = []imap.UIDSet{uidSet(within)}
	}
	if seq != nil {
		criteria.SeqNum = []imap.SeqSet{seq}
	}
	if p.query.Pull.Unread && p.query.Only == nil {
		unread := imap.SearchCriteria{NotFlag: []imap.Flag{imap.FlagSeen}}
		if too := p.query.Unread; too == nil || len(too.UIDs) == 0 {
			criteria.NotFlag = append(criteria.NotFlag, unread.NotFlag...)
		} else {
			set := uidSet(too.UIDs[:min(len(too.UIDs), maxRanges/2)])
			criteria.Or = append(criteria.Or, [2]imap.SearchCriteria{unread, {UID: []imap.UIDSet{set}}})
		}
	}
	return criteria
}

// search asks the server which messages of a set match the query. Its answer may
// name so many of them one by one.
func (p *imapPick) search(within mail.UIDSet, seq imap.SeqSet, most int, options *imap.SearchOptions) (*imap.SearchData, mail.UIDSet, error) {
	p.conn.allow(number * int64(most))
	data, err := p.client.UIDSearch(p.asking(p.wanted, within, seq), options).Wait()
	if err != nil {
		return nil, nil, p.refusedSearch(err, options)
	}
	return data, within.And(rangesOf(data)), nil
}

// refusedSearch is the failure of a search; errPlain where another way of asking
// may help. BAD, and NO without a reason, may be all that a server that has no
// ESEARCH behind its login knows to say about it.
func (s *imapSession) refusedSearch(err error, options *imap.SearchOptions) error {
	failed := s.fail(mail.OpPick, err)
	var r *refusal
	if options == nil || !errors.As(failed, &r) || !r.bad && (r.code != "" || mail.AsError(failed, "", "").Kind == mail.KindServer) {
		return failed
	}
	s.manners.plain.Store(true)
	s.log.Info("server refuses SEARCH RETURN although it says that it has ESEARCH; searching without", zap.String("connection", s.c.Name), zap.Error(failed))
	return errPlain
}

// byExtremes lets the server name the first or the last match. Where more than
// one is wanted, it names all of a small mailbox, and of a larger one how many
// there are and what lies around them.
func (p *imapPick) byExtremes(allowed mail.UIDSet) error {
	for len(allowed) > 0 && !p.full() {
		var chunk mail.UIDSet
		if n := min(len(allowed), maxRanges); p.query.Pull.Newest {
			chunk, allowed = allowed[len(allowed)-n:], allowed[:len(allowed)-n]
		} else {
			chunk, allowed = allowed[:n], allowed[n:]
		}
		one := p.query.Limit == 1
		all := !one && p.in.Mailbox().Exists <= firstStretch
		counted := p.count(chunk)
		data, found, err := p.search(chunk, nil, firstStretch, &imap.SearchOptions{
			ReturnAll:   all,
			ReturnMin:   !all && (!one || !p.query.Pull.Newest),
			ReturnMax:   !all && (!one || p.query.Pull.Newest),
			ReturnCount: !all && (!one || counted != nil),
		})
		if counted != nil { // also where the search failed: its answer is on its way
			counted(data, found)
		}
		if err != nil {
			return err
		}
		switch {
		case len(found) == 0:
			continue
		case one, all, data.Count > 0 && int(data.Count) == found.Len():
			p.take(found)
		default:
			span := mail.UIDSet{{Lo: found[0].Lo, Hi: found[len(found)-1].Hi}}
			if err := p.byStretches(chunk.And(span)); err != nil {
				return err
			}
		}
	}
	return nil
}

// count has the server say, in the flight of a search in the same set, how many
// messages the query could take, matching or not. What it returns is told how many do
// match, once that is known, and keeps the rest; it is nil where there is no filter,
// or where the session has counted. That the server refuses is no reason to fail.
func (p *imapPick) count(within mail.UIDSet) (matching func(*imap.SearchData, mail.UIDSet)) {
	if p.wanted.IsAlways() || p.query.After != nil || p.manners.stepwise.Load() {
		return nil
	}
	all := p.client.UIDSearch(p.asking(match.Always, within, nil), &imap.SearchOptions{ReturnCount: true})
	p.ahead = true
	return func(matching *imap.SearchData, found mail.UIDSet) {
		p.ahead = false
		if data, err := all.Wait(); err == nil && matching != nil {
			p.judging.left += max(0, int(data.Count)-max(int(matching.Count), found.Len()))
		}
	}
}

// byStretches has the matches in a set listed, from the end where the pull
// begins, in stretches that grow: what is listed is bounded by what is taken,
// not by the mailbox.
func (p *imapPick) byStretches(set mail.UIDSet) error {
	for width := uint32(firstStretch); len(set) > 0 && !p.full(); width = grown(width) {
		r := mail.UIDRange{Lo: set[0].Lo, Hi: set[len(set)-1].Hi}
		if r.Hi-r.Lo >= width {
			if p.query.Pull.Newest {
				r.Lo = r.Hi - width + 1
			} else {
				r.Hi = r.Lo + width - 1
			}
		}
		stretch := mail.UIDSet{r}
		_, found, err := p.search(set.And(stretch), nil, int(width), &imap.SearchOptions{ReturnAll: true})
		if err != nil {
			return err
		}
		p.take(found)
		set = set.Minus(stretch)
	}
	return nil
}

// grown is the width of the next stretch.
func grown(width uint32) uint32 { return min(width*stretchGrowth, maxStretch) }

// bySequence searches without ESEARCH, by message numbers: they leave no gaps,
// so that a stretch bounds the answer.
func (p *imapPick) bySequence(allowed mail.UIDSet) error {
	all := p.in.Mailbox().Exists
	lo, hi := uint32(1), all
	for width := uint32(firstStretch); lo <= hi && !p.full(); width = grown(width) {
		var seq imap.SeqSet
		switch {
		case hi-lo < width && lo == 1 && hi == all:
			lo = hi + 1 // all of it at once
		case hi-lo < width:
			seq.AddRange(lo, hi)
			lo = hi + 1
		case p.query.Pull.Newest:
			seq.AddRange(hi-width+1, hi)
			hi -= width
		default:
			seq.AddRange(lo, lo+width-1)
			lo += width
		}
		_, found, err := p.search(allowed, seq, int(width), nil)
		if err != nil {
			return err
		}
		p.take(found)
	}
	return nil
}

// among finds which messages of a set the server still holds.
func (s *imapSession) among(q mail.Query) ([]uint32, error) {
	p := &imapPick{imapSession: s, query: q, wanted: match.Always}
	for chunk := range slices.Chunk(q.Only.UIDs, maxRanges) {
		found, err := p.searchAll(chunk)
		if err != nil {
			return nil, err
		}
		p.take(found)
	}
	return p.uids, nil
}

// searchAll is all that a search finds in a set.
func (p *imapPick) searchAll(within mail.UIDSet) (mail.UIDSet, error) {
	most := min(within.Len(), int(p.in.Mailbox().Exists))
	_, found, err := p.search(within, nil, most, p.listed())
	if errors.Is(err, errPlain) {
		_, found, err = p.search(within, nil, most, nil)
	}
	return found, err
}

// listed asks for all that a search finds.
func (s *imapSession) listed() *imap.SearchOptions {
	if s.extended() {
		return &imap.SearchOptions{ReturnAll: true}
	}
	return nil
}

// sized asks for the size of messages. Those that are gone by now are left
// out.
func (s *imapSession) sized(refs []mail.Ref) ([]mail.Ref, error) {
	found, err := s.ask(mail.OpPick, setOf(refs), &imap.FetchOptions{UID: true, RFC822Size: true}, lenient.Want{}, listBudget)
	if err != nil {
		return nil, err
	}
	sizes := make(map[uint32]int64, len(refs))
	for _, m := range found {
		sizes[m.UID] = m.Size
	}
	present := refs[:0]
	for _, ref := range refs {
		if size, ok := sizes[ref.UID]; ok {
			ref.Size = size
			present = append(present, ref)
		}
	}
	return present, nil
}

// rangesOf is what a search found. A server that does not know RETURN answers
// with a plain list. The library's own expansion of ranges is not used: it
// would write down every number that a server can name.
func rangesOf(data *imap.SearchData) mail.UIDSet {
	var found mail.UIDSet
	if all, ok := data.All.(imap.UIDSet); ok {
		for _, r := range all {
			if r.Start != 0 && r.Stop != 0 {
				found.Add(uint32(r.Start), uint32(r.Stop))
			}
		}
	}
	for _, uid := range []uint32{data.Min, data.Max} {
		if uid != 0 {
			found.Add(uid, uid)
		}
	}
	return found
}

// uidSet is a set in the library's form.
func uidSet(set mail.UIDSet) imap.UIDSet {
	s := make(imap.UIDSet, len(set))
	for i, r := range set {
		s[i] = imap.UIDRange{Start: imap.UID(r.Lo), Stop: imap.UID(r.Hi)}
	}
	return s
}
