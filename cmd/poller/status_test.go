package main

import (
	"context"
	"testing"
	"time"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

// at is a time long ago, and shown as the commands show it.
var (
	at    = time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	shown = at.Local().Format(time.DateTime)
)

func TestStatus(t *testing.T) {
	t.Parallel()
	saved := api.View(mail.Result{Connection: "a", State: mail.Succeeded, Outcome: mail.OutcomeSaved, Started: at, Messages: 2})
	failed := api.View(mail.Result{
		Connection: "b", State: mail.Failed, Outcome: mail.OutcomeFailed, Started: at,
		Err: fault(mail.OpAuthenticate, mail.KindAuth, "NO invalid credentials", "check username and password"),
	})
	daemon := &daemontest.Fake{
		State: api.Status{Loaded: at, ReloadError: "poller.yaml:1:2: odd"},
		Connected: []api.ConnectionView{
			{Name: "a", Enabled: true, State: api.Idle, Last: &saved, Next: at},
			{Name: "b", Enabled: true, State: api.Retrying, Last: &failed, FailuresInRow: 3},
			{
				Name: "c d", Enabled: true, State: api.Idle, Hooks: api.ViewHooks(mail.Hooks{Due: 2, Since: at, Error: "exit status 1"}),
				Quarantined: []api.MessageView{{ID: "7", Size: 2048, From: "ann@example.com", Subject: "Hi", Date: at, Reason: "cut short"}},
				Oversized:   []api.MessageView{{ID: "8", Reason: "too large"}},
			},
			{Name: "d", State: api.Disabled, Quarantined: []api.MessageView{}, Oversized: []api.MessageView{}},
		},
	}
	try(t, []command{
		{name: "no daemon", args: "status", code: 1, golden: true},
		{name: "table", daemon: daemon, args: "status", golden: true},
		{name: "json", daemon: &daemontest.Fake{Connected: daemon.Connected[3:]}, args: "status --json", golden: true},
		{name: "none", daemon: &daemontest.Fake{}, args: "status", golden: true},
	})
}

func TestJobs(t *testing.T) {
	t.Parallel()
	jobs := []mail.Result{
		{Job: "01JABCDEFGH", Connection: "a", State: mail.Succeeded, Outcome: mail.OutcomeSaved, Started: at, Duration: 1500 * time.Millisecond, Attempts: 1, Messages: 2, Bytes: 2048, Files: []string{"/in/1.eml", "/in/2.eml"}},
		{
			Job: "01JXYZ", Connection: "b", State: mail.Failed, Outcome: mail.OutcomeFailed, Started: at, Attempts: 4, Warnings: []string{"odd"}, Log: []string{"STEP resolve"},
			Err: fault(mail.OpConnect, mail.KindNetwork, "refused", "check port"),
		},
		{Job: "01JHOOK", Connection: "c", State: mail.Succeeded, Outcome: mail.OutcomeSaved, Started: at, Attempts: 1, HookError: "exit status 1"},
	}
	history := func(found ...mail.Result) *daemontest.Fake {
		return &daemontest.Fake{OnJobs: func(api.JobFilter) ([]mail.Result, error) { return found, nil }}
	}
	// filtered answers only to the filter that is expected.
	filtered := func(want api.JobFilter) *daemontest.Fake {
		return &daemontest.Fake{OnJobs: func(got api.JobFilter) ([]mail.Result, error) {
			if got != want {
				t.Errorf("asked for %+v, not %+v", got, want)
			}
			return nil, nil
		}}
	}
	const none = "JOB  STARTED  CONNECTION  STATE  ATTEMPTS  MESSAGES  SIZE  DURATION  REASON\n"
	try(t, []command{
		{name: "table", daemon: history(jobs...), args: "jobs", golden: true},
		{name: "json", daemon: history(jobs[1]), args: "jobs --json", golden: true},
		{name: "no flags", daemon: filtered(api.JobFilter{Limit: 20}), args: "jobs", out: none},
		{name: "all flags", daemon: filtered(api.JobFilter{Connection: "a", State: mail.Failed, Limit: 3}), args: "jobs --connection a --state failed --limit 3", out: none},
		{name: "no daemon", args: "jobs", out: none},
		{name: "unknown connection", args: "jobs --connection nosuch", code: 1, golden: true},
		{name: "show", daemon: history(jobs[0]), args: "jobs show 01jabc", golden: true},
		{name: "show failed", daemon: history(jobs[1]), args: "jobs show 01JXYZ", golden: true},
		{name: "show asks in capitals", daemon: filtered(api.JobFilter{ID: "01JX", Limit: 2}), args: "jobs show 01jx", code: 1, golden: true},
		{name: "show more than one", daemon: history(jobs[0], jobs[1]), args: "jobs show 01J", code: 1, errs: "poller: 01J: more than one job begins with this; give more of it\n"},
	})
}

// TestWatchEndsWithTheSignal: it is not a failure.
func TestWatchEndsWithTheSignal(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	command{args: "jobs --watch", daemon: &daemontest.Fake{OnJobs: func(api.JobFilter) ([]mail.Result, error) {
		cancel()
		return nil, nil
	}}}.try(ctx, t)
}
