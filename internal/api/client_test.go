package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

func TestTheClientIsTheDaemonSeenFromElsewhere(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	last := api.View(failedResult())
	d := &daemontest.Fake{
		State:     api.Status{Version: "v1", Started: time.Unix(1e9, 0).UTC(), ReloadError: "no"},
		Connected: []api.ConnectionView{{Name: "a/b", State: api.Running, Last: &last, Quarantined: []api.MessageView{{ID: "7"}}, Oversized: []api.MessageView{}}},
		OnJobs: func(f api.JobFilter) ([]mail.Result, error) {
			if diff := cmp.Diff(api.JobFilter{Connection: "ü &=?#", State: mail.Failed, Limit: 3}, f); diff != "" {
				return nil, errors.New(diff)
			}
			return []mail.Result{failedResult(), savedResult()}, nil
		},
		Presented: []api.CertificateView{{Host: "h", Port: 993, Reason: "unknown", Chain: []api.CertificateFacts{}}},
		OnReview: func(verb, fingerprint, server string) (api.TrustView, error) {
			if verb == "remove" {
				return api.TrustView{}, mail.Errorf("certificates", mail.KindConfig, "it is trusted")
			}
			return api.TrustView{Fingerprint: fingerprint, Server: server, Subject: verb}, nil
		},
		Granted:  []api.GrantView{{Connection: "a", Provider: mail.Google, Grant: mail.GrantRefreshToken, Refresh: "stored", Expires: time.Unix(1e9, 0).UTC()}},
		OnRetry:  func(string) (int, error) { return 3, nil },
		OnForget: func(string) (int, error) { return 5, nil },
		OnHealth: func(context.Context) error { return errors.New("store") },
	}
	client := control(t, d)

	status, err := client.Status(ctx)
	equal(t, "Status", d.State, status, err)
	connections, err := client.Connections(ctx)
	equal(t, "Connections", d.Connected, connections, err)
	jobs, err := client.Jobs(ctx, api.JobFilter{Connection: "ü &=?#", State: mail.Failed, Limit: 3})
	equal(t, "Jobs", []mail.Result{failedResult(), savedResult()}, jobs, err)
	certificates, err := client.Certificates(ctx)
	equal(t, "Certificates", d.Presented, certificates, err)
	judged, err := client.Trust(ctx, "ab:cd", "h:993")
	equal(t, "Trust", api.TrustView{Fingerprint: "ab:cd", Server: "h:993", Subject: "trust"}, judged, err)
	judged, err = client.Revoke(ctx, "abcd", "")
	equal(t, "Revoke", api.TrustView{Fingerprint: "abcd", Subject: "revoke"}, judged, err)
	_, err = client.Remove(ctx, "abcd", "")
	equal(t, "Remove", "certificates: it is trusted", fmt.Sprint(err), nil)
	grants, err := client.Grants(ctx)
	equal(t, "Grants", d.Granted, grants, err)
	n, err := client.Retry(ctx, "a")
	equal(t, "Retry", 3, n, err)
	n, err = client.Forget(ctx, "a")
	equal(t, "Forget", 5, n, err)
	equal(t, "Ready", nil, client.Ready(ctx), nil)
	equal(t, "Health", "not healthy: store", fmt.Sprint(client.Health(ctx)), nil)
}

// TestAReloadIsAnsweredWithAllThereIsToSay: the warnings of a file that is in
// force, or every problem of one that is not, as many as a file may have.
func TestAReloadIsAnsweredWithAllThereIsToSay(t *testing.T) {
	t.Parallel()
	d := &daemontest.Fake{Warnings: []string{"f:1:2: warning: odd", "f: warning: listen: a change takes a restart"}}
	client := control(t, d)
	warnings, err := client.Reload(t.Context())
	equal(t, "Reload", d.Warnings, warnings, err)

	problem := "/etc/poller/poller.yaml:1:2: " + strings.Repeat("é", 200)
	problems := strings.TrimSuffix(strings.Repeat(problem+"\n", 1001), "\n")
	d.OnReload = func(context.Context) error { return fmt.Errorf("%s%w", problems, silent{api.ErrConfiguration}) }
	if _, err := client.Reload(t.Context()); !errors.Is(err, api.ErrConfiguration) || err.Error() != problems {
		t.Errorf("%.300v", err)
	}
	d.OnReload = func(context.Context) error { return errors.New("stopping") }
	if _, err := client.Reload(t.Context()); err == nil || errors.Is(err, api.ErrConfiguration) || err.Error() != "stopping" {
		t.Errorf("%v", err)
	}
}

// silent is an error without a text.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

func TestALoginIsFollowedAsItHappens(t *testing.T) {
	t.Parallel()
	want := mail.Prompt{Address: "https://login.example.com/?a=b&c", Code: "ABCD", Redirect: "http://127.0.0.1:1/", Expires: time.Unix(1e9, 0).UTC()}
	consented := make(chan struct{})
	client := control(t, &daemontest.Fake{OnLogin: func(ctx context.Context, name string) (api.GrantView, error) {
		mail.TraceOf(ctx).Prompt(want)
		select {
		case <-consented:
			return api.GrantView{Connection: name, Refresh: "stored"}, nil
		case <-ctx.Done():
			return api.GrantView{}, context.Cause(ctx)
		}
	}})
	ctx := mail.WithTrace(t.Context(), &mail.Trace{Prompt: func(got mail.Prompt) { // before there is an answer
		equal(t, "prompt", want, got, nil)
		close(consented)
	}})
	view, err := client.Login(ctx, "a b")
	equal(t, "Login", api.GrantView{Connection: "a b", Refresh: "stored"}, view, err)
}

func TestAConnectionTestIsFollowedAsItHappens(t *testing.T) {
	t.Parallel()
	steps := []mail.Step{
		{Name: mail.OpResolve, Duration: time.Millisecond, Detail: "127.0.0.1"},
		{Name: mail.OpConnect, Err: mail.Errorf(mail.OpConnect, mail.KindNetwork, "refused")},
	}
	heard := make(chan string, len(steps))
	client := control(t, &daemontest.Fake{OnTest: func(ctx context.Context, name string) (mail.Test, error) {
		if name == "nosuch" {
			return mail.Test{}, api.ErrUnknown
		}
		mail.TraceOf(ctx).Step(steps[0])
		if first := <-heard; first != mail.OpResolve { // it was told while the test goes on
			return mail.Test{}, errors.New(first)
		}
		mail.TraceOf(ctx).Step(steps[1])
		return mail.Test{Connection: name, Steps: steps}, nil
	}})
	ctx := mail.WithTrace(t.Context(), &mail.Trace{Step: func(s mail.Step) { heard <- s.Name }})
	got, err := client.Test(ctx, "a/b")
	if err != nil || got.Connection != "a/b" || got.OK() || len(got.Steps) != 2 || got.Steps[1].Err.Error() != "connect: refused" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := client.Test(ctx, "nosuch"); !errors.Is(err, api.ErrUnknown) {
		t.Errorf("an unknown connection: %v", err)
	}
}

func equal(t *testing.T, what string, want, got any, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if diff := cmp.Diff(want, got, sameResult()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestAnyConnectionNameReachesTheDaemonAsItIs(t *testing.T) {
	t.Parallel()
	var got string
	client := control(t, &daemontest.Fake{OnForget: func(name string) (int, error) {
		got = name
		return 1, nil
	}})
	for _, name := range []string{
		"a/b", "..", ".", "../..", "/", "//a//", "a%2Fb", "%", "?", "a?b#c&d=e;f", "{name}", "+", "é/世界",
		"a\\b", "x:y@z", "poll", strings.Repeat("世", 128),
	} {
		got = ""
		if _, err := client.Forget(t.Context(), name); err != nil || got != name {
			t.Errorf("%q arrived as %q: %v", name, got, err)
		}
	}
}

func TestErrorsKeepTheirIdentity(t *testing.T) {
	t.Parallel()
	storage := mail.Errorf(mail.OpRecord, mail.KindState, "disk full")
	storage.Hint = "make room"
	for _, row := range []struct {
		err  error
		is   error
		hint string
	}{
		{api.ErrUnknown, api.ErrUnknown, ""},
		{fmt.Errorf("poll a: %w", api.ErrBusy), api.ErrBusy, ""},
		{fmt.Errorf("poll a: %w", api.ErrDisabled), api.ErrDisabled, ""},
		{&mail.Error{Op: mail.OpPoll, Kind: mail.KindConfig, Err: api.ErrUnknown, Hint: "see check"}, api.ErrUnknown, "see check"},
		{storage, nil, "make room"},
		{errors.New("anything else"), nil, ""},
	} {
		client := control(t, &daemontest.Fake{
			OnRetry: func(string) (int, error) { return 0, row.err },
			OnPoll: func(ctx context.Context, _ string, late bool) (mail.Result, error) {
				if late {
					mail.TraceOf(ctx).Step(mail.Step{Name: mail.OpResolve})
				}
				return mail.Result{}, row.err
			},
		})
		_, retried := client.Retry(t.Context(), "a")
		_, polled := client.Poll(t.Context(), "a", false)
		_, polledLate := client.Poll(t.Context(), "a", true)
		for _, got := range []error{retried, polled, polledLate} {
			if got == nil || got.Error() != row.err.Error() || row.is != nil && !errors.Is(got, row.is) {
				t.Errorf("%v arrived as %v", row.err, got)
			}
			if e, ok := errors.AsType[*mail.Error](got); (row.hint != "") != ok || ok && e.Hint != row.hint {
				t.Errorf("%v arrived as %#v", row.err, got)
			}
		}
	}
}

func TestAPollIsFollowedAsItHappens(t *testing.T) {
	t.Parallel()
	// The poll goes on only when the client has heard of the step before.
	heard := make(chan struct{})
	d := &daemontest.Fake{OnPoll: func(ctx context.Context, name string, dryRun bool) (mail.Result, error) {
		trace := mail.TraceOf(ctx)
		trace.Step(mail.Step{Name: mail.OpConnect, Duration: time.Millisecond, Detail: "192.0.2.1"})
		<-heard
		trace.Job(mail.Result{Connection: name, State: mail.Retrying, Attempts: 1})
		trace.Step(mail.Step{Name: mail.OpTLS, Err: mail.Errorf(mail.OpTLS, mail.KindTLS, "not trusted")})
		trace.Progress(mail.Ref{UID: 7}, 10, 10)
		trace.Saved(mail.Ref{UIDL: "x"}, "/in/x.eml", 10)
		return mail.Result{Connection: name, State: mail.Succeeded, Outcome: mail.OutcomeSaved, Files: []string{fmt.Sprint(dryRun)}}, nil
	}}
	client := control(t, d)

	var events []string
	note := func(format string, args ...any) { events = append(events, fmt.Sprintf(format, args...)) }
	result, err := client.Poll(mail.WithTrace(t.Context(), &mail.Trace{
		Step: func(s mail.Step) {
			note("step %s %s %s %v", s.Name, s.Duration, s.Detail, s.Err)
			if s.Name == mail.OpConnect {
				close(heard)
			}
		},
		Job:      func(r mail.Result) { note("job %s %d", r.State, r.Attempts) },
		Progress: func(ref mail.Ref, done, size int64) { note("progress %s %d/%d", ref.ID(), done, size) },
		Saved:    func(ref mail.Ref, path string, n int64) { note("saved %s %s %d", ref.ID(), path, n) },
	}), "c", true)
	equal(t, "events", []string{
		"step connect 1ms 192.0.2.1 <nil>",
		"job RETRYING 1",
		"step tls 0s  tls: not trusted",
		"progress 7 10/10",
		"saved x /in/x.eml 10",
	}, events, nil)
	equal(t, "result", mail.Result{
		Connection: "c", State: mail.Succeeded, Outcome: mail.OutcomeSaved, Files: []string{"true"},
	}, result, err)

	if _, err := client.Poll(t.Context(), "c", false); err != nil {
		t.Errorf("without a trace: %v", err)
	}
}

func TestAPollEndsWhenItsClientGoesAway(t *testing.T) {
	t.Parallel()
	started, ended := make(chan struct{}), make(chan error, 1)
	client := control(t, &daemontest.Fake{OnPoll: func(ctx context.Context, _ string, _ bool) (mail.Result, error) {
		close(started)
		<-ctx.Done()
		ended <- ctx.Err()
		return mail.Result{}, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	if _, err := client.Poll(ctx, "a", false); !errors.Is(err, context.Canceled) {
		t.Errorf("the client's error is %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the poll's context ended with %v", err)
	}
}

func TestADaemonThatDiesInAPollIsNotTakenForAResult(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"step":{"name":"connect"}}`+"\n")
	}))
	server.Listener = ln
	server.Start()
	defer server.Close()
	_, err = api.NewClient(path).Poll(t.Context(), "a", false)
	if e, ok := errors.AsType[*mail.Error](err); !ok || e.Op != mail.OpPoll || e.Hint == "" {
		t.Errorf("Poll = %v, want an error with a hint", err)
	}
}

func TestWithoutADaemonTheClientSaysSo(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	client := api.NewClient(path)
	if err := client.Ready(t.Context()); !errors.Is(err, api.ErrNoDaemon) {
		t.Errorf("no socket: %v", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Poll(t.Context(), "a", false); !errors.Is(err, api.ErrNoDaemon) {
		t.Errorf("a socket that nobody listens on: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Forget(t.Context(), "a"); !errors.Is(err, api.ErrNoDaemon) {
		t.Errorf("a file that is no socket: %v", err)
	}
}
