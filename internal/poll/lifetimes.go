package poll

import (
	"context"
	"time"
)

// lifetimes are until when a job, or an attempt of it, may do what it does. Each
// lasts longer than the one before it, and all have the values of the job's context.
type lifetimes struct {
	start  context.Context // a message may be begun
	finish context.Context // a message that was begun may be finished: what is on the wire comes, and is disposed of
	commit context.Context // what came whole may be made durable, recorded and published, which is short and local
}

// commitTime is by how much commit outlasts finish. Without it, a batch that arrives
// at the last moment would never be saved, however often it is fetched; with more, a
// state directory that hangs would keep the program from ending.
const commitTime = 15 * time.Second

// newLifetimes are those of a job: it starts nothing more when ctx ends, and has the
// grace to finish. The function ends all three.
func newLifetimes(ctx context.Context, grace func() time.Duration) (lifetimes, context.CancelFunc) {
	finish, endFinish := outlasting(ctx, grace)
	commit, endCommit := outlasting(finish, func() time.Duration { return commitTime })
	return lifetimes{ctx, finish, commit}, func() { endCommit(); endFinish() }
}

// within are the lifetimes of an attempt that may take so long.
func (l lifetimes) within(d time.Duration, cause error) (lifetimes, context.CancelFunc) {
	start, endStart := context.WithTimeoutCause(l.start, d, cause)
	finish, endFinish := context.WithTimeoutCause(l.finish, d, cause)
	commit, endCommit := outlasting(finish, func() time.Duration { return commitTime })
	return lifetimes{start, finish, commit}, func() { endCommit(); endFinish(); endStart() }
}

// outlasting is a context with the values of ctx that ends so long after it, for the
// same cause.
func outlasting(ctx context.Context, by func() time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(by())
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel(context.Canceled) }
}
