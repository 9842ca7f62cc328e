package admin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mailpoller/internal/admin"
	"mailpoller/internal/api"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

// ask makes a request of h as a client on this machine makes it, unless edit
// says otherwise.
func ask(t *testing.T, h http.Handler, method, target string, edit func(*http.Request)) (status int, body string) {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	r.Host = "127.0.0.1:9469"
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(text)
}

func TestWhatIsServedDependsOnTheListener(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		request                string
		public, local, control int
	}{
		{"GET /metrics", 200, 200, 200},
		{"HEAD /metrics", 200, 200, 200},
		{"GET /-/healthy", 200, 200, 200},
		{"GET /-/ready", 200, 200, 200},
		{"POST /-/reload", 403, 200, 200},
		{"GET /api/v1/status", 403, 200, 200},
		{"GET /api/v1/connections", 403, 200, 200},
		{"GET /api/v1/jobs", 403, 200, 200},
		{"POST /api/v1/poll?connection=a", 403, 403, 200},
		{"POST /api/v1/test?connection=a", 403, 403, 200},
		{"GET /api/v1/certificates", 403, 200, 200},
		{"POST /api/v1/certificates/trust?fingerprint=ab", 403, 403, 200},
		{"POST /api/v1/certificates/revoke?fingerprint=ab", 403, 403, 200},
		{"POST /api/v1/certificates/remove?fingerprint=ab", 403, 403, 200},
		{"GET /api/v1/oauth", 403, 200, 200},
		{"POST /api/v1/oauth/login?connection=a", 403, 403, 200},
		{"POST /api/v1/retry?connection=a", 403, 403, 200},
		{"POST /api/v1/forget?connection=a", 403, 403, 200},
		{"GET /-/reload", 405, 405, 405},
		{"GET /api/v1/forget?connection=a", 405, 405, 405},
		{"POST /metrics", 405, 405, 405},
		{"GET /", 404, 404, 404},
		{"GET /api/v2/jobs", 404, 404, 404},
	} {
		for access, want := range map[admin.Access]int{admin.Public: row.public, admin.Local: row.local, admin.Control: row.control} {
			method, target, _ := strings.Cut(row.request, " ")
			h := handler(&daemontest.Fake{}, access, nil)
			if got, body := ask(t, h, method, target, nil); got != want {
				t.Errorf("%s with access %d: status %d, want %d: %s", row.request, access, got, want, body)
			}
		}
	}
}

func TestProfilesAreForThisMachine(t *testing.T) {
	t.Parallel()
	h := admin.Profiles(handler(&daemontest.Fake{}, admin.Local, nil))
	for request, want := range map[string]int{
		"GET /debug/pprof/":              200,
		"GET /debug/pprof/heap":          200,
		"GET /debug/pprof/goroutine":     200,
		"GET /debug/pprof/nosuch":        404,
		"POST /debug/pprof/profile":      404,
		"GET /metrics":                   200,
		"POST /api/v1/poll?connection=a": 403,
	} {
		method, target, _ := strings.Cut(request, " ")
		if status, body := ask(t, h, method, target, nil); status != want {
			t.Errorf("%s: %d, %.100s", request, status, body)
		}
	}
	foreign := func(r *http.Request) { r.Header.Set("Origin", "https://example.com") }
	if status, _ := ask(t, h, "GET", "/debug/pprof/heap", foreign); status != http.StatusForbidden {
		t.Errorf("a web page gets a profile: %d", status)
	}
	if status, _ := ask(t, handler(&daemontest.Fake{}, admin.Control, nil), "GET", "/debug/pprof/", nil); status != http.StatusNotFound {
		t.Errorf("profiles are served unasked: %d", status)
	}
}

func TestAccessFollowsWhereTheListenerIsBound(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]admin.Access{
		"127.0.0.1":        admin.Local,
		"127.8.8.8":        admin.Local,
		"::1":              admin.Local,
		"::ffff:127.0.0.1": admin.Local,
		"0.0.0.0":          admin.Public,
		"::":               admin.Public,
		"10.0.0.1":         admin.Public,
	} {
		if got := admin.AccessOf(&net.TCPAddr{IP: net.ParseIP(address), Port: 9469}); got != want {
			t.Errorf("%s: access %d, want %d", address, got, want)
		}
	}
	if got := admin.AccessOf(&net.UnixAddr{Name: "/run/x", Net: "unix"}); got != admin.Local {
		t.Errorf("unix socket: access %d, want %d", got, admin.Local)
	}
}

func TestAWebPageCannotReachTheDaemon(t *testing.T) {
	t.Parallel()
	const api, reload, health = "GET /api/v1/jobs", "POST /-/reload", "GET /-/healthy"
	for _, row := range []struct {
		request, host, origin string
		want                  int
	}{
		{reload, "127.0.0.1:9469", "", 200},
		{reload, "127.0.0.1", "", 200},
		{reload, "localhost:9469", "", 200},
		{reload, "LOCALHOST", "", 200},
		{reload, "[::1]:9469", "", 200},
		{reload, "[::1]", "", 200},
		{reload, "127.0.0.1:9469", "https://evil.example", 403},
		{reload, "127.0.0.1:9469", "null", 403},
		{reload, "evil.example:9469", "", 403},
		{reload, "127.0.0.1.evil.example", "", 403},
		{reload, "localhost.evil.example", "", 403},
		{reload, "", "", 403},
		{api, "evil.example:9469", "", 403},
		{api, "127.0.0.1:9469", "https://evil.example", 403},
		{health, "poller.example.com", "", 200},
	} {
		method, target, _ := strings.Cut(row.request, " ")
		h := handler(&daemontest.Fake{}, admin.Local, nil)
		got, _ := ask(t, h, method, target, func(r *http.Request) {
			r.Host = row.host
			if row.origin != "" {
				r.Header.Set("Origin", row.origin)
			}
		})
		if got != row.want {
			t.Errorf("%s with Host %q and Origin %q: status %d, want %d", row.request, row.host, row.origin, got, row.want)
		}
	}
}

func TestProbesSayWhy(t *testing.T) {
	t.Parallel()
	broken := func(why string) func(context.Context) error {
		return func(context.Context) error { return errors.New(why) }
	}
	bad := &daemontest.Fake{OnHealth: broken("state store: disk full"), OnReady: broken("stopping"), OnReload: broken("poller.yaml:1:2: no")}
	for _, row := range []struct {
		daemon *daemontest.Fake
		target string
		status int
		body   string
	}{
		{&daemontest.Fake{}, "GET /-/healthy", 200, "healthy\n"},
		{&daemontest.Fake{}, "GET /-/ready", 200, "ready\n"},
		{&daemontest.Fake{}, "POST /-/reload", 200, "reloaded\n"},
		{bad, "GET /-/healthy", 503, "not healthy: state store: disk full\n"},
		{bad, "GET /-/ready", 503, "not ready: stopping\n"},
		{bad, "POST /-/reload", 500, "poller.yaml:1:2: no\n"},
	} {
		method, target, _ := strings.Cut(row.target, " ")
		status, body := ask(t, handler(row.daemon, admin.Local, nil), method, target, nil)
		if status != row.status || body != row.body {
			t.Errorf("%s: %d %q, want %d %q", row.target, status, body, row.status, row.body)
		}
	}
}

func TestAHealthCheckIsBounded(t *testing.T) {
	t.Parallel()
	d := &daemontest.Fake{OnHealth: func(ctx context.Context) error {
		if _, ok := ctx.Deadline(); !ok {
			return errors.New("no deadline")
		}
		return nil
	}}
	if status, body := ask(t, handler(d, admin.Public, nil), "GET", "/-/healthy", nil); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

func TestJobsAreFiltered(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		query  string
		status int
		filter api.JobFilter
		body   string // a part of it
	}{
		{"", 200, api.JobFilter{Limit: 100}, `"connection":"a/b"`},
		{"?connection=a%2Fb&state=failed&limit=7", 200, api.JobFilter{Connection: "a/b", State: mail.Failed, Limit: 7}, `"kind":"auth"`},
		{"?limit=10000", 200, api.JobFilter{Limit: 10000}, ""},
		{"?limit=10001", 400, api.JobFilter{}, `limit \"10001\" is not a number from 1 to 10000`},
		{"?limit=0", 400, api.JobFilter{}, "limit"},
		{"?limit=many", 400, api.JobFilter{}, "limit"},
		{"?state=done", 400, api.JobFilter{}, `state \"done\" is not one of PENDING, RUNNING, RETRYING, SUCCEEDED, FAILED`},
	} {
		var got api.JobFilter
		d := &daemontest.Fake{OnJobs: func(f api.JobFilter) ([]mail.Result, error) {
			got = f
			return []mail.Result{{Connection: "a/b", Err: mail.Errorf(mail.OpAuthenticate, mail.KindAuth, "no")}}, nil
		}}
		status, body := ask(t, handler(d, admin.Local, nil), "GET", "/api/v1/jobs"+row.query, nil)
		if status != row.status || !strings.Contains(body, row.body) {
			t.Errorf("%q: %d %s, want %d and %q", row.query, status, body, row.status, row.body)
		}
		if diff := cmp.Diff(row.filter, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", row.query, diff)
		}
	}
}

func TestAListWithNothingInItIsNotNull(t *testing.T) {
	t.Parallel()
	h := handler(&daemontest.Fake{}, admin.Local, nil)
	for _, target := range []string{"/api/v1/connections", "/api/v1/jobs"} {
		if _, body := ask(t, h, "GET", target, nil); body != "[]\n" {
			t.Errorf("%s: %q", target, body)
		}
	}
}

func TestNoRequestTakesABody(t *testing.T) {
	t.Parallel()
	h := handler(&daemontest.Fake{}, admin.Control, nil)
	for _, length := range []int64{1, -1} {
		status, _ := ask(t, h, "POST", "/-/reload", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("x")), length
		})
		if status != http.StatusRequestEntityTooLarge {
			t.Errorf("Content-Length %d: status %d", length, status)
		}
	}
}

func TestAPollRefusesWhatIsNoFlag(t *testing.T) {
	t.Parallel()
	polled := false
	d := &daemontest.Fake{OnPoll: func(context.Context, string, bool) (mail.Result, error) {
		polled = true
		return mail.Result{}, nil
	}}
	status, body := ask(t, handler(d, admin.Control, nil), "POST", "/api/v1/poll?connection=a&dry_run=perhaps", nil)
	if status != 400 || polled {
		t.Errorf("%d %s, polled: %t", status, body, polled)
	}
}
