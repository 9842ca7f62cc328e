package mailbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/login"
)

// logins are those that failed while a mailbox is opened, each on a connection of
// its own.
type logins struct {
	ways    []login.Way
	reasons []string
	unclear bool // one of them may have been a matter of the password
}

// blame is what a login that failed says of the password.
type blame int

const (
	otherwise blame = iota // another login would change nothing
	unclear                // it may be wrong, or the mechanism may not work here
	mechanism              // it has nothing to do with it
)

// notThePassword finds what servers say of a mechanism that they cannot carry out,
// although they offer it.
var notThePassword = regexp.MustCompile(`(?i)mechanism|bad protocol|cancel|channel binding|not supported|unsupported|not implemented|no secret|not available for|unknown (auth|command)|invalid command|syntax`)

// inBetween is what a server says that offers channel binding to a client which did
// not see the offer (RFC 5802, section 7): somebody has taken it away.
const inBetween = "server-does-support-channel-binding"

// blameOf tells what a login that failed says. Who is asked for the password
// itself, and refuses it, means it.
func blameOf(way login.Way, err error) blame {
	var r *refusal
	switch {
	case errors.Is(err, errNoProof):
		return otherwise
	case errors.As(err, &r):
		kind, _ := refused(mail.OpAuthenticate, r)
		switch {
		case kind != mail.KindAuth, strings.Contains(r.text, inBetween):
			return otherwise
		case r.bad, notThePassword.MatchString(r.text):
			return mechanism
		case way.Reveals():
			return otherwise
		}
		return unclear
	case way.Reveals():
		return otherwise
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errSilent):
		return unclear
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return otherwise
	}
	return mechanism // what the server asked made no sense
}

// next notes a login that failed, and reports whether another one is worth it:
// there is one that is as safe, and no more than one login too many of a job can
// be a matter of the password, lest the account be locked.
func (l *logins) next(ctx context.Context, w *wire, err error) bool {
	switch {
	case w == nil || w.way == "" || w.c.Auth != mail.AuthAuto || !w.tls || ctx.Err() != nil,
		w.blame == otherwise, len(w.left) == 0,
		w.blame == unclear && (l.unclear || !mail.AnotherLogin(ctx)):
		return false
	}
	if w.blame == mechanism {
		w.manners.breaks(w.way)
	}
	l.ways = append(l.ways, w.way)
	l.unclear = l.unclear || w.blame == unclear
	l.reasons = append(l.reasons, fmt.Sprintf("%s: %v", w.way, errors.Unwrap(err)))
	return true
}

// told is the last failure, with those before it.
func (l *logins) told(err error) error {
	var e *mail.Error
	if len(l.reasons) > 0 && errors.As(err, &e) {
		e.Err = fmt.Errorf("%w (tried before: %s)", e.Err, strings.Join(l.reasons, "; "))
	}
	return err
}

// chooseWay chooses how to log in, of what the server offers.
func (w *wire) chooseWay(offered []login.Way) (login.Way, error) {
	_, binding := w.top.(*tls.Conn)
	ways := login.Ways(w.c, offered, binding)
	ways = slices.DeleteFunc(ways, func(way login.Way) bool { return slices.Contains(w.failed.ways, way) })
	if len(ways) > 0 {
		if w.c.Auth == mail.AuthAuto {
			ways = w.manners.working(ways)
		}
		w.way = w.manners.first(w.c.Auth, ways)
		if plain := slices.IndexFunc(ways, login.Way.Reveals); w.failed.unclear && plain >= 0 {
			w.way = ways[plain] // the one that tells
		}
		w.left = slices.DeleteFunc(ways, func(way login.Way) bool { return way == w.way })
		return w.way, nil
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

// errNoProof is a server that lets in whoever comes.
var errNoProof = errors.New("server did not prove that it knows the password")

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
			Op: mail.OpAuthenticate, Kind: mail.KindAuth, Err: fmt.Errorf("%w, as %s has it do", errNoProof, way),
			Hint: "see that host: and port: are those of the right server; auth: PLAIN trusts it without",
		}
	}
	return err
}

// loginFailure makes an Error out of a login that failed.
func (w *wire) loginFailure(fail func(op string, err error) error, err error) error {
	failed := fail(mail.OpAuthenticate, err)
	var e *mail.Error
	if !errors.As(failed, &e) || w.way == "" {
		return failed
	}
	w.blame = blameOf(w.way, failed)
	plain := slices.IndexFunc(w.left, login.Way.Reveals)
	switch {
	case w.blame == unclear && w.c.Auth == mail.AuthAuto && !w.tls && plain >= 0:
		e.Hint += fmt.Sprintf("; if all of that is right, the server offers %s and may not be able to do it: set connection_security: SSL_TLS or STARTTLS, or auth: %s, which sends the password in clear text", w.way, w.left[plain].Setting())
	case w.blame == mechanism:
		e.Kind = mail.KindProtocol
		e.Hint = fmt.Sprintf("the server offers %s, and it does not work here: name another mechanism in auth:, such as auth: PLAIN where the connection is encrypted", w.way)
	}
	return failed
}

// loggedIn says how the session logged in and what the server is capable of.
func loggedIn(c *mail.Connection, way login.Way, capabilities []string) string {
	text := string(way)
	if c.Username != "" {
		text = c.Username + " by " + text
	}
	slices.Sort(capabilities)
	return text + "; the server has " + strings.Join(capabilities, " ")
}
