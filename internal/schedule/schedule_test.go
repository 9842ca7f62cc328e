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

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connection(name string) mail.Connection {
	return mail.Connection{Name: name, Enabled: true, Host: "h", Schedule: "@every 1m", BackOff: true, Fingerprint: "1"}
}

// bench is a scheduler whose jobs do what the test says.
type bench struct {
	*Scheduler
	mu      sync.Mutex
	ran     []string                   // names, as jobs start
	late    map[string][]time.Duration // by name: how long after their runs were due jobs started
	skipped atomic.Int64
	job     func(ctx context.Context, c *mail.Connection) mail.Result
}

func newBench(polls, perHost int, connections ...mail.Connection) *bench {
	b := &bench{late: make(map[string][]time.Duration), job: func(context.Context, *mail.Connection) mail.Result { return mail.Result{State: mail.Succeeded} }}
	b.Scheduler = New(Options{
		Polls: polls, PollsPerHost: perHost, Log: zap.NewNop(),
		Run: func(ctx context.Context, c *mail.Connection, notReady error) mail.Result {
			b.mu.Lock()
			b.ran = append(b.ran, c.Name)
			b.mu.Unlock()
			if notReady != nil {
				return mail.Result{State: mail.Failed, Err: mail.AsError(notReady, mail.OpSave, mail.KindStorage)}
			}
			return b.job(ctx, c)
		},
		Skipped: func(*mail.Connection) { b.skipped.Add(1) },
		Started: func(c *mail.Connection, lag time.Duration) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.late[c.Name] = append(b.late[c.Name], lag)
		},
	})
	b.Update(connections)
	return b
}

// during runs the scheduler in a bubble of its own time for as long as test
// takes.
func (b *bench) during(t *testing.T, test func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
	test()
	cancel()
	wait.Wait()
	synctest.Wait()
}

func (b *bench) count(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, r := range b.ran {
		if r == name {
			n++
		}
	}
	return n
}

// lags is by how much jobs of a connection started late.
func (b *bench) lags(name string) []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.late[name])
}

// pass lets fake time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func takes(d time.Duration) func(context.Context, *mail.Connection) mail.Result {
	return func(ctx context.Context, _ *mail.Connection) mail.Result {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return mail.Result{State: mail.Succeeded}
	}
}

func failing(context.Context, *mail.Connection) mail.Result {
	return mail.Result{State: mail.Failed, Err: mail.Errorf(mail.OpConnect, mail.KindNetwork, "down")}
}

func TestAConnectionIsPolledByItsSchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disabled := connection("disabled")
		disabled.Enabled = false
		b := newBench(9, 9, connection("a"), disabled)
		b.during(t, func() {
			pass(10*time.Minute + time.Second)
			if n := b.count("a"); n != 10 {
				t.Errorf("polled %d times in ten minutes", n)
			}
			if n := b.count("disabled"); n != 0 {
				t.Errorf("a disabled connection was polled %d times", n)
			}
		})
	})
}

func TestOneConnectionIsNeverPolledTwiceAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"))
		var at, most atomic.Int64
		b.job = func(ctx context.Context, c *mail.Connection) mail.Result {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			return takes(150*time.Second)(ctx, c)
		}
		b.during(t, func() {
			pass(61 * time.Second)
			changed := connection("a")
			changed.Fingerprint = "2"
			b.Update([]mail.Connection{changed}) // also when it changes meanwhile
			if _, err := b.PollNow(t.Context(), "a"); !errors.Is(err, ErrBusy) {
				t.Errorf("PollNow says %v", err)
			}
			pass(9 * time.Minute)
		})
		if most.Load() != 1 || b.skipped.Load() == 0 || int64(b.All()[0].Skipped) != b.skipped.Load() {
			t.Errorf("%d at once, %d skipped", most.Load(), b.skipped.Load())
		}
	})
}

func TestLimitsHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var connections []mail.Connection
		for i := range 12 {
			c := connection(fmt.Sprint("slow", i))
			c.Host = "slow"
			connections = append(connections, c)
		}
		connections = append(connections, connection("other"))
		b := newBench(4, 3, connections...)
		var mu sync.Mutex
		at, most := map[string]int{}, map[string]int{}
		note := func(host string, by int) {
			mu.Lock()
			defer mu.Unlock()
			for _, key := range []string{host, "all"} {
				at[key] += by
				most[key] = max(most[key], at[key])
			}
		}
		b.job = func(ctx context.Context, c *mail.Connection) mail.Result {
			note(c.Host, 1)
			defer note(c.Host, -1)
			if c.Host == "slow" {
				return takes(time.Hour)(ctx, c)
			}
			return takes(time.Second)(ctx, c)
		}
		b.during(t, func() {
			pass(5 * time.Minute)
			if n := b.count("other"); n < 4 {
				t.Errorf("a slow host starves another one: polled %d times", n)
			}
		})
		if most["slow"] != 3 || most["all"] != 4 {
			t.Errorf("at once: %v", most)
		}
	})
}

func TestTheLagIsTheTimeThatARunWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, other := connection("a"), connection("b")
		a.Schedule, other.Schedule = "0 * * * *", "0 * * * *"
		b := newBench(1, 1, a, other)
		b.job = takes(7 * time.Second)
		b.during(t, func() { pass(time.Hour + time.Minute) })
		lags := slices.Concat(b.lags("a"), b.lags("b"))
		slices.Sort(lags)
		if want := []time.Duration{0, 7 * time.Second}; !slices.Equal(lags, want) {
			t.Errorf("lags are %v, not %v", lags, want)
		}
	})
}

func TestPollNowSaysWhyThereIsNoJob(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disabled := connection("disabled")
		disabled.Enabled = false
		b := newBench(1, 1, connection("a"), disabled)
		b.job = takes(time.Hour)
		b.during(t, func() {
			pass(time.Minute)
			for name, want := range map[string]error{"a": ErrBusy, "disabled": ErrDisabled, "other": ErrUnknown} {
				if _, err := b.PollNow(t.Context(), name); !errors.Is(err, want) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	})
}

func TestAConnectionThatKeepsFailingBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stubborn := connection("stubborn")
		stubborn.BackOff = false
		b := newBench(9, 9, connection("a"), stubborn)
		b.job = failing
		b.during(t, func() {
			var gaps []time.Duration
			last := time.Now()
			for n := 1; n <= 11; n++ {
				for b.count("a") < n {
					pass(time.Second)
				}
				gaps = append(gaps, time.Since(last).Round(time.Minute))
				last = time.Now()
			}
			m := time.Minute
			if want := []time.Duration{m, m, 2 * m, 4 * m, 8 * m, 16 * m, 32 * m, 60 * m, 60 * m, 60 * m}; !slices.Equal(gaps[1:], want) {
				t.Errorf("polls are %v apart, not %v", gaps[1:], want)
			}
			if until := b.BackingOff(); len(until) != 1 || !until["a"].After(time.Now()) {
				t.Errorf("%v back off", until)
			}
			if s := b.All()[0]; s.FailuresInRow != 11 || s.BackingOffUntil.IsZero() || s.Next.Before(s.BackingOffUntil) {
				t.Errorf("status %+v", s)
			}
			if n := b.count("stubborn"); n < 180 {
				t.Errorf("one that does not back off was polled %d times", n)
			}
			b.job = takes(0)
			if _, err := b.PollNow(t.Context(), "a"); err != nil {
				t.Error(err)
			}
			if s := b.All()[0]; s.FailuresInRow != 0 || !s.BackingOffUntil.IsZero() {
				t.Errorf("after a success: %+v", s)
			}
			n := b.count("a")
			pass(5 * time.Minute)
			if b.count("a") != n+5 {
				t.Errorf("polled %d times in five minutes", b.count("a")-n)
			}
		})
	})
}

// TestAPollByHandBacksNothingOff, unless the server asks for it; and a run that
// falls due beside one while the connection backs off is none that was skipped.
func TestAPollByHandBacksNothingOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hourly := connection("a")
		hourly.Schedule = "@every 1h"
		b := newBench(9, 9, hourly)
		b.job = failing
		poll := func() {
			t.Helper()
			if _, err := b.PollNow(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		}
		b.during(t, func() {
			for range patience + 1 {
				poll()
			}
			if s := b.All()[0]; s.FailuresInRow != 0 || !s.BackingOffUntil.IsZero() {
				t.Errorf("%+v", s)
			}
			b.job = func(context.Context, *mail.Connection) mail.Result {
				return mail.Result{State: mail.Failed, Err: &mail.Error{Op: mail.OpFetch, Kind: mail.KindServer, Err: errLease, Wait: 24 * time.Hour}}
			}
			poll()
			b.job = takes(2 * time.Hour)
			ran := b.count("a")
			poll()
			if s := b.All()[0]; b.count("a") != ran+1 || s.Skipped != 0 {
				t.Errorf("%d jobs; %+v", b.count("a")-ran, s)
			}
		})
	})
}

func TestWhoLeavesKeepsNoPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow, a := connection("slow"), connection("a")
		slow.Schedule, a.Schedule, slow.Host = "@every 24h", "@every 24h", "slow"
		b := newBench(1, 1, slow, a)
		b.job = takes(time.Minute)
		b.during(t, func() {
			b.trigger(t, "slow")
			ctx, leave := context.WithTimeout(t.Context(), time.Second)
			defer leave()
			if result, err := b.PollNow(ctx, "a"); err != nil || result.State != mail.Failed {
				t.Errorf("%+v, %v", result, err)
			}
			b.trigger(t, "a")
			pass(2 * time.Minute)
			if b.count("a") != 1 || len(b.hosts.byName) != 0 {
				t.Errorf("polled %d times; places are kept with %v", b.count("a"), b.hosts.byName)
			}
		})
	})
}

func TestAPanicFailsThatJobAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"), connection("b"))
		b.job = func(_ context.Context, c *mail.Connection) mail.Result {
			if c.Name == "a" {
				panic("boom")
			}
			return mail.Result{State: mail.Succeeded}
		}
		b.during(t, func() {
			pass(2*time.Minute + time.Second)
			if b.count("a") != 2 || b.count("b") != 2 {
				t.Errorf("ran %v", b.ran)
			}
			if last := b.All()[0].Last; last.State != mail.Failed || last.Err.Kind != mail.KindInternal {
				t.Errorf("result %+v", last)
			}
		})
	})
}

func TestShutdownWaitsForJobs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(1, 1, connection("a"), connection("b"))
		var ended atomic.Int64
		b.job = func(ctx context.Context, _ *mail.Connection) mail.Result {
			<-ctx.Done()
			<-time.After(20 * time.Second) // the message at hand
			ended.Add(1)
			return mail.Result{State: mail.Failed, Err: mail.AsError(ctx.Err(), "", "")}
		}
		b.during(t, func() { pass(2 * time.Minute) })
		if ended.Load() != 1 || len(b.ran) != 1 {
			t.Errorf("%d ended of %v", ended.Load(), b.ran)
		}
		if _, err := b.PollNow(t.Context(), "a"); !errors.Is(err, ErrStopping) {
			t.Errorf("PollNow after the end says %v", err)
		}
		if b.All()[0].FailuresInRow+b.All()[1].FailuresInRow != 0 {
			t.Error("a job that was cut off counts as a failure")
		}
	})
}

func TestPollNowEndsWithItsCallerAndWithTheScheduler(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"caller", "scheduler"} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(1, 1, connection("a"))
			b.job = takes(time.Hour)
			var ended time.Duration
			var wait sync.WaitGroup
			b.during(t, func() {
				ctx, cancel := context.WithCancel(t.Context())
				start := time.Now()
				wait.Go(func() {
					defer cancel()
					if _, err := b.PollNow(ctx, "a"); err != nil {
						t.Error(err)
					}
					ended = time.Since(start)
				})
				pass(10 * time.Second)
				if who == "caller" {
					cancel()
					synctest.Wait()
				}
			})
			wait.Wait()
			if ended != 10*time.Second {
				t.Errorf("%s: ended after %v", who, ended)
			}
		})
	}
}
