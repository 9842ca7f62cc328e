package main

import (
	"context"
	"errors"
	"testing"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

func TestOAuth(t *testing.T) {
	t.Parallel()
	refused := &api.ErrorView{Op: mail.OpAuthenticate, Message: "invalid_grant", Hint: "log in again"}
	grants := []api.GrantView{
		{Connection: "a", Provider: mail.Google, Grant: mail.GrantRefreshToken, Refresh: "stored", Expires: at},
		{Connection: "b", Provider: mail.Google, Grant: mail.GrantRefreshToken, Error: refused, Failed: at},
	}
	// prompting is a daemon whose login asks a person for something.
	prompting := func(p mail.Prompt, err error) *daemontest.Fake {
		return &daemontest.Fake{OnLogin: func(ctx context.Context, name string) (api.GrantView, error) {
			mail.TraceOf(ctx).Prompt(p)
			return api.GrantView{Connection: name}, err
		}}
	}
	try(t, []command{
		{name: "status", daemon: &daemontest.Fake{Granted: grants}, args: "oauth status", golden: true},
		{name: "status as json", daemon: &daemontest.Fake{}, args: "oauth status --json", out: "[]\n"},
		{name: "status of none", args: "oauth status", out: "No connection has an oauth2: block.\n"},
		{name: "login with a code", daemon: prompting(mail.Prompt{Address: "https://login.example.com", Code: "ABCD", Expires: at}, nil), args: "oauth login a", golden: true},
		{name: "login on this machine", daemon: prompting(mail.Prompt{Address: "https://login.example.com", Redirect: "http://127.0.0.1:4711/"}, nil), args: "oauth login --json a", golden: true},
		{name: "login refused", daemon: prompting(mail.Prompt{Address: "https://login.example.com"}, errors.New("access_denied")), args: "oauth login a", code: 1, golden: true},
	})
}
