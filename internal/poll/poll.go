// Package poll runs one job from its start to its end: it takes messages out
// of a mailbox, puts them into a folder, and only then does what the
// connection asks for on the server.
//
// docs/flow.md walks through it step by step, with what happens when it is
// stopped dead at each of them. The numbers in the comments here are its.
package poll

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/retry"
)

// Session is an open mailbox, shaped like a database transaction: Apply notes
// what to do with messages, Commit does it, and Close without Commit changes
// nothing on the server. A session is used by one goroutine. Every call ends
// when its context does; after an error other than one in a Message, only
// Close may be called.
type Session interface {
	// Box identifies the mailbox, and says how many messages it held when it
	// was opened.
	Box() (box mail.Box, messages int)
	// Pick chooses messages, in the order of the query's Pull.
	Pick(ctx context.Context, q mail.Query) ([]mail.Ref, error)
	// Fetch calls each for every message, as they come, until each fails. For
	// a message that the server takes back it calls each again: what it says
	// last counts. It changes nothing on an IMAP server. When each fails after
	// it has taken the whole of its message, the session can go on.
	Fetch(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error
	// Heads is like Fetch, for the headers of messages alone, or the beginning
	// of a long one. It changes nothing on any server.
	Heads(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error
	// Apply notes that the disposition is to be put in force for messages.
	Apply(refs []mail.Ref, d disposition.Disposition)
	// Commit puts in force what was noted, and says of which messages it is not,
	// or not known to be; messages that are gone count as done. What the server
	// refuses is no error. With POP3 it ends the session.
	Commit(ctx context.Context) (mail.Commitment, error)
	// Notes is how many messages were found not to match, by the server, where it
	// counts them, or here; and what else an operator should know.
	Notes() (notMatching int, warnings []string)
	Close() error
}

// Opener opens the mailbox of a connection.
type Opener interface {
	Open(ctx context.Context, c *mail.Connection) (Session, error)
}

// OpenFunc is an Opener made of a function.
type OpenFunc func(ctx context.Context, c *mail.Connection) (Session, error)

// Open implements Opener.
func (f OpenFunc) Open(ctx context.Context, c *mail.Connection) (Session, error) { return f(ctx, c) }

// Folder puts messages into a target folder in two steps, so that the journal
// stands between them: see package folder. A call that fails because its context
// ended, or because the folder does not answer, may go on beside: of its entries
// nothing is known then.
type Folder interface {
	Write(ctx context.Context, c *mail.Connection, box mail.Box, m mail.Message) (mail.Entry, error)
	// Sync makes entries of one folder durable.
	Sync(ctx context.Context, folder string, entries []mail.Entry) ([]mail.Entry, error)
	// Settle gives entries whose names others may have the names that they
	// will get, unless something takes one meanwhile.
	Settle(ctx context.Context, folder string, entries []mail.Entry) ([]mail.Entry, error)
	// Publish tells renamed, unless it is nil, of an entry that gets another
	// name than it has, before it does.
	Publish(ctx context.Context, entries []mail.Entry, renamed func(mail.Entry) error) (published, vanished []mail.Entry, err error)
	Discard(ctx context.Context, e mail.Entry) error
	// Leave has the next start remove temporary files that nothing is recorded of.
	Leave()
	// Ready reports why no message could be written into the folder. It
	// writes nothing.
	Ready(ctx context.Context, folder string) error
	// Try does in the folder of c what a poll does, under hidden names, and leaves
	// nothing behind. It says what would be a warning, and why a poll would fail.
	Try(ctx context.Context, c *mail.Connection) (warnings []string, err error)
	// Warnings are what an operator should know of the folder's file system, each
	// once.
	Warnings(folder string) []string
	// Planned returns what says as what messages would be saved, now and in the
	// order in which it is asked. Of a body it needs the header alone. It
	// writes nothing.
	Planned(c *mail.Connection, box mail.Box) func(context.Context, mail.Message) (mail.Entry, error)
}

// Journal remembers what was saved. What a call has recorded is durable when
// it returns nil.
type Journal interface {
	// Load is what is recorded of the box. It never writes.
	Load(ctx context.Context, connection string, box mail.Box) (mail.Ledger, error)
	// Save records messages as saved, their disposition pending. An entry
	// without Temp uses up one record of a void box with its digest.
	Save(ctx context.Context, connection string, box mail.Box, entries []mail.Entry) error
	// Dispose records that a disposition is in force for messages that are
	// published.
	Dispose(ctx context.Context, connection string, box mail.Box, refs []mail.Ref, d disposition.Disposition) error
	// Ask records that messages are published, and how far their disposition has
	// come that is not in force.
	Ask(ctx context.Context, connection string, box mail.Box, refs []mail.Ref, stage mail.Stage) error
	// Settle records that orphans are published.
	Settle(ctx context.Context, connection string, orphans []mail.Entry) error
	// Discard forgets entries: they were not delivered after all.
	Discard(ctx context.Context, connection string, entries []mail.Entry) error
	// Recognise reports whether a message with this digest was saved out of
	// a box that is void by now.
	Recognise(ctx context.Context, connection string, d mail.Digest) (bool, error)
	// SetUnsaved records what is wrong with messages that stay on the server.
	SetUnsaved(ctx context.Context, connection string, box mail.Box, faults []mail.Unsaved) error
	// Keep drops what is recorded of messages that the server does not hold.
	Keep(ctx context.Context, connection string, box mail.Box, held mail.Set) error
	// Renamed records that an entry, and its notice, will get another name.
	Renamed(ctx context.Context, connection string, e mail.Entry) error
	// Notices are the commands that have still to be run, at most so many, in
	// the order of the messages.
	Notices(ctx context.Context, connection string, most int) ([]mail.Notice, error)
	// Noticed forgets notices.
	Noticed(ctx context.Context, connection string, ids ...int64) error
	// NoticeFailed counts a command that failed.
	NoticeFailed(ctx context.Context, connection string, id int64) error
	// Void makes what is recorded of the present box void.
	Void(ctx context.Context, connection string) error
}

// Poller polls. Its fields are set before the first poll and not changed
// after. It may be used by many goroutines, but two jobs of one connection
// must not overlap: that is the scheduler's to see to.
type Poller struct {
	Opener   Opener
	Folder   Folder
	Journal  Journal
	Grace    func() time.Duration // how long the message at hand may go on once the context of a job has ended
	Panicked func()               // unless nil: a job was ended by a fault of this program
	Removals *Removals
	Notify   func(ctx context.Context, c *mail.Connection, n mail.Notice) error
	Log      *zap.Logger
}

// Poll runs one job of c to its end. When ctx ends, the job does: at once,
// unless a message is being fetched or put in its place, which gets the grace
// to be finished. A panic fails the job.
func (p *Poller) Poll(ctx context.Context, c *mail.Connection) mail.Result {
	kept := &lines{}
	ctx = kept.listening(ctx)
	j := p.newJob(ctx, c)
	j.log, j.lines = kept.tee(p.Log).With(zap.String("connection", c.Name), zap.String("job", j.result.Job)), kept
	return j.run(ctx)
}

// Fail is a job of c that ends before its first attempt, because of err: what
// Poll returns for one that failed, and told as that.
func (p *Poller) Fail(ctx context.Context, c *mail.Connection, err error) mail.Result {
	j := p.newJob(ctx, c)
	j.lines = &lines{}
	return j.end(err)
}

// Preview is a dry run: one attempt that changes nothing, neither on the
// server nor here. Messages, Bytes and Files of the result are what a poll
// would save, as far as it can be known without fetching.
func (p *Poller) Preview(ctx context.Context, c *mail.Connection) mail.Result {
	j := p.newJob(ctx, c)
	j.dry, j.result.DryRun = true, true
	once := *c
	once.Retry = retry.Policy{}
	j.c = &once
	return j.run(ctx)
}

func (p *Poller) newJob(ctx context.Context, c *mail.Connection) *job {
	trace := mail.TraceOf(ctx)
	j := &job{
		Poller: p.spanned(trace),
		c:      c,
		trace:  trace,
		faults: make(map[string]mail.Unsaved),
		result: mail.Result{
			Job:        rand.Text(),
			Connection: c.Name,
			State:      mail.Running,
			Started:    time.Now(),
		},
	}
	j.log = p.Log.With(zap.String("connection", c.Name), zap.String("job", j.result.Job))
	return j
}

func (j *job) run(ctx context.Context) (result mail.Result) {
	defer func() {
		if fault := recover(); fault != nil {
			j.log.Error("panic in poll", zap.Any("panic", fault), zap.ByteString("stack", debug.Stack()))
			if j.Panicked != nil {
				j.Panicked()
			}
			j.Folder.Leave() // what was being written, that is
			result = j.end(&mail.Error{
				Op: mail.OpPoll, Kind: mail.KindInternal, Err: fmt.Errorf("panic: %v", fault),
				Hint: "this is a fault of poller: please report it with the stack in the log",
			})
		}
	}()
	ctx = mail.WithLogins(ctx)
	l, cancel := newLifetimes(ctx, j.Grace)
	defer cancel()

	warned := ""
	attempts, err := j.c.Retry.Do(l.start, func(attempt int) error {
		j.result.Attempts = attempt
		j.result.State, j.result.RetryAt = mail.Running, time.Time{}
		j.report()
		err := j.attempt(l)
		var e *mail.Error
		if errors.As(err, &e) && e.Wait > j.c.Retry.Interval {
			return retry.Final(err) // the server does not want to be asked again so soon
		}
		return err
	}, func(attempt int, err error) {
		j.result.State, j.result.RetryAt = mail.Retrying, time.Now().Add(j.c.Retry.Interval)
		j.result.Err = mail.AsError(err, mail.OpPoll, mail.KindInternal)
		j.report()
		if text := err.Error(); text != warned {
			warned = text
			j.log.Warn("attempt failed, trying again", append(ErrorFields(j.result.Err),
				zap.Int("attempt", attempt), zap.Int("attempts", j.c.Retry.Attempts()), zap.Duration("retry_interval", j.c.Retry.Interval))...)
		}
	})
	j.result.Attempts = attempts
	if failed := j.recordFaults(l.commit); err == nil {
		err = failed
	}
	j.notify(l)
	if !j.dry {
		j.result.Warnings = append(j.result.Warnings, j.Folder.Warnings(j.c.Folder)...)
	}
	return j.end(err)
}

// end makes the job's result final.
func (j *job) end(err error) mail.Result {
	r := &j.result
	r.Duration, r.RetryAt = time.Since(r.Started), time.Time{}
	r.Err = mail.AsError(err, mail.OpPoll, mail.KindInternal)
	r.State = mail.Succeeded
	switch {
	case err != nil:
		r.State, r.Outcome = mail.Failed, mail.OutcomeFailed
		if j.lines != nil {
			j.lines.add(time.Now().Format(time.TimeOnly+".000") + " ERROR " + r.Err.Error())
			r.Log = j.lines.taken()
		}
	case r.Messages > 0:
		r.Outcome = mail.OutcomeSaved
	case j.standing > 0:
		r.Outcome = mail.OutcomeUnchanged
	default:
		r.Outcome = mail.OutcomeEmpty
	}
	j.report()
	return *r
}

// report tells the trace how the job stands.
func (j *job) report() {
	if j.trace.Job != nil {
		r := j.result
		r.Duration = time.Since(r.Started)
		j.trace.Job(r)
	}
}

// ErrorFields are the log fields of an error, the same wherever one is logged.
func ErrorFields(e *mail.Error) []zap.Field {
	if e == nil {
		return nil
	}
	fields := []zap.Field{zap.String("op", e.Op), zap.String("kind", string(e.Kind)), zap.String("error", e.Error())}
	if e.Hint != "" {
		fields = append(fields, zap.String("hint", e.Hint))
	}
	return fields
}
