package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/admin"
	"mailpoller/internal/api"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest/daemontest"
)

// document is docs/api.yaml as JSON knows it.
func document(t *testing.T) map[string]any {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := yaml.Load(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// validator judges values by the schemas of the document.
type validator struct {
	t        *testing.T
	compiler *jsonschema.Compiler
}

func newValidator(t *testing.T) validator {
	t.Helper()
	text, err := json.Marshal(document(t))
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("api.json", value); err != nil {
		t.Fatal(err)
	}
	return validator{t, c}
}

// check judges one JSON value by the schema at a place in the document.
func (v validator) check(place string, value []byte) {
	v.t.Helper()
	schema, err := v.compiler.Compile("api.json#" + place)
	if err != nil {
		v.t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(value))
	if err == nil {
		err = schema.Validate(instance)
	}
	if err != nil {
		v.t.Errorf("%s: %v\n%s", place, err, value)
	}
}

// busy is a daemon with an answer of every kind.
func busy(t *testing.T) *daemontest.Fake {
	t.Helper()
	at := time.Date(2026, 1, 31, 8, 30, 0, 0, time.UTC)
	failed := &mail.Error{Op: mail.OpConnect, Kind: mail.KindNetwork, Err: errors.New("down"), Hint: "look at it"}
	result := mail.Result{
		Job: "ABC", Connection: "a", State: mail.Failed, Outcome: mail.OutcomeFailed, Started: at, Duration: time.Second, Attempts: 2, RetryAt: at, Messages: 1, Bytes: 3,
		Files: []string{"/srv/a"}, Notified: 1, Unheard: 1, HookError: "exit status 1", Warnings: []string{"w"}, Err: failed, Log: []string{"a line"},
	}
	last := api.View(result)
	return &daemontest.Fake{
		State:     api.Status{Version: "v1", Commit: "abc", Go: "go1", Started: at, Config: "/etc/poller/poller.yaml", Loaded: at},
		Connected: []api.ConnectionView{{Name: "a/b", Enabled: true, State: api.Idle, Last: &last, Next: at, Hooks: api.ViewHooks(mail.Hooks{Due: 2, Since: at, Error: "exit status 1"}), Quarantined: []api.MessageView{}, Oversized: []api.MessageView{{ID: "7", Reason: "too large"}}}},
		OnJobs: func(f api.JobFilter) ([]mail.Result, error) {
			if f.ID == "NONE" {
				return nil, nil
			}
			return []mail.Result{result}, nil
		},
		OnPoll: func(ctx context.Context, _ string, _ bool) (mail.Result, error) {
			trace := mail.TraceOf(ctx)
			trace.Step(mail.Step{Name: mail.OpConnect, Err: failed})
			trace.Job(result)
			trace.Saved(mail.Ref{UID: 7}, "/srv/a", 3)
			trace.Progress(mail.Ref{UIDL: "x"}, 1, 3)
			return result, nil
		},
		OnTest: func(context.Context, string) (mail.Test, error) {
			return mail.Test{Connection: "a", Steps: []mail.Step{{Name: mail.OpResolve, Detail: "127.0.0.1"}}}, nil
		},
		OnRetry:  func(string) (int, error) { return 0, api.ErrBusy },
		OnForget: func(string) (int, error) { return 3, nil },
		Presented: []api.CertificateView{{
			CertificateFacts: api.CertificateFacts{Fingerprint: strings.Repeat("0a", 32), Names: []string{}, NotBefore: at, NotAfter: at},
			Host:             "h", Port: 993, First: at, Last: at, Chain: []api.CertificateFacts{{Fingerprint: strings.Repeat("0a", 32), Names: []string{"h"}, NotBefore: at, NotAfter: at}},
		}},
		OnReview: func(_, fingerprint, _ string) (api.TrustView, error) {
			return api.TrustView{Fingerprint: fingerprint}, nil
		},
		Granted: []api.GrantView{{Connection: "a", Provider: "google", Grant: "refresh_token", Refresh: "stored", Expires: at, Error: &api.ErrorView{Message: "m"}, Failed: at}},
		OnLogin: func(ctx context.Context, _ string) (api.GrantView, error) {
			mail.TraceOf(ctx).Prompt(mail.Prompt{Address: "https://login.example.com", Code: "ABCD"})
			return api.GrantView{Connection: "a"}, nil
		},
	}
}

// TestTheDocumentIsThatOfTheAPI: docs/api.yaml has the paths and methods that are
// answered, no other ones, and each answer is what it says there.
func TestTheDocumentIsThatOfTheAPI(t *testing.T) {
	t.Parallel()
	v, d := newValidator(t), busy(t)
	h := handler(d, admin.Control, nil)
	described := make(map[string]bool)
	paths := document(t)["paths"].(map[string]any)
	for path, methods := range paths {
		for method := range methods.(map[string]any) {
			request := strings.ToUpper(method) + " " + path
			described[request] = true
			target := strings.NewReplacer("{id}", "ABC").Replace(path) + "?connection=a&fingerprint=" + strings.Repeat("0a", 32)
			status, body := ask(t, h, strings.ToUpper(method), target, nil)
			response := "200"
			if status != http.StatusOK {
				response = "default"
			}
			place := "/paths/" + strings.NewReplacer("/", "~1", "{", "%7B", "}", "%7D").Replace(path) + "/" + method + "/responses/" + response
			check(t, v, document(t), place, body)
		}
	}
	for _, request := range admin.Routes(d.Daemon()) {
		if strings.Contains(request, "/api/v1/") && !described[request] {
			t.Errorf("%s is not described", request)
		}
		delete(described, request)
	}
	for request := range described {
		t.Errorf("%s is described, and not answered", request)
	}
	for _, target := range []string{"/api/v1/jobs/NONE", "/api/v1/jobs?limit=0", "/api/v1/jobs?state=odd"} {
		status, body := ask(t, h, "GET", target, nil)
		if status == http.StatusOK {
			t.Errorf("%s: %s", target, body)
		}
		v.check("/components/schemas/Problem", []byte(body))
	}
}

// check judges the body of a response, by the schema that the document has for
// it: each line of a stream.
func check(t *testing.T, v validator, d map[string]any, place, body string) {
	t.Helper()
	var at any = d
	for _, name := range strings.Split(strings.NewReplacer("%7B", "{", "%7D", "}").Replace(place), "/")[1:] {
		at = at.(map[string]any)[strings.ReplaceAll(name, "~1", "/")]
	}
	name := strings.TrimPrefix(at.(map[string]any)["$ref"].(string), "#/components/responses/")
	response := d["components"].(map[string]any)["responses"].(map[string]any)[name].(map[string]any)
	for kind := range response["content"].(map[string]any) {
		schema := "/components/responses/" + name + "/content/" + strings.ReplaceAll(kind, "/", "~1") + "/schema"
		if kind == "application/json" {
			v.check(schema, []byte(body))
			continue
		}
		lines := strings.Split(strings.TrimSpace(body), "\n")
		for _, line := range lines {
			v.check(schema, []byte(line))
		}
	}
}

// TestTokens: one for reading looks, one for all does all, from everywhere; and
// whoever has none, or another, is told so.
func TestTokens(t *testing.T) {
	t.Parallel()
	authorize := func(_ context.Context, token string) (api.Identity, bool) {
		role, ok := map[string]api.Role{"reads": api.RoleRead, "rules": api.RoleAdmin}[token]
		return api.Identity{Name: "token " + token, Role: role}, ok
	}
	h := handler(busy(t), admin.Public, authorize)
	const look, reload, act = "GET /api/v1/jobs", "POST /api/v1/reload", "POST /api/v1/forget?connection=a"
	for _, row := range []struct {
		request, header string
		want            int
	}{
		{look, "", 401},
		{look, "Bearer reads", 200},
		{look, "Bearer rules", 200},
		{look, "Bearer other", 401},
		{look, "Bearer ", 401},
		{look, "Basic reads", 401},
		{reload, "", 401},
		{reload, "Bearer reads", 403},
		{reload, "Bearer rules", 200},
		{act, "Bearer reads", 403},
		{act, "Bearer rules", 200},
		{"GET /metrics", "", 200},
		{"GET /metrics", "Bearer other", 200},
	} {
		method, target, _ := strings.Cut(row.request, " ")
		status, body := ask(t, h, method, target, func(r *http.Request) {
			r.Host, r.RemoteAddr = "poller.example.com", "192.0.2.1:1"
			if row.header != "" {
				r.Header.Set("Authorization", row.header)
			}
		})
		if status != row.want {
			t.Errorf("%s with %q: %d, not %d: %s", row.request, row.header, status, row.want, body)
		}
		if status == 401 || status == 403 {
			newValidator(t).check("/components/schemas/Problem", []byte(body))
		}
	}
	// On this machine a token adds to what there is, and a wrong one is no way in.
	local := handler(busy(t), admin.Local, authorize)
	for header, want := range map[string]int{"": 401, "Bearer rules": 200, "Bearer other": 401} {
		status, body := ask(t, local, "POST", "/api/v1/forget?connection=a", func(r *http.Request) {
			if header != "" {
				r.Header.Set("Authorization", header)
			}
		})
		if status != want {
			t.Errorf("on this machine with %q: %d, not %d: %s", header, status, want, body)
		}
	}
	if status, body := ask(t, local, "GET", "/api/v1/jobs", nil); status != 200 {
		t.Errorf("on this machine without a token: %d: %s", status, body)
	}
}
