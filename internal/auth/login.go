package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"mailpoller/internal/mail"
)

const (
	consentTimeout = 30 * time.Minute // how long a person may take, at most
	maxInterval    = 60               // seconds between two questions whether one has consented
	headerTimeout  = 5 * time.Second
)

// Login has a person let the program into a mailbox, and keeps the refresh
// token that comes of it. What the person has to do is told to the trace of
// ctx. Its errors are *mail.Error.
func (t *Tokens) Login(ctx context.Context, c *mail.Connection) error {
	if err := canLogIn(c); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, consentTimeout, fmt.Errorf("nobody consented within %v", consentTimeout))
	defer cancel()
	a, problem := t.asker(ctx, c)
	if problem != nil {
		return problem
	}
	answer, err := t.consent(a.client(ctx), a)
	if err != nil {
		if ctx.Err() != nil {
			return mail.AsError(context.Cause(ctx), mail.OpToken, mail.KindAuth)
		}
		if errors.Is(err, context.DeadlineExceeded) { // the bound on an answer is another error
			return &mail.Error{Op: mail.OpToken, Kind: mail.KindAuth, Err: errors.New("nobody consented before the code expired"), Hint: "run the command again"}
		}
		return a.failure(err)
	}
	if answer.RefreshToken == "" {
		e := mail.Errorf(mail.OpToken, mail.KindConfig, "%s let the program in, but gave it no refresh token", a.o.TokenURL)
		e.Hint = "many providers give one only for the scope offline_access: see scopes:"
		return e
	}
	return t.accept(ctx, c, answer)
}

func canLogIn(c *mail.Connection) error {
	e := &mail.Error{Op: mail.OpToken, Kind: mail.KindConfig}
	switch {
	case c.OAuth2 == nil:
		e.Err, e.Hint = fmt.Errorf("connection %s has no oauth2: block", c.Name), "it logs in with its password, and there is nothing to consent to"
	case c.OAuth2.Grant != mail.GrantRefreshToken:
		e.Err, e.Hint = fmt.Errorf("connection %s has the grant %s", c.Name, c.OAuth2.Grant), "no person has to consent; `poller test` shows whether it works"
	case c.OAuth2.DeviceURL == "" && c.OAuth2.AuthURL == "":
		e.Err, e.Hint = fmt.Errorf("connection %s names no endpoint at which a person consents", c.Name), "set device_url: or auth_url:, or get a refresh token elsewhere and set refresh_token:"
	default:
		return nil
	}
	return e
}

// accept keeps what a login brought.
func (t *Tokens) accept(ctx context.Context, c *mail.Connection, answer *oauth2.Token) error {
	g := t.grant(c.OAuth2)
	g.asking.Lock()
	defer g.asking.Unlock()
	// A token that cannot be read is not the one that this one comes after.
	configured, _ := t.Secrets.Get(ctx, c.OAuth2.RefreshToken)
	token := mail.StoredToken{Refresh: mail.NewSecret(answer.RefreshToken), Seed: digest(configured), Time: time.Now()}
	if err := t.keep(context.WithoutCancel(ctx), g, c.OAuth2, token); err != nil {
		return mail.AsError(err, mail.OpToken, mail.KindState)
	}
	// The next poll asks for an access token, and so tries the new one.
	g.mu.Lock()
	g.held, g.renew, g.failed, g.err = mail.Token{}, time.Time{}, time.Time{}, nil
	g.mu.Unlock()
	return nil
}

// consent has a person consent, by the device flow where there is one.
func (t *Tokens) consent(ctx context.Context, a *asker) (answer *oauth2.Token, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = mail.Errorf(mail.OpToken, mail.KindInternal, "the answer of an endpoint made the program panic: %v", r)
		}
	}()
	config, err := t.config(ctx, a)
	if err != nil {
		return nil, err
	}
	if a.o.DeviceURL == "" {
		return t.redirected(ctx, a, config)
	}
	// RFC 8628.
	if config.Endpoint.AuthStyle == oauth2.AuthStyleInHeader {
		a.device = url.UserPassword(url.QueryEscape(config.ClientID), url.QueryEscape(config.ClientSecret))
	}
	device, err := config.DeviceAuth(ctx)
	if err != nil {
		return nil, err
	}
	if device.DeviceCode == "" || device.UserCode == "" || device.VerificationURI == "" {
		return nil, mail.Errorf(mail.OpToken, mail.KindProtocol, "%s answered without a code for the user", a.o.DeviceURL)
	}
	a.secrets = append(a.secrets, device.DeviceCode)
	device.Interval = max(0, min(device.Interval, maxInterval))
	prompt(ctx, mail.Prompt{Address: a.clean(device.VerificationURI), Code: a.clean(device.UserCode), Expires: device.Expiry})
	return config.DeviceAccessToken(ctx, device)
}

func prompt(ctx context.Context, p mail.Prompt) {
	if show := mail.TraceOf(ctx).Prompt; show != nil {
		show(p)
	}
}

// redirected waits for the browser of the person to come back with a code (RFC
// 8252, section 7.3, and RFC 7636). It is what Google has for mail: its device
// flow does not give access to it.
func (t *Tokens) redirected(ctx context.Context, a *asker, config *oauth2.Config) (*oauth2.Token, error) {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, mail.Errorf(mail.OpToken, mail.KindInternal, "listen for the browser: %w", err)
	}
	config.RedirectURL = "http://" + listener.Addr().String() + "/"
	state, verifier := rand.Text(), oauth2.GenerateVerifier()
	came := make(chan consented, 1)
	server := &http.Server{Handler: landing(state, came), ReadHeaderTimeout: headerTimeout, WriteTimeout: headerTimeout}
	ended := make(chan struct{})
	go func() {
		_ = server.Serve(listener) // ends when it is closed, below
		close(ended)
	}()
	defer func() {
		polite, cancel := context.WithTimeout(context.WithoutCancel(ctx), headerTimeout)
		defer cancel()
		_ = server.Shutdown(polite) // the browser gets its page
		_ = server.Close()
		<-ended
	}()
	prompt(ctx, mail.Prompt{
		Address: config.AuthCodeURL(state, oauth2.AccessTypeOffline, oauth2.S256ChallengeOption(verifier),
			oauth2.SetAuthURLParam("prompt", "consent"), oauth2.SetAuthURLParam("login_hint", a.o.Account)),
		Redirect: config.RedirectURL,
	})
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case back := <-came:
		if back.err != "" {
			return nil, &mail.Error{
				Op: mail.OpToken, Kind: mail.KindAuth, Err: errors.New("the provider refused: " + a.clean(back.err)),
				Hint: "run the command again, and consent as the user of the mailbox",
			}
		}
		return config.Exchange(ctx, back.code, oauth2.VerifierOption(verifier))
	}
}

// consented is what a browser came back with.
type consented struct{ code, err string }

// landing takes the one browser that was sent here with the state.
func landing(state string, came chan<- consented) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		code, refused := query.Get("code"), query.Get("error")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if subtle.ConstantTimeCompare([]byte(query.Get("state")), []byte(state)) != 1 || code == "" && refused == "" {
			http.Error(w, "this is not what poller waits for", http.StatusBadRequest)
			return
		}
		text := "poller may read the mailbox now. This page can be closed."
		if refused != "" {
			text = "poller was not let in. This page can be closed."
		}
		fmt.Fprintln(w, text)
		select {
		case came <- consented{code, refused}:
		default: // only the first counts
		}
	})
}
