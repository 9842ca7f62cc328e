package main

import (
	"testing"

	"mailpoller/internal/api"
	"mailpoller/internal/mailtest/daemontest"
)

func TestForgetAndRetry(t *testing.T) {
	t.Parallel()
	counts := map[string]int{"a": 1, "b": 2}
	// counting is a daemon that does as it is told.
	counting := &daemontest.Fake{
		OnForget: func(name string) (int, error) { return counts[name], nil },
		OnRetry:  func(name string) (int, error) { return counts[name], nil },
	}
	refusing := &daemontest.Fake{
		OnForget: func(string) (int, error) { return 0, api.ErrBusy },
		OnRetry:  func(string) (int, error) { return 0, api.ErrUnknown },
	}
	untouched := &daemontest.Fake{OnForget: func(string) (int, error) {
		t.Error("forgot without a yes")
		return 0, nil
	}}
	const question = "Messages of a, b that are still on the server will be delivered again. Go on? [y/N] "
	const forgot = "a: forgot 1 message\nb: forgot 2 messages\n"
	try(t, []command{
		{name: "forget unasked", daemon: counting, args: "forget --yes a b", out: forgot},
		{name: "forget, y", daemon: counting, args: "forget a b", stdin: "y\n", out: forgot, errs: question},
		{name: "forget, Yes", daemon: counting, args: "forget a b", stdin: " Yes \n", out: forgot, errs: question},
		{name: "forget, no", daemon: untouched, args: "forget a b", stdin: "n\n", code: 1, errs: question + "poller: nothing forgotten\n"},
		{name: "forget, return", daemon: untouched, args: "forget a b", stdin: "\n", code: 1, errs: question + "poller: nothing forgotten\n"},
		{name: "forget, nobody there", daemon: untouched, args: "forget a b", code: 1, errs: question + "poller: nothing forgotten\n"},
		{name: "forget busy", daemon: refusing, args: "forget --yes a", code: 1, errs: "poller: the connection is being polled already\n"},
		{name: "forget without a daemon", args: "forget --yes a", out: "a: forgot 0 messages\n"},
		{name: "retry", daemon: counting, args: "retry b a", out: "b: will try again 2 messages\na: will try again 1 message\n"},
		{name: "retry unknown", daemon: refusing, args: "retry nosuch", code: 1, errs: "poller: no connection of this name is configured\n"},
		{name: "retry without a daemon", args: "retry a", out: "a: will try again 0 messages\n"},
		{name: "retry unknown without a daemon", args: "retry nosuch", code: 1, errs: "poller: \"nosuch\": no connection of this name is configured\n"},
	})
}
