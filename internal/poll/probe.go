package poll

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"mailpoller/internal/mail"
)

// Test goes the way of a poll up to the first message that it would take, and
// tries the folder out. Nothing is fetched, nothing is changed on the server, and
// what is written into the folder is removed again. Each step is reported to the
// trace of ctx as it ends; after one that fails, those that depend on it are left
// out.
func (p *Poller) Test(ctx context.Context, c *mail.Connection) mail.Test {
	test := mail.Test{Connection: c.Name}
	outer := mail.TraceOf(ctx)
	record := func(s mail.Step) {
		test.Steps = append(test.Steps, s)
		if outer.Step != nil {
			outer.Step(s)
		}
	}
	inner := mail.WithTrace(ctx, &mail.Trace{Step: record})
	if err := p.look(inner, c, record); err != nil && test.OK() {
		e := mail.AsError(err, mail.OpPoll, mail.KindInternal)
		record(mail.Step{Name: e.Op, Err: e}) // a step that is not reported when it goes well
	}
	start := time.Now()
	warnings, err := p.Folder.Try(ctx, c)
	detail := cmp.Or(strings.Join(warnings, "; "), c.Folder) // each names the folder
	record(mail.Step{Name: mail.OpFolder, Duration: time.Since(start), Detail: detail, Err: err})
	return test
}

// look opens the mailbox, so that nothing can change in it, and picks.
func (p *Poller) look(ctx context.Context, c *mail.Connection, record func(mail.Step)) error {
	late := lateError{c.PollTimeout}
	ctx, cancel := context.WithTimeoutCause(ctx, c.PollTimeout, late)
	defer cancel()
	tested := c.Untouched()
	tested.Diagnose = true
	session, err := p.Opener.Open(ctx, tested)
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // nothing was done that could be undone
	start := time.Now()
	detail, err := p.next(ctx, session, c)
	err = late.explained(ctx, err)
	record(mail.Step{Name: mail.OpPick, Duration: time.Since(start), Detail: detail, Err: err})
	return err
}

// next says which message a poll would take.
func (p *Poller) next(ctx context.Context, session Session, c *mail.Connection) (string, error) {
	box, messages := session.Box()
	ledger, err := p.Journal.Load(ctx, c.Name, box)
	if err != nil {
		return "", err
	}
	query := mail.Query{Pull: c.Pull, Limit: 1, Sizes: true}
	if c.Pull.Unread {
		query.Exclude = append(query.Exclude, ledger.Saved)
	}
	var skipped mail.Set
	for _, f := range ledger.Unsaved {
		if f.Skipped() {
			skipped.Add(f.Ref)
		}
	}
	query.Exclude = append(query.Exclude, skipped)
	refs, err := session.Pick(ctx, query)
	switch {
	case err != nil:
		return "", err
	case len(refs) == 0:
		return fmt.Sprintf("%s: none of %d messages", c.Pull, messages), nil
	}
	found := fmt.Sprintf("%s: message %.40s, %d octets, of %d messages", c.Pull, refs[0].ID(), refs[0].Size, messages)
	if c.Match == nil {
		return found, nil
	}
	query.Limit, query.Sizes = 0, false
	matching, err := session.Pick(ctx, query)
	return fmt.Sprintf("%s, %d of which match", found, len(matching)), err
}
