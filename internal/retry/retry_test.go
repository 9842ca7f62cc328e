package retry

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var errDown = errors.New("down")

func TestAttempts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		policy   Policy
		succeeds int // the attempt that does; 0 for none
		attempts int
		took     time.Duration
	}{
		{"no retry by default", Policy{}, 0, 1, 0},
		{"no interval means no retry", Policy{Max: 3}, 0, 1, 0},
		{"no count means no retry", Policy{Interval: time.Second}, 0, 1, 0},
		{"1 + max attempts, an interval apart", Policy{3, 10 * time.Second}, 0, 4, 30 * time.Second},
		{"success ends it", Policy{3, 10 * time.Second}, 2, 2, 10 * time.Second},
		{"the first success needs no wait", Policy{3, 10 * time.Second}, 1, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start, reported := time.Now(), 0
				attempts, err := c.policy.Do(t.Context(), func(n int) error {
					if n == c.succeeds {
						return nil
					}
					return errDown
				}, func(int, error) { reported++ })
				if attempts != c.attempts || time.Since(start) != c.took || reported != c.attempts-1 {
					t.Errorf("%d attempts in %v, %d reported", attempts, time.Since(start), reported)
				}
				if (err == nil) != (c.succeeds > 0) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestAnEndingContextEndsTheWaitAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		attempts, err := Policy{9, time.Hour}.Do(ctx, func(int) error { return errDown }, nil)
		if attempts != 1 || !errors.Is(err, errDown) || time.Since(start) != 5*time.Second {
			t.Errorf("%d attempts, %v, after %v", attempts, err, time.Since(start))
		}
	})
}

func TestAnEndedContextStartsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	attempts, err := Policy{}.Do(ctx, func(int) error { t.Error("started"); return nil }, nil)
	if attempts != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d attempts, %v", attempts, err)
	}
}
