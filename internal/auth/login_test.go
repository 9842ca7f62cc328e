package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

func decodeClaims(t *testing.T, assertion string) map[string]any {
	t.Helper()
	parts := strings.Split(assertion, ".")
	claims := make(map[string]any)
	if len(parts) == 3 {
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err == nil {
			err = json.Unmarshal(text, &claims)
		}
		if err == nil {
			return claims
		}
	}
	t.Fatalf("%q is no assertion", assertion)
	return nil
}

// prompted is ctx with a trace that passes on what a person is told.
func prompted(ctx context.Context) (context.Context, <-chan mail.Prompt) {
	prompts := make(chan mail.Prompt, 1)
	return mail.WithTrace(ctx, &mail.Trace{Prompt: func(p mail.Prompt) { prompts <- p }}), prompts
}

func TestLoginOnAnotherDevice(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, store := newTokens(t)
	c := connection("a", server.OAuth2("u", ""))
	var e *mail.Error
	if _, err := tokens.Token(t.Context(), c); !errors.As(err, &e) || e.Kind != mail.KindAuth || !strings.Contains(e.Hint, "poller oauth login a") {
		t.Errorf("before a login: %v, %+v", err, e)
	}
	ctx, prompts := prompted(t.Context())
	if err := tokens.Login(ctx, c); err != nil {
		t.Fatal(err)
	}
	if p := <-prompts; p.Address != server.URL+"/activate" || p.Code != "ABCD-EFGH" || time.Until(p.Expires) < time.Minute {
		t.Errorf("the person was told %+v", p)
	}
	if n := len(server.Asked()); n != 2 {
		t.Errorf("asked %d times whether the user has consented, want 2", n)
	}
	if store.kept != 1 {
		t.Errorf("stored %d times", store.kept)
	}
	if token(t, with(t, store), c).IsZero() {
		t.Error("no token after the login and a restart")
	}
	if s, err := tokens.State(t.Context(), c); err != nil || s.Refresh != "stored" {
		t.Errorf("the state is %+v, %v", s, err)
	}
}

func TestLoginInABrowser(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, _ := newTokens(t)
	o := server.OAuth2("user@example.com", "")
	o.DeviceURL, o.AuthURL = "", server.URL+"/authorize"
	c := connection("a", o)
	ctx, prompts := prompted(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tokens.Login(ctx, c) }()
	p := <-prompts
	get := func(address string) (int, string) {
		response, err := http.Get(address)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(text)
	}
	// Somebody else who finds the port.
	if status, _ := get(p.Redirect + "?" + url.Values{"code": {"stolen"}, "state": {"guessed"}}.Encode()); status != http.StatusBadRequest {
		t.Errorf("a code with another state was answered with %d", status)
	}
	if status, text := get(p.Address); status != http.StatusOK || !strings.Contains(text, "may read") {
		t.Errorf("the person sees %d %q", status, text)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(p.Address)
	if err != nil {
		t.Fatal(err)
	}
	query := address.Query()
	if query.Get("access_type") != "offline" || query.Get("login_hint") != "user@example.com" || query.Get("code_challenge_method") != "S256" {
		t.Errorf("the person is sent to %s", p.Address)
	}
	if token(t, tokens, c).IsZero() {
		t.Error("no token after the login")
	}
	if again, err := http.Get(p.Redirect); err == nil {
		again.Body.Close()
		t.Error("it still listens")
	}
}

func TestALoginThatComesToNothing(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*mail.OAuth2)
		device string
		answer string
		kind   mail.Kind
		text   string
	}{
		{"no person", func(o *mail.OAuth2) { o.Grant = mail.GrantClientCredentials }, "", "", mail.KindConfig, "has the grant client_credentials"},
		{"nowhere", func(o *mail.OAuth2) { o.DeviceURL = "" }, "", "", mail.KindConfig, "no endpoint"},
		{"denied", nil, `{"device_code":"device code","user_code":"u","verification_uri":"https://a","interval":1}`, `{"error":"access_denied"}`, mail.KindAuth, "access_denied"},
		{"expired", nil, `{"device_code":"device code","user_code":"u","verification_uri":"https://a","interval":1,"expires_in":1}`, `{"error":"authorization_pending"}`, mail.KindAuth, "nobody consented"},
		{"no code", nil, `{}`, "", mail.KindProtocol, "without a code"},
		{"null", nil, `null`, "", mail.KindInternal, "panic"},
		{"time runs backwards", nil, `{"device_code":"device code","user_code":"u","verification_uri":"https://a","interval":-1,"expires_in":1}`, `{"error":"access_denied"}`, mail.KindAuth, "nobody consented"},
		{"no refresh token", nil, `{"device_code":"device code","user_code":"u","verification_uri":"https://a","interval":1}`, `{"access_token":"t","token_type":"Bearer"}`, mail.KindConfig, "no refresh token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text := c.device
				w.Header().Set("Content-Type", "application/json")
				if r.URL.Path == "/token" {
					text = c.answer
					if strings.Contains(text, "error") {
						w.WriteHeader(http.StatusBadRequest)
					}
				}
				_, _ = io.WriteString(w, text)
			}))
			t.Cleanup(server.Close)
			tokens, store := newTokens(t)
			o := mailtest.StartAuthServer(t).OAuth2("u", "")
			o.TokenURL, o.DeviceURL = server.URL+"/token", server.URL+"/device"
			if c.change != nil {
				c.change(o)
			}
			var e *mail.Error
			if err := tokens.Login(t.Context(), connection("a", o)); !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, %+v; want %s, %q", err, e, c.kind, c.text)
			}
			if store.kept != 0 {
				t.Error("something was stored")
			}
		})
	}
}

func TestALoginIsGivenUp(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	for _, change := range []func(*mail.OAuth2){
		func(*mail.OAuth2) {},
		func(o *mail.OAuth2) { o.DeviceURL, o.AuthURL = "", server.URL+"/authorize" },
	} {
		tokens, _ := newTokens(t)
		o := server.OAuth2("u", "")
		change(o)
		ctx, cancel := context.WithCancel(t.Context())
		ctx = mail.WithTrace(ctx, &mail.Trace{Prompt: func(mail.Prompt) { cancel() }})
		var e *mail.Error
		if err := tokens.Login(ctx, connection("a", o)); !errors.As(err, &e) || e.Kind != mail.KindCanceled {
			t.Errorf("given up: %v", err)
		}
	}
}

// TestALoginSlowsDown: five seconds more between two questions (RFC 8628,
// section 3.5), on top of the one that this server asks for.
func TestALoginSlowsDown(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	var asked []time.Time
	server.Take(func(w http.ResponseWriter, _ *http.Request) bool {
		asked = append(asked, time.Now())
		w.Header().Set("Content-Type", "application/json")
		if len(asked) > 1 {
			_, _ = io.WriteString(w, `{"access_token":"a","refresh_token":"r","token_type":"Bearer"}`)
			return true
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"slow_down"}`)
		return true
	})
	tokens, _ := newTokens(t)
	if err := tokens.Login(t.Context(), connection("a", server.OAuth2("u", ""))); err != nil {
		t.Fatal(err)
	}
	if waited := asked[1].Sub(asked[0]); waited < 5*time.Second {
		t.Errorf("asked again after %v", waited)
	}
}
