package poll

import (
	"cmp"
	"context"
	"slices"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// dispose puts the disposition in force for messages that are saved, or, with
// POP3, notes it for the end of the session (9, 10).
func (p *pass) dispose(l lifetimes, refs []mail.Ref) error {
	return p.disposeAs(l, refs, p.c.Ending())
}

func (p *pass) disposeAs(l lifetimes, refs []mail.Ref, d disposition.Disposition) error {
	if len(refs) == 0 {
		return nil
	}
	if d == disposition.Keep || d == disposition.Seen && p.c.Store == mail.POP3 {
		return p.disposed(l.commit, refs, mail.Commitment{}) // nothing to do on the server
	}
	p.session.Apply(refs, d)
	p.applied = append(p.applied, refs...)
	if p.c.Store == mail.POP3 { // QUIT does it, and ends the session
		for _, ref := range refs {
			p.skip.Add(ref)
		}
		return nil
	}
	return p.commit(l)
}

// commit puts in force what was noted, and records it. What the server refuses, or
// says OK to without doing it, stays pending: it keeps no other message from being
// saved.
func (p *pass) commit(l lifetimes) error {
	if len(p.applied) == 0 {
		return nil
	}
	did, err := p.session.Commit(l.finish)
	if err != nil {
		return err
	}
	for _, warning := range did.Warnings {
		p.warn(warning)
	}
	p.refusal = cmp.Or(p.refusal, did.Err)
	refs := p.applied
	p.applied = nil
	if p.c.Store == mail.POP3 && did.Wait == 0 {
		for _, ref := range did.Asked {
			p.asked.Add(ref)
		}
	}
	var undone mail.Set
	for _, ref := range slices.Concat(did.Asked, did.Copied, did.Refused) {
		undone.Add(ref)
		p.skip.Add(ref) // once in an attempt is enough
	}
	return p.disposed(l.commit, slices.DeleteFunc(refs, undone.Has), did)
}

// disposed begins to record that the disposition of messages is in force (10), and
// how far it is for others. Until it is recorded, the journal has them as pending,
// which is as true: so the next batch is fetched meanwhile.
func (p *pass) disposed(ctx context.Context, refs []mail.Ref, did mail.Commitment) error {
	if err := p.settled(); err != nil { // of the batch before
		return err
	}
	if p.c.Ending() == disposition.Seen {
		for _, ref := range refs {
			p.ledger.Seen.Add(ref)
		}
	}
	p.disposing = p.beside(func() error {
		err := p.Journal.Dispose(ctx, p.c.Name, p.box, refs, p.c.Ending())
		if err == nil {
			err = p.Journal.Ask(ctx, p.c.Name, p.box, did.Asked, mail.Asked)
		}
		if err == nil {
			err = p.Journal.Ask(ctx, p.c.Name, p.box, did.Copied, mail.Copied)
		}
		return err
	})
	p.disposal = len(refs)
	if p.c.Store == mail.POP3 { // where another session will see to it
		p.disposal += len(did.Asked)
	}
	return nil
}

// settled waits until what disposed has begun is recorded.
func (p *pass) settled() error {
	if p.disposing == nil {
		return nil
	}
	wait := p.disposing
	p.disposing = nil
	if err := wait(); err != nil {
		return err
	}
	p.result.Disposed += p.disposal
	return nil
}

// notDisposed is why the server refused dispositions, as the outcome of an attempt.
func (p *pass) notDisposed() error {
	e := *p.refusal
	e.Hint = cmp.Or(e.Hint, "see why the server refuses it (its log, the rights of the account), or choose another disposition:") +
		"; the messages are saved, are not saved again, and the next job asks the server again"
	return &e
}
