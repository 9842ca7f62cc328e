package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestAJobTellsItsStory: each job that failed keeps its own log, which holds no
// secret, and shows it by command and over the API.
func TestAJobTellsItsStory(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	u := d.NewUser(t)
	d.Deliver(t, u, rig.Numbered(1)...)
	good := rig.Connect(t, d, "good", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{"schedule": "@every 1h"})
	bad := good.With(rig.Settings{"name": "bad", "password": "canary-wrong", "max_retries": 1, "retry_interval": 1})
	s := rig.New(t)
	s.Top = rig.Settings{"api_tokens": []any{rig.Settings{"name": "monitoring", "secret": "canary-read"}, rig.Settings{"name": "all", "role": "ADMIN", "secret": "canary-admin"}}}
	s.Configure(good, bad)
	daemon := s.Start().Ready()
	views := s.Poll("good", "bad")
	if views[0].State != "SUCCEEDED" || views[1].State != "FAILED" {
		t.Fatalf("%+v", views)
	}
	var jobs []struct{ Job, Connection, State string }
	out, errs, code := s.Run("jobs", "--json")
	if err := json.Unmarshal([]byte(out), &jobs); err != nil || code != 0 || len(jobs) < 2 || strings.Contains(out, `"log"`) {
		t.Fatalf("%v: %s%s", err, out, errs)
	}
	for _, j := range jobs {
		shown, errs, code := s.Run("jobs", "show", strings.ToLower(j.Job[:8]))
		if code != 0 || !strings.Contains(shown, j.Job) {
			t.Errorf("%s: %d %s%s", j.Job, code, shown, errs)
		}
		for _, says := range []string{"STEP resolve", "STEP tls", "attempt failed, trying again", "AUTHENTICATIONFAILED", "ERROR authenticate"} {
			if strings.Contains(shown, says) != (j.State == "FAILED") {
				t.Errorf("the story of a job that %s: %q in %s", j.State, says, shown)
			}
		}
		if strings.Contains(shown, "canary") {
			t.Errorf("a secret: %s", shown)
		}
	}
	for _, args := range [][]string{{"jobs", "show", "NOSUCHJOB"}, {"jobs", "--connection", "nosuch"}} {
		if out, errs, code := s.Run(args...); code != 1 || !strings.Contains(errs, "no ") {
			t.Errorf("%q: %d %s%s", args, code, out, errs)
		}
	}

	request := func(method, path, token string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, daemon.Listen+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	for _, row := range []struct {
		method, path, token string
		want                int
	}{
		{"GET", "/api/v1/version", "", 200},
		{"GET", "/api/v1/jobs?state=FAILED", "canary-read", 200},
		{"GET", "/api/v1/jobs/NOSUCHJOB", "canary-read", 404},
		{"GET", "/api/v1/connections", "canary-other", 401},
		{"POST", "/api/v1/poll?connection=good", "", 401},
		{"POST", "/api/v1/poll?connection=good", "canary-read", 403},
		{"POST", "/api/v1/poll?connection=good", "canary-admin", 200},
	} {
		if status, body := request(row.method, row.path, row.token); status != row.want || strings.Contains(body, "canary-") {
			t.Errorf("%s %s with %q: %d, not %d: %s", row.method, row.path, row.token, status, row.want, body)
		}
	}
	if code := daemon.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
