package schedule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailpoller/internal/mail"
)

func TestAReloadLeavesAloneWhatDidNotChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("same"), connection("gone"), connection("changed"))
		b.during(t, func() {
			pass(70 * time.Second)
			before := b.All()
			hourly := connection("changed")
			hourly.Schedule, hourly.Fingerprint = "@hourly", "2"
			b.Update([]mail.Connection{connection("same"), hourly, connection("new")})
			after := b.All()
			if !after[0].Next.Equal(before[0].Next) || after[0].Last == nil {
				t.Errorf("before %+v, after %+v", before[0], after[0])
			}
			if after[1].Next.Minute() != 0 || after[1].Next.Second() != 0 {
				t.Errorf("an hourly poll is next at %v", after[1].Next)
			}
			gone := b.count("gone")
			pass(5 * time.Minute)
			if b.count("gone") != gone || b.count("new") != 5 || b.count("same") < 6 {
				t.Errorf("ran: %v", b.ran)
			}
			if _, err := b.PollNow(t.Context(), "gone"); !errors.Is(err, ErrUnknown) {
				t.Errorf("PollNow of a removed connection says %v", err)
			}
		})
	})
}

func TestAReloadLosesNoRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("same"), connection("changed"))
		b.during(t, func() {
			const minutes = 50
			for n := range minutes {
				for i, s := range b.All() { // reload in the instants in which runs are due
					pass(time.Until(s.Next))
					changed := connection("changed")
					changed.Fingerprint = fmt.Sprint(n, i)
					b.Update([]mail.Connection{connection("same"), changed})
				}
			}
			pass(0)
			if b.count("same") != minutes || b.count("changed") != minutes {
				t.Errorf("polled %d and %d times in %d minutes", b.count("same"), b.count("changed"), minutes)
			}
		})
	})
}

func TestARemovedConnectionEndsWithItsPoll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"))
		var finished atomic.Int64
		b.job = func(ctx context.Context, c *mail.Connection) mail.Result {
			r := takes(30*time.Second)(ctx, c)
			if ctx.Err() == nil {
				finished.Add(1)
			}
			return r
		}
		b.during(t, func() {
			pass(61 * time.Second)
			b.Update(nil)
			pass(10 * time.Minute)
			if finished.Load() != 1 || len(b.ran) != 1 || len(b.All()) != 0 || len(b.entries) != 0 {
				t.Errorf("%d finished of %v; left: %v", finished.Load(), b.ran, b.entries)
			}
		})
	})
}

func TestAChangedConnectionNoLongerBacksOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("a"))
		b.job = failing
		b.during(t, func() {
			pass(20 * time.Minute)
			changed := connection("a")
			changed.Fingerprint = "2"
			b.Update([]mail.Connection{changed})
			if s := b.All()[0]; s.FailuresInRow != 0 || !s.BackingOffUntil.IsZero() {
				t.Errorf("status %+v", s)
			}
		})
	})
}

// How long a reload holds up a scheduler that runs.
func BenchmarkReload(b *testing.B) {
	connections := func(fingerprint int) []mail.Connection {
		all := make([]mail.Connection, 10_000)
		for i := range all {
			all[i] = connection(fmt.Sprint("connection-", i))
			all[i].Schedule = fmt.Sprintf("@every %dh", 1+fingerprint%2)
			all[i].Fingerprint = fmt.Sprint(fingerprint)
		}
		return all
	}
	bench := newBench(9, 9, connections(0)...)
	ctx, cancel := context.WithCancel(b.Context())
	var wait sync.WaitGroup
	wait.Go(func() { _ = bench.Run(ctx) })
	for n := 1; b.Loop(); n++ {
		bench.Update(connections(n))
	}
	cancel()
	wait.Wait()
}

// The runner has not come to the runs that are due: the one of a schedule that is
// gone is not made, that of a schedule that stays is, with the new settings.
func TestARunThatIsDueDuringAReloadBelongsToItsSchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(9, 9, connection("rescheduled"), connection("gone"), connection("disabled"), connection("changed"))
		var ran atomic.Int64
		b.job = func(_ context.Context, c *mail.Connection) mail.Result {
			ran.Add(int64(c.MaxMessages))
			return mail.Result{State: mail.Succeeded}
		}
		pass(2 * time.Minute)
		rescheduled, disabled, changed := connection("rescheduled"), connection("disabled"), connection("changed")
		rescheduled.Schedule, rescheduled.Fingerprint = "@every 24h", "2"
		disabled.Enabled, disabled.Fingerprint = false, "2"
		changed.MaxMessages, changed.Fingerprint = 5, "2"
		due := b.entries["changed"].due
		b.Update([]mail.Connection{rescheduled, disabled, changed})
		if got := b.entries["changed"].due; !got.Equal(due) || got.After(time.Now()) {
			t.Errorf("a run that was due at %v is now due at %v", due, got)
		}
		b.mu.Lock()
		b.ctx = t.Context() // a scheduler whose runner is late
		b.mu.Unlock()
		b.tick()
		synctest.Wait()
		if ran.Load() != 5 || len(b.ran) != 1 {
			t.Errorf("polled %v, %d messages", b.ran, ran.Load())
		}
	})
}
