package mail

import (
	"context"
	"sync/atomic"
)

// LoginsPerJob is how many logins more than one in each attempt a job may try that
// a wrong password would count for: servers lock accounts.
const LoginsPerJob = 1

type loginsKey struct{}

// WithLogins begins a job: under the context it returns, AnotherLogin says yes
// LoginsPerJob times.
func WithLogins(ctx context.Context) context.Context {
	left := new(atomic.Int32)
	left.Store(LoginsPerJob)
	return context.WithValue(ctx, loginsKey{}, left)
}

// AnotherLogin reports whether the job of the context may log in once more after
// a login that failed and may have been a matter of the password. Outside a job
// it may.
func AnotherLogin(ctx context.Context) bool {
	left, ok := ctx.Value(loginsKey{}).(*atomic.Int32)
	return !ok || left.Add(-1) >= 0
}
