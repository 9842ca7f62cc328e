// Package mailbox opens the mailbox of a connection, over IMAP or POP3, and
// shows both behind one face: pick, fetch, apply, commit.
//
// The protocol libraries are used for what they do well; what they do not do
// stands here: bounds on time and size (conn.go), the upgrade to TLS, and a
// message that is streamed, whole, octet for octet.
package mailbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/proxy"
	"mailpoller/internal/tlspolicy"
)

// Session is an open mailbox; see poll.Session for what its methods promise.
type Session interface {
	Box() (box mail.Box, messages int)
	Pick(ctx context.Context, q mail.Query) ([]mail.Ref, error)
	Fetch(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error
	Heads(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error
	Apply(refs []mail.Ref, d disposition.Disposition)
	Commit(ctx context.Context) (mail.Commitment, error)
	Notes() (notMatching int, warnings []string)
	Close() error
}

// Secrets says what the secret behind a source is.
type Secrets interface {
	Get(ctx context.Context, src mail.SecretSource) (mail.Secret, error)
	// Forget makes the next Get read the source again.
	Forget(src mail.SecretSource)
}

// Tokens gives access tokens to connections that have OAuth2.
type Tokens interface {
	Token(ctx context.Context, c *mail.Connection) (mail.Token, error)
	// Refused drops a token that the server did not take.
	Refused(c *mail.Connection, token mail.Secret)
}

// Keys reads client certificates.
type Keys interface {
	Key(ctx context.Context, k *mail.ClientKey) (*tls.Certificate, error)
}

// Trust is what an operator thinks of certificates.
type Trust interface {
	// Trusted are the certificates that are accepted for a server beside
	// the roots.
	Trusted(s mail.Server) []*x509.Certificate
	// Refuse keeps the Server, Chain, Connection and Reason of a chain that
	// was not trusted for review.
	Refuse(ctx context.Context, r mail.Refused) error
}

// Opener opens mailboxes. It may be used by many goroutines. Of its fields
// only Secrets and Log have to be set, and Tokens for connections with OAuth2.
type Opener struct {
	Secrets Secrets
	Tokens  Tokens
	Keys    Keys
	Trust   Trust
	Secured func(mail.Handshake)                                              // hears of every handshake that went well
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error) // nil means a plain net.Dialer
	Version string                                                            // of this program, for servers that want to know it
	Log     *zap.Logger

	heard    heard
	sessions sessions
	verdicts verdicts
	servers  servers
}

// Open resolves, connects, secures, authenticates and opens the mailbox of c.
// Each step that ends is reported to the context's trace. An error is a
// *mail.Error; nothing is left open then. The context bounds Open alone, not
// the session.
func (o *Opener) Open(ctx context.Context, c *mail.Connection) (Session, error) {
	secret, err := o.secret(ctx, c)
	if err != nil {
		return nil, err
	}
	proxy, err := o.proxy(ctx, c)
	if err != nil {
		return nil, err
	}
	session, err := o.open(ctx, c, secret, proxy)
	if err != nil {
		var e *mail.Error
		switch refused := errors.As(err, &e) && e.Kind == mail.KindAuth; {
		case refused && e.Op == mail.OpConnect:
			o.Secrets.Forget(c.Proxy.Password)
		case refused && c.OAuth2 != nil:
			o.Tokens.Refused(c, secret)
		case refused:
			o.Secrets.Forget(c.Password)
		}
		return nil, err
	}
	return session, nil
}

// secret is what c logs in with: its password, or an access token.
func (o *Opener) secret(ctx context.Context, c *mail.Connection) (mail.Secret, error) {
	if c.OAuth2 == nil {
		secret, err := o.Secrets.Get(ctx, c.Password)
		if err != nil {
			return mail.Secret{}, mail.AsError(err, mail.OpSecret, mail.KindConfig)
		}
		return secret, nil
	}
	start := time.Now()
	token, err := o.Tokens.Token(ctx, c)
	step := mail.Step{Name: mail.OpToken, Duration: time.Since(start), Detail: "good until " + token.Expires.UTC().Format(time.DateTime) + " UTC"}
	if err != nil {
		step.Detail, step.Err = "", mail.AsError(err, mail.OpToken, mail.KindNetwork)
	}
	if report := mail.TraceOf(ctx).Step; report != nil {
		report(step)
	}
	return token.Access, step.Err
}

// proxy is what the server is reached through, with its secret.
func (o *Opener) proxy(ctx context.Context, c *mail.Connection) (*proxy.Proxy, error) {
	if c.Proxy == nil {
		return nil, nil
	}
	password, err := o.Secrets.Get(ctx, c.Proxy.Password)
	if err != nil {
		return nil, mail.AsError(err, mail.OpSecret, mail.KindConfig)
	}
	return &proxy.Proxy{Scheme: c.Proxy.Scheme, Address: c.Proxy.Address, Username: c.Proxy.Username, Password: password.Reveal()}, nil
}

// open opens the mailbox, on as many connections as it takes: one behind the
// other where a way to log in does not work on this server, or where it does not
// put up with what saves time.
func (o *Opener) open(ctx context.Context, c *mail.Connection, secret mail.Secret, through *proxy.Proxy) (Session, error) {
	configs, err := o.configs(ctx, c)
	if err != nil {
		return nil, err
	}
	var failed logins
	for reopened := false; ; {
		session, w, err := o.connect(ctx, c, secret, through, configs, failed)
		var e *mail.Error
		switch {
		case err == nil:
			if len(failed.ways) > 0 {
				w.manners.worked(c.Auth, w.way)
			}
			return session, nil
		case errors.As(err, &e) && e.Reopen && !reopened && ctx.Err() == nil:
			reopened = true
			o.Log.Info("server does not answer commands that are sent ahead; going on step by step", zap.String("connection", c.Name), zap.Error(err))
		case failed.next(ctx, w, err):
			o.Log.Info("login failed, and may not be a matter of the password; trying the next way", zap.String("connection", c.Name), zap.String("way", string(w.way)), zap.Error(err))
		default:
			return nil, failed.told(err)
		}
	}
}

// connect opens the mailbox on a connection of its own for each run of TLS
// versions, until the server speaks one.
func (o *Opener) connect(ctx context.Context, c *mail.Connection, secret mail.Secret, through *proxy.Proxy, configs []*tls.Config, failed logins) (session Session, w *wire, err error) {
	for i, config := range configs {
		w = &wire{
			c: c, secret: secret, secrets: spellings(c.Username, secret), proxy: through, config: config,
			others: i+1 < len(configs), opener: o, manners: o.servers.manners(c), failed: failed,
			trace: mail.TraceOf(ctx), log: o.Log,
		}
		if through != nil {
			w.secrets = append(w.secrets, spellings(through.Username, mail.NewSecret(through.Password))...)
		}
		if session, err = w.open(ctx, o.Dial); err == nil {
			return session, w, nil
		}
		w.close()
		if !w.again {
			break
		}
	}
	return nil, w, err
}

// configs are what to try for TLS, in turn; one that is nil means none.
func (o *Opener) configs(ctx context.Context, c *mail.Connection) ([]*tls.Config, error) {
	if c.Security == mail.NoTLS {
		return []*tls.Config{nil}, nil
	}
	peer := tlspolicy.Peer{Host: c.Host}
	if c.Key != nil {
		key, err := o.Keys.Key(ctx, c.Key)
		if err != nil {
			return nil, mail.AsError(err, mail.OpSecret, mail.KindConfig)
		}
		peer.Key = key
	}
	peer.Sessions = o.sessions.of(c, peer.Key)
	if o.Trust != nil {
		peer.Trusted = o.Trust.Trusted(c.Server())
	}
	configs := c.TLS.Configs(peer)
	if len(configs) == 0 {
		return nil, &mail.Error{
			Op: mail.OpTLS, Kind: mail.KindConfig, Err: errors.New("no TLS version is accepted"),
			Hint: "see ssl_authentication_protocol: and accepted_cipher_suites:",
		}
	}
	return configs, nil
}
