package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mailpoller/internal/admin"
	"mailpoller/internal/api"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

// audited is a handler as the daemon has it, and the lines of its audit log.
func audited(f *daemontest.Fake, access admin.Access) (http.Handler, func() []string) {
	core, logs := observer.New(zap.InfoLevel)
	authorize := func(_ context.Context, token string) (api.Identity, bool) {
		return api.Identity{Name: "token deploy", Role: api.RoleAdmin}, token == "canary"
	}
	return admin.Handler(admin.Audit(f.Daemon(), zap.New(core)), metrics(), access, authorize), func() []string {
		var lines []string
		for _, e := range logs.TakeAll() {
			line := e.Level.String() + " " + e.Message
			for _, f := range e.Context {
				line += fmt.Sprintf(" %s=%s", f.Key, value(f))
			}
			lines = append(lines, line)
		}
		return lines
	}
}

func value(f zap.Field) string {
	if f.String != "" {
		return f.String
	}
	return fmt.Sprint(f.Integer)
}

// TestEachChangeIsLoggedOnceWithWhoMadeIt: and what only looks is not.
func TestEachChangeIsLoggedOnceWithWhoMadeIt(t *testing.T) {
	t.Parallel()
	works := &daemontest.Fake{
		OnPoll:   func(context.Context, string, bool) (mail.Result, error) { return mail.Result{Job: "01J"}, nil },
		OnRetry:  func(string) (int, error) { return 2, nil },
		OnForget: func(string) (int, error) { return 3, nil },
		OnReview: func(_, fingerprint, _ string) (api.TrustView, error) {
			return api.TrustView{Fingerprint: fingerprint + "cd", Server: "h:993", Subject: "CN=h"}, nil
		},
	}
	broken := errors.New("disk full")
	fails := &daemontest.Fake{
		OnPoll: func(context.Context, string, bool) (mail.Result, error) {
			return mail.Result{Job: "01J", Err: mail.Errorf(mail.OpConnect, mail.KindNetwork, "refused")}, nil
		},
		OnReload: func(context.Context) error { return errors.New(strings.Repeat("é", 4096)) },
		OnRetry:  func(string) (int, error) { return 0, api.ErrUnknown },
		OnForget: func(string) (int, error) { return 0, api.ErrBusy },
		OnReview: func(string, string, string) (api.TrustView, error) { return api.TrustView{}, broken },
		OnLogin:  func(context.Context, string) (api.GrantView, error) { return api.GrantView{}, broken },
	}
	const who, warned = "info audit who=token deploy role=ADMIN what=", "warn audit who=token deploy role=ADMIN what="
	for _, row := range []struct {
		daemon *daemontest.Fake
		ask    string
		want   string // the one line; empty for none
	}{
		{works, "POST /-/reload", who + "reload outcome=done"},
		{works, "POST /api/v1/reload", who + "reload outcome=done"},
		{works, "POST /api/v1/poll?connection=a/b", who + "poll connection=a/b job=01J outcome=done"},
		{works, "POST /api/v1/retry?connection=a", who + "retry connection=a messages=2 outcome=done"},
		{works, "POST /api/v1/forget?connection=a", who + "forget connection=a messages=3 outcome=done"},
		{works, "POST /api/v1/certificates/trust?fingerprint=ab", warned + "trust fingerprint=abcd server=h:993 subject=CN=h outcome=done"},
		{works, "POST /api/v1/certificates/revoke?fingerprint=ab", warned + "revoke fingerprint=abcd server=h:993 subject=CN=h outcome=done"},
		{works, "POST /api/v1/certificates/remove?fingerprint=ab", warned + "remove fingerprint=abcd server=h:993 subject=CN=h outcome=done"},
		{works, "POST /api/v1/oauth/login?connection=a", who + "login connection=a outcome=done"},

		{fails, "POST /api/v1/reload", who + "reload outcome=failed error=" + strings.Repeat("é", 512) + " ..."},
		{fails, "POST /api/v1/poll?connection=a", who + "poll connection=a job=01J outcome=failed error=connect: refused"},
		{fails, "POST /api/v1/retry?connection=a", who + "retry connection=a messages=0 outcome=failed error=" + api.ErrUnknown.Error()},
		{fails, "POST /api/v1/forget?connection=a", who + "forget connection=a messages=0 outcome=failed error=" + api.ErrBusy.Error()},
		{fails, "POST /api/v1/certificates/trust?fingerprint=ab&server=h:1", warned + "trust fingerprint=ab server=h:1 outcome=failed error=disk full"},
		{fails, "POST /api/v1/oauth/login?connection=a", who + "login connection=a outcome=failed error=disk full"},

		{works, "POST /api/v1/poll?connection=a&dry_run=true", ""},
		{works, "POST /api/v1/test?connection=a", ""},
		{works, "GET /api/v1/status", ""},
		{works, "GET /api/v1/connections", ""},
		{works, "GET /api/v1/jobs", ""},
		{works, "GET /api/v1/certificates", ""},
		{works, "GET /api/v1/oauth", ""},
	} {
		h, lines := audited(row.daemon, admin.Public)
		method, target, _ := strings.Cut(row.ask, " ")
		ask(t, h, method, target, func(r *http.Request) { r.Header.Set("Authorization", "Bearer canary") })
		var want []string
		if row.want != "" {
			want = []string{row.want}
		}
		if diff := cmp.Diff(want, lines()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", row.ask, diff)
		}
	}
}

// TestARefusedRequestChangesNothingAndLeavesNoLine: the daemon never hears of it.
func TestARefusedRequestChangesNothingAndLeavesNoLine(t *testing.T) {
	t.Parallel()
	h, lines := audited(&daemontest.Fake{OnForget: func(string) (int, error) {
		t.Error("forgot")
		return 0, nil
	}}, admin.Local)
	for _, token := range []string{"", "Bearer other"} {
		ask(t, h, "POST", "/api/v1/forget?connection=a", func(r *http.Request) {
			if token != "" {
				r.Header.Set("Authorization", token)
			}
		})
	}
	if got := lines(); len(got) > 0 {
		t.Errorf("logged: %q", got)
	}
}

// TestTheDaemonLearnsWhoIsAsking: by the token, by the user of a Unix socket as the
// kernel knows it, or by the address.
func TestTheDaemonLearnsWhoIsAsking(t *testing.T) {
	t.Parallel()
	var got api.Identity
	f := &daemontest.Fake{OnReload: func(ctx context.Context) error {
		got = api.IdentityOf(ctx)
		return nil
	}}
	authorize := func(_ context.Context, token string) (api.Identity, bool) {
		return api.Identity{Name: "token " + token, Role: api.RoleRead}, true
	}
	for _, row := range []struct {
		access admin.Access
		token  string
		want   api.Identity
	}{
		{admin.Local, "", api.Identity{Name: "192.0.2.1:1234", Role: api.RoleRead}},
		{admin.Local, "reads", api.Identity{Name: "token reads", Role: api.RoleRead}},
		{admin.Control, "", api.Identity{Name: "192.0.2.1:1234", Role: api.RoleAdmin}},
		// A token adds to what the listener gives, and takes nothing away.
		{admin.Control, "reads", api.Identity{Name: "token reads", Role: api.RoleAdmin}},
	} {
		got = api.Identity{}
		ask(t, handler(f, row.access, authorize), "POST", "/-/reload", func(r *http.Request) {
			if row.token != "" {
				r.Header.Set("Authorization", "Bearer "+row.token)
			}
		})
		if got != row.want {
			t.Errorf("access %d with token %q: %+v, want %+v", row.access, row.token, got, row.want)
		}
	}

	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	client, _ := control(t, f)
	if _, err := client.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := (api.Identity{Name: fmt.Sprintf("user %s (uid %d)", me.Username, os.Getuid()), Role: api.RoleAdmin}); got != want {
		t.Errorf("over the control socket: %+v, want %+v", got, want)
	}
}
