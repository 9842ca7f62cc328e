package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
	"mailpoller/internal/proxy"
)

// TokenStore keeps refresh tokens over a restart.
type TokenStore interface {
	// RefreshToken is the one that is kept for a grant, the zero value if
	// there is none.
	RefreshToken(ctx context.Context, grant string) (mail.StoredToken, error)
	// KeepRefreshToken returns nil when it is on the disk.
	KeepRefreshToken(ctx context.Context, grant string, t mail.StoredToken) error
}

// Tokens gets access tokens, holds them until shortly before they expire, and
// asks for each once however many want it. It may be used by many goroutines.
//
// Access tokens are held in memory alone. A refresh token that an endpoint
// sends in place of the last is on the disk before the access token that came
// with it is given to anyone: the old one may be worth nothing any more.
type Tokens struct {
	Secrets *Secrets
	Store   TokenStore
	// Asked hears of every request for a token: until when the new one is
	// good, or what went wrong. It may be nil.
	Asked func(grant string, expires time.Time, err *mail.Error)
	Log   *zap.Logger

	mu     sync.Mutex
	grants map[string]*grant
	closed bool
	flying sync.WaitGroup  // requests in progress
	base   context.Context // of them
	cut    context.CancelFunc
}

// NewTokens asks nobody yet.
func NewTokens(secrets *Secrets, store TokenStore, log *zap.Logger) *Tokens {
	t := &Tokens{Secrets: secrets, Store: store, Log: log, grants: make(map[string]*grant)}
	t.base, t.cut = context.WithCancel(context.Background())
	return t
}

const (
	mostAhead = 5 * time.Minute  // how long before its end a token is replaced, at most
	onTheWay  = 10 * time.Second // what a token has to live on, to be good when it arrives
	noExpiry  = time.Hour        // what a token is taken to live of which nothing is said
	pause     = 30 * time.Second // between two tries to replace a token that is still good
	closeWait = 5 * time.Second  // what a request in progress is given at the end
)

// grant is what is held of one.
type grant struct {
	mu     sync.Mutex // of what follows; not held while anything is waited for
	held   mail.Token
	renew  time.Time // when to replace it
	flight *flight   // the request in progress
	failed time.Time
	err    *mail.Error // of the last request

	asking   sync.Mutex        // one request, or one login, at a time
	unstored *mail.StoredToken // newer than what the store has
}

// flight is a request that all share who want its answer.
type flight struct {
	done  chan struct{}
	token mail.Token
	err   *mail.Error
}

func (t *Tokens) grant(o *mail.OAuth2) *grant {
	t.mu.Lock()
	defer t.mu.Unlock()
	id := o.ID()
	if t.grants[id] == nil {
		t.grants[id] = &grant{}
	}
	return t.grants[id]
}

// Token is an access token for a connection. Its errors are *mail.Error. One
// that is about to expire is replaced ahead of time, and used meanwhile.
func (t *Tokens) Token(ctx context.Context, c *mail.Connection) (mail.Token, error) {
	g := t.grant(c.OAuth2)
	g.mu.Lock()
	now := time.Now()
	good := g.good(now)
	if good && (now.Before(g.renew) || now.Before(g.failed.Add(pause))) {
		defer g.mu.Unlock()
		return g.held, nil
	}
	f := g.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		if !t.fly(g, f, c) {
			g.mu.Unlock()
			return mail.Token{}, mail.AsError(context.Canceled, mail.OpToken, mail.KindCanceled)
		}
		g.flight = f
	}
	held := g.held
	g.mu.Unlock()
	if good {
		return held, nil
	}
	select {
	case <-f.done:
	case <-ctx.Done():
		return mail.Token{}, mail.AsError(context.Cause(ctx), mail.OpToken, mail.KindNetwork)
	}
	if f.err != nil {
		return mail.Token{}, f.err
	}
	return f.token, nil
}

// Refused drops an access token that a server did not take, unless it was
// replaced meanwhile. The refresh token stays.
func (t *Tokens) Refused(c *mail.Connection, token mail.Secret) {
	g := t.grant(c.OAuth2)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held.Access == token {
		g.held, g.renew = mail.Token{}, time.Time{}
	}
}

// Only forgets what is held of other grants than these. What is stored of them
// stays.
func (t *Tokens) Only(grants map[string][]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.grants, func(id string, g *grant) bool {
		_, configured := grants[id]
		return !configured && g.idle()
	})
}

// idle reports whether nothing is going on with a grant.
func (g *grant) idle() bool {
	if !g.asking.TryLock() {
		return false
	}
	defer g.asking.Unlock()
	return g.unstored == nil
}

// Expires is when the access token of a connection does; zero for none.
func (t *Tokens) Expires(c *mail.Connection) time.Time {
	g := t.grant(c.OAuth2)
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.held.Expires
}

// Close waits for the requests in progress, not for long, and lets no other
// begin: a refresh token that is on its way is kept.
func (t *Tokens) Close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	defer t.cut()
	defer time.AfterFunc(closeWait, t.cut).Stop()
	t.flying.Wait()
}

// fly asks for a token. It does so for all who wait: the context of none of
// them ends it, but the bound on time of the connection.
func (t *Tokens) fly(g *grant, f *flight, c *mail.Connection) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.flying.Go(func() {
		g.asking.Lock()
		token, err := t.ask(t.base, g, c)
		g.asking.Unlock()
		t.land(g, f, c, token, err)
	})
	return true
}

// land gives the answer to a request to all who wait for it.
func (t *Tokens) land(g *grant, f *flight, c *mail.Connection, token mail.Token, err *mail.Error) {
	g.mu.Lock()
	g.flight, g.err = nil, err
	ahead := err != nil && g.good(time.Now())
	if err == nil {
		g.hold(token)
	} else {
		g.failed = time.Now()
	}
	g.mu.Unlock()
	f.token, f.err = token, err
	close(f.done)
	if ahead {
		t.Log.Warn("access token not replaced ahead of its end", zap.String("connection", c.Name), zap.Error(err), zap.String("hint", err.Hint))
	}
}

// good reports whether the token that is held is one that a server takes.
func (g *grant) good(now time.Time) bool { return now.Add(onTheWay).Before(g.held.Expires) }

// hold makes a token the one that is given to all.
func (g *grant) hold(token mail.Token) {
	life := time.Until(token.Expires)
	g.held, g.renew = token, token.Expires.Add(-min(mostAhead, life/10))
	g.failed, g.err = time.Time{}, nil
}

// ask makes a request for a token, and keeps what has to be kept.
func (t *Tokens) ask(ctx context.Context, g *grant, c *mail.Connection) (token mail.Token, err *mail.Error) {
	// What x/oauth2 makes of an answer may be more than it can bear; that
	// fails this request, and not the program.
	defer func() {
		if r := recover(); r != nil {
			err = mail.Errorf(mail.OpToken, mail.KindInternal, "the answer of the token endpoint made the program panic: %v", r)
		}
	}()
	a, err := t.asker(ctx, c)
	if err != nil {
		return mail.Token{}, err
	}
	defer func() {
		if errors.Is(a.broken, proxy.ErrLogin) {
			t.Secrets.Forget(c.Proxy.Password)
		}
	}()
	var refresh mail.Secret
	var seed string
	if c.OAuth2.Grant == mail.GrantRefreshToken {
		source, problem := t.refreshToken(ctx, g, c)
		if problem != nil {
			return mail.Token{}, problem
		}
		refresh, seed = source.Refresh, source.Seed
	}
	answer, problem := t.request(ctx, a, refresh)
	if problem == nil {
		token = mail.Token{Access: mail.NewSecret(answer.AccessToken), Expires: answer.Expiry}
		if token.Expires.IsZero() {
			token.Expires = time.Now().Add(noExpiry)
		}
		if next := answer.RefreshToken; next != "" && next != refresh.Reveal() && c.OAuth2.Grant == mail.GrantRefreshToken {
			problem = t.keep(ctx, g, c.OAuth2, mail.StoredToken{Refresh: mail.NewSecret(next), Seed: seed, Time: time.Now()})
		}
	}
	err = a.failure(problem)
	if err != nil && err.Kind == mail.KindAuth {
		for _, src := range []mail.SecretSource{c.OAuth2.ClientSecret, c.OAuth2.RefreshToken} {
			t.Secrets.Forget(src)
		}
	}
	if t.Asked != nil {
		t.Asked(c.OAuth2.ID(), token.Expires, err)
	}
	if err != nil {
		return mail.Token{}, err
	}
	return token, nil
}

// keep stores a refresh token. One that cannot be stored is held on to: it is
// stored before the next request, and that one is made with it.
func (t *Tokens) keep(ctx context.Context, g *grant, o *mail.OAuth2, token mail.StoredToken) error {
	g.unstored = &token
	if err := t.Store.KeepRefreshToken(ctx, o.ID(), token); err != nil {
		return err
	}
	g.unstored = nil
	return nil
}

// refreshToken is the newest refresh token that there is, and what it came
// from. The one in the configuration is newer than the one that is stored if
// it was changed since.
func (t *Tokens) refreshToken(ctx context.Context, g *grant, c *mail.Connection) (mail.StoredToken, *mail.Error) {
	if g.unstored != nil {
		if err := t.keep(ctx, g, c.OAuth2, *g.unstored); err != nil {
			return mail.StoredToken{}, mail.AsError(err, mail.OpToken, mail.KindState)
		}
	}
	configured, err := t.Secrets.Get(ctx, c.OAuth2.RefreshToken)
	if err != nil {
		return mail.StoredToken{}, mail.AsError(err, mail.OpSecret, mail.KindConfig)
	}
	stored, err := t.Store.RefreshToken(ctx, c.OAuth2.ID())
	if err != nil {
		return mail.StoredToken{}, mail.AsError(err, mail.OpToken, mail.KindState)
	}
	switch {
	case !stored.Refresh.IsZero() && (configured.IsZero() || stored.Seed == digest(configured)):
		return stored, nil
	case configured.IsZero():
		return mail.StoredToken{}, &mail.Error{
			Op: mail.OpToken, Kind: mail.KindAuth, Err: errors.New("there is no refresh token yet"), Hint: loginHint(c.Name),
		}
	}
	return mail.StoredToken{Refresh: configured, Seed: digest(configured)}, nil
}

func loginHint(connection string) string {
	return fmt.Sprintf("run `poller oauth login %s`, and let the user of the mailbox consent", connection)
}

func digest(s mail.Secret) string {
	if s.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte(s.Reveal()))
	return hex.EncodeToString(sum[:])
}

// State is what is known of the grant of a connection. It asks no endpoint.
func (t *Tokens) State(ctx context.Context, c *mail.Connection) (mail.GrantState, error) {
	o := c.OAuth2
	s := mail.GrantState{Connection: c.Name, Grant: o.Grant, Provider: o.Provider}
	g := t.grant(o)
	g.mu.Lock()
	s.Expires, s.Err, s.Failed = g.held.Expires, g.err, g.failed
	g.mu.Unlock()
	if o.Grant != mail.GrantRefreshToken {
		return s, nil
	}
	stored, err := t.Store.RefreshToken(ctx, o.ID())
	switch {
	case err != nil:
		return s, err
	case !stored.Refresh.IsZero():
		s.Refresh = "stored"
	case !o.RefreshToken.IsZero():
		s.Refresh = "configuration"
	}
	return s, nil
}
