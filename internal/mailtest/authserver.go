package mailtest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"mailpoller/internal/mail"
)

// AuthServer is an authorisation server of OAuth 2.0: it gives access tokens
// for every grant, has a device flow (RFC 8628) and a flow by redirect with
// PKCE (RFC 7636), and tells a mail server whose token one is (RFC 7662).
// Everybody consents to everything.
type AuthServer struct {
	URL string

	mu      sync.Mutex
	life    time.Duration
	rotate  bool
	takes   func(http.ResponseWriter, *http.Request) bool
	refresh map[string]string    // user by refresh token
	access  map[string]issued    // by access token
	codes   map[string]authorise // by code of a flow by redirect
	pending map[string]int       // by device code: questions until the user has consented
	asked   []url.Values         // requests for a token
	changed chan struct{}        // closed at the next request
}

type issued struct {
	user string
	ends time.Time
}

type authorise struct{ user, challenge, redirect string }

// AuthUser is who consents where nothing says whose mailbox it is.
const AuthUser = "user@example.com"

// StartAuthServer starts one on loopback. Tokens live for an hour, and refresh
// tokens for ever.
func StartAuthServer(t testing.TB) *AuthServer {
	t.Helper()
	s := &AuthServer{
		life: time.Hour, refresh: make(map[string]string), access: make(map[string]issued),
		codes: make(map[string]authorise), pending: make(map[string]int), changed: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.token)
	mux.HandleFunc("POST /device", s.device)
	mux.HandleFunc("GET /authorize", s.authorize)
	mux.HandleFunc("/introspect", s.introspect)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Live makes tokens from now on live so long.
func (s *AuthServer) Live(life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = life
}

// Rotate makes each answer bring another refresh token, and void the one that
// was sent.
func (s *AuthServer) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rotate = true
}

// Take has a function answer requests for a token; those that it returns false
// for are answered as ever. Nil is the end of it.
func (s *AuthServer) Take(answer func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes = answer
}

// Consent is a refresh token of a user.
func (s *AuthServer) Consent(user string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := rand.Text()
	s.refresh[token] = user
	return token
}

// Withdraw voids every refresh token.
func (s *AuthServer) Withdraw() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.refresh)
}

// Revoke voids every access token.
func (s *AuthServer) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.access)
}

// Asked are the requests for a token so far.
func (s *AuthServer) Asked() []url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Await returns when so many requests for a token were made.
func (s *AuthServer) Await(t testing.TB, requests int) {
	t.Helper()
	for {
		s.mu.Lock()
		n, changed := len(s.asked), s.changed
		s.mu.Unlock()
		if n >= requests {
			return
		}
		select {
		case <-changed:
		case <-t.Context().Done():
			t.Fatalf("waited for %d requests for a token, and there were %d", requests, n)
		case <-time.After(startTimeout):
			t.Fatalf("waited for %d requests for a token, and there were %d", requests, n)
		}
	}
}

// Secrets are all the tokens that were given: they must not be seen anywhere.
func (s *AuthServer) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(slices.Collect(maps.Keys(s.refresh)), slices.Collect(maps.Keys(s.access)))
}

// OAuth2 is the block of a connection whose user consented with this refresh
// token.
func (s *AuthServer) OAuth2(user, refresh string) *mail.OAuth2 {
	return &mail.OAuth2{
		Provider: mail.Custom, Grant: mail.GrantRefreshToken, ClientID: "poller", Account: user,
		ClientSecret: mail.SecretSource{Literal: mail.NewSecret("secret of the client")},
		RefreshToken: mail.SecretSource{Literal: mail.NewSecret(refresh)},
		TokenURL:     s.URL + "/token", DeviceURL: s.URL + "/device",
		Timeout: 10 * time.Second,
	}
}

func (s *AuthServer) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // what is missing is refused
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r.PostForm)
	close(s.changed)
	s.changed = make(chan struct{})
	if take := s.takes; take != nil {
		s.mu.Unlock()
		done := take(w, r)
		s.mu.Lock()
		if done {
			return
		}
	}
	user, problem := s.whose(r)
	if problem != "" {
		answer(w, http.StatusBadRequest, map[string]any{"error": problem, "error_description": "it is refused"})
		return
	}
	said := map[string]any{"token_type": "Bearer", "access_token": rand.Text(), "expires_in": int(s.life.Seconds())}
	s.access[said["access_token"].(string)] = issued{user, time.Now().Add(s.life)}
	switch grant := r.PostForm.Get("grant_type"); {
	case grant == "refresh_token" && s.rotate:
		delete(s.refresh, r.PostForm.Get("refresh_token"))
		fallthrough
	case grant == "authorization_code", grant == deviceGrant:
		said["refresh_token"] = rand.Text()
		s.refresh[said["refresh_token"].(string)] = user
	}
	answer(w, http.StatusOK, said)
}

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// whose finds who a token is for, or why there is none.
func (s *AuthServer) whose(r *http.Request) (user, problem string) {
	form := r.PostForm
	switch form.Get("grant_type") {
	case "refresh_token":
		if user, ok := s.refresh[form.Get("refresh_token")]; ok {
			return user, ""
		}
	case "client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer":
		return AuthUser, ""
	case deviceGrant:
		left, ok := s.pending[form.Get("device_code")]
		switch {
		case !ok:
			return "", "expired_token"
		case left > 0:
			s.pending[form.Get("device_code")]--
			return "", "authorization_pending"
		}
		return AuthUser, ""
	case "authorization_code":
		a, ok := s.codes[form.Get("code")]
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if ok && a.redirect == form.Get("redirect_uri") && a.challenge == base64.RawURLEncoding.EncodeToString(sum[:]) {
			return a.user, ""
		}
	}
	return "", "invalid_grant"
}

// device begins a flow in which the user consents after one question.
func (s *AuthServer) device(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, secret, _ := r.BasicAuth(); id != "poller" || secret == "" {
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	code := rand.Text()
	s.pending[code] = 1
	answer(w, http.StatusOK, map[string]any{
		"device_code": code, "user_code": "ABCD-EFGH", "verification_uri": s.URL + "/activate", "expires_in": 600, "interval": 1,
	})
}

// authorize sends the browser back with a code.
func (s *AuthServer) authorize(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	query := r.URL.Query()
	code, user := rand.Text(), query.Get("login_hint")
	s.codes[code] = authorise{user, query.Get("code_challenge"), query.Get("redirect_uri")}
	back := query.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {query.Get("state")}}.Encode()
	http.Redirect(w, r, back, http.StatusFound) //nolint:gosec // G710: the test says where to
}

func (s *AuthServer) introspect(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // a token that is missing is none
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.access[r.Form.Get("token")]
	ok = ok && time.Now().Before(found.ends)
	answer(w, http.StatusOK, map[string]any{"active": ok, "username": found.user})
}

func answer(w http.ResponseWriter, status int, said map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(said) // fails only when the client is gone
}

// DovecotTokens are settings of a Dovecot that takes the access tokens of the
// server, as XOAUTH2 and as OAUTHBEARER, and asks it about each (RFC 7662).
func (s *AuthServer) DovecotTokens(t testing.TB) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "oauth2.conf.ext")
	settings := "introspection_mode = post\nintrospection_url = " + s.URL + "/introspect\n" +
		"username_attribute = username\nactive_attribute = active\nactive_value = true\n"
	if err := os.WriteFile(file, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"auth_mechanisms = plain login xoauth2 oauthbearer",
		"passdb {\ndriver = oauth2\nmechanisms = xoauth2 oauthbearer\nargs = " + file + "\n}",
	}
}
