package schedule

import (
	"context"
	"runtime/debug"
	"strings"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

// Gate says which jobs may start, beyond the schedule and the limits. On a
// single node there is none, which is one that always says yes. That of a
// cluster will be a lease: it says no while another node has the connection,
// and ends the context of a job when the lease runs out, so that a node that
// was cut off from the others has stopped before one of them goes on.
type Gate interface {
	// Admit is asked when a job has the connection, before it waits for its
	// target or for a place. An error is the reason why there is no job, which
	// counts as no failure: the next run asks again.
	//
	// The job runs with the context that Admit returns, derived from ctx, which
	// ends with the job. A gate that ends a job earlier does so with a cause that
	// wraps context.Canceled: then the job is one that was cut off, and not one
	// that failed. Admit does not block for longer than ctx lasts.
	Admit(ctx context.Context, c *mail.Connection) (context.Context, error)
}

// job runs one job of c, whatever happens in it. It fails when the gate does not
// let it in: then there was none. The place of the host is taken before that of
// all, so that those who wait for a slow host do not keep the places of the others.
func (s *Scheduler) job(ctx context.Context, c *mail.Connection, started func()) (result mail.Result, refused error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pending := mail.Result{Connection: c.Name, State: mail.Pending, Started: time.Now()}
	defer func() {
		if fault := recover(); fault != nil {
			s.options.Log.Error("panic in job", zap.String("connection", c.Name), zap.Any("panic", fault), zap.ByteString("stack", debug.Stack()))
			result, refused = failed(pending, mail.Errorf(mail.OpPoll, mail.KindInternal, "panic: %v", fault)), nil
		}
	}()
	if s.options.Gate != nil {
		if ctx, refused = s.options.Gate.Admit(ctx, c); refused != nil {
			return mail.Result{}, refused
		}
	}
	if trace := mail.TraceOf(ctx); trace.Job != nil {
		trace.Job(pending)
	}
	if s.options.Ready != nil {
		notReady := s.options.Ready(ctx, c)
		if notReady != nil && ctx.Err() == nil {
			return s.options.Run(ctx, c, notReady), nil
		}
	}
	free, err := s.takePlaces(ctx, strings.ToLower(c.Host))
	if err != nil {
		return failed(pending, mail.AsError(err, mail.OpPoll, mail.KindCanceled)), nil
	}
	defer free()
	started()
	return s.options.Run(ctx, c, nil), nil
}

// takePlaces waits for a place of a host and one of all, until ctx ends.
func (s *Scheduler) takePlaces(ctx context.Context, host string) (free func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	leave, err := s.hosts.take(ctx, host)
	if err != nil {
		return nil, err
	}
	if err := s.polls.take(ctx); err != nil {
		leave()
		return nil, err
	}
	return func() { s.polls.free(); leave() }, nil
}

// failed is the result of a job that did not get as far as Run, or ended in it
// by a fault of the program.
func failed(r mail.Result, err *mail.Error) mail.Result {
	r.State, r.Outcome, r.Err = mail.Failed, mail.OutcomeFailed, err
	return r
}
