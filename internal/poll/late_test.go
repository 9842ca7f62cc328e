package poll

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailpoller/internal/mail"
)

// TestPollTimeoutIsCalledByItsName, whatever the attempt was doing when it ended,
// and nothing else is put down to it.
func TestPollTimeoutIsCalledByItsName(t *testing.T) {
	t.Parallel()
	dialing := &mail.Error{Op: mail.OpConnect, Kind: mail.KindTimeout, Err: errors.New("dial tcp 192.0.2.1:993: i/o timeout"), Hint: "no answer"}
	refused := &mail.Error{Op: mail.OpAuthenticate, Kind: mail.KindAuth, Err: errors.New("server said no"), Hint: "check password:"}
	for _, c := range []struct {
		name  string
		err   func(context.Context) error
		ended bool
		want  string // of an error that poll_timeout explains
	}{
		{"the cause itself", func(ctx context.Context) error { return context.Cause(ctx) }, true, "poll: poll_timeout of 1m0s is over"},
		{"no more than that the context ended", func(ctx context.Context) error { return ctx.Err() }, true, "poll: poll_timeout of 1m0s is over: context deadline exceeded"},
		{"a deadline of the wire", func(context.Context) error { return os.ErrDeadlineExceeded }, true, "poll: poll_timeout of 1m0s is over: i/o timeout"},
		{"no answer", func(context.Context) error { return dialing }, true, "connect: poll_timeout of 1m0s is over: dial tcp 192.0.2.1:993: i/o timeout"},
		{"no answer, and time left", func(context.Context) error { return dialing }, false, ""},
		{"a refusal in the last moment", func(context.Context) error { return refused }, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				late := lateError{time.Minute}
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, late)
				defer cancel()
				if c.ended {
					<-ctx.Done()
				}
				given := c.err(ctx)
				got := late.explained(ctx, given)
				var e *mail.Error
				switch {
				case c.want == "" && (!errors.Is(got, given) || got.Error() != given.Error()):
					t.Errorf("%v became %v", given, got)
				case c.want != "" && (!errors.As(got, &e) || e.Error() != c.want || e.Kind != mail.KindTimeout || !strings.Contains(e.Hint, "poll_timeout") || !errors.Is(got, context.DeadlineExceeded)):
					t.Errorf("%v became %v (%+v), want %s", given, got, e, c.want)
				}
			})
		})
	}
}
