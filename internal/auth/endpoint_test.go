package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

func TestWhatAnEndpointAnswersIsSaidPlainly(t *testing.T) {
	t.Parallel()
	const refresh = "refresh/token+of the user"
	for _, c := range []struct {
		name       string
		status     int
		body       string
		kind       mail.Kind
		text, hint string
	}{
		{"withdrawn", 400, `{"error":"invalid_grant","error_description":"Token has been expired or revoked."}`, mail.KindAuth, "invalid_grant: Token has been expired or revoked.", "poller oauth login a"},
		{"wrong client", 401, `{"error":"invalid_client"}`, mail.KindAuth, "invalid_client", "client_secret:"},
		{"wrong scope", 400, `{"error":"invalid_scope"}`, mail.KindConfig, "invalid_scope", "scopes:"},
		{"down", 503, `<html>try later</html>`, mail.KindNetwork, "HTTP status 503: <html>try later</html>", "asks again"},
		{"too often", 429, ``, mail.KindNetwork, "HTTP status 429", "asks again"},
		{"temporarily", 400, `{"error":"temporarily_unavailable"}`, mail.KindNetwork, "temporarily_unavailable", "asks again"},
		{"elsewhere", 302, ``, mail.KindProtocol, "HTTP status 302", "moved"},
		{"an echo", 400, `{"error":"invalid_request","error_description":"you sent refresh/token+of the user, refresh%2Ftoken%2Bof+the+user and secret of the client"}`, mail.KindProtocol, "you sent ***, *** and ***", "oauth2: block"},
		{"control characters", 400, `{"error":"a\u0007\r\nb"}`, mail.KindProtocol, "a b", ""},
		{"much", 400, `{"error":"` + strings.Repeat("x", 10_000) + `"}`, mail.KindProtocol, "xxx...", ""},
		{"too much", 200, strings.Repeat("x", maxAnswer+1), mail.KindProtocol, "more than 256 KiB", ""},
		{"no JSON", 200, `<html>`, mail.KindProtocol, "", "address of the endpoint"},
		{"no token", 200, `{"token_type":"Bearer"}`, mail.KindProtocol, "access_token", ""},
		{"null", 200, `null`, mail.KindProtocol, "access_token", ""},
		{"a line end in a token", 200, `{"access_token":"a\r\nDELE 1","token_type":"Bearer"}`, mail.KindProtocol, "no access token that a mail server can be sent", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.StartAuthServer(t)
			server.Take(func(w http.ResponseWriter, _ *http.Request) bool {
				if c.status == http.StatusFound {
					w.Header().Set("Location", server.URL+"/device") // which would take the token
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
				return true
			})
			tokens, store := newTokens(t)
			var heard *mail.Error
			tokens.Asked = func(_ string, _ time.Time, err *mail.Error) { heard = err }
			_, err := tokens.Token(t.Context(), connection("a", server.OAuth2("u", refresh)))
			var e *mail.Error
			if !errors.As(err, &e) || e.Kind != c.kind || e.Op != mail.OpToken || !strings.Contains(e.Hint, c.hint) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, %+v; want kind %s, %q and the hint %q", err, e, c.kind, c.text, c.hint)
			}
			if heard != e {
				t.Errorf("told of %v", heard)
			}
			if len(err.Error()) > 500 || strings.Contains(err.Error(), refresh) || strings.Contains(err.Error(), "secret of the client") {
				t.Errorf("the message is %q", err)
			}
			if store.kept != 0 || len(server.Asked()) != 1 {
				t.Errorf("%d tokens stored, %d requests; want none and one", store.kept, len(server.Asked()))
			}
		})
	}
}

// TestAnEndpointBehindAProxy: it has a name that only the proxy knows, and the
// proxy wants to know who asks.
func TestAnEndpointBehindAProxy(t *testing.T) {
	t.Parallel()
	for scheme, address := range mailtest.Proxies(t) {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			server := mailtest.StartAuthServer(t)
			secret := filepath.Join(t.TempDir(), "secret")
			say := func(password string) {
				if err := os.WriteFile(secret, []byte(password), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			say("not it")
			c := connection("a", server.OAuth2("u", server.Consent("u")))
			c.OAuth2.TokenURL = strings.Replace(c.OAuth2.TokenURL, mailtest.Host, mailtest.Hidden, 1)
			c.Proxy = &mail.Proxy{Scheme: scheme, Address: address, Username: mailtest.ProxyUser, Password: mail.SecretSource{File: secret}}
			tokens, _ := newTokens(t)
			_, err := tokens.Token(t.Context(), c)
			var e *mail.Error
			if !errors.As(err, &e) || e.Kind != mail.KindAuth || !strings.Contains(e.Error(), "proxy "+scheme+"://"+address) || !strings.Contains(e.Hint, "proxy:") || strings.Contains(e.Error(), "not it") {
				t.Errorf("with a wrong password: %v, %+v", err, e)
			}
			say(mailtest.ProxyPassword)
			if token(t, tokens, c).Reveal() == "" {
				t.Error("with the password there is no token")
			}
		})
	}
}

func TestAnEndpointThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	held := make(chan struct{})
	server.Take(func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		close(held)
		return true
	})
	tokens, _ := newTokens(t)
	o := server.OAuth2("u", server.Consent("u"))
	o.Timeout = 100 * time.Millisecond
	var e *mail.Error
	if _, err := tokens.Token(t.Context(), connection("a", o)); !errors.As(err, &e) || e.Kind != mail.KindTimeout || e.Hint == "" {
		t.Errorf("silence is %v, %+v", err, e)
	}
	<-held
	gone := httptest.NewServer(nil)
	gone.Close()
	o.TokenURL = gone.URL
	if _, err := tokens.Token(t.Context(), connection("a", o)); !errors.As(err, &e) || e.Kind != mail.KindNetwork || e.Hint == "" {
		t.Errorf("nobody there is %v, %+v", err, e)
	}
}

func TestAnEndpointHasToBeTrusted(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"token","token_type":"Bearer"}`)
	}))
	t.Cleanup(server.Close)
	tokens, _ := newTokens(t)
	o := mailtest.StartAuthServer(t).OAuth2("u", "refresh")
	o.TokenURL = server.URL
	var e *mail.Error
	if _, err := tokens.Token(t.Context(), connection("a", o)); !errors.As(err, &e) || e.Kind != mail.KindTLS || !strings.Contains(e.Hint, "ca_file:") {
		t.Errorf("an unknown issuer is %v, %+v", err, e)
	}
	o.Roots = x509.NewCertPool()
	o.Roots.AddCert(server.Certificate())
	got, err := tokens.Token(t.Context(), connection("a", o))
	if err != nil || got.Access.Reveal() != "token" {
		t.Errorf("with ca_file: %v", err)
	}
	if left := time.Until(got.Expires); left < 50*time.Minute || left > time.Hour {
		t.Errorf("a token of which nothing is said lives for %v", left)
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, _ := newTokens(t)
	o := server.OAuth2("", "")
	o.Grant, o.Scopes = mail.GrantClientCredentials, []string{"https://outlook.office365.com/.default"}
	o.Provider = mail.Microsoft
	if token(t, tokens, connection("a", o)).IsZero() {
		t.Error("no token")
	}
	asked := server.Asked()[0]
	if asked.Get("grant_type") != "client_credentials" || asked.Get("scope") != o.Scopes[0] || asked.Get("client_secret") != "secret of the client" {
		t.Errorf("asked with %v", asked)
	}
	server.Take(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		return true
	})
	var e *mail.Error
	if _, err := with(t, tokens.Store).Token(t.Context(), connection("a", o)); !errors.As(err, &e) || e.Kind != mail.KindAuth || strings.Contains(e.Hint, "oauth login") {
		t.Errorf("a refusal is %v, %+v", err, e)
	}
}

func TestAServiceAccountActsForTheUser(t *testing.T) {
	t.Parallel()
	server := mailtest.StartAuthServer(t)
	tokens, _ := newTokens(t)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	write := func(fields map[string]string) {
		text, err := json.MarshalIndent(fields, "", "  ")
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	key := map[string]string{
		"type": "service_account", "client_email": "poller@project.example", "private_key_id": "7",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": server.URL + "/token",
	}
	o := &mail.OAuth2{
		Provider: mail.Google, Grant: mail.GrantServiceAccount, Account: "user@example.com", Timeout: 10 * time.Second,
		ServiceAccount: mail.SecretSource{File: file}, TokenURL: "https://oauth2.example/token", Scopes: []string{"https://mail.google.com/"},
	}
	c := connection("a", o)
	for _, wrong := range []map[string]string{
		{"type": "authorized_user"},
		{"type": "service_account", "client_email": "e", "private_key": "no key", "token_uri": server.URL + "/token"},
		{"type": "service_account", "client_email": "e", "private_key": key["private_key"], "token_uri": "http://oauth2.example/token"},
	} {
		write(wrong)
		var e *mail.Error
		if _, err := tokens.Token(t.Context(), c); !errors.As(err, &e) || e.Kind != mail.KindConfig || e.Op != mail.OpSecret {
			t.Errorf("%v: %v", wrong, err)
		}
	}
	write(key)
	if token(t, tokens, c).IsZero() {
		t.Error("no token")
	}
	assertion := server.Asked()[0].Get("assertion")
	claims := decodeClaims(t, assertion)
	if claims["iss"] != key["client_email"] || claims["sub"] != o.Account || claims["scope"] != o.Scopes[0] || claims["aud"] != key["token_uri"] {
		t.Errorf("the assertion says %v", claims)
	}
	// An answer that repeats the assertion, which is as good as the key.
	server.Take(func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"`+r.PostForm.Get("assertion")+`"}`)
		return true
	})
	var e *mail.Error
	_, err = with(t, tokens.Store).Token(t.Context(), c)
	if !errors.As(err, &e) || e.Kind != mail.KindAuth || !strings.Contains(e.Hint, "delegation") || !strings.Contains(err.Error(), "***") {
		t.Errorf("a refusal is %v, %+v", err, e)
	}
}
