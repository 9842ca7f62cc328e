package main

import (
	"context"
	"testing"
	"time"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

func TestTest(t *testing.T) {
	t.Parallel()
	good := mail.Step{Name: mail.OpResolve, Duration: 1500 * time.Microsecond, Detail: "127.0.0.1"}
	bad := mail.Step{Name: mail.OpConnect, Duration: 20 * time.Microsecond, Err: fault(mail.OpConnect, mail.KindNetwork, "refused", "check port")}
	// came is a daemon whose tests take steps, of which it tells the first at once.
	came := func(steps ...mail.Step) *daemontest.Fake {
		return &daemontest.Fake{OnTest: func(ctx context.Context, name string) (mail.Test, error) {
			mail.TraceOf(ctx).Step(steps[0])
			return mail.Test{Connection: name, Steps: steps}, nil
		}}
	}
	try(t, []command{
		{name: "works", daemon: came(good), args: "test a", golden: true},
		{name: "fails", daemon: came(good, bad), args: "test a", code: 1, golden: true},
		{name: "several", daemon: came(bad), args: "test a b", code: 1, golden: true},
		{name: "json", daemon: came(good, bad), args: "test --json a", code: 1, golden: true},
		{name: "busy", daemon: &daemontest.Fake{OnTest: func(context.Context, string) (mail.Test, error) { return mail.Test{}, api.ErrBusy }}, args: "test a", code: 1, errs: "poller: the connection is being polled already\n"},
		{name: "no daemon, unknown", args: "test nosuch", code: 1, golden: true},
	})
}
