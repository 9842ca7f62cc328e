package schedule

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailpoller/internal/mail"
)

// hold holds a connection that is free.
func (b *bench) hold(t *testing.T, name string) (release func()) {
	t.Helper()
	release, err := b.Hold(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return release
}

func (b *bench) trigger(t *testing.T, name string) {
	t.Helper()
	if err := b.Trigger(name); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func TestAConnectionIsHeldByOneAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disabled := connection("disabled")
		disabled.Enabled = false
		b := newBench(9, 9, connection("a"), disabled, connection("polled"))
		b.job = takes(time.Hour)
		b.during(t, func() {
			release := b.hold(t, "a")
			if !b.All()[0].Busy {
				t.Error("a held connection does not show as busy")
			}
			if _, err := b.PollNow(t.Context(), "a"); !errors.Is(err, ErrBusy) {
				t.Errorf("PollNow of a held connection says %v", err)
			}
			pass(time.Minute)
			ended, end := context.WithCancel(t.Context())
			end()
			for _, row := range []struct {
				ctx  context.Context
				name string
				want error
			}{{t.Context(), "a", ErrBusy}, {t.Context(), "polled", ErrBusy}, {t.Context(), "other", ErrUnknown}, {ended, "disabled", context.Canceled}} {
				if _, err := b.Hold(row.ctx, row.name); !errors.Is(err, row.want) {
					t.Errorf("Hold of %s says %v", row.name, err)
				}
			}
			b.hold(t, "disabled")()
			release()
			b.Update([]mail.Connection{disabled})
			again := b.hold(t, "disabled")
			release() // the first one's, and of another connection
			if !b.All()[0].Busy {
				t.Error("whoever held a connection before can release it")
			}
			again()
			if b.All()[0].Busy {
				t.Error("a connection that was released is busy")
			}
		})
		if _, err := b.Hold(t.Context(), "disabled"); !errors.Is(err, ErrStopping) {
			t.Errorf("Hold after the end says %v", err)
		}
	})
}

func TestAReleaseCountsOnce(t *testing.T) {
	t.Parallel()
	b := newBench(9, 9, connection("a"))
	first := b.hold(t, "a")
	first()
	second := b.hold(t, "a")
	first()
	if _, err := b.Hold(t.Context(), "a"); !errors.Is(err, ErrBusy) {
		t.Errorf("the first holder released the connection from the second: %v", err)
	}
	second()
}

func TestARunThatFallsDueDuringAHoldIsMadeBehindIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"))
		b.during(t, func() {
			release := b.hold(t, "a")
			pass(time.Until(b.All()[0].Next) + 2*time.Minute + 30*time.Second)
			if len(b.ran) > 0 {
				t.Fatal("a held connection is polled")
			}
			release()
			synctest.Wait()
			if s := b.All()[0]; b.count("a") != 1 || s.Skipped != 0 || s.FailuresInRow != 0 || s.Last.State != mail.Succeeded || b.skipped.Load() != 0 {
				t.Errorf("polled %d times: %+v", b.count("a"), s)
			}
			if lags := b.lags("a"); len(lags) != 1 || lags[0] != 2*time.Minute+30*time.Second {
				t.Errorf("lags are %v", lags)
			}
			pass(time.Minute)
			if b.count("a") != 2 {
				t.Errorf("polled %d times in all", b.count("a"))
			}
			b.hold(t, "a")() // nothing waits for this one
			synctest.Wait()
			if b.count("a") != 2 {
				t.Error("a hold that nothing fell due in is followed by a run")
			}
		})
	})
}

func TestAReloadDuringAHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("gone"), connection("disabled"), connection("changed"))
		var messages atomic.Int64
		b.job = func(_ context.Context, c *mail.Connection) mail.Result {
			messages.Add(int64(c.MaxMessages))
			return mail.Result{State: mail.Succeeded}
		}
		b.during(t, func() {
			var releases []func()
			for _, name := range []string{"gone", "disabled", "changed"} {
				releases = append(releases, b.hold(t, name))
			}
			pass(2 * time.Minute)
			disabled, changed := connection("disabled"), connection("changed")
			disabled.Enabled, disabled.Fingerprint = false, "2"
			changed.MaxMessages, changed.Fingerprint = 7, "2"
			b.Update([]mail.Connection{disabled, changed})
			for _, release := range releases {
				release()
			}
			synctest.Wait()
			if len(b.ran) != 1 || messages.Load() != 7 || len(b.entries) != 2 {
				t.Errorf("polled %v, %d messages; left: %v", b.ran, messages.Load(), b.entries)
			}
		})
	})
}

// TestAConnectionThatIsThereAgainIsStillHeld: a reload took it out and another put
// it back.
func TestAConnectionThatIsThereAgainIsStillHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"))
		b.during(t, func() {
			release := b.hold(t, "a")
			b.Update(nil)
			b.Update([]mail.Connection{connection("a")})
			if _, err := b.Hold(t.Context(), "a"); !errors.Is(err, ErrBusy) {
				t.Errorf("Hold says %v", err)
			}
			release()
			pass(time.Minute)
			if b.count("a") != 1 {
				t.Errorf("polled %d times", b.count("a"))
			}
		})
	})
}

func TestTheEndWaitsForNoHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"))
		var release func()
		b.during(t, func() {
			release = b.hold(t, "a")
			pass(2 * time.Minute)
		})
		release()
		synctest.Wait()
		if len(b.ran) > 0 || b.All()[0].Last != nil || b.All()[0].Busy {
			t.Error("a run that waited is made when the scheduler has ended")
		}
	})
}

func TestATriggerIsARun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hourly := connection("a")
		hourly.Schedule = "@every 1h"
		b := newBench(9, 9, hourly)
		b.during(t, func() {
			next := b.All()[0].Next
			b.trigger(t, "a")
			if b.count("a") != 1 || !b.All()[0].Next.Equal(next) {
				t.Errorf("polled %d times, next at %v, which was %v", b.count("a"), b.All()[0].Next, next)
			}
		})
	})
}

// TestManyTriggersAreOneRun: while the connection is held, whatever it is for.
func TestManyTriggersAreOneRun(t *testing.T) {
	t.Parallel()
	many := func(t *testing.T, b *bench) {
		t.Helper()
		for range 5 {
			b.trigger(t, "a")
		}
	}
	hourly, slow := connection("a"), connection("slow")
	hourly.Schedule, slow.Schedule = "@every 1h", "@every 1h"
	for name, test := range map[string]func(t *testing.T, b *bench) (jobs int){
		"behind a job": func(t *testing.T, b *bench) int {
			b.trigger(t, "a")
			many(t, b)
			pass(10 * time.Second)
			if b.count("a") != 2 {
				t.Errorf("when the job is over, %d have begun", b.count("a"))
			}
			many(t, b)
			return 3
		},
		"behind a job that waits for a place": func(t *testing.T, b *bench) int {
			b.trigger(t, "slow")
			many(t, b) // one job, and one behind it
			if b.count("a") != 0 {
				t.Error("a trigger ignores the limits")
			}
			return 2
		},
		"behind a job that was asked for": func(t *testing.T, b *bench) int {
			var wait sync.WaitGroup
			wait.Go(func() {
				if _, err := b.PollNow(t.Context(), "a"); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			many(t, b)
			wait.Wait()
			return 2
		},
		"behind a hold": func(t *testing.T, b *bench) int {
			release := b.hold(t, "a")
			many(t, b)
			pass(time.Minute)
			if b.count("a") != 0 {
				t.Error("a held connection is polled")
			}
			release()
			return 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newBench(1, 1, hourly, slow)
				b.job = takes(10 * time.Second)
				b.during(t, func() {
					want := test(t, b)
					pass(2 * time.Minute)
					if n := b.count("a"); n != want {
						t.Errorf("%d jobs, not %d", n, want)
					}
					if b.skipped.Load() != 0 || b.All()[0].Skipped != 0 {
						t.Errorf("a run that was asked for was skipped: %+v", b.All()[0])
					}
					if name == "behind a job" && slices.Max(b.lags("a")) > 0 {
						t.Errorf("a run that follows a job right behind it is late: %v", b.lags("a"))
					}
				})
			})
		})
	}
}

func TestATriggerCountsAndBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hourly := connection("a")
		hourly.Schedule = "@every 24h"
		b := newBench(9, 9, hourly)
		b.job = func(ctx context.Context, c *mail.Connection) mail.Result {
			takes(time.Second)(ctx, c)
			return failing(ctx, c)
		}
		b.during(t, func() {
			for range patience - 1 {
				b.trigger(t, "a")
				pass(time.Second)
			}
			b.trigger(t, "a")
			b.trigger(t, "a") // behind the job that makes it back off
			pass(10 * time.Second)
			b.trigger(t, "a")
			pass(10 * time.Second)
			if s := b.All()[0]; s.FailuresInRow != patience || s.BackingOffUntil.IsZero() || b.count("a") != patience {
				t.Errorf("%d jobs; %+v", b.count("a"), s)
			}
			pass(maxPause)
			if b.count("a") != patience {
				t.Error("what was asked for while it backed off is made later")
			}
			b.trigger(t, "a")
			if b.count("a") != patience+1 {
				t.Error("it backs off for ever")
			}
			pass(time.Second)
		})
	})
}

func TestATriggerThatCannotBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disabled := connection("disabled")
		disabled.Enabled = false
		b := newBench(9, 9, connection("a"), disabled)
		b.during(t, func() {
			for name, want := range map[string]error{"disabled": ErrDisabled, "other": ErrUnknown} {
				if err := b.Trigger(name); !errors.Is(err, want) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
		if err := b.Trigger("a"); !errors.Is(err, ErrStopping) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestATriggerAheadOfTheStartIsARunThen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"), connection("b"))
		b.trigger(t, "a")
		b.trigger(t, "a")
		if len(b.ran) > 0 {
			t.Error("it polls before it runs")
		}
		b.during(t, func() {
			if len(b.ran) != 1 || b.ran[0] != "a" {
				t.Errorf("polled %v", b.ran)
			}
		})
	})
}
