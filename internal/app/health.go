package app

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"
)

// Health implements api.Lifecycle: what a restart may mend. A folder that
// hangs is none of it: see probes.
func (a *App) Health(ctx context.Context) error {
	if err := a.store.Check(ctx); err != nil {
		return err
	}
	return a.scheduler.Check(ctx)
}

// watchdog tells systemd that all is well for as long as it is.
func (a *App) watchdog(ctx context.Context) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("read WATCHDOG_USEC: %w", err)
	}
	if interval == 0 {
		return nil
	}
	beat := time.NewTicker(interval / 3)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
		check, cancel := context.WithTimeout(ctx, interval/3)
		if err := a.Health(check); err != nil {
			a.log.Error("not healthy: the watchdog is not fed", zap.Error(err))
		} else {
			a.notify(daemon.SdNotifyWatchdog)
		}
		cancel()
		a.lookAtFolders()
	}
}

// lookAtFolders says which folders have begun to hang, and which answer again.
func (a *App) lookAtFolders() {
	c := a.config.Load()
	paths := make([]string, 0, len(c.Connections))
	for i := range c.Connections {
		paths = append(paths, c.Connections[i].Folder)
	}
	slices.Sort(paths)
	hung, changed := a.probes.look(slices.Compact(paths))
	if !changed {
		return
	}
	if len(hung) > 0 {
		a.log.Error("folders do not answer: polls into them wait", zap.Strings("folders", hung))
	} else {
		a.log.Info("all folders answer again")
	}
	a.notify(a.statusLine())
}

// probes ask target folders whether they are still there, without ever waiting
// for one. A folder of a server that is gone may not answer for hours, and
// whoever asks it cannot be interrupted: so each question has a goroutine of
// its own, and a folder that has not answered is not asked again. Nobody waits
// for these goroutines, because nobody could; there is at most one a folder.
//
// A folder that hangs does not stop the feeding of the watchdog. A restart
// would not free it, and would cut off the polls into all others.
type probes struct {
	stat func(path string) error

	mu      sync.Mutex
	waiting map[string]bool // folders that were asked and have not answered
	hung    []string        // those that had not at the last look
}

func newProbes() *probes {
	return &probes{waiting: make(map[string]bool), stat: func(path string) error {
		_, err := os.Stat(path)
		return err
	}}
}

// look names the folders that have not answered since the look before, asks the
// others again, and tells whether anything has changed.
func (p *probes) look(paths []string) (hung []string, changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, path := range paths {
		if p.waiting[path] {
			hung = append(hung, path)
			continue
		}
		p.waiting[path] = true
		go func() {
			_ = p.stat(path) // an error is an answer, and the next poll's to tell
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.waiting, path)
		}()
	}
	changed = !slices.Equal(hung, p.hung)
	p.hung = hung
	return hung, changed
}

// status is what the status line says of hanging folders.
func (p *probes) status() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.hung) == 0 {
		return ""
	}
	return "; folders that do not answer: " + strings.Join(p.hung, ", ")
}
