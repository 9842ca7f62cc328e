package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"unicode"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/jwt"

	"mailpoller/internal/mail"
	"mailpoller/internal/proxy"
)

const (
	maxAnswer = 256 << 10 // octets of what an endpoint answers; a few KiB are usual
	maxShown  = 300       // octets of what is shown of it
)

// asker makes the requests of one try to get a token. It bounds what x/oauth2
// does not: time, size, where a redirect leads, and what an error shows.
type asker struct {
	o    *mail.OAuth2
	name string // of the connection

	through *proxy.Proxy // nil for none of the connection's own

	ctx    context.Context
	device *url.Userinfo // who we are at the device endpoint, which x/oauth2 does not say; nil for a public client

	asked   bool     // a request was made
	secrets []string // sent, and so never to be shown
	broken  error    // why the last request had no answer, which not all of x/oauth2 passes on
}

// asker is one for a connection. The endpoints are reached as its server is.
func (t *Tokens) asker(ctx context.Context, c *mail.Connection) (*asker, *mail.Error) {
	a := &asker{o: c.OAuth2, name: c.Name}
	if c.Proxy == nil {
		return a, nil
	}
	password, err := t.Secrets.Get(ctx, c.Proxy.Password)
	if err != nil {
		return nil, mail.AsError(err, mail.OpSecret, mail.KindConfig)
	}
	a.through = &proxy.Proxy{Scheme: c.Proxy.Scheme, Address: c.Proxy.Address, Username: c.Proxy.Username, Password: password.Reveal()}
	if a.through.Password != "" {
		a.secrets = append(a.secrets, a.through.Password)
	}
	return a, nil
}

// client is ctx with the HTTP client that x/oauth2 uses.
func (a *asker) client(ctx context.Context) context.Context {
	a.ctx = ctx
	return context.WithValue(ctx, oauth2.HTTPClient, &http.Client{
		Transport: a,
		// A token is for the endpoint that is configured, and for no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
}

// RoundTrip makes a request and reads the answer whole. Some of what calls it
// passes no context on.
func (a *asker) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := a.roundTrip(r)
	a.asked, a.broken = true, err
	return response, err
}

func (a *asker) roundTrip(r *http.Request) (*http.Response, error) {
	if a.device != nil && r.URL.String() == a.o.DeviceURL { // RFC 8628, section 3.1
		r = r.Clone(r.Context())
		secret, _ := a.device.Password()
		r.SetBasicAuth(a.device.Username(), secret)
	}
	if err := a.note(r); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(a.ctx, a.o.Timeout, fmt.Errorf("%w for %v", os.ErrDeadlineExceeded, a.o.Timeout))
	defer cancel()
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{RootCAs: a.o.Roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true, // a request an hour
		MaxResponseHeaderBytes: maxAnswer,
	}
	if a.through != nil {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			c, err := a.through.Connect(ctx, (&net.Dialer{}).DialContext, address)
			if err != nil {
				err = fmt.Errorf("proxy %s://%s: %w", a.through.Scheme, a.through.Address, err)
			}
			return c, err
		}
	}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r.WithContext(ctx))
	if err == nil {
		defer response.Body.Close()
		var body []byte
		body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
		if err == nil && len(body) > maxAnswer {
			return nil, mail.Errorf(mail.OpToken, mail.KindProtocol, "%s sent more than %d KiB", r.URL.Host, maxAnswer>>10)
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", r.URL.Host, err)
	}
	return response, nil
}

// note remembers the secrets that a request carries.
func (a *asker) note(r *http.Request) error {
	if header := r.Header.Get("Authorization"); header != "" {
		a.secrets = append(a.secrets, strings.TrimPrefix(header, "Basic "))
	}
	if r.Body == nil {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return err
	}
	for _, field := range []string{"client_secret", "refresh_token", "assertion", "code", "code_verifier", "device_code"} {
		if value := form.Get(field); value != "" {
			a.secrets = append(a.secrets, url.QueryEscape(value), value)
		}
	}
	return nil
}

// config is what x/oauth2 has to know of a grant that a user consents to.
func (t *Tokens) config(ctx context.Context, a *asker) (*oauth2.Config, error) {
	secret, err := t.Secrets.Get(ctx, a.o.ClientSecret)
	if err != nil {
		return nil, err
	}
	a.secrets = append(a.secrets, secret.Reveal())
	return &oauth2.Config{
		ClientID: a.o.ClientID, ClientSecret: secret.Reveal(), Scopes: a.o.Scopes,
		Endpoint: oauth2.Endpoint{AuthURL: a.o.AuthURL, DeviceAuthURL: a.o.DeviceURL, TokenURL: a.o.TokenURL, AuthStyle: style(a.o, secret)},
	}, nil
}

// style is how a client says who it is. To find out would be to send a refresh
// token twice. RFC 6749, section 2.3.1, has every server take the header.
func style(o *mail.OAuth2, secret mail.Secret) oauth2.AuthStyle {
	if o.Provider == mail.Custom && !secret.IsZero() {
		return oauth2.AuthStyleInHeader
	}
	return oauth2.AuthStyleInParams
}

// request asks the token endpoint.
func (t *Tokens) request(ctx context.Context, a *asker, refresh mail.Secret) (*oauth2.Token, error) {
	ctx = a.client(ctx)
	source, err := t.source(ctx, a, refresh)
	if err != nil {
		return nil, err
	}
	answer, err := source.Token()
	switch {
	case err != nil:
		return nil, err
	case answer.AccessToken == "" || strings.ContainsFunc(answer.AccessToken, unsendable):
		return nil, mail.Errorf(mail.OpToken, mail.KindProtocol, "the token endpoint %s answered with no access token that a mail server can be sent", a.o.TokenURL)
	}
	return answer, nil
}

// unsendable are characters that no access token has (RFC 6750, section 2.1),
// and that would end a line on the wire.
func unsendable(r rune) bool { return r <= ' ' || r > '~' }

func (t *Tokens) source(ctx context.Context, a *asker, refresh mail.Secret) (oauth2.TokenSource, error) {
	if a.o.Grant == mail.GrantServiceAccount {
		return t.serviceAccount(ctx, a)
	}
	config, err := t.config(ctx, a)
	if err != nil {
		return nil, err
	}
	if a.o.Grant == mail.GrantClientCredentials {
		own := clientcredentials.Config{
			ClientID: config.ClientID, ClientSecret: config.ClientSecret, Scopes: config.Scopes,
			TokenURL: config.Endpoint.TokenURL, AuthStyle: config.Endpoint.AuthStyle,
		}
		return own.TokenSource(ctx), nil
	}
	return config.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh.Reveal()}), nil
}

// serviceAccount reads Google's JSON key, which acts for the user of the
// mailbox.
func (t *Tokens) serviceAccount(ctx context.Context, a *asker) (oauth2.TokenSource, error) {
	text, err := t.Secrets.Document(ctx, a.o.ServiceAccount)
	if err != nil {
		return nil, err
	}
	var key struct {
		Type  string `json:"type"`
		Email string `json:"client_email"`
		Key   string `json:"private_key"`
		ID    string `json:"private_key_id"`
		URL   string `json:"token_uri"`
	}
	if err := json.Unmarshal([]byte(text.Reveal()), &key); err != nil || key.Type != "service_account" || key.Email == "" || key.Key == "" {
		return nil, &mail.Error{
			Op: mail.OpSecret, Kind: mail.KindConfig, Err: fmt.Errorf("%s: it is no key of a service account", a.o.ServiceAccount),
			Hint: "create a key of the type JSON for the service account, and name that file in service_account:",
		}
	}
	if key.URL == "" {
		key.URL = a.o.TokenURL
	}
	if err := mail.CheckEndpoint(key.URL); err != nil {
		return nil, mail.Errorf(mail.OpSecret, mail.KindConfig, "%s: its token_uri %w", a.o.ServiceAccount, err)
	}
	config := jwt.Config{
		Email: key.Email, PrivateKey: []byte(key.Key), PrivateKeyID: key.ID,
		Subject: a.o.Account, Scopes: a.o.Scopes, TokenURL: key.URL,
	}
	return config.TokenSource(ctx), nil
}

// failure makes an Error out of what went wrong. Nil stays nil.
func (a *asker) failure(err error) *mail.Error {
	if err == nil {
		return nil
	}
	if a.broken != nil {
		err = a.broken
	}
	var done *mail.Error
	if errors.As(err, &done) {
		return done
	}
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return a.refusal(refused)
	}
	e := &mail.Error{Op: mail.OpToken, Kind: mail.KindProtocol, Err: errors.New(a.clean(err.Error()))}
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var wire net.Error
	var through *proxy.Error
	switch {
	case errors.Is(err, context.Canceled):
		return mail.AsError(err, mail.OpToken, mail.KindCanceled)
	case errors.Is(err, proxy.ErrLogin):
		e.Kind, e.Hint = mail.KindAuth, "check the user name and password in proxy:"
	case errors.As(err, &through) && !errors.Is(err, os.ErrDeadlineExceeded):
		e.Kind, e.Hint = mail.KindNetwork, "check proxy:, and whether the proxy lets connections through to the endpoint"
	case errors.As(err, &certificate):
		e.Kind, e.Hint = mail.KindTLS, "if the endpoint is the right one, add the issuer of its certificate with ca_file:"
		var name x509.HostnameError
		if errors.As(err, &name) {
			e.Hint = "see whether the address of the endpoint is the right one"
		}
	case errors.As(err, &record), errors.As(err, &alert):
		e.Kind, e.Hint = mail.KindTLS, "see what listens at the address of the endpoint"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &wire) && wire.Timeout():
		e.Kind, e.Hint = mail.KindTimeout, "see whether this host reaches the endpoint, and whether it takes a proxy ($HTTPS_PROXY)"
	case a.broken != nil:
		e.Kind, e.Hint = mail.KindNetwork, "see whether this host reaches the endpoint, and whether it takes a proxy ($HTTPS_PROXY); the next attempt asks again"
	case !a.asked:
		e.Op, e.Kind, e.Hint = mail.OpSecret, mail.KindConfig, "check the oauth2: block and the files that it names"
	default:
		e.Hint = "see whether the address of the endpoint is the right one"
	}
	return e
}

// refusal is an error that an endpoint answered with (RFC 6749, section 5.2).
func (a *asker) refusal(r *oauth2.RetrieveError) *mail.Error {
	code, about := r.ErrorCode, r.ErrorDescription
	if code == "" {
		var said struct {
			Code  string `json:"error"`
			About string `json:"error_description"`
		}
		if json.Unmarshal(r.Body, &said) == nil {
			code, about = said.Code, said.About
		}
	}
	status := r.Response.StatusCode
	text := code
	switch {
	case code == "":
		text = fmt.Sprintf("HTTP status %d", status)
		if len(r.Body) > 0 {
			text += ": " + string(r.Body[:min(len(r.Body), maxShown)])
		}
	case about != "":
		text += ": " + about
	}
	host := r.Response.Request.URL.Host
	e := mail.Errorf(mail.OpToken, mail.KindProtocol, "%s refused: %s", host, a.clean(text))
	switch {
	case status >= 500, status == http.StatusTooManyRequests, code == "temporarily_unavailable", code == "server_error":
		e.Kind, e.Hint = mail.KindNetwork, "the endpoint has a problem of its own; the next attempt asks again"
	case status >= 300 && status < 400:
		e.Hint = "the endpoint has moved: see where, and whether that is to be trusted"
	case code == "invalid_grant" && a.o.Grant == mail.GrantRefreshToken, code == "interaction_required":
		e.Kind, e.Hint = mail.KindAuth, "the consent has expired or was withdrawn: "+loginHint(a.name)
	case code == "access_denied", code == "expired_token":
		e.Kind, e.Hint = mail.KindAuth, "nobody consented: "+loginHint(a.name)
	case a.o.Grant == mail.GrantServiceAccount && (code == "invalid_grant" || code == "unauthorized_client"):
		e.Kind, e.Hint = mail.KindAuth, "see whether the service account may act for this user (domain-wide delegation, with exactly these scopes), and whether the clock of this host is right"
	case code == "invalid_client", code == "unauthorized_client", code == "invalid_grant":
		e.Kind, e.Hint = mail.KindAuth, "check client_id:, client_secret: and tenant:, and whether the secret has expired"
	case code == "invalid_scope":
		e.Kind, e.Hint = mail.KindConfig, "check scopes:"
	default:
		e.Hint = "check the oauth2: block against what the provider says"
	}
	return e
}

// clean makes what an endpoint said fit to be shown: without what it was told,
// without control characters, and bounded.
func (a *asker) clean(text string) string {
	text = mail.Redact(strings.ToValidUTF8(text, "?"), a.secrets...)
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "..."
	}
	return text
}
