package schedule

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mailpoller/internal/mail"
)

// setClock gives b a clock that can be set, and a log to see that it notices.
func (b *bench) setClock() (set func(by time.Duration), noticed func() int) {
	var ahead atomic.Int64
	b.clock = func() (wall, monotonic time.Time) {
		now := time.Now()
		return now.Round(0).Add(time.Duration(ahead.Load())), now
	}
	core, logs := observer.New(zapcore.WarnLevel)
	b.options.Log = zap.New(core)
	return func(by time.Duration) { ahead.Add(int64(by)) }, func() int { return logs.FilterMessage("the clock was set").Len() }
}

// at is a time of the day of the bubbles that tests run in.
func at(b *bench, hour, minute int) time.Duration {
	wall, _ := b.clock()
	wall = wall.Local()
	due := time.Date(wall.Year(), wall.Month(), wall.Day(), hour, minute, 0, 0, wall.Location())
	return due.Sub(wall)
}

func daily(name string, hour int) mail.Connection {
	c := connection(name)
	c.Schedule = fmt.Sprintf("0 %d * * *", hour)
	return c
}

func TestAClockThatIsSetForwardSkipsRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, daily("jumped over", 10), daily("later", 13), connection("often"))
		set, noticed := b.setClock()
		pass((at(b, 9, 0) + 24*time.Hour) % (24 * time.Hour))
		b.during(t, func() {
			pass(time.Minute)
			often := b.count("often")
			set(3 * time.Hour)
			pass(lookEvery)
			if noticed() != 1 {
				t.Errorf("noticed %d times", noticed())
			}
			pass(5 * time.Minute)
			if n := b.count("often") - often; n < 5 || n > 6 {
				t.Errorf("polled %d times in five minutes", n)
			}
			pass(at(b, 13, 0) + time.Second)
			if b.count("jumped over") != 0 || b.count("later") != 1 || noticed() != 1 {
				t.Errorf("ran %v; noticed %d times", slices.Compact(slices.Sorted(slices.Values(b.ran))), noticed())
			}
		})
	})
}

func TestAClockThatIsSetBackDelaysNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, daily("again", 10), connection("often"))
		set, noticed := b.setClock()
		pass((at(b, 10, 30) + 24*time.Hour) % (24 * time.Hour))
		b.during(t, func() {
			pass(time.Minute)
			set(-2 * time.Hour)
			pass(lookEvery)
			often := b.count("often")
			pass(5 * time.Minute)
			if n := b.count("often") - often; n != 5 || noticed() != 1 {
				t.Errorf("polled %d times in five minutes; noticed %d times", n, noticed())
			}
			pass(at(b, 10, 0))
			if b.count("again") != 1 {
				t.Errorf("at ten o'clock it was polled %d times", b.count("again"))
			}
		})
	})
}

// TestAClockThatIsCorrectedIsNotSet: a clock that drifts, by however much in the
// end, or that is moved by a little, leaves all as it is.
func TestAClockThatIsCorrectedIsNotSet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, daily("a", 10))
		set, noticed := b.setClock()
		pass((at(b, 9, 0) + 24*time.Hour) % (24 * time.Hour))
		b.during(t, func() {
			for range 60 {
				set(time.Second)
				pass(lookEvery)
			}
			set(clockJumps)
			pass(lookEvery)
			pass(at(b, 10, 0))
			if b.count("a") != 1 || noticed() != 0 {
				t.Errorf("polled %d times; noticed %d times", b.count("a"), noticed())
			}
		})
	})
}

// TestARunThatTheRunnerIsLateForIsMadeOnce: the machine slept through three.
func TestARunThatTheRunnerIsLateForIsMadeOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		busy := connection("busy")
		busy.Schedule = "@every 24h"
		b := newBench(9, 9, connection("a"), busy)
		asleep := make(chan struct{})
		b.options.Skipped = func(*mail.Connection) { <-asleep }
		b.job = func(ctx context.Context, c *mail.Connection) mail.Result {
			if c.Name == "busy" {
				return takes(25*time.Hour)(ctx, c)
			}
			return mail.Result{State: mail.Succeeded}
		}
		b.during(t, func() {
			pass(time.Until(b.All()[1].Next))
			pass(time.Until(b.All()[1].Next)) // which is skipped
			ran, due := b.count("a"), b.All()[0].Next
			pass(time.Until(due) + 2*time.Minute + 10*time.Second)
			close(asleep)
			synctest.Wait()
			lags := b.lags("a")
			if n := b.count("a") - ran; n != 1 || lags[len(lags)-1] != 2*time.Minute+10*time.Second {
				t.Errorf("made %d times; lags are %v", n, lags)
			}
			if next := b.All()[0].Next; !next.Equal(due.Add(3 * time.Minute)) {
				t.Errorf("next at %v", next)
			}
		})
	})
}

func TestAReloadWakesTheRunner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9)
		b.during(t, func() {
			pass(lookEvery + time.Second/2)
			soon := connection("a")
			soon.Schedule = "@every 1s"
			b.Update([]mail.Connection{soon})
			pass(2 * time.Second)
			if b.count("a") != 2 {
				t.Errorf("polled %d times in two seconds", b.count("a"))
			}
		})
	})
}

func TestCheckTellsWhenTheRunnerStandsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(1, 1, connection("a"))
		if err := b.Check(t.Context()); err != nil {
			t.Errorf("before it runs: %v", err)
		}
		stuck := make(chan struct{})
		b.options.Skipped = func(*mail.Connection) { <-stuck }
		b.job = takes(150 * time.Second)
		b.during(t, func() {
			pass(time.Until(b.All()[0].Next) + 59*time.Second)
			if err := b.Check(t.Context()); err != nil {
				t.Error(err)
			}
			pass(time.Second + deadAfter + time.Second) // the next run is skipped
			if err := b.Check(t.Context()); err == nil {
				t.Error("nothing is wrong with a scheduler that stands still")
			}
			close(stuck)
			synctest.Wait()
			if err := b.Check(t.Context()); err != nil {
				t.Errorf("when it goes on: %v", err)
			}
		})
	})
}

// TestTheAgendaIsInOrder changes at random when connections are due.
func TestTheAgendaIsInOrder(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var a agenda
	entries := make([]*entry, 50)
	for i := range entries {
		entries[i] = &entry{place: absent}
	}
	for range 2_000 {
		e, due := entries[random.IntN(len(entries))], time.Time{}
		if random.IntN(4) > 0 {
			due = time.Unix(random.Int64N(1_000), 0)
		}
		a.set(e, due)
		in := 0
		var first time.Time
		for _, e := range entries {
			if e.due.IsZero() != (e.place == absent) || e.place != absent && a[e.place] != e {
				t.Fatalf("an entry that is due at %v is at place %d", e.due, e.place)
			}
			if !e.due.IsZero() {
				in++
				if first.IsZero() || e.due.Before(first) {
					first = e.due
				}
			}
		}
		if len(a) != in || in > 0 && !a[0].due.Equal(first) {
			t.Fatalf("%d of %d entries, and the first is not the next one", len(a), in)
		}
	}
}
