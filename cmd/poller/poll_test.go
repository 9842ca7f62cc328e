package main

import (
	"context"
	"syscall"
	"testing"
	"time"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

func TestPoll(t *testing.T) {
	t.Parallel()
	// came is a daemon whose jobs come to a result.
	came := func(r mail.Result) *daemontest.Fake {
		return &daemontest.Fake{OnPoll: func(_ context.Context, name string, dryRun bool) (mail.Result, error) {
			mine := r // several are polled at the same time
			mine.Connection, mine.DryRun = name, dryRun
			return mine, nil
		}}
	}
	refused := func(err error) *daemontest.Fake {
		return &daemontest.Fake{OnPoll: func(context.Context, string, bool) (mail.Result, error) { return mail.Result{}, err }}
	}
	saved := mail.Result{State: mail.Succeeded, Outcome: mail.OutcomeSaved, Attempts: 1, Messages: 2, Bytes: 3072, Duration: 1234567 * time.Microsecond, Files: []string{"/in/1.eml", "/in/2.eml"}}
	failed := mail.Result{State: mail.Failed, Outcome: mail.OutcomeFailed, Attempts: 2, Err: fault(mail.OpConnect, mail.KindNetwork, "refused", "check port")}
	try(t, []command{
		{name: "saved", daemon: came(saved), args: "poll a", out: "a: saved 2 messages, 3 KiB, in 1.235s\n  /in/1.eml\n  /in/2.eml\n"},
		{name: "in the order of the names, each once", daemon: came(mail.Result{State: mail.Succeeded, Outcome: mail.OutcomeEmpty}), args: "poll b a b", golden: true},
		{name: "unchanged", daemon: came(mail.Result{State: mail.Succeeded, Outcome: mail.OutcomeUnchanged}), args: "poll a", golden: true},
		{name: "failed", daemon: came(failed), args: "poll a", code: 1, out: "a: FAILED after 2 attempts: connect: refused\n  hint: check port\n"},
		{
			name: "all that a result says", daemon: came(mail.Result{State: mail.Succeeded, Outcome: mail.OutcomeEmpty, Quarantined: 1, Unwanted: 2, Oversized: 3, NotMatching: 4, Warnings: []string{"odd"}}),
			args: "poll a", golden: true,
		},
		{name: "hooks failing", daemon: came(mail.Result{State: mail.Succeeded, Outcome: mail.OutcomeEmpty, Unheard: 1}), args: "poll a", code: 1, golden: true},
		{name: "dry run", daemon: came(mail.Result{State: mail.Succeeded, Outcome: mail.OutcomeSaved, Messages: 1, Files: []string{"/in/1.eml"}, Then: []string{"delete it"}}), args: "poll --dry-run a", golden: true},
		{name: "json", daemon: came(saved), args: "poll --json a", golden: true},
		{name: "dry run as json", daemon: came(mail.Result{State: mail.Succeeded, Outcome: mail.OutcomeEmpty}), args: "poll --json --dry-run a", golden: true},
		{name: "busy", daemon: refused(api.ErrBusy), args: "poll a", code: 1, errs: "poller: the connection is being polled already\n"},
		{name: "busy as json", daemon: refused(api.ErrBusy), args: "poll --json a", code: 1, golden: true},
		{name: "unknown", daemon: refused(api.ErrUnknown), args: "poll --json nosuch", code: 1, golden: true},
		{name: "no daemon, nothing listens", args: "poll a", code: 1, golden: true},
		{name: "no daemon, disabled", args: "poll b", code: 1, golden: true},
		{name: "no daemon, unknown", args: "poll nosuch", code: 1, golden: true},
		{name: "problems of the file as json", config: "state_dir: DIR/state\nconnections: []\ncolor: red\n", args: "poll --json a", code: 1, golden: true},
		{
			name: "problems of the file, and a daemon", config: "state_dir: DIR/state\ncolor: red\n", daemon: came(mail.Result{State: mail.Succeeded, Outcome: mail.OutcomeEmpty}),
			args: "poll a", golden: true,
		},
	})
}

// TestAnAttemptThatFailsIsToldWhileTheJobGoesOn: and when the next one is made.
func TestAnAttemptThatFailsIsToldWhileTheJobGoesOn(t *testing.T) {
	t.Parallel()
	next := time.Now().Add(time.Hour)
	command{
		daemon: &daemontest.Fake{OnPoll: func(ctx context.Context, name string, _ bool) (mail.Result, error) {
			mail.TraceOf(ctx).Job(mail.Result{Connection: name, State: mail.Retrying, Attempts: 1, RetryAt: next, Err: fault(mail.OpConnect, mail.KindNetwork, "refused", "")})
			return mail.Result{Connection: name, State: mail.Succeeded, Outcome: mail.OutcomeEmpty, Attempts: 2}, nil
		}},
		args: "poll a",
		out:  "a: nothing to take\n",
		errs: "a: attempt 1 failed: connect: refused; trying again in 1h0m0s, at " + next.Format(time.TimeOnly) + "\n",
	}.try(t.Context(), t)
}

// TestAnInterruptedPollSaysSo: by its exit code, as a shell would have it, and in
// words.
func TestAnInterruptedPollSaysSo(t *testing.T) {
	t.Parallel()
	for s, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		ctx, interrupt := interruptedBy(t, s)
		command{
			daemon: &daemontest.Fake{OnPoll: func(ctx context.Context, _ string, _ bool) (mail.Result, error) {
				interrupt()
				<-ctx.Done() // the client has gone
				return mail.Result{}, ctx.Err()
			}},
			args: "poll a", code: code,
			errs: "poller: interrupted: the message at hand is finished, and nothing is lost: what was saved stays saved, and the next job goes on from there; Ctrl-C again ends at once\n",
		}.try(ctx, t)
	}
}
