package app

import (
	"context"
	"sync/atomic"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
	"mailpoller/internal/poll"
)

// stepwise is ctx with a trace that also logs each step of the polls under it,
// where the level of the log is debug: what it was, how long it took, and what
// was learned or went wrong.
func stepwise(ctx context.Context, log *zap.Logger, connection string) context.Context {
	if !log.Core().Enabled(zap.DebugLevel) {
		return ctx
	}
	log = log.With(zap.String("connection", connection))
	t := *mail.TraceOf(ctx)
	outer := t
	var job atomic.Pointer[string] // parts of a job report side by side
	step := func(s mail.Step) {
		fields := []zap.Field{zap.String("step", s.Name), zap.Duration("duration", s.Duration)}
		if id := job.Load(); id != nil {
			fields = append(fields, zap.String("job", *id))
		}
		if s.Detail != "" {
			fields = append(fields, zap.String("detail", s.Detail))
		}
		log.Debug("step", append(fields, poll.ErrorFields(mail.AsError(s.Err, s.Name, mail.KindInternal))...)...)
	}
	t.Step = func(s mail.Step) {
		step(s)
		if outer.Step != nil {
			outer.Step(s)
		}
	}
	t.Job = func(r mail.Result) {
		job.Store(&r.Job)
		if outer.Job != nil {
			outer.Job(r)
		}
	}
	logged := mail.Spans(step)
	t.Span = func(op string, messages int) func(error) {
		end, ends := logged(op, messages), func(error) {}
		if outer.Span != nil {
			ends = outer.Span(op, messages)
		}
		return func(err error) {
			end(err)
			ends(err)
		}
	}
	return mail.WithTrace(ctx, &t)
}
