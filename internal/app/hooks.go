package app

import (
	"cmp"
	"context"
	"maps"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
	"mailpoller/internal/poll"
	"mailpoller/internal/state"
)

// readHooks reads which hooks were due when the program ended. Why they failed
// is in the history.
func (a *App) readHooks(ctx context.Context) error {
	due, err := a.store.Hooks(ctx, "")
	if err != nil {
		return err
	}
	for name, h := range due {
		if !h.Failing() {
			continue
		}
		jobs, err := a.store.Jobs(ctx, state.JobFilter{Connection: name})
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if h.Error = j.HookError; h.Error != "" {
				break
			}
		}
		due[name] = h
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.hooks = due
	return nil
}

// hooksOf is how the hooks of a connection stand. One that has no hook any more
// has none that will run.
func (a *App) hooksOf(c *mail.Connection) mail.Hooks {
	if c == nil || c.Notify == nil {
		return mail.Hooks{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.hooks[c.Name]
}

// lookAtHooks learns how the hooks of a connection stand after a job, or after
// all was forgotten, and tells the metrics. It reports whether one fails in
// another way than before.
func (a *App) lookAtHooks(ctx context.Context, c *mail.Connection, failed string) (news bool) {
	before := a.hooksOf(c)
	due, err := a.store.Hooks(context.WithoutCancel(ctx), c.Name)
	if err != nil {
		a.log.Error("it is not known which hooks are due", append(poll.ErrorFields(mail.AsError(err, mail.OpRecord, mail.KindState)), zap.String("connection", c.Name))...)
		return false
	}
	now := due[c.Name]
	if now.Failing() {
		now.Error = cmp.Or(failed, before.Error)
	}
	a.mu.Lock()
	if now.Due > 0 {
		a.hooks[c.Name] = now
	} else {
		delete(a.hooks, c.Name)
	}
	a.mu.Unlock()
	a.metrics.Hooks(c.Name, a.hooksOf(c))
	return failed != "" && failed != before.Error
}

// tellHooks tells the metrics of hooks that are due.
func (a *App) tellHooks() {
	a.mu.Lock()
	due := maps.Clone(a.hooks)
	a.mu.Unlock()
	byName := a.config.Load().byName
	for name := range due {
		a.metrics.Hooks(name, a.hooksOf(byName[name]))
	}
}
