package oauth

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	clientID     = "poller"
	clientSecret = "the-secret-of-the-client"
	userPassword = "the password of the user"
)

// provider is an OpenID Provider of other people, with their example of a
// store. It replaces a refresh token at every use.
type provider struct {
	url string
	op.Storage
	all *storage.Storage
}

// startProvider starts one that knows one user.
func startProvider(t *testing.T, user string, app op.ApplicationType) *provider {
	t.Helper()
	users := filepath.Join(t.TempDir(), "users.json")
	text, err := json.Marshal(map[string]storage.User{"id1": {ID: "id1", Username: user, Password: userPassword}})
	if err == nil {
		err = os.WriteFile(users, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	store, err := storage.StoreFromFile(users)
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string]*storage.Client{clientID: storage.WebClient(clientID, clientSecret)}
	p := &provider{all: storage.NewStorageWithClients(store, clients)}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	p.url = server.URL
	handler = exampleop.SetupServer(server.URL, shop{p.all, app}, slog.New(slog.NewTextHandler(io.Discard, nil)), false)
	return p
}

// shop is their store, with a client that may do what poller does.
type shop struct {
	*storage.Storage
	app op.ApplicationType
}

func (s shop) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	found, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return client{found, s.app}, nil
}

// CreateAccessAndRefreshTokens has their store know whose token it is also
// where the device flow asks for it.
func (s shop) CreateAccessAndRefreshTokens(ctx context.Context, request op.TokenRequest, current string) (string, string, time.Time, error) {
	if device, ok := request.(*op.DeviceAuthorizationState); ok {
		request = &storage.AuthRequest{ApplicationID: device.ClientID, UserID: device.Subject, Scopes: device.Scopes}
	}
	return s.Storage.CreateAccessAndRefreshTokens(ctx, request, current)
}

// client is poller. Where it is a program on somebody's machine, its browser
// comes back to a port of loopback, whichever it is (RFC 8252).
type client struct {
	op.Client
	app op.ApplicationType
}

func (c client) ApplicationType() op.ApplicationType { return c.app }
func (client) RedirectURIs() []string                { return []string{"http://127.0.0.1/"} }
func (client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeDeviceCode}
}

// dovecot are settings of a Dovecot that asks the provider about each token.
func (p *provider) dovecot(t *testing.T) []string {
	t.Helper()
	u, err := url.Parse(p.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(clientID, clientSecret)
	file := filepath.Join(t.TempDir(), "oauth2.conf.ext")
	text := "introspection_mode = post\nintrospection_url = " + u.String() + "/oauth/introspect\n" +
		"username_attribute = username\nactive_attribute = active\nactive_value = true\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"auth_mechanisms = plain xoauth2 oauthbearer",
		"passdb {\ndriver = oauth2\nmechanisms = xoauth2 oauthbearer\nargs = " + file + "\n}",
	}
}

// browser is one that keeps cookies.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, Timeout: 30 * time.Second}
}

// consent opens an address as the user, logs in, and returns what is shown at
// the end.
func consent(t *testing.T, address, user string) string {
	t.Helper()
	b := browser(t)
	response, err := b.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(response.Body)
	response.Body.Close()
	id := regexp.MustCompile(`name="id" value="([^"]*)"`).FindSubmatch(page)
	if err != nil || id == nil {
		t.Fatalf("%v: no form to log in:\n%s", err, page)
	}
	response, err = b.PostForm(response.Request.URL.Scheme+"://"+response.Request.URL.Host+"/login/username",
		url.Values{"id": {string(id[1])}, "username": {user}, "password": {userPassword}})
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	page, err = io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}
