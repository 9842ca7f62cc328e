package schedule

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestPlacesAreGivenInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := slots{limit: 1}
		if err := s.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []int
		var wait sync.WaitGroup
		gone, leave := context.WithCancel(t.Context())
		for i := range 5 {
			wait.Go(func() {
				ctx := t.Context()
				if i == 2 {
					ctx = gone
				}
				if err := s.take(ctx); err != nil {
					return
				}
				mu.Lock()
				got = append(got, i)
				mu.Unlock()
				s.free()
			})
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		s.free()
		wait.Wait()
		if !slices.Equal(got, []int{0, 1, 3, 4}) || s.taken != 0 {
			t.Errorf("in turn: %v; %d still taken", got, s.taken)
		}
	})
}

func TestPlacesCanBecomeMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := slots{limit: 0}
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				if err := s.take(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		s.resize(3)
		wait.Wait()
	})
}
