package poll

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// maxReopen is how many messages of one attempt may break the session they
// were fetched in before the attempt fails.
const maxReopen = 10

// job is one Poll.
type job struct {
	*Poller
	c        *mail.Connection
	trace    *mail.Trace
	log      *zap.Logger
	lines    *lines // what it logs; nil for a dry run
	result   mail.Result
	box      mail.Box
	faults   map[string]mail.Fault // by ID: this job's failures, and what it found too large
	standing int                   // messages that would be taken, were saved before, and stay
	sequence int                   // messages that were put into the folder
	visible  map[string]bool       // by Temp: what this job has published, where there is a command
	dry      bool                  // change nothing anywhere, and say what would be done
}

// attempt takes messages until there is nothing more to take, on one session,
// or on a further one for each message that broke the one before.
func (j *job) attempt(ctx, hard context.Context) error {
	late := lateError{j.c.PollTimeout}
	ctx, cancel := context.WithTimeoutCause(ctx, j.c.PollTimeout, late)
	defer cancel()
	hard, cancelHard := context.WithTimeoutCause(hard, j.c.PollTimeout, late)
	defer cancelHard()

	p := &pass{job: j}
	j.standing = 0
	j.result.Failures = 0
	for reopened := 0; ; reopened++ {
		err := p.run(ctx, hard)
		if !errors.Is(err, errSessionLost) || reopened == maxReopen {
			return late.explained(ctx, p.verdict(err))
		}
	}
}

// errSessionLost marks an error that one message caused and that took the
// session with it: the other messages can be had on a new one.
var errSessionLost = errors.New("session lost")

// pass is the part of an attempt that lasts over its sessions.
type pass struct {
	*job
	session Session
	ledger  mail.Ledger
	skip    mail.Set   // of this box: failed in this attempt, set aside, too large, or about to be deleted
	failed  []failure  // messages that failed in this attempt
	applied []mail.Ref // noted by Apply, and not yet committed

	foreseen  mail.Box     // whose ledger readAhead read
	disposing func() error // waits for the journal to record dispositions; nil where it does not
	disposal  int          // how many

	planned func(mail.Message) (mail.Entry, error) // dry run: what a message would be saved as
	again   int                                    // dry run: messages that an earlier poll was done with, and that are disposed of anew
}

// failure is a message that could not be had.
type failure struct {
	ref mail.Ref
	err error
}

// run does one session, steps 3 to 10.
func (p *pass) run(ctx, hard context.Context) (err error) {
	p.applied = nil // what an earlier session did not commit is pending in the journal
	read := p.readAhead(ctx)
	defer func() { _ = read() }()                 // also when there is no session: nothing outlasts the attempt
	if p.session, err = p.open(ctx); err != nil { // 3
		return err
	}
	defer func() { err = cmp.Or(err, p.settled()) }()
	defer func() {
		if closed := p.session.Close(); closed != nil {
			p.log.Debug("session did not close in order", zap.Error(closed))
		}
	}()
	if err := read(); err != nil {
		return err
	}
	if err := p.load(ctx); err != nil {
		return err
	}
	if !p.dry {
		if err := p.finishEarlier(ctx, hard); err != nil { // 4
			return err
		}
	}
	err = p.drain(ctx, hard) // 5 to 10
	p.result.NotMatching = p.session.NotMatching()
	if err != nil {
		return err
	}
	if p.dry {
		p.result.Then = p.then()
	}
	return p.commit(hard)
}

// open opens the mailbox; for a dry run so that nothing can change in it. A
// folder that is missing is found now, and not when the first message comes.
func (p *pass) open(ctx context.Context) (Session, error) {
	if err := p.Folder.Ready(p.c.Folder); err != nil {
		return nil, err
	}
	c := p.c
	if p.dry {
		c = c.Untouched()
	}
	return p.Opener.Open(ctx, c)
}

// readAhead begins to read what the journal holds of a POP3 mailbox, whose
// identity is known before its server says anything: to read tens of thousands
// of unique-ids takes about as long as it takes the server to open the mailbox.
func (p *pass) readAhead(ctx context.Context) (wait func() error) {
	if p.c.Store != mail.POP3 {
		return func() error { return nil }
	}
	p.foreseen = mail.Box{Account: p.c.Account()}
	return p.beside(func() (err error) {
		p.ledger, err = p.Journal.Load(ctx, p.c.Name, p.foreseen)
		return err
	})
}

// load reads what the journal holds of the box and makes both agree on what
// the server still has.
func (p *pass) load(ctx context.Context) error {
	box, messages := p.session.Box()
	if box != p.box {
		p.box, p.skip, p.failed = box, mail.Set{}, nil
		clear(p.faults) // they were of messages of another box
	}
	if box != p.foreseen {
		var err error
		if p.ledger, err = p.Journal.Load(ctx, p.c.Name, box); err != nil {
			return err
		}
	}
	if p.ledger.Rebuilt {
		p.log.Debug("recognising messages of an earlier mailbox by their digest", zap.Uint32("uidvalidity", box.Validity))
	}
	if !p.dry {
		if err := p.prune(ctx, messages); err != nil {
			return err
		}
	}
	p.result.Aside = 0
	for _, f := range p.ledger.Faults {
		if f.TooLarge && !p.tooLarge(f.Ref) {
			continue // the limit was raised
		}
		if f.Aside() {
			p.skip.Add(f.Ref)
			p.result.Aside++
		}
	}
	for _, f := range p.faults {
		if f.TooLarge { // found by an earlier session of this job
			p.skip.Add(f.Ref)
			p.result.Aside++
		}
	}
	return nil
}

// prune drops from the journal what the server no longer holds. A POP3 server
// is always asked, since nothing else tells that it renamed its messages; an
// IMAP server only when the journal holds more than the mailbox does, so that
// an idle mailbox costs nothing and the journal never outgrows it.
func (p *pass) prune(ctx context.Context, messages int) error {
	known := p.ledger.Saved
	if len(p.ledger.Faults) > 0 {
		known = known.Clone()
	}
	for _, f := range p.ledger.Faults {
		known.Add(f.Ref)
	}
	if known.Len() == 0 || p.c.Store == mail.IMAP && known.Len() <= messages && len(p.ledger.Faults) == 0 {
		return nil
	}
	refs, err := p.session.Pick(ctx, mail.Query{Only: &known})
	if err != nil || len(refs) == known.Len() {
		return err
	}
	stay := p.ledger.Saved.Len() - len(p.ledger.Pending) // those that are pending may be deleted by now
	if len(refs) == 0 && messages > 0 && stay > 0 && p.c.Store == mail.POP3 {
		// Every unique-id changed at once: the server renamed its messages.
		if err := p.Journal.Void(ctx, p.c.Name); err != nil {
			return err
		}
	} else {
		var held mail.Set
		for _, r := range refs {
			held.Add(r)
		}
		if err := p.Journal.Keep(ctx, p.c.Name, p.box, held); err != nil {
			return err
		}
	}
	p.ledger, err = p.Journal.Load(ctx, p.c.Name, p.box)
	return err
}

// finishEarlier publishes and disposes of what an earlier poll was kept from.
func (p *pass) finishEarlier(ctx, hard context.Context) error {
	if len(p.ledger.Orphans) > 0 {
		published, err := p.publish(hard, p.ledger.Orphans)
		if err != nil {
			return err
		}
		if err := p.Journal.Settle(hard, p.c.Name, published); err != nil {
			return err
		}
		p.ledger.Rebuilt = p.ledger.Rebuilt || len(published) > 0 // their digests are known from here on
	}
	if len(p.ledger.Pending) == 0 {
		return nil
	}
	pending, err := p.publish(hard, p.ledger.Pending)
	if err != nil {
		return err
	}
	present, gone, err := p.match(ctx, pending)
	if err != nil {
		return err
	}
	if len(gone) > 0 { // removed by the earlier poll, or by another client
		if err := p.Journal.Dispose(hard, p.c.Name, p.box, gone, disposition.Delete); err != nil {
			return err
		}
		p.result.Disposed += len(gone)
	}
	return p.dispose(hard, present)
}

// match finds pending messages on the server. A message that is not as large
// as the one that was saved is another one, to which the server gave the same
// name: it must not be deleted for it, and counts as new.
func (p *pass) match(ctx context.Context, pending []mail.Entry) (present, gone []mail.Ref, err error) {
	var set mail.Set
	for _, e := range pending {
		set.Add(e.Ref)
	}
	found, err := p.session.Pick(ctx, mail.Query{Only: &set, Sizes: true})
	if err != nil {
		return nil, nil, err
	}
	byID := make(map[string]mail.Ref, len(found))
	for _, ref := range found {
		byID[ref.ID()] = ref
	}
	var others []mail.Ref
	for _, e := range pending {
		switch ref, ok := byID[e.ID()]; {
		case !ok:
			gone = append(gone, e.Ref)
		case ref.Size != e.Size && ref.Size != 0 && e.Size != 0:
			others = append(others, e.Ref)
			p.log.Warn("server uses the name of a saved message for another one, which is taken as new", zap.String("uid", e.ID()))
		default:
			present = append(present, ref)
		}
	}
	// They were delivered, and their commands are still due.
	if err := p.Journal.Dispose(ctx, p.c.Name, p.box, others, disposition.Delete); err != nil {
		return nil, nil, err
	}
	for _, ref := range others {
		p.ledger.Saved.Remove(ref)
	}
	return present, gone, nil
}

// forget takes entries out of the journal that were not delivered.
func (p *pass) forget(ctx context.Context, entries []mail.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := p.Journal.Discard(ctx, p.c.Name, entries); err != nil {
		return err
	}
	for _, e := range entries {
		p.ledger.Saved.Remove(e.Ref)
	}
	return nil
}

// verdict is the outcome of an attempt: its own error, or that of the
// messages that failed in it.
func (p *pass) verdict(err error) error {
	p.result.Failures = len(p.failed)
	if len(p.failed) == 0 || err != nil && !errors.Is(err, errSessionLost) {
		return err
	}
	first := p.failed[0]
	e := *mail.AsError(first.err, mail.OpFetch, mail.KindProtocol)
	e.Err = fmt.Errorf("message %s: %w", first.ref.ID(), e.Err)
	if n := len(p.failed) - 1; n > 0 {
		e.Err = fmt.Errorf("%w (and %d more)", e.Err, n)
	}
	if e.Hint == "" {
		e.Hint = fmt.Sprintf("it stays on the server; after failing in %d jobs it is passed over until `poller retry %s`", mail.FaultsBeforeAside, p.c.Name)
	}
	return &e
}

// recordFaults writes down what this job found wrong with messages.
func (j *job) recordFaults(ctx context.Context) error {
	if len(j.faults) == 0 || j.dry {
		return nil
	}
	ledger, err := j.Journal.Load(ctx, j.c.Name, j.box)
	if err != nil {
		return err
	}
	jobs := make(map[string]int)
	for _, f := range ledger.Faults {
		jobs[f.ID()] = f.Jobs
	}
	var faults []mail.Fault
	for id, f := range j.faults {
		if !f.TooLarge {
			if f.Jobs = max(f.Jobs, jobs[id]+1); f.Aside() {
				j.result.Aside++
				j.log.Warn("message set aside", zap.String("uid", id), zap.Int("jobs", f.Jobs), zap.String("reason", f.Reason))
			}
		}
		faults = append(faults, f)
	}
	return j.Journal.SetFaults(ctx, j.c.Name, j.box, faults)
}
