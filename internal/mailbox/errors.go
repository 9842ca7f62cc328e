package mailbox

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"unicode"

	"mailpoller/internal/mail"
	"mailpoller/internal/tlspolicy"
)

// refusal is a server's "no" to one command: NO or BAD of IMAP, -ERR of POP3.
// The session goes on after it.
type refusal struct {
	code string // response code, upper case, such as AUTHENTICATIONFAILED or IN-USE; may be empty
	text string
}

func (r *refusal) Error() string {
	if r.code == "" {
		return fmt.Sprintf("server refused: %s", r.text)
	}
	return fmt.Sprintf("server refused: [%s] %s", r.code, r.text)
}

// failure makes an Error out of what went wrong at a step of a session. What
// broke the wire explains more than what a library made of it.
func (w *wire) failure(op string, err error) error {
	// A wire that is closed on this side was closed for what err says.
	if broken := w.conn.err(); broken != nil && !errors.Is(broken, net.ErrClosed) && !isRefusal(err) {
		err = broken
	}
	var done *mail.Error
	if errors.As(err, &done) {
		return done
	}
	if w.asked && tlspolicy.Alert(err) != "" {
		return w.keyFailure(op, err)
	}
	e := &mail.Error{Op: op, Kind: mail.KindProtocol, Err: err}
	switch {
	case isRefusal(err):
		e.Kind, e.Hint = refused(op, err)
		if e.Kind == mail.KindAuth && w.c.OAuth2 != nil {
			e.Hint = "the provider gave a token, and the mail server does not take it: check username: and scopes:, and whether the account may use this protocol (docs/providers.md)"
		}
		if e.Kind == mail.KindAuth && w.asked && w.c.Key == nil {
			e.Hint += "; it asked for a client certificate too: see client_key_label:"
		}
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e.Kind = mail.KindTimeout
		e.Hint = "see whether the server is overloaded or a firewall drops the connection; timeout: and poll_timeout: set how long it may take"
	case errors.Is(err, context.Canceled):
		e.Kind = mail.KindCanceled
	case errors.Is(err, errTooMuch):
		e.Hint = "this is not how a mail server answers: see what listens there"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		e.Kind = mail.KindNetwork
		e.Err = fmt.Errorf("server closed the connection: %w", err)
		e.Hint = "the server's log may say why; the next attempt starts anew"
	default:
		var opErr *net.OpError
		if errors.As(err, &opErr) {
			e.Kind = mail.KindNetwork
		}
	}
	if e.Hint == "" && op != mail.OpFetch { // what becomes of a message is for the poll to say
		e.Hint = "the session was ended; the server's log may say more, and the next attempt starts anew"
	}
	return w.cleaned(e)
}

func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// refused tells by its response code (RFC 5530 for IMAP, RFC 2449 and 3206
// for POP3) what a refusal means.
func refused(op string, err error) (mail.Kind, string) {
	var r *refusal
	errors.As(err, &r)
	switch r.code {
	case "UNAVAILABLE", "SYS/TEMP", "SERVERBUG", "SYS/PERM":
		return mail.KindProtocol, "the server has a problem of its own; its log may say which"
	case "INUSE", "IN-USE":
		return mail.KindProtocol, "another program has the mailbox open; two programs should not poll one POP3 mailbox"
	case "LIMIT", "LOGIN-DELAY", "OVERQUOTA":
		return mail.KindProtocol, "the server limits how often or how much it is asked: poll less often, or lower limits.polls_per_host"
	case "NONEXISTENT", "TRYCREATE":
		return mail.KindConfig, "name an existing mailbox in mailbox:"
	case "BADCHARSET":
		return mail.KindConfig, "the server searches for ASCII alone: use texts of ASCII in match:"
	case "NOPERM":
		return mail.KindConfig, "give the account access to the mailbox"
	}
	switch op {
	case mail.OpAuthenticate:
		return mail.KindAuth, "check username: and password:, and whether the server lets this account use this protocol"
	case mail.OpOpenMailbox:
		return mail.KindConfig, "name an existing mailbox in mailbox:"
	}
	return mail.KindProtocol, ""
}

// cleaned makes the text of an error fit to be shown: without the secret,
// should the server have echoed it, without control characters, and bounded.
func (w *wire) cleaned(e *mail.Error) *mail.Error {
	text := e.Err.Error()
	clean := w.clean(text)
	if clean != text {
		e.Err = &shown{clean, e.Err}
	}
	return e
}

// shown is an error with another text.
type shown struct {
	text string
	err  error
}

func (s *shown) Error() string { return s.text }
func (s *shown) Unwrap() error { return s.err }

// maxText bounds what is shown of what a server says, in octets.
const maxText = 300

// clean makes what a server said fit to be shown.
func (w *wire) clean(text string) string {
	text = mail.Redact(text, w.secrets...)
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	return strings.TrimSpace(text)
}

// spellings are the ways in which a secret goes over the wire, longest first.
func spellings(username string, secret mail.Secret) []string {
	if secret.IsZero() {
		return nil
	}
	s := secret.Reveal()
	b64 := func(raw string) string { return base64.StdEncoding.EncodeToString([]byte(raw)) }
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
	return []string{b64("user=" + username + "\x01auth=Bearer " + s + "\x01\x01"), b64("\x00" + username + "\x00" + s), b64(s), quoted, s}
}
