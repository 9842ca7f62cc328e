// Package app puts the parts together: it alone sees them all. App is the
// daemon, and without the schedule and the listeners it is what a command does
// by itself when no daemon is running.
package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"mailpoller/internal/api"
	"mailpoller/internal/auth"
	"mailpoller/internal/config"
	"mailpoller/internal/folder"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox"
	"mailpoller/internal/metrics"
	"mailpoller/internal/poll"
	"mailpoller/internal/schedule"
	"mailpoller/internal/state"
	"mailpoller/internal/tracing"
)

// Build says what is running.
type Build struct{ Version, Commit, Go string }

// App is a configuration in force and everything that works on it. It holds
// the lock on the state directory until Close.
type App struct {
	build   Build
	started time.Time
	log     *zap.Logger
	level   zap.AtomicLevel

	levelKept bool // over reloads

	config  atomic.Pointer[loaded]
	reload  sync.Mutex // one at a time
	problem atomic.Pointer[string]

	store     *state.Store
	folders   *folder.Bounded
	heads     *heads
	secrets   *auth.Secrets
	keys      *auth.Keys
	tokens    *auth.Tokens
	opener    *mailbox.Opener
	poller    *poll.Poller
	metrics   *metrics.Metrics
	scheduler *schedule.Scheduler
	probes    *probes
	tracing   *tracing.Tracing // of the daemon, where it is wanted; else nil
	stopping  atomic.Bool
	cleaned   func() // ends the cleaning of folders; nil where there is none
	running   atomic.Bool

	mu    sync.Mutex
	live  map[string]mail.Result // jobs in progress, by connection
	hooks map[string]mail.Hooks  // that are due, by connection
}

// loaded is a configuration and what is derived from it.
type loaded struct {
	*config.Config
	at     time.Time
	byName map[string]*mail.Connection
	grants map[string][]string // names of the connections that share a grant
}

func newLoaded(c *config.Config) *loaded {
	l := &loaded{Config: c, at: time.Now(), byName: make(map[string]*mail.Connection, len(c.Connections)), grants: make(map[string][]string)}
	for i := range c.Connections {
		one := &c.Connections[i]
		l.byName[one.Name] = one
		if one.OAuth2 != nil {
			id := one.OAuth2.ID()
			l.grants[id] = append(l.grants[id], one.Name)
		}
	}
	return l
}

// SocketPath is where a daemon on this state directory listens for commands.
func SocketPath(stateDir string) string { return filepath.Join(stateDir, "poller.sock") }

// Open takes the state directory of a configuration and makes ready to poll.
// It fails with state.ErrLocked while another process has it. What a crash
// left in the folders is removed; Run does that in any case.
func Open(ctx context.Context, c *config.Config, build Build, log *zap.Logger, level zap.AtomicLevel) (*App, error) {
	store, err := state.Open(ctx, c.StateDir)
	if err != nil {
		return nil, err
	}
	a := &App{
		build:   build,
		started: time.Now(),
		log:     log,
		level:   level,
		store:   store,
		folders: folder.Bound(folder.New(store.Instance())),
		secrets: auth.NewSecrets(),
		metrics: metrics.New(build.Version, build.Commit),
		probes:  newProbes(),
		live:    make(map[string]mail.Result),
	}
	a.folders.Left = store.LeaveUnclean
	a.heads = &heads{all: make(map[string]map[string]head), wanted: func() bool {
		return a.config.Load().Log.Headers && log.Core().Enabled(zap.InfoLevel)
	}}
	a.keys = auth.NewKeys(a.secrets)
	a.tokens = auth.NewTokens(a.secrets, store, log.Named("oauth"))
	a.tokens.Asked = func(grant string, expires time.Time, err *mail.Error) {
		a.metrics.Token(a.config.Load().grants[grant], expires, err)
	}
	a.config.Store(newLoaded(c))
	a.opener = &mailbox.Opener{
		Secrets: a.secrets, Tokens: a.tokens, Keys: a.keys, Trust: store, Secured: a.metrics.Secured, Version: build.Version, Log: log.Named("mailbox"),
	}
	a.poller = &poll.Poller{
		Opener: poll.OpenFunc(func(ctx context.Context, c *mail.Connection) (poll.Session, error) {
			session, err := a.opener.Open(ctx, c)
			if err != nil {
				return nil, err // not a Session that holds nil
			}
			return session, nil
		}),
		Folder:   marked{a.folders, store, a.heads},
		Journal:  store,
		Removals: &poll.Removals{},
		Grace:    func() time.Duration { return a.config.Load().ShutdownGrace },
		Panicked: a.metrics.Panicked,
		Notify:   tell,
		Log:      log.Named("poll"),
	}
	a.scheduler = schedule.New(schedule.Options{
		Polls:        c.Limits.Polls,
		PollsPerHost: c.Limits.PollsPerHost,
		Ready:        func(ctx context.Context, c *mail.Connection) error { return a.folders.Answers(ctx, c.Folder) },
		Run:          a.run,
		Skipped:      func(c *mail.Connection) { a.metrics.Skipped(c.Name) },
		Started:      func(_ *mail.Connection, lag time.Duration) { a.metrics.Started(lag) },
		Log:          log.Named("schedule"),
	})
	a.metrics.BackingOff = a.scheduler.BackingOff
	a.metrics.Unsaved = a.countUnsaved
	if err := a.readHooks(ctx); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	a.apply()
	if store.Unclean() {
		if err := a.clean(ctx); err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	return a, nil
}

// Close gives the state directory back. No polls may be in progress.
func (a *App) Close() error {
	if a.cleaned != nil {
		a.cleaned()
	}
	a.tokens.Close() // which may have something to store
	return a.store.Close()
}

// cleaners is how many folders are cleaned at once.
const cleaners = 32

// clean begins to remove temporary files that no poll will come back to, in each
// folder by itself: one that hangs keeps nothing from being polled, and one that
// cannot be cleaned is no reason not to start. Those of this process are left
// alone. It is done once.
func (a *App) clean(ctx context.Context) error {
	if a.cleaned != nil {
		return nil
	}
	temps, err := a.store.Temps(ctx)
	if err != nil {
		a.folders.Leave()
		return err
	}
	keep := make(map[string]bool, len(temps))
	for _, path := range temps {
		keep[filepath.Base(path)] = true
	}
	folders := make(map[string]bool)
	for _, c := range a.config.Load().Connections {
		folders[c.Folder] = true
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // until Close
	var all sync.WaitGroup
	all.Go(func() {
		var group errgroup.Group
		group.SetLimit(cleaners)
		for path := range folders {
			group.Go(func() error {
				a.cleanFolder(ctx, path, keep)
				return nil
			})
		}
		_ = group.Wait() // each has said what it had to say
	})
	a.cleaned = func() { cancel(); all.Wait() }
	return nil
}

func (a *App) cleanFolder(ctx context.Context, path string, keep map[string]bool) {
	n, err := a.folders.Clean(ctx, path, keep)
	switch {
	case err != nil && ctx.Err() == nil:
		a.log.Warn("folder not cleaned", append(poll.ErrorFields(mail.AsError(err, mail.OpSave, mail.KindStorage)), zap.String("folder", path))...)
	case n > 0:
		a.log.Info("removed what a crash left behind", zap.String("folder", path), zap.Int("files", n))
	}
}

// apply puts the loaded configuration into force.
func (a *App) apply() {
	c := a.config.Load()
	a.metrics.Servers(c.Connections)
	a.metrics.Connections(c.Connections, c.MetricsPerConnection)
	a.tellHooks()
	tokens := make(map[string]time.Time)
	for i := range c.Connections {
		if one := &c.Connections[i]; one.OAuth2 != nil {
			tokens[one.Name] = a.tokens.Expires(one)
		}
	}
	a.metrics.Granted(tokens)
	a.tokens.Only(c.grants)
	var unsynced []string
	for i := range c.Connections {
		if c.Connections[i].DirectorySyncOptional {
			unsynced = append(unsynced, c.Connections[i].Folder)
		}
	}
	a.folders.SyncIfSupported(unsynced...)
	a.scheduler.SetLimits(c.Limits.Polls, c.Limits.PollsPerHost)
	a.scheduler.Update(c.Connections)
}

// readKeys reads the client certificates, so that what is wrong with one is
// said before a poll needs it, and tells when each expires.
func (a *App) readKeys(ctx context.Context) {
	c := a.config.Load()
	ends := make(map[string]time.Time, len(c.Keys))
	for i := range c.Keys {
		label := c.Keys[i].Label
		key, err := a.keys.Key(ctx, &c.Keys[i])
		if err != nil {
			a.log.Error("key cannot be used", append(poll.ErrorFields(mail.AsError(err, mail.OpSecret, mail.KindConfig)), zap.String("key", label))...)
			continue
		}
		ends[label] = key.Leaf.NotAfter
		if text := config.Expiry(key.Leaf, time.Now()); text != "" {
			a.log.Warn("the certificate of a key "+text, zap.String("key", label))
		}
	}
	a.metrics.Keys(ends)
}

// run is one job, told to everyone who wants to know: the log, the metrics,
// the history, and whoever asks what is going on.
// One whose target is not ready makes no attempt.
func (a *App) run(ctx context.Context, c *mail.Connection, notReady error) (result mail.Result) {
	defer a.metrics.Running()()
	traced := stepwise(a.traced(ctx), a.log.Named("poll"), c.Name)
	if a.tracing != nil {
		traced = a.tracing.Job(traced, c)
	}
	if notReady == nil {
		result = a.poller.Poll(traced, c)
	} else {
		result = a.poller.Fail(traced, c, notReady)
	}
	a.heads.forget(c.Name)
	a.mu.Lock()
	delete(a.live, c.Name)
	a.mu.Unlock()
	a.finished(ctx, c, result)
	result.Log = nil // it is in the history
	return result
}

// traced is ctx with a trace that keeps the list of live jobs, and logs what is
// saved, beside the one that it carries.
func (a *App) traced(ctx context.Context) context.Context {
	t := *mail.TraceOf(ctx)
	outer := t
	var now mail.Result
	t.Job = func(r mail.Result) {
		now = r
		a.mu.Lock()
		a.live[r.Connection] = r
		a.mu.Unlock()
		if outer.Job != nil {
			outer.Job(r)
		}
	}
	t.Saved = func(ref mail.Ref, path string, size int64) {
		a.logSaved(now.Connection, now.Job, ref, path, size)
		if outer.Saved != nil {
			outer.Saved(ref, path, size)
		}
	}
	return mail.WithTrace(ctx, &t)
}

// finished tells the observers of a job that ended.
func (a *App) finished(ctx context.Context, c *mail.Connection, r mail.Result) {
	a.metrics.Finished(r)
	logResult(a.log.Named("poll"), r)
	news := false
	if c.Notify != nil && (r.Wrote() || r.Unheard > 0) {
		news = a.lookAtHooks(ctx, c, r.HookError)
	}
	if !r.Wrote() && !news {
		return
	}
	if err := a.store.RecordJob(context.WithoutCancel(ctx), r); err != nil {
		a.log.Error("job not recorded in the history", append(poll.ErrorFields(mail.AsError(err, mail.OpRecord, mail.KindState)), zap.String("job", r.Job))...)
	}
}

// logResult is the one line of a job. A poll that found nothing new is no news.
func logResult(log *zap.Logger, r mail.Result) {
	fields := []zap.Field{
		zap.String("connection", r.Connection), zap.String("job", r.Job),
		zap.String("state", string(r.State)), zap.String("outcome", string(r.Outcome)),
		zap.Int("attempts", r.Attempts), zap.Int("messages", r.Messages), zap.Int64("bytes", r.Bytes),
		zap.Int("disposed", r.Disposed), zap.Duration("duration", r.Duration),
	}
	if r.NotMatching > 0 {
		fields = append(fields, zap.Int("not_matching", r.NotMatching))
	}
	for _, w := range r.Warnings {
		log.Warn(w, zap.String("connection", r.Connection), zap.String("job", r.Job))
	}
	switch {
	case r.Err != nil && r.Err.Kind == mail.KindCanceled:
		log.Info("poll cut off", append(fields, poll.ErrorFields(r.Err)...)...)
	case r.Err != nil:
		log.Error("poll failed", append(fields, poll.ErrorFields(r.Err)...)...)
	case r.Wrote():
		log.Info("poll finished", fields...)
	default:
		log.Debug("poll finished", fields...)
	}
}

// connection finds a configured connection.
func (a *App) connection(name string) (*mail.Connection, error) {
	c, ok := a.config.Load().byName[name]
	if !ok {
		return nil, fmt.Errorf("%q: %w", name, api.ErrUnknown)
	}
	return c, nil
}
