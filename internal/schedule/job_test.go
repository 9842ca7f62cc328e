package schedule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailpoller/internal/mail"
)

var (
	errLease = errors.New("another node has the lease")
	errMount = errors.New("the mount is missing")
)

// gate is a Gate of a function.
type gate func(ctx context.Context, c *mail.Connection) (context.Context, error)

func (g gate) Admit(ctx context.Context, c *mail.Connection) (context.Context, error) {
	return g(ctx, c)
}

func TestAGateThatSaysNoStartsNoJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"))
		var asked atomic.Int64
		var open atomic.Bool
		b.options.Gate = gate(func(ctx context.Context, _ *mail.Connection) (context.Context, error) {
			asked.Add(1)
			if !open.Load() {
				return nil, errLease
			}
			return ctx, nil
		})
		b.during(t, func() {
			pass(10 * time.Minute)
			if _, err := b.PollNow(t.Context(), "a"); !errors.Is(err, errLease) {
				t.Errorf("PollNow says %v", err)
			}
			b.trigger(t, "a")
			if s := b.All()[0]; asked.Load() != 12 || len(b.ran) > 0 || s.Busy || s.FailuresInRow != 0 || s.Skipped != 0 || s.Last != nil || !s.BackingOffUntil.IsZero() {
				t.Errorf("asked %d times, ran %v; %+v", asked.Load(), b.ran, s)
			}
			b.hold(t, "a")()
			if asked.Load() != 12 {
				t.Error("the gate is asked for a hold")
			}
			open.Store(true)
			pass(time.Minute)
			if b.count("a") != 1 {
				t.Errorf("an open gate: polled %d times", b.count("a"))
			}
		})
	})
}

// TestAGateIsAskedBehindTheHoldAndAheadOfTheRest: of the target and of places.
func TestAGateIsAskedBehindTheHoldAndAheadOfTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow, a := connection("slow"), connection("a")
		slow.Schedule, a.Schedule = "@every 1h", "@every 1h"
		b := newBench(1, 1, slow, a)
		b.job = takes(10 * time.Minute)
		var asked, ready atomic.Int64
		b.options.Ready = func(context.Context, *mail.Connection) error { ready.Add(1); return nil }
		b.options.Gate = gate(func(ctx context.Context, c *mail.Connection) (context.Context, error) {
			if c.Name == "slow" {
				return ctx, nil
			}
			asked.Add(1)
			if _, err := b.Hold(ctx, "a"); !errors.Is(err, ErrBusy) {
				t.Errorf("the gate is asked of a connection that is not held: %v", err)
			}
			if n := ready.Load(); n != 1 {
				t.Errorf("the gate is asked when %d targets were", n)
			}
			return ctx, nil
		})
		b.during(t, func() {
			b.trigger(t, "slow")
			b.trigger(t, "a")
			if asked.Load() != 1 || b.count("a") != 0 {
				t.Errorf("asked %d times while no place is free", asked.Load())
			}
		})
	})
}

func TestAGateEndsAJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"))
		lost := make(chan error)
		b.options.Gate = gate(func(ctx context.Context, _ *mail.Connection) (context.Context, error) {
			ctx, end := context.WithCancelCause(ctx)
			go func() {
				select {
				case err := <-lost:
					end(err)
				case <-ctx.Done():
				}
			}()
			return ctx, nil
		})
		b.job = func(ctx context.Context, _ *mail.Connection) mail.Result {
			<-ctx.Done()
			return mail.Result{State: mail.Failed, Err: mail.AsError(context.Cause(ctx), mail.OpFetch, mail.KindNetwork)}
		}
		b.during(t, func() {
			for range patience {
				b.trigger(t, "a")
				lost <- fmt.Errorf("%w: %w", context.Canceled, errLease)
				synctest.Wait()
			}
			if s := b.All()[0]; s.Busy || s.FailuresInRow != 0 || !errors.Is(s.Last.Err, errLease) {
				t.Errorf("%+v", s)
			}
		})
	})
}

func TestATargetThatHangsKeepsNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var hung []mail.Connection
		for i := range 8 {
			hung = append(hung, connection(fmt.Sprint("hung", i)))
		}
		b := newBench(1, 1, slices.Concat(hung, []mail.Connection{connection("a")})...)
		mounted := make(chan struct{})
		b.options.Ready = func(ctx context.Context, c *mail.Connection) error {
			if c.Name == "a" {
				return nil
			}
			select {
			case <-mounted:
				return nil
			case <-ctx.Done():
				return errMount
			}
		}
		var states []mail.State
		b.during(t, func() {
			pass(5*time.Minute + time.Second)
			if b.count("a") != 5 || len(b.ran) != 5 {
				t.Errorf("polled %v", b.ran)
			}
			if s := b.All()[0]; !s.Busy || s.Skipped < 3 {
				t.Errorf("%+v", s)
			}
			ctx, leave := context.WithCancel(t.Context())
			var wait sync.WaitGroup
			b.Update(slices.Concat(hung, []mail.Connection{connection("a"), connection("asked for")}))
			wait.Go(func() {
				trace := &mail.Trace{Job: func(r mail.Result) { states = append(states, r.State) }}
				if result, err := b.PollNow(mail.WithTrace(ctx, trace), "asked for"); err != nil || result.Err.Kind != mail.KindCanceled {
					t.Errorf("a job whose caller left: %+v, %v", result.Err, err)
				}
			})
			synctest.Wait()
			leave()
			wait.Wait()
			if len(states) != 1 || states[0] != mail.Pending {
				t.Errorf("who waits for a target is %v", states)
			}
			close(mounted)
			synctest.Wait()
			for i := range hung {
				if b.count(hung[i].Name) != 1 {
					t.Errorf("%s was polled %d times", hung[i].Name, b.count(hung[i].Name))
				}
			}
		})
		for _, s := range b.All() {
			if s.FailuresInRow != 0 {
				t.Errorf("a target that hung counts as a failure: %+v", s)
			}
		}
	})
}

func TestTheEndCutsOffWhoWaitsForATarget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(1, 1, connection("a"))
		b.options.Ready = func(ctx context.Context, _ *mail.Connection) error {
			<-ctx.Done()
			return nil // in the very moment in which it is too late
		}
		b.during(t, func() { pass(2 * time.Minute) })
		if s := b.All()[0]; len(b.ran) > 0 || s.Busy || s.FailuresInRow != 0 || s.Last.Err.Kind != mail.KindCanceled {
			t.Errorf("ran %v; %+v", b.ran, s)
		}
	})
}

// TestATargetThatIsNotReadyFailsTheJob: Run is told, and waits for no place.
func TestATargetThatIsNotReadyFailsTheJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow, a := connection("slow"), connection("a")
		slow.Schedule = "@every 1h"
		b := newBench(1, 1, slow, a)
		b.job = takes(time.Hour)
		b.options.Ready = func(_ context.Context, c *mail.Connection) error {
			if c.Name == "a" {
				return errMount
			}
			return nil
		}
		b.options.Started = func(c *mail.Connection, _ time.Duration) {
			if c.Name == "a" {
				t.Error("a job without a place counts as started")
			}
		}
		b.during(t, func() {
			b.trigger(t, "slow")
			pass(10 * time.Minute)
			if s := b.All()[1]; b.count("a") < patience || s.FailuresInRow != b.count("a") || s.BackingOffUntil.IsZero() || !errors.Is(s.Last.Err, errMount) || s.Busy {
				t.Errorf("ran %v; %+v", b.ran, s)
			}
			result, err := b.PollNow(t.Context(), "a")
			if err != nil || !errors.Is(result.Err, errMount) {
				t.Errorf("PollNow: %+v, %v", result.Err, err)
			}
		})
	})
}
