package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/api"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
	"mailpoller/internal/schedule"
	"mailpoller/internal/state"
)

// Daemon is the App as the servers and the commands see it.
func (a *App) Daemon() api.Daemon { return api.Daemon{Lifecycle: a, Polling: a, Review: a, Logins: a} }

// Jobs implements api.Polling: the jobs in progress, then the history.
func (a *App) Jobs(ctx context.Context, filter api.JobFilter) ([]mail.Result, error) {
	history, err := a.store.Jobs(ctx, state.JobFilter{Connection: filter.Connection, State: filter.State, ID: filter.ID, Limit: filter.Limit})
	if err != nil {
		return nil, err
	}
	if filter.Connection != "" && len(history) == 0 {
		if _, err := a.connection(filter.Connection); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	var jobs []mail.Result
	for _, r := range a.live {
		if (filter.Connection == "" || r.Connection == filter.Connection) && (filter.State == "" || r.State == filter.State) && strings.HasPrefix(r.Job, filter.ID) {
			jobs = append(jobs, r)
		}
	}
	jobs = append(jobs, history...)
	// They were recorded in the order of their ends.
	slices.SortStableFunc(jobs, func(a, b mail.Result) int { return b.Started.Compare(a.Started) })
	for i := range jobs {
		if filter.ID == "" {
			jobs[i].Log = nil
		}
	}
	if filter.Limit > 0 && len(jobs) > filter.Limit {
		jobs = jobs[:filter.Limit]
	}
	return jobs, nil
}

// Poll implements api.Polling. It waits for no schedule, and holds to
// the limits of one.
func (a *App) Poll(ctx context.Context, name string, dryRun bool) (mail.Result, error) {
	c, err := a.connection(name)
	switch {
	case err != nil:
		return mail.Result{}, err
	case !c.Enabled:
		return mail.Result{}, fmt.Errorf("%s: %w", name, api.ErrDisabled)
	case dryRun:
		release, err := a.hold(ctx, name)
		if err != nil {
			return mail.Result{}, err
		}
		defer release()
		return a.poller.Preview(stepwise(ctx, a.log.Named("poll"), name), c), nil
	}
	result, err := a.scheduler.PollNow(ctx, name)
	return result, named(name, err)
}

// hold reserves a connection for work that no job may meet: a POP3 server lets in
// one at a time.
func (a *App) hold(ctx context.Context, name string) (release func(), err error) {
	release, err = a.scheduler.Hold(ctx, name)
	return release, named(name, err)
}

// named gives the scheduler's errors the names that they have outside.
func named(name string, err error) error {
	for _, known := range []struct{ inside, outside error }{
		{schedule.ErrUnknown, api.ErrUnknown},
		{schedule.ErrBusy, api.ErrBusy},
		{schedule.ErrDisabled, api.ErrDisabled},
	} {
		if errors.Is(err, known.inside) {
			return fmt.Errorf("%s: %w", name, known.outside)
		}
	}
	return err
}

// Retry implements api.Polling.
func (a *App) Retry(ctx context.Context, name string) (int, error) {
	if _, err := a.connection(name); err != nil {
		return 0, err
	}
	return a.store.Retry(ctx, name)
}

// Forget implements api.Polling. It does not wait for a job in progress:
// while there is one, it is refused.
func (a *App) Forget(ctx context.Context, name string) (int, error) {
	c, err := a.connection(name)
	if err != nil {
		return 0, err
	}
	release, err := a.hold(ctx, name)
	if err != nil {
		return 0, err
	}
	defer release()
	n, err := a.store.Forget(ctx, name)
	a.lookAtHooks(ctx, c, "")
	return n, err
}

// Test implements api.Polling. It is refused while a job is in progress.
func (a *App) Test(ctx context.Context, name string) (mail.Test, error) {
	c, err := a.connection(name)
	if err != nil {
		return mail.Test{}, err
	}
	release, err := a.hold(ctx, name)
	if err != nil {
		return mail.Test{}, err
	}
	defer release()
	if a.running.Load() { // a command shows the steps itself
		ctx = stepwise(ctx, a.log.Named("poll"), name)
	}
	return a.poller.Test(ctx, c), nil
}

// KeepNoCertificates has those that are not trusted kept nowhere: for a state
// directory that goes away, out of which nobody could review one. It is called
// ahead of all that opens a mailbox.
func (a *App) KeepNoCertificates() { a.opener.Trust = nil }

// Certificates implements api.Review.
func (a *App) Certificates(ctx context.Context) ([]api.CertificateView, error) {
	refused, err := a.store.Refused(ctx)
	if err != nil {
		return nil, err
	}
	views := make([]api.CertificateView, len(refused))
	for i, r := range refused {
		views[i] = api.ViewCertificate(r)
	}
	return views, nil
}

// Trust implements api.Review.
func (a *App) Trust(ctx context.Context, fingerprint, server string) (api.TrustView, error) {
	return a.judge(ctx, a.store.Trust, fingerprint, server)
}

// Revoke implements api.Review.
func (a *App) Revoke(ctx context.Context, fingerprint, server string) (api.TrustView, error) {
	return a.judge(ctx, a.store.Revoke, fingerprint, server)
}

// Remove implements api.Review.
func (a *App) Remove(ctx context.Context, fingerprint, server string) (api.TrustView, error) {
	return a.judge(ctx, a.store.Remove, fingerprint, server)
}

// Grants implements api.Logins.
func (a *App) Grants(ctx context.Context) ([]api.GrantView, error) {
	connections := a.config.Load().Connections
	var views []api.GrantView
	for i := range connections {
		if connections[i].OAuth2 == nil {
			continue
		}
		s, err := a.tokens.State(ctx, &connections[i])
		if err != nil {
			return nil, err
		}
		views = append(views, api.ViewGrant(s))
	}
	return views, nil
}

// Login implements api.Logins.
func (a *App) Login(ctx context.Context, name string) (api.GrantView, error) {
	c, err := a.connection(name)
	if err != nil {
		return api.GrantView{}, err
	}
	if err := a.tokens.Login(ctx, c); err != nil {
		return api.GrantView{}, err
	}
	s, err := a.tokens.State(ctx, c)
	return api.ViewGrant(s), err
}

// judge does what an operator decided about a certificate.
func (a *App) judge(ctx context.Context, do func(context.Context, state.Choice) (state.Chosen, error), fingerprint, server string) (api.TrustView, error) {
	c, err := do(ctx, state.Choice{Fingerprint: fingerprint, Server: server})
	if err != nil {
		return api.TrustView{}, err
	}
	return api.TrustView{
		Fingerprint: c.Certificate.Fingerprint(), Subject: c.Certificate.String(), Server: c.Server.String(), Own: c.Own,
	}, nil
}

// A process that has the lock on the state directory and does not answer is a
// daemon that starts or stops, or another command. It is waited for.
const (
	lockWait = 5 * time.Second
	lockLook = 50 * time.Millisecond
)

// Connect is what the commands work with: the daemon on the state directory of
// c, or where none is running, an App that does the work in this process and
// under the same lock. done gives everything back.
func Connect(ctx context.Context, c *config.Config, build Build, log *zap.Logger, level zap.AtomicLevel) (d api.Daemon, done func() error, err error) {
	for began := time.Now(); ; {
		d, done, err = connect(ctx, c, build, log, level)
		if !errors.Is(err, state.ErrLocked) || time.Since(began) >= lockWait {
			return d, done, err
		}
		select {
		case <-time.After(lockLook):
		case <-ctx.Done():
			return api.Daemon{}, nil, context.Cause(ctx)
		}
	}
}

// connect is one try.
func connect(ctx context.Context, c *config.Config, build Build, log *zap.Logger, level zap.AtomicLevel) (d api.Daemon, done func() error, err error) {
	client := api.NewClient(SocketPath(c.StateDir))
	_, err = client.Status(ctx)
	if err == nil {
		d = client.Daemon()
		d.Polling = distant{client, log.Named("poll")}
		return d, func() error { return nil }, nil
	}
	if !errors.Is(err, api.ErrNoDaemon) {
		return api.Daemon{}, nil, err
	}
	a, err := Open(ctx, c, build, log, level)
	if err != nil {
		return api.Daemon{}, nil, explainLock(err)
	}
	return a.Daemon(), a.Close, nil
}

// explainLock says of a state directory that is in use what a command can do.
func explainLock(err error) error {
	if !errors.Is(err, state.ErrLocked) {
		return err
	}
	e := *mail.AsError(err, mail.OpPoll, mail.KindState)
	e.Err = fmt.Errorf("%w, which did not answer on its control socket within %v", e.Err, lockWait)
	e.Hint = "if it is a daemon that starts or another command, run this again when it is ready; if it hangs, end it by its process id"
	return &e
}

// distant is a daemon whose polls are logged here, too, as far as it tells of
// them.
type distant struct {
	*api.Client
	log *zap.Logger
}

// Poll implements api.Polling.
func (d distant) Poll(ctx context.Context, name string, dryRun bool) (mail.Result, error) {
	return d.Client.Poll(stepwise(ctx, d.log, name), name, dryRun)
}
