package mailbox

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/login"
	"mailpoller/internal/match"
	"mailpoller/internal/proxy"
)

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
	manners *manners
	failed  logins      // before this one
	way     login.Way   // to log in, once it was chosen
	left    []login.Way // that could be tried after it
	blame   blame       // what a login that failed says
	trace   *mail.Trace
	log     *zap.Logger

	conn *conn         // limits
	top  net.Conn      // conn, or TLS over it
	r    *bufio.Reader // reads top
	out  *bufio.Writer // what a message passes through; nil until there was one
	tls  bool
	lf   bool // the last line read ended in a bare LF

	asked bool // the server asked for a client certificate
	ahead bool // commands are on their way whose answers nobody has waited for yet
	// said is what the server wants people to read; nil where it cannot say it.
	said func() []string

	notes   []string   // for the operator
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

// close drops the wire without a word to the server.
func (w *wire) close() {
	if w.conn != nil {
		_ = w.conn.Close() // whatever it says, the wire is gone
	}
}
