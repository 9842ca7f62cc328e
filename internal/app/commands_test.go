package app

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/admin"
	"mailpoller/internal/api"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
	"mailpoller/internal/state"
)

// TestACommandWaitsForADaemonThatStarts: for the real lock, which a daemon has
// before it answers. The clock of the test goes on only while the command waits.
func TestACommandWaitsForADaemonThatStarts(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		then func(answer, release func()) // once the command waits
		want func(d api.Daemon, err error, waited time.Duration) bool
	}{
		{
			name: "answers",
			then: func(answer, _ func()) { answer() },
			want: func(d api.Daemon, err error, waited time.Duration) bool {
				_, isClient := d.Polling.(distant)
				return err == nil && isClient && waited <= lockLook
			},
		},
		{
			name: "ends",
			then: func(_, release func()) { release() },
			want: func(d api.Daemon, err error, waited time.Duration) bool {
				_, isAlone := d.Polling.(*App)
				return err == nil && isAlone && waited <= lockLook
			},
		},
		{
			name: "hangs",
			then: func(_, _ func()) {},
			want: func(_ api.Daemon, err error, waited time.Duration) bool {
				var e *mail.Error
				return errors.Is(err, state.ErrLocked) && errors.As(err, &e) && e.Kind == mail.KindState && waited >= lockWait && waited < lockWait+time.Second &&
					strings.Contains(err.Error(), "is in use by process "+strconv.Itoa(os.Getpid())+", which did not answer on its control socket within 5s") && strings.Contains(e.Hint, "run this again")
			},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "state")
			store, err := state.Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			held := true
			release := func() {
				if held {
					held = false
					if err := store.Close(); err != nil {
						t.Error(err)
					}
				}
			}
			defer release()
			answer := answers(t, dir)
			synctest.Test(t, func(t *testing.T) {
				conf := &config.Config{StateDir: dir, Limits: config.Limits{Polls: 1, PollsPerHost: 1}}
				type outcome struct {
					d    api.Daemon
					done func() error
					err  error
				}
				connected := make(chan outcome, 1)
				began := time.Now()
				go func() {
					d, done, err := Connect(t.Context(), conf, Build{}, zap.NewNop(), zap.NewAtomicLevel())
					connected <- outcome{d, done, err}
				}()
				synctest.Wait()
				if len(connected) > 0 {
					t.Fatal("the command does not wait")
				}
				row.then(answer, release)
				got := <-connected
				if waited := time.Since(began); !row.want(got.d, got.err, waited) {
					t.Errorf("after %v: %T, %v", waited, got.d, got.err)
				}
				if got.err == nil {
					if err := got.done(); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// answers makes a daemon that answers on the control socket of a state directory
// from the call of the function until the end of the test.
func answers(t *testing.T, dir string) (begin func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	start, listening := make(chan struct{}), make(chan struct{})
	var served sync.WaitGroup
	served.Go(func() {
		select {
		case <-start:
		case <-ctx.Done():
			return
		}
		socket, err := admin.ListenControl(ctx, SocketPath(dir))
		close(listening)
		if err == nil {
			err = admin.Serve(ctx, socket, admin.Handler((&daemontest.Fake{}).Daemon(), http.NotFoundHandler(), admin.Control, nil))
		}
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); served.Wait() })
	return func() { close(start); <-listening }
}
