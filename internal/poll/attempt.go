package poll

import (
	"cmp"
	"context"
	"errors"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

// maxReopen is how many messages of one attempt may break the session they
// were fetched in before the attempt fails.
const maxReopen = 10

// job is one Poll.
type job struct {
	*Poller
	c          *mail.Connection
	trace      *mail.Trace
	log        *zap.Logger
	lines      *lines // what it logs; nil for a dry run
	result     mail.Result
	box        mail.Box
	faults     map[string]mail.Unsaved // by ID: this job's failures, what it found too large, and what it could not finish
	introduced map[string]mail.Unsaved // by ID: From, Subject and Date of messages that stay on the server
	unread     mail.Set                // messages that count as unread whatever the server says
	late       mail.Set                // messages that come behind the others
	heldBack   mail.Set                // likewise, also once they were tried
	first      mail.Set                // messages that come no longer behind the others
	standing   int                     // messages that would be taken, were saved before, and stay
	sequence   int                     // messages that were put into the folder
	visible    map[string]bool         // by Temp: what this job has published, where there is a command
	dry        bool                    // change nothing anywhere, and say what would be done
}

// attempt takes messages until there is nothing more to take, on one session,
// or on a further one for each message that broke the one before.
func (j *job) attempt(l lifetimes) error {
	late := lateError{j.c.PollTimeout}
	l, cancel := l.within(j.c.PollTimeout, late)
	defer cancel()

	p := &pass{job: j}
	j.standing = 0
	j.result.Failures = 0
	for reopened := 0; ; reopened++ {
		err := p.run(l)
		if reopened < maxReopen && l.start.Err() == nil && (errors.Is(err, errSessionLost) || reopens(err)) {
			continue
		}
		if err == nil && p.mustLook() {
			p.look(l)
		}
		return late.explained(l.start, p.verdict(err))
	}
}

// errSessionLost marks an error that one message caused and that took the
// session with it: the other messages can be had on a new one.
var errSessionLost = errors.New("session lost")

// reopens reports whether an error is that of a session which asked in a way that
// the server does not understand: the next one does not.
func reopens(err error) bool {
	var e *mail.Error
	return errors.As(err, &e) && e.Reopen
}

// pass is the part of an attempt that lasts over its sessions.
type pass struct {
	*job
	session Session
	ledger  mail.Ledger
	skip    mail.Set    // of this box: failed in this attempt, to be skipped, too large, or about to be deleted
	applied []mail.Ref  // noted by Apply, and not yet committed
	asked   mail.Set    // POP3: whose removal another session has still to see
	refusal *mail.Error // why the server refused to dispose of messages; they stay pending
	blame   blame       // for messages that could not be had

	asking   int      // how many messages are asked for at once
	suspects mail.Set // one of them ended the session in which they were asked for: each is asked for alone
	spoilt   error    // why a session ended behind one of them, which was had

	foreseen  mail.Box     // whose ledger readAhead read
	disposing func() error // waits for the journal to record dispositions; nil where it does not
	disposal  int          // how many

	planned func(context.Context, mail.Message) (mail.Entry, error) // dry run: what a message would be saved as
	again   int                                                     // dry run: messages that an earlier poll was done with, and that are disposed of anew
}

// run does one session, steps 3 to 10.
func (p *pass) run(l lifetimes) (err error) {
	p.applied = nil // what an earlier session did not commit is pending in the journal
	read := p.readAhead(l.start)
	defer func() { _ = read() }()                     // also when there is no session: nothing outlasts the attempt
	if p.session, err = p.open(l.start); err != nil { // 3
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
	if err := p.load(l.start); err != nil {
		return err
	}
	if !p.dry {
		if err := p.finishEarlier(l); err != nil { // 4
			return err
		}
	}
	p.blame.opened()
	if err := p.suspicious(l); err != nil {
		return err
	}
	err = p.drain(l) // 5 to 10
	var warnings []string
	p.result.NotMatching, warnings = p.session.Notes()
	for _, warning := range warnings {
		p.warn(warning)
	}
	if err != nil {
		return err
	}
	if p.dry {
		p.result.Then = p.then()
		return nil
	}
	if err := p.witness(l.start); err != nil {
		return err
	}
	ends := p.c.Store == mail.POP3 && len(p.applied) > 0 // the commit ends the session
	if err := p.commit(l); err != nil || ends {
		return err
	}
	p.introduce(l.start)
	return nil
}

// open opens the mailbox; for a dry run so that nothing can change in it. A
// folder that is missing is found now, and not when the first message comes.
func (p *pass) open(ctx context.Context) (Session, error) {
	if err := p.Folder.Ready(ctx, p.c.Folder); err != nil {
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
		p.box, p.skip, p.asked, p.suspects, p.blame = box, mail.Set{}, mail.Set{}, mail.Set{}, blame{}
		clear(p.introduced)
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
	p.result.Quarantined, p.result.Oversized, p.result.Unwanted = 0, 0, 0
	p.unread, p.late = mail.Set{}, mail.Set{}
	for _, f := range p.ledger.Unsaved {
		if f.Interrupted {
			p.unread.Add(f.Ref)
		}
		if f.Late {
			p.late.Add(f.Ref)
			p.heldBack.Add(f.Ref)
		}
		if f.Oversized && !p.tooLarge(f.Ref) {
			continue // the limit was raised
		}
		if f.Unwanted && p.c.WithoutAttachments != mail.SetAside {
			continue // it is wanted by now
		}
		if f.Skipped() {
			p.skip.Add(f.Ref)
		}
		p.tally(f)
	}
	for _, f := range p.faults { // what an earlier session of this job found
		if f.Interrupted {
			p.unread.Add(f.Ref)
		}
		if f.Oversized || f.Unwanted {
			p.skip.Add(f.Ref)
			p.tally(f)
		}
	}
	return nil
}

// tally counts a message that jobs skip.
func (j *job) tally(f mail.Unsaved) {
	switch {
	case f.Oversized:
		j.result.Oversized++
	case f.Unwanted:
		j.result.Unwanted++
	case f.Quarantined():
		j.result.Quarantined++
	}
}
