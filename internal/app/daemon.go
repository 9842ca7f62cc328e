package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"mailpoller/internal/admin"
	"mailpoller/internal/api"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
	"mailpoller/internal/tracing"
)

// Run is the daemon: it polls by the schedule and answers over HTTP until ctx
// ends, then lets polls in progress finish. hangups asks for a reload; ready,
// unless nil, is told the addresses once everything runs.
func (a *App) Run(ctx context.Context, hangups <-chan os.Signal, ready func(listen string)) error {
	c := a.config.Load()
	if err := a.clean(ctx); err != nil {
		return err
	}
	// What was started is ended in reverse order, each with its own context:
	// the listeners answer until the last poll is over.
	var ends []func()
	defer func() {
		for _, end := range slices.Backward(ends) {
			end()
		}
	}()
	failed := make(chan error, 3)
	start := func(run func(context.Context) error) {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		var wait sync.WaitGroup
		wait.Go(func() {
			if err := run(own); err != nil {
				failed <- err
			}
		})
		ends = append(ends, func() { cancel(); wait.Wait() })
	}

	a.beginTracing(ctx, c.Tracing.Endpoint)
	if a.tracing != nil {
		start(a.tracing.Run) // ahead of all that polls, to end behind the last one
	}
	outside := admin.Audit(a.Daemon(), a.log)
	control, err := admin.ListenControl(ctx, SocketPath(c.StateDir))
	if err != nil {
		return err
	}
	start(func(ctx context.Context) error {
		return admin.Serve(ctx, control, admin.Handler(outside, a.metrics.Handler(), admin.Control, nil))
	})
	address := ""
	public, err := admin.Listen(ctx, c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w (choose another listen: address, or \"\" for none)", err)
	}
	if public != nil {
		address = addressOf(public)
		access := admin.AccessOf(public.Addr())
		handler := admin.Handler(outside, a.metrics.Handler(), access, a.authorize)
		if c.Profiling && access >= admin.Local {
			handler = admin.Profiles(handler)
		}
		start(func(ctx context.Context) error { return admin.Serve(ctx, public, handler) })
	}
	a.readKeys(ctx)
	start(a.scheduler.Run)
	start(a.watchdog)
	a.running.Store(true)
	a.log.Info("polling", zap.Int("connections", len(c.Connections)), zap.String("config", c.Path),
		zap.String("state_dir", c.StateDir), zap.String("listen", address), zap.String("version", a.build.Version))
	a.notify(daemon.SdNotifyReady + "\n" + a.statusLine())
	if ready != nil {
		ready(address)
	}
	for {
		select {
		case <-hangups:
			a.Reload(ctx) //nolint:errcheck // logged, and shown in status and metrics
		case err := <-failed:
			return err
		case <-ctx.Done():
			a.stopping.Store(true)
			a.log.Info("stopping", zap.Duration("shutdown_grace", a.config.Load().ShutdownGrace))
			a.notify(daemon.SdNotifyStopping)
			return nil
		}
	}
}

// beginTracing makes ready for spans, where they are wanted. That they cannot be
// had, as by variables of OpenTelemetry that contradict each other, is no reason
// to leave mail where it is.
func (a *App) beginTracing(ctx context.Context, endpoint string) {
	if !tracing.Wanted(endpoint) {
		return
	}
	t, err := tracing.New(ctx, endpoint, a.build.Version, a.metrics.Spans, a.log.Named("tracing"))
	if err != nil {
		a.log.Error("no spans are made: correct tracing: or the variables OTEL_*, and restart", zap.Error(err))
		return
	}
	a.tracing = t
}

func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return "unix:" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}

// problems are why a file is not in force: api.ErrConfiguration, with the text
// of what is wrong with the file alone.
type problems struct{ error }

func (p problems) Unwrap() []error { return []error{p.error, api.ErrConfiguration} }

// Reload implements api.Lifecycle: the file is read and validated whole, and
// put into force; if it has a fault, everything stays as it is.
func (a *App) Reload(ctx context.Context) (warnings []string, err error) {
	a.reload.Lock()
	defer a.reload.Unlock()
	a.notify(reloading())
	defer func() { a.notify(daemon.SdNotifyReady + "\n" + a.statusLine()) }()
	old := a.config.Load()
	c, err := config.Load(old.Path)
	a.metrics.Reloaded(err == nil)
	if err != nil {
		text := err.Error()
		a.problem.Store(&text)
		a.log.Error("configuration not reloaded: the old one stays in force", zap.String("config", old.Path), zap.Error(err))
		return nil, problems{err}
	}
	a.problem.Store(nil)
	for _, w := range c.Warnings {
		a.log.Warn(w.Error())
		warnings = append(warnings, Warning(w))
	}
	for _, change := range []struct{ key, old, now string }{
		{"listen", old.Listen, c.Listen},
		{"state_dir", old.StateDir, c.StateDir},
		{"tracing.endpoint", old.Tracing.Endpoint, c.Tracing.Endpoint},
		{"profiling", strconv.FormatBool(old.Profiling), strconv.FormatBool(c.Profiling)},
	} {
		if change.old != change.now {
			a.log.Warn("a change that takes a restart", zap.String("key", change.key), zap.String("in_force", change.old), zap.String("configured", change.now))
			warnings = append(warnings, Warning(config.Fault{
				File: c.Path, Message: fmt.Sprintf("%s: a change takes a restart: in force is %q, configured %q", change.key, change.old, change.now),
			}))
		}
	}
	c.Listen, c.StateDir, c.Profiling, c.Tracing = old.Listen, old.StateDir, old.Profiling, old.Tracing
	a.secrets.Reset()
	a.keys.Reset()
	a.config.Store(newLoaded(c))
	if !a.levelKept {
		a.setLevel(c.Log.Level)
	}
	a.readKeys(context.WithoutCancel(ctx)) // also when who asked has gone: what is begun is done whole
	a.apply()
	a.log.Info("configuration reloaded", zap.Int("connections", len(c.Connections)))
	return warnings, nil
}

// Warning is a line about what is doubtful, with its place.
func Warning(f config.Fault) string {
	f.Message = "warning: " + f.Message
	return f.Error()
}

// KeepLogLevel has a reload leave the level of the log as it is, whatever the
// file says. It is called ahead of Run.
func (a *App) KeepLogLevel() { a.levelKept = true }

func (a *App) setLevel(name string) {
	if level, err := zap.ParseAtomicLevel(name); err == nil { // validated when it was loaded
		a.level.SetLevel(level.Level())
	}
}

// Ready implements api.Lifecycle.
func (a *App) Ready(context.Context) error {
	switch {
	case a.stopping.Load():
		return errors.New("stopping")
	case !a.running.Load():
		return errors.New("starting")
	}
	return nil
}

// notify tells systemd, where it wants to know.
func (a *App) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.log.Warn("systemd not notified", zap.Error(err))
	}
}

// reloading is what systemd wants to hear at the beginning of a reload
// (sd_notify(3): RELOADING=1 needs MONOTONIC_USEC).
func reloading() string {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return daemon.SdNotifyReloading
	}
	return fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000)
}

func (a *App) statusLine() string {
	text := fmt.Sprintf("STATUS=Polling %d connections", len(a.config.Load().Connections))
	if a.problem.Load() != nil {
		text += "; the configuration file has faults, and the one before stays in force"
	}
	return text + a.probes.status()
}

// Status implements api.Lifecycle.
func (a *App) Status(context.Context) (api.Status, error) {
	c := a.config.Load()
	path, err := filepath.Abs(c.Path) // who asks may be in another directory
	if err != nil {
		return api.Status{}, err
	}
	s := api.Status{
		Version: a.build.Version, Commit: a.build.Commit, Go: a.build.Go,
		Started: a.started.UTC(), Config: path, Loaded: c.at.UTC(),
	}
	if text := a.problem.Load(); text != nil {
		s.ReloadError = *text
	}
	return s, nil
}

// Connections implements api.Polling.
func (a *App) Connections(ctx context.Context) ([]api.ConnectionView, error) {
	unsaved, err := a.unsaved(ctx)
	if err != nil {
		return nil, err
	}
	byName := a.config.Load().byName
	var views []api.ConnectionView
	for _, s := range a.scheduler.All() {
		v := api.ConnectionView{
			Name: s.Name, Enabled: s.Enabled, State: api.Idle, Next: s.Next.UTC(), BackingOffUntil: s.BackingOffUntil,
			FailuresInRow: s.FailuresInRow, Skipped: s.Skipped, Hooks: api.ViewHooks(a.hooksOf(byName[s.Name])),
		}
		v.Quarantined, v.Oversized = api.ViewUnsaved(unsaved[s.Name])
		if s.Last != nil {
			last := api.View(*s.Last)
			v.Last = &last
		}
		switch job, ok := a.job(s.Name); {
		case !s.Enabled:
			v.State = api.Disabled
		case ok:
			v.State = api.Activity(job.State)
		case s.Busy:
			v.State = api.Pending
		}
		views = append(views, v)
	}
	return views, nil
}

// job is the job in progress of a connection.
func (a *App) job(name string) (mail.Result, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, ok := a.live[name]
	return r, ok
}
