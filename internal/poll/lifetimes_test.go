package poll

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// ends says which of them have ended.
func (l lifetimes) ends() [3]bool {
	synctest.Wait()
	return [3]bool{l.start.Err() != nil, l.finish.Err() != nil, l.commit.Err() != nil}
}

// TestLifetimesEndOneAfterTheOther: what may be begun, what may be finished, and
// what may be recorded, whether the job is stopped or an attempt takes too long.
func TestLifetimesEndOneAfterTheOther(t *testing.T) {
	t.Parallel()
	const grace, timeout = 20 * time.Second, time.Hour
	stopped, late := errors.New("stopped"), errors.New("late")
	none, begun, finished, all := [3]bool{}, [3]bool{true}, [3]bool{true, true}, [3]bool{true, true, true}
	for name, row := range map[string]struct {
		of    func(job, attempt lifetimes) lifetimes
		stop  time.Duration // when the job is stopped
		ends  []time.Duration
		want  [][3]bool
		cause error
	}{
		"a job that is stopped": {
			of: func(job, _ lifetimes) lifetimes { return job }, stop: time.Minute,
			ends: []time.Duration{time.Minute - 1, time.Minute, time.Minute + grace, time.Minute + grace + commitTime},
			want: [][3]bool{none, begun, finished, all}, cause: stopped,
		},
		"an attempt that is stopped": {
			of: func(_, attempt lifetimes) lifetimes { return attempt }, stop: time.Minute,
			ends: []time.Duration{time.Minute - 1, time.Minute, time.Minute + grace, time.Minute + grace + commitTime},
			want: [][3]bool{none, begun, finished, all}, cause: stopped,
		},
		"an attempt that takes too long": {
			of: func(_, attempt lifetimes) lifetimes { return attempt }, stop: 2 * timeout,
			ends: []time.Duration{timeout - 1, timeout, timeout + commitTime - 1, timeout + commitTime},
			want: [][3]bool{none, finished, finished, all}, cause: late,
		},
		"a job whose attempt takes too long": {
			of: func(job, _ lifetimes) lifetimes { return job }, stop: 2 * timeout,
			ends: []time.Duration{timeout, 2*timeout - 1}, want: [][3]bool{none, none},
		},
		"an attempt that is stopped when its time is nearly up": {
			of: func(_, attempt lifetimes) lifetimes { return attempt }, stop: timeout - time.Second,
			ends: []time.Duration{timeout - time.Second, timeout, timeout + commitTime}, want: [][3]bool{begun, finished, all}, cause: late,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				type key struct{}
				ctx, stop := context.WithCancelCause(context.WithValue(context.Background(), key{}, "value"))
				defer stop(nil)
				began := time.Now()
				job, end := newLifetimes(ctx, func() time.Duration { return grace })
				attempt, endAttempt := job.within(timeout, late)
				time.AfterFunc(row.stop, func() { stop(stopped) })
				l := row.of(job, attempt)
				for i, at := range row.ends {
					<-time.After(time.Until(began.Add(at)))
					if ends := l.ends(); ends != row.want[i] {
						t.Errorf("after %v: %v, not %v", at, ends, row.want[i])
					}
				}
				if l.commit.Value(key{}) != "value" || row.cause != nil && !errors.Is(context.Cause(l.commit), row.cause) {
					t.Errorf("%v, %v", l.commit.Value(key{}), context.Cause(l.commit))
				}
				endAttempt()
				end()
				if ends := [2][3]bool{attempt.ends(), {job.start.Err() != nil, job.finish.Err() != nil, job.commit.Err() != nil}}; ends[0] != all || !ends[1][1] || !ends[1][2] {
					t.Errorf("in the end: %v", ends)
				}
			})
		})
	}
}
