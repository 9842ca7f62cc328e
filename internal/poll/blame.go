package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

// blame says whose fault it was that messages could not be had in an attempt. A
// message is at fault when another can be had behind it: in the same session, or,
// where it took the session with it, in a later one. Else it is the server, and
// nothing counts against a message.
type blame struct {
	session int         // number of the one at hand, from 1
	events  int         // messages that came, or could not be had
	failed  []failure   // messages that could not be had
	had     map[int]int // by session: the last event at which a message was had
	denied  bool        // another message, which was had before, could not be had either
	lost    int         // sessions that messages took with them, one behind the other
	trouble *mail.Error // passing trouble of the server
	refused int         // how often it said so, one behind the other
}

// failure is a message that could not be had.
type failure struct {
	ref     mail.Ref
	err     error
	session int
	event   int
	lost    bool // the session went with it
	late    bool // it took so long that the attempt was over
}

// maxRefused is how many messages a server may refuse one behind the other because
// it has trouble, before it is left alone.
const maxRefused = 3

// opened begins the next session.
func (b *blame) opened() {
	b.session++
	if b.had == nil {
		b.had = make(map[int]int)
	}
}

// came notes that a message came, and returns which event that was. What came counts
// as had once the server does not take it back.
func (b *blame) came() (event int) {
	b.refused = 0
	b.events++
	return b.events
}

// has notes that the message of an event was had.
func (b *blame) has(event int) {
	b.had[b.session] = max(b.had[b.session], event)
	b.lost = 0
}

// proven reports whether a failure is the fault of its message.
func (b *blame) proven(f failure) bool {
	for session := f.session; session <= b.session; session++ {
		if b.had[session] > f.event && (session > f.session || !f.lost) || f.late && b.had[session] > 0 {
			return true
		}
	}
	return false
}

// settled reports whether it is known of all failures whose fault they are.
func (b *blame) settled() bool {
	return !slices.ContainsFunc(b.failed, func(f failure) bool { return !b.proven(f) })
}

// set is the messages that could not be had.
func (b *blame) set() mail.Set {
	var set mail.Set
	for _, f := range b.failed {
		set.Add(f.ref)
	}
	return set
}

// lost says what a message that did not arrive whole means. A failure of the
// folder, the end of the attempt, or a session that asked in a way that the server
// does not understand, says nothing of it. Where it was asked for together with
// others, it may have been one of them: those that may have been it are asked for
// alone, first of all in the next session. Else the ones behind it are tried on a new
// session, which shows whether it was the message.
func (p *pass) lost(ctx context.Context, ref mail.Ref, err error) error {
	e := mail.AsError(err, mail.OpFetch, mail.KindProtocol)
	switch e.Kind {
	case mail.KindStorage, mail.KindState, mail.KindCanceled, mail.KindConfig, mail.KindInternal:
		return e
	case mail.KindServer, mail.KindAuth:
		return cmp.Or(p.troubled(ref, e), errSessionLost)
	}
	late := ctx.Err() != nil
	if e.Reopen || late && e.Kind != mail.KindTimeout {
		return e
	}
	if p.asking > 1 && !late {
		p.suspects.Add(ref)
		return errSessionLost
	}
	p.fail(failure{ref: ref, err: e, lost: true, late: late})
	p.comesLast(ref, e)
	if late { // nothing can be tried any more
		return e
	}
	p.blame.lost++
	return errSessionLost
}

// spoils says what it means that a session ended where messages are chosen. Behind one
// that was asked for alone, since it may end sessions, others are tried on a new one.
func (p *pass) spoils(ctx context.Context, err error) error {
	e := mail.AsError(err, mail.OpPick, mail.KindProtocol)
	if p.suspects.Len() == 0 || ctx.Err() != nil || e.Kind != mail.KindProtocol && e.Kind != mail.KindNetwork {
		return err
	}
	p.spoilt = e
	return errSessionLost
}

// comesLast has the next job take a message behind all others, so that it keeps none
// of them back. Where it was behind them already, and nothing tells whose fault it is
// that it cannot be had, it comes first again in the one after that: see verdict.
func (p *pass) comesLast(ref mail.Ref, reason error) {
	fault := p.faults[ref.ID()]
	fault.Ref, fault.Late, fault.Reason = ref, true, reason.Error()
	p.faults[ref.ID()] = fault
}

// fail notes a message that could not be had.
func (p *pass) fail(f failure) {
	p.blame.events++
	f.session, f.event = p.blame.session, p.blame.events
	p.blame.failed = append(p.blame.failed, f)
	p.skip.Add(f.ref)
	p.log.Warn("message not fetched", append(ErrorFields(mail.AsError(f.err, mail.OpFetch, mail.KindProtocol)), zap.String("uid", f.ref.ID()))...)
}

// troubled notes a message that the server refused for trouble of its own, or with the
// account, which counts against no message. It is the end of the attempt where the
// server wants to be left alone, or has refused several.
func (p *pass) troubled(ref mail.Ref, e *mail.Error) error {
	p.skip.Add(ref)
	p.comesLast(ref, e)
	p.blame.trouble = e
	if p.blame.refused++; e.Wait > 0 || p.blame.refused >= maxRefused {
		return e
	}
	p.log.Info("server has trouble with a message; going on with the next one", append(ErrorFields(e), zap.String("uid", ref.ID()))...)
	return nil
}

// Bounds of a witness: how many messages it is chosen from, and its size in octets.
const (
	maxWitnesses = 100
	maxWitness   = 16 << 20
)

// witness fetches a message that was saved before, and drops it, where it is not known
// whose fault it is that others could not be had. A header would not do: servers show
// those out of an index while they cannot reach the messages. Nothing is changed by it.
// Its error is that of the session.
func (p *pass) witness(ctx context.Context) error {
	if p.dry || p.blame.settled() {
		return nil
	}
	refs, err := p.session.Pick(ctx, mail.Query{Only: &p.ledger.Saved, Exclude: []mail.Set{p.asked}, Sizes: true, Limit: maxWitnesses})
	if err != nil || len(refs) == 0 {
		return err
	}
	smallest := slices.MinFunc(refs, func(a, b mail.Ref) int { return cmp.Compare(a.Size, b.Size) })
	if smallest.Size > maxWitness {
		return nil
	}
	return p.asks(ctx, smallest)
}

// asks fetches a message that was had before, and drops it.
func (p *pass) asks(ctx context.Context, ref mail.Ref) error {
	had, err := p.shows(ctx, ref, p.session.Fetch)
	if had && err == nil {
		p.blame.has(p.blame.came())
	} else {
		p.blame.denied = true
	}
	return err
}

// confirm fetches one of the messages that were had in this session once more, where
// others could not be had behind them: a server may stop handing over messages
// after so many.
func (p *pass) confirm(ctx context.Context, entries []mail.Entry) error {
	if len(entries) == 0 || p.blame.settled() {
		return nil
	}
	smallest := slices.MinFunc(entries, func(a, b mail.Entry) int { return cmp.Compare(a.Octets, b.Octets) })
	if smallest.Octets > maxWitness {
		return nil
	}
	return p.asks(ctx, smallest.Ref)
}

// shows reports whether the server shows a message, or its header.
func (p *pass) shows(ctx context.Context, ref mail.Ref, get func(context.Context, []mail.Ref, func(mail.Message) error) error) (shown bool, err error) {
	err = get(ctx, []mail.Ref{ref}, func(m mail.Message) error {
		shown = false
		if m.Body == nil {
			return nil
		}
		_, err := m.Body.WriteTo(io.Discard)
		shown = err == nil
		return err
	})
	return shown, err
}

// suspicious ends an attempt in which several sessions one behind the other went with
// messages, when not even the header of another message can be had. Else it takes one
// from the far end, to tell whether it is the messages or the server, and so that many
// at this end do not keep back all the others.
func (p *pass) suspicious(l lifetimes) error {
	if p.blame.lost < 2 || p.dry {
		return nil
	}
	pull := p.c.Pull
	pull.Newest = !pull.Newest
	refs, err := p.session.Pick(l.start, mail.Query{Pull: pull, Exclude: []mail.Set{p.skip, p.passedOver()}, Unread: &p.unread, Sizes: true, Limit: 1})
	if err != nil || len(refs) == 0 {
		return err
	}
	shown, err := p.shows(l.start, refs[0], p.session.Heads)
	if err != nil || !shown {
		return cmp.Or(err, p.blame.failed[len(p.blame.failed)-1].err)
	}
	return p.takeAll(l, refs)
}

// pardonGone takes back the failures of messages that somebody else has
// removed since they were picked.
func (p *pass) pardonGone(ctx context.Context) error {
	if len(p.blame.failed) == 0 {
		return nil
	}
	failed := p.blame.set()
	refs, err := p.session.Pick(ctx, mail.Query{Only: &failed})
	if err != nil {
		return err
	}
	var held mail.Set
	for _, ref := range refs {
		held.Add(ref)
	}
	p.blame.failed = slices.DeleteFunc(p.blame.failed, func(f failure) bool {
		if held.Has(f.ref) {
			return false
		}
		p.log.Info("message was removed by somebody else before it was fetched", zap.String("uid", f.ref.ID()))
		return true
	})
	return nil
}

// verdict is the outcome of an attempt: its own error, or that of messages that
// could not be had, or of dispositions that the server refused. It notes what
// counts against messages. One that has failed for its own sake in an earlier job
// is believed to do so again, for the same reason and when nothing else failed.
func (p *pass) verdict(err error) error {
	b := &p.blame
	p.result.Failures = len(b.failed)
	known := make(map[string]string)
	for _, f := range p.ledger.Unsaved {
		if f.Jobs > 0 {
			known[f.ID()] = alike(f.Reason)
		}
	}
	again := b.trouble == nil && !b.denied && !slices.ContainsFunc(b.failed, func(f failure) bool { return known[f.ref.ID()] != alike(f.err.Error()) })
	var first *failure
	for i, f := range b.failed {
		if !b.proven(f) && !again {
			if first == nil {
				first = &b.failed[i]
			}
			if p.heldBack.Has(f.ref) { // nothing came behind it that could tell
				p.first.Add(f.ref)
			}
			continue
		}
		fault := p.faults[f.ref.ID()]
		fault.Ref, fault.Jobs, fault.Reason = f.ref, 1, f.err.Error()
		p.faults[f.ref.ID()] = fault
	}
	switch {
	case err != nil && !errors.Is(err, errSessionLost):
		return err
	case b.trouble != nil:
		return b.trouble
	case len(b.failed) == 0 && p.refusal != nil:
		return p.notDisposed()
	case len(b.failed) == 0:
		return p.spoilt
	}
	hint := fmt.Sprintf("it stays on the server; after failing in %d jobs it is quarantined, and skipped until `poller retry %s`", mail.JobsBeforeQuarantine, p.c.Name)
	if first == nil {
		first = &b.failed[0]
	} else {
		hint = "no other message could be had to tell whether it is this one or the server, so it does not count against the message; the server's log may say more"
	}
	e := *mail.AsError(first.err, mail.OpFetch, mail.KindProtocol)
	e.Err = fmt.Errorf("message %s: %w", first.ref.ID(), e.Err)
	if n := len(b.failed) - 1; n > 0 {
		e.Err = fmt.Errorf("%w (and %d more)", e.Err, n)
	}
	e.Hint = cmp.Or(e.Hint, hint)
	return &e
}

// alike is a reason without its numbers, such as the port of a connection.
func alike(reason string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, reason)
}

// recordFaults writes down what this job found wrong with messages.
func (j *job) recordFaults(ctx context.Context) error {
	if len(j.faults)+len(j.introduced) == 0 || j.dry {
		return nil
	}
	ledger, err := j.Journal.Load(ctx, j.c.Name, j.box)
	if err != nil {
		return err
	}
	before := make(map[string]mail.Unsaved)
	for _, f := range ledger.Unsaved {
		before[f.ID()] = f
	}
	var faults []mail.Unsaved
	for id, f := range j.faults {
		was := before[id]
		f.Interrupted, f.Late = f.Interrupted || was.Interrupted, (f.Late || was.Late) && !j.first.Has(f.Ref)
		switch {
		case f.Oversized, f.Unwanted:
		case f.Jobs > 0: // it failed in this job
			if f.Jobs = max(f.Jobs, was.Jobs+1); f.Quarantined() {
				j.result.Quarantined++
				j.log.Warn("message quarantined: jobs skip it until `poller retry`", zap.String("uid", id), zap.Int("jobs", f.Jobs), zap.String("reason", f.Reason))
			}
		case was.Interrupted == f.Interrupted && was.Late == f.Late, was.Oversized, ledger.Saved.Has(f.Ref):
			continue // nothing new
		case was.Jobs > 0:
			f.Jobs, f.Reason = was.Jobs, was.Reason
		}
		f.From, f.Subject, f.Date = was.From, was.Subject, was.Date
		faults = append(faults, f)
	}
	for id, was := range before {
		if _, ok := j.faults[id]; !ok && j.introduced[id].Same(was.Ref) {
			faults = append(faults, was)
		}
	}
	for i, f := range faults {
		if about, ok := j.introduced[f.ID()]; ok {
			faults[i].From, faults[i].Subject, faults[i].Date = about.From, about.Subject, about.Date
		}
	}
	return j.Journal.SetUnsaved(ctx, j.c.Name, j.box, faults)
}
