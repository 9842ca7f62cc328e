package mailbox

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"mailpoller/internal/mail"
	"mailpoller/internal/tlspolicy"
)

// refusal is a server's "no" to one command: NO or BAD of IMAP, -ERR of POP3.
// The session goes on after it.
type refusal struct {
	code string // response code, upper case, such as AUTHENTICATIONFAILED or IN-USE; may be empty
	text string
	bad  bool // BAD: the server does not understand the command, or not here
}

func (r *refusal) Error() string {
	if r.code == "" {
		return fmt.Sprintf("server refused: %s", r.text)
	}
	return fmt.Sprintf("server refused: [%s] %s", r.code, r.text)
}

// failure makes an Error out of what went wrong at a step of a session, unless it
// is one already. What broke the wire explains more than what a library made of it.
func (w *wire) failure(op string, err error) error {
	var done *mail.Error
	if errors.As(err, &done) {
		return done
	}
	// A wire that is closed on this side was closed for what err says.
	if broken := w.conn.err(); broken != nil && !errors.Is(broken, net.ErrClosed) && !isRefusal(err) {
		err = broken
	}
	if w.asked && tlspolicy.Alert(err) != "" {
		return w.keyFailure(op, err)
	}
	e := &mail.Error{Op: op, Kind: mail.KindProtocol, Err: err}
	var r *refusal
	switch {
	case errors.As(err, &r):
		e.Kind, e.Hint = refused(op, r)
		if e.Kind == mail.KindServer {
			e.Wait = backOff(r.text)
		}
		if e.Kind == mail.KindAuth && w.c.OAuth2 != nil && op == mail.OpAuthenticate {
			e.Hint = "the provider gave a token, and the mail server does not take it: check username: and scopes:, and whether the account may use this protocol (docs/providers.md)"
		}
		if e.Kind == mail.KindAuth && w.asked && w.c.Key == nil {
			e.Hint += "; it asked for a client certificate too: see client_key_label:"
		}
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		e.Kind = mail.KindTimeout
		e.Hint = "see whether the server is overloaded or a firewall drops the connection; timeout:, command_timeout: and poll_timeout: set how long it may take"
	case errors.Is(err, context.Canceled):
		e.Kind = mail.KindCanceled
	case errors.Is(err, errTooMuch):
		e.Hint = "this is not how a mail server answers: see what listens there"
	case hungUp(err), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		e.Kind = mail.KindNetwork
		e.Err = fmt.Errorf("server closed the connection: %w", err)
		e.Hint = "the server's log may say why; the next attempt starts anew"
	default:
		var opErr *net.OpError
		if errors.As(err, &opErr) {
			e.Kind = mail.KindNetwork
		}
	}
	e.Reopen = w.tooFast(e)
	if e.Hint == "" && op != mail.OpFetch { // what becomes of a message is for the poll to say
		e.Hint = "the session was ended; the server's log may say more, and the next attempt starts anew"
	}
	return w.cleaned(w.texts(e))
}

// tooFast reports whether a session may have ended because commands were ahead of
// their answers, and has the next sessions with the server go step by step then.
// Several at once may find that out: what counts is what this one has sent.
func (w *wire) tooFast(e *mail.Error) bool {
	if !w.ahead {
		return false
	}
	switch {
	case errors.Is(e.Err, errSilent), e.Kind == mail.KindProtocol && !isRefusal(e.Err) && !errors.Is(e.Err, errTooMuch):
	case e.Kind == mail.KindNetwork && (w.manners.hangups.Add(1) >= maxHangups || w.manners.stepwise.Load()):
	default:
		return false
	}
	w.manners.stepwise.Store(true)
	return true
}

// texts adds to an error what the server wants people to read, unless it is there
// already.
func (w *wire) texts(e *mail.Error) *mail.Error {
	if w.said == nil || e.Kind == mail.KindCanceled {
		return e
	}
	for _, text := range w.said() {
		if !strings.Contains(e.Err.Error(), text) {
			e.Err = fmt.Errorf("%w; the server says: %s", e.Err, text)
		}
	}
	return e
}

func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// meaning is what a refusal means that has one of some response codes (RFC 5530
// for IMAP, RFC 2449 and 3206 for POP3), or one of some texts.
type meaning struct {
	codes []string
	texts *regexp.Regexp
	kind  mail.Kind
	hint  string
}

// words match any of some texts, in any case, from the beginning of a word on.
func words(texts ...string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(` + strings.Join(texts, "|") + `)`)
}

const (
	limited = "the server limits how often or how much it is asked: poll less often, or lower limits.polls_per_host"
	trouble = "the server has a problem of its own; its log may say which"
	account = "check username: and password:, and whether the server lets this account use this protocol"
	mailbox = "name an existing mailbox in mailbox:"
)

// meanings are tried in their order: by the code, and where none is known, by the
// text. Many servers have a text alone. That one asks to try again later says least.
var meanings = []meaning{
	{codes: []string{"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED", "AUTH"}, kind: mail.KindAuth, hint: account},
	{codes: []string{"LIMIT", "LOGIN-DELAY", "OVERQUOTA", "THROTTLED"}, kind: mail.KindServer, hint: limited},
	{codes: []string{"INUSE", "IN-USE"}, kind: mail.KindServer, hint: "another program has the mailbox open; two programs should not poll one POP3 mailbox"},
	{codes: []string{"UNAVAILABLE", "SYS/TEMP", "SYS/PERM", "SERVERBUG", "TEMPFAIL"}, kind: mail.KindServer, hint: trouble},
	{codes: []string{"CONTACTADMIN"}, kind: mail.KindServer, hint: "the server asks you to tell its administrator"},
	{codes: []string{"NONEXISTENT", "TRYCREATE"}, kind: mail.KindConfig, hint: mailbox},
	{codes: []string{"BADCHARSET"}, kind: mail.KindConfig, hint: "the server searches for ASCII alone: use texts of ASCII in match:"},
	{codes: []string{"NOPERM"}, kind: mail.KindConfig, hint: "give the account access to the mailbox"},

	{texts: words("not connected"), kind: mail.KindAuth, hint: "the login was right, and the account in username: has no mailbox here that it may open: see whether it exists and has a licence, whether IMAP is enabled for it, and with oauth2: whether the token is for this account and has access to its mailbox (docs/providers.md)"},
	{texts: words("unsafe login"), kind: mail.KindAuth, hint: "the server lets in only clients that say who they are: set client_id: ENABLED, or allow other clients in the settings of the account"},
	{texts: words("enable imap", "imap access", "imap is disabled", "imap disabled", "not enabled", "pop access", "enable pop", "pop is disabled"), kind: mail.KindAuth, hint: "enable this protocol for the account, in its settings on the server"},
	{texts: words("too many", "maximum number", "max connections", "rate limit", "throttl", "backoff", "back-off", "login delay", "limit exceeded", "quota", "overquota"), kind: mail.KindServer, hint: limited},
	{texts: words("locked by", "mailbox is locked", "mailbox locked", "maildrop is locked", "maildrop locked", "already locked", "unable to lock", "cannot lock", "can't lock", `in use\b`, "already open"), kind: mail.KindServer, hint: "another program has the mailbox open; two programs should not poll one POP3 mailbox"},
	{texts: words("unavailable", "not available", "temporar", "overload", "internal error", "internal server", "server error", "timed out"), kind: mail.KindServer, hint: trouble},
	{texts: words("invalid", "incorrect", "wrong", "credential", "password", "authentication failed", "login failed", "bad user", "denied")}, // else
	{texts: words("try again", "later"), kind: mail.KindServer, hint: trouble},
}

// refused tells what a refusal means at a step.
func refused(op string, r *refusal) (mail.Kind, string) {
	at := slices.IndexFunc(meanings, func(m meaning) bool { return slices.Contains(m.codes, r.code) })
	if at < 0 {
		at = slices.IndexFunc(meanings, func(m meaning) bool { return m.texts != nil && m.texts.MatchString(r.text) })
	}
	// The connection is as it should be when it comes to fetch.
	if at < 0 || meanings[at].kind == "" || meanings[at].kind == mail.KindConfig && op == mail.OpFetch {
		return atStep(op)
	}
	return meanings[at].kind, meanings[at].hint
}

// atStep is what a refusal means that says no more.
func atStep(op string) (mail.Kind, string) {
	switch op {
	case mail.OpAuthenticate:
		return mail.KindAuth, account
	case mail.OpOpenMailbox:
		return mail.KindConfig, mailbox
	}
	return mail.KindProtocol, ""
}

// asks finds a time for which a server wants to be left alone.
var asks = regexp.MustCompile(`(?i)(?:back-?off(?: time)?|try again|retry|retry-after|wait|again|delay)[^0-9]{0,20}([0-9]{1,9})\s*(milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h)?\b`)

// maxBackOff bounds for how long a server is left alone because it says so.
const maxBackOff = 24 * time.Hour

// backOff is for how long a server wants to be left alone, by the text of its
// refusal; 0 when it does not say.
func backOff(text string) time.Duration {
	m := asks.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0
	}
	unit := time.Second
	switch word := strings.ToLower(m[2]); {
	case strings.HasPrefix(word, "ms"), strings.HasPrefix(word, "milli"):
		unit = time.Millisecond
	case strings.HasPrefix(word, "m"):
		unit = time.Minute
	case strings.HasPrefix(word, "h"):
		unit = time.Hour
	}
	return min(time.Duration(n)*unit, maxBackOff)
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
