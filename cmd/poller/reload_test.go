package main

import (
	"context"
	"fmt"
	"testing"

	"mailpoller/internal/api"
	"mailpoller/internal/mailtest/daemontest"
)

func TestReload(t *testing.T) {
	t.Parallel()
	problems := func(context.Context) error { return fmt.Errorf("poller.yaml:1:2: odd%w", unsaid{api.ErrConfiguration}) }
	try(t, []command{
		{name: "works", daemon: &daemontest.Fake{Warnings: []string{"poller.yaml: warning: odd"}}, args: "reload", out: "CONFIG: reloaded\n", errs: "poller.yaml: warning: odd\n"},
		{
			name: "problems", daemon: &daemontest.Fake{State: api.Status{Loaded: at}, OnReload: problems}, args: "reload", code: 1,
			errs: "poller.yaml:1:2: odd\nnot reloaded: the configuration of " + shown + " stays in force\n",
		},
		{name: "fails", daemon: &daemontest.Fake{OnReload: func(context.Context) error { return fmt.Errorf("stopping") }}, args: "reload", code: 1, errs: "poller: stopping\n"},
		{name: "no daemon", args: "reload", code: 1, golden: true},
		{name: "daemon with another file", daemon: &daemontest.Fake{State: api.Status{Config: "/etc/other.yaml"}}, args: "reload", code: 1, golden: true},
	})
}

// unsaid is an error without a text.
type unsaid struct{ error }

func (unsaid) Error() string   { return "" }
func (u unsaid) Unwrap() error { return u.error }
