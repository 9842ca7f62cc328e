// Package mailbox opens the mailbox of a connection, over IMAP or POP3, and
// shows both behind one face: pick, fetch, apply, commit.
//
// The protocol libraries are used for what they do well; what they do not do
// stands here: bounds on time and size (conn.go), the upgrade to TLS, and a
// message that is streamed, whole, octet for octet.
package mailbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"go.uber.org/zap"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/login"
	"mailpoller/internal/match"
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
	Commit(ctx context.Context) (warning string, err error)
	NotMatching() int
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
	Log     *zap.Logger

	sessions sessions
	verdicts verdicts
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

// open opens the mailbox on a connection of its own for each run of TLS
// versions, until the server speaks one.
func (o *Opener) open(ctx context.Context, c *mail.Connection, secret mail.Secret, through *proxy.Proxy) (session Session, err error) {
	configs, err := o.configs(ctx, c)
	if err != nil {
		return nil, err
	}
	for i, config := range configs {
		w := &wire{
			c: c, secret: secret, secrets: spellings(c.Username, secret), proxy: through, config: config,
			others: i+1 < len(configs), opener: o, trace: mail.TraceOf(ctx), log: o.Log,
		}
		if through != nil {
			w.secrets = append(w.secrets, spellings(through.Username, mail.NewSecret(through.Password))...)
		}
		if session, err = w.open(ctx, o.Dial); err == nil {
			return session, nil
		}
		w.close()
		if !w.again {
			break
		}
	}
	return nil, err
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

// wire is a session before it has a mailbox: what both protocols share.
type wire struct {
	c       *mail.Connection
	secret  mail.Secret
	secrets []string     // spellings of the secret, never to be shown
	proxy   *proxy.Proxy // nil without one
	config  *tls.Config  // nil without TLS
	others  bool         // another config is tried when the server refuses the versions of this one
	again   bool         // it did
	trial   bool         // ends with the handshake: see answers
	opener  *Opener
	trace   *mail.Trace
	log     *zap.Logger

	conn *conn         // limits
	top  net.Conn      // conn, or TLS over it
	r    *bufio.Reader // reads top
	out  *bufio.Writer // what a message passes through; nil until there was one
	tls  bool
	lf   bool // the last line read ended in a bare LF

	asked bool // the server asked for a client certificate

	filter  match.Expr // what match: means in this session
	judging judging
}

// replyBudget is how many octets a server may send in answer to a call that
// brings neither a message nor a listing.
const replyBudget = 1 << 20

// readBuffer is how much of what a server sends is read at once, in octets.
const readBuffer = 32 << 10

// closeTimeout is how long a server may take to say goodbye.
const closeTimeout = 5 * time.Second

// maxLine bounds a line of a greeting or reply, in octets. RFC 2449 says 512
// for POP3, RFC 9051 leaves IMAP open; capabilities fill a few hundred.
const maxLine = 8 << 10

func (w *wire) open(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error)) (Session, error) {
	w.filter = w.c.Match.At(time.Now())
	if err := w.dial(ctx, dial); err != nil {
		return nil, err
	}
	defer w.conn.begin(ctx, replyBudget)()
	if w.c.Security == mail.SSLTLS {
		if err := w.startTLS(ctx); err != nil {
			return nil, err
		}
	}
	if w.c.Store == mail.POP3 {
		return w.openPOP3(ctx)
	}
	return w.openIMAP(ctx)
}

// step runs one step of opening and reports it.
func (w *wire) step(name string, run func() (detail string, err error)) error {
	start := time.Now()
	detail, err := run()
	if w.trace.Step != nil {
		w.trace.Step(mail.Step{Name: name, Duration: time.Since(start), Detail: w.clean(detail), Err: err})
	}
	return err
}

// dial resolves the host and connects to the first of its addresses that
// answers. The dialer does both; the steps are told apart by its trace.
func (w *wire) dial(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.c.Timeout, fmt.Errorf("%w for %v", errSilent, w.c.Timeout))
	defer cancel()
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	start := time.Now()
	report := func(name, detail string, err error) error {
		if w.trace.Step != nil {
			w.trace.Step(mail.Step{Name: name, Duration: time.Since(start), Detail: detail, Err: err})
		}
		start = time.Now()
		return err
	}
	if w.proxy != nil {
		_ = report(mail.OpResolve, "left to the proxy "+w.c.Proxy.String(), nil)
		c, err := w.proxy.Connect(ctx, dial, w.c.Addr())
		if err != nil {
			return report(mail.OpConnect, "", w.proxyFailure(ctx, err))
		}
		w.over(c)
		return report(mail.OpConnect, w.c.Addr()+" through "+w.c.Proxy.String(), nil)
	}
	if net.ParseIP(w.c.Host) != nil {
		_ = report(mail.OpResolve, w.c.Host+" is an address", nil)
	}
	c, err := dial(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(info httptrace.DNSDoneInfo) {
			if info.Err == nil {
				_ = report(mail.OpResolve, addresses(info.Addrs), nil)
			}
		},
	}), "tcp", w.c.Addr())
	var name *net.DNSError
	switch {
	case err == nil:
		w.over(c)
		return report(mail.OpConnect, c.RemoteAddr().String(), nil)
	case errors.As(err, &name) && ctx.Err() == nil:
		return report(mail.OpResolve, "", &mail.Error{
			Op: mail.OpResolve, Kind: mail.KindNetwork, Err: name,
			Hint: "check host:, and the name servers of this machine",
		})
	}
	return report(mail.OpConnect, "", connectFailure(ctx, err))
}

// over puts the session over a connection.
func (w *wire) over(c net.Conn) {
	w.conn = newConn(c, w.c.Timeout)
	w.top, w.r = w.conn, bufio.NewReaderSize(w.conn, readBuffer)
}

// proxyFailure makes an Error out of why there is no connection through the
// proxy.
func (w *wire) proxyFailure(ctx context.Context, err error) error {
	e := mail.AsError(connectFailure(ctx, fmt.Errorf("proxy %s: %w", w.c.Proxy, err)), mail.OpConnect, mail.KindNetwork)
	if e.Kind == mail.KindCanceled {
		return e
	}
	var failed *proxy.Error
	errors.As(err, &failed)
	switch {
	case failed != nil && !failed.Reached:
		e.Hint = "check proxy:, and whether the proxy is running"
	case errors.Is(err, proxy.ErrLogin):
		e.Kind, e.Hint = mail.KindAuth, "check the user name and password in proxy:"
	case e.Kind == mail.KindTimeout:
		e.Hint = "see whether the proxy is what proxy: says, and whether it can reach the mail server"
	default:
		e.Hint = "check host: and port:, and whether the proxy lets connections through to them"
	}
	return w.cleaned(e)
}

// addresses lists what a host name stands for.
func addresses(all []net.IPAddr) string {
	words := make([]string, len(all))
	for i, a := range all {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

func connectFailure(ctx context.Context, err error) error {
	var timeout net.Error
	switch {
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return mail.AsError(context.Canceled, mail.OpConnect, mail.KindCanceled)
	case ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout():
		return &mail.Error{
			Op: mail.OpConnect, Kind: mail.KindTimeout, Err: err,
			Hint: "no answer: check host: and port:, and whether a firewall is in between",
		}
	}
	return &mail.Error{
		Op: mail.OpConnect, Kind: mail.KindNetwork, Err: err,
		Hint: "check host: and port:, and whether the server is running",
	}
}

// line reads one line, without its end.
func (w *wire) line() (string, error) {
	var line []byte
	for {
		part, err := w.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			w.lf = !bytes.HasSuffix(line, []byte("\r\n"))
			return string(bytes.TrimRight(line, "\r\n")), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		case len(line) > maxLine:
			return "", errTooMuch
		}
	}
}

// greeting reads the first line a server says and hands it to check.
func (w *wire) greeting(check func(line string) error) (string, error) {
	var line string
	err := w.step(mail.OpGreeting, func() (detail string, err error) {
		if line, err = w.line(); err == nil {
			err = check(line)
		}
		var known *mail.Error
		if err != nil && !errors.As(err, &known) {
			err = w.failure(mail.OpGreeting, err)
			if errors.As(err, &known) && !w.tls && (known.Hint == "" || known.Kind == mail.KindTimeout) {
				known.Hint = "see what listens on this port; a port for TLS needs connection_security: SSL_TLS"
			}
		}
		return line, err
	})
	return line, err
}

// way chooses how to log in, of what the server offers.
func (w *wire) way(offered []login.Way) (login.Way, error) {
	_, binding := w.top.(*tls.Conn)
	way, ok := login.Choose(w.c, offered, binding)
	if ok {
		return way, nil
	}
	hint := "the server offers no login at all here; many refuse passwords in clear text: use connection_security: SSL_TLS or STARTTLS"
	if len(offered) > 0 {
		words := make([]string, len(offered))
		for i, o := range offered {
			words[i] = string(o)
		}
		slices.Sort(words)
		hint = "the server offers " + strings.Join(words, ", ") + ": see auth:"
	}
	return "", &mail.Error{
		Op: mail.OpAuthenticate, Kind: mail.KindAuth,
		Err: fmt.Errorf("server offers no way to log in with %s", login.Allowed(w.c)), Hint: hint,
	}
}

// sasl logs in by a SASL mechanism, which run carries.
func (w *wire) sasl(way login.Way, offered []login.Way, run func(sasl.Client) error) error {
	var state *tls.ConnectionState
	if top, ok := w.top.(*tls.Conn); ok {
		s := top.ConnectionState()
		state = &s
	}
	client, err := login.NewClient(way, w.c.Username, w.secret.Reveal(), state, offered)
	if err != nil {
		return &mail.Error{Op: mail.OpAuthenticate, Kind: mail.KindConfig, Err: err, Hint: "see username:, password: and auth:"}
	}
	err = run(client)
	w.secrets = append(client.Said(), w.secrets...)
	var refused *refusal
	switch {
	case errors.As(err, &refused) && client.Reason() != "":
		refused.text += " (" + client.Reason() + ")"
	case err == nil && !client.Proved():
		return &mail.Error{
			Op: mail.OpAuthenticate, Kind: mail.KindAuth, Err: fmt.Errorf("server did not prove that it knows the password, as %s has it do", way),
			Hint: "see that host: and port: are those of the right server; auth: PLAIN trusts it without",
		}
	}
	return err
}

// loggedIn says how the session logged in and what the server is capable of.
func loggedIn[C ~string](c *mail.Connection, way login.Way, capabilities []C) string {
	text := string(way)
	if c.Username != "" {
		text = c.Username + " by " + text
	}
	slices.Sort(capabilities)
	words := make([]string, len(capabilities))
	for i, name := range capabilities {
		words[i] = string(name)
	}
	return text + "; the server has " + strings.Join(words, " ")
}

// close drops the wire without a word to the server.
func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close() // whatever it says, the wire is gone
	}
}
