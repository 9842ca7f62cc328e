// Package login chooses how a session proves who it is, and speaks for it.
package login

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"

	"mailpoller/internal/mail"
)

// Way is a way to log in: a SASL mechanism by its registered name, or a command
// that the protocol has of its own.
type Way string

// The ways.
const (
	External    Way = "EXTERNAL"
	OAuthBearer Way = "OAUTHBEARER"
	XOAuth2     Way = "XOAUTH2"
	ScramPlus   Way = "SCRAM-SHA-256-PLUS"
	Scram       Way = "SCRAM-SHA-256"
	CramMD5     Way = "CRAM-MD5"
	Plain       Way = "PLAIN"
	Login       Way = "LOGIN"

	APOP         Way = "APOP command"  // POP3: RFC 1939, section 7
	LoginCommand Way = "LOGIN command" // IMAP: RFC 9051, section 6.2.3
	UserPass     Way = "USER/PASS"     // POP3: RFC 1939, section 7
)

// ways are those that there are, the strongest first: those that give nothing
// away by which somebody else could log in, and then those that give the
// password itself away. The commands come before the mechanisms that do the
// same, because what follows them need not wait for the answer.
var ways = []struct {
	way  Way
	auth mail.AuthMethod // the value of auth: that asks for it, beside AUTO
	has  credential
}{
	{External, mail.AuthExternal, key},
	{OAuthBearer, mail.AuthOAuthBearer, token},
	{XOAuth2, mail.AuthXOAuth2, token},
	{ScramPlus, mail.AuthScramSHA256Plus, password},
	{Scram, mail.AuthScramSHA256, password},
	{CramMD5, mail.AuthCramMD5, password},
	{APOP, mail.AuthAPOP, password},
	{LoginCommand, mail.AuthLogin, password},
	{UserPass, mail.AuthLogin, password},
	{Plain, mail.AuthPlain, password},
	{Login, mail.AuthLogin, password},
}

// credential is what a way needs.
type credential int

const (
	password credential = iota
	token               // of OAuth 2.0
	key                 // a client certificate
)

// credentialOf is what a connection has.
func credentialOf(c *mail.Connection) credential {
	switch {
	case c.Bearer():
		return token
	case c.Auth == mail.AuthExternal, c.Auth == mail.AuthAuto && c.Key != nil && c.Password.IsZero():
		return key
	}
	return password
}

// Reveals reports whether a way gives the password itself away to the server.
func (w Way) Reveals() bool {
	switch w {
	case LoginCommand, UserPass, Plain, Login:
		return true
	}
	return false
}

// Setting is the value of auth: that asks for a way.
func (w Way) Setting() mail.AuthMethod {
	for _, known := range ways {
		if known.way == w {
			return known.auth
		}
	}
	return mail.AuthAuto
}

// Ways are those among the ways that a server offers which auth: and the
// credential of the connection allow, the strongest first. That a way which gives
// the password away is not used in clear text unless the configuration says so is
// the caller's: by the time a server is asked what it offers, the wire is as
// protected as it will be.
func Ways(c *mail.Connection, offered []Way, binding bool) []Way {
	has := credentialOf(c)
	var all []Way
	for _, w := range ways {
		switch {
		case w.has != has, !slices.Contains(offered, w.way):
		case c.Auth != mail.AuthAuto && c.Auth != w.auth:
		case w.way == ScramPlus && !binding:
		case w.way == LoginCommand && c.Auth == mail.AuthAuto && !ascii(c.Username) && slices.Contains(offered, Plain):
			// The command carries ASCII alone (RFC 9051, section 6.2.3).
		default:
			all = append(all, w.way)
		}
	}
	return all
}

// Allowed says which ways a connection may use, for an error.
func Allowed(c *mail.Connection) string {
	switch has := credentialOf(c); {
	case has == key:
		return "a client certificate (EXTERNAL)"
	case c.Auth == mail.AuthAuto && has == token:
		return "a token (OAUTHBEARER, XOAUTH2)"
	}
	return "auth: " + string(c.Auth)
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 127 }) < 0
}

// Client speaks for a session that logs in by a SASL mechanism. It keeps what it
// said, so that a server that repeats it can be kept from showing it, and what
// the server said about a token.
type Client struct {
	sasl.Client
	public    string // what need not be kept from being shown: the user name, unless it is the password too
	dismissal []byte // the answer to a challenge that refuses a token; nil where one asks for more
	reason    string
	said      []string
}

// errUnasked is a server that goes on where a mechanism is at its end.
var errUnasked = errors.New("server asks for more than the mechanism has to say")

// NewClient makes ready to log in. The state of the wire binds SCRAM to it; it
// is nil without TLS. Its errors are those of a user name or password that the
// mechanism cannot carry.
func NewClient(way Way, user, secret string, wire *tls.ConnectionState, offered []Way) (*Client, error) {
	c := &Client{}
	if user != secret {
		c.public = user
	}
	var err error
	switch way {
	case External:
		c.Client = sasl.NewExternalClient(user)
	case OAuthBearer:
		c.Client = sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{Username: user, Token: secret})
		c.dismissal = []byte{1} // RFC 7628, section 3.2.3
	case XOAuth2:
		c.Client, c.dismissal = &xoauth2{user, secret}, []byte{}
	case ScramPlus, Scram:
		c.Client, err = newScram(way, user, secret, wire, offered)
	case CramMD5:
		c.Client = &cramMD5{user, secret}
	case Plain:
		c.Client = sasl.NewPlainClient("", user, secret)
	case Login:
		c.Client = &plainLogin{[]string{user, secret}}
	default:
		err = fmt.Errorf("%s is no SASL mechanism", way)
	}
	return c, err
}

// Start implements sasl.Client.
func (c *Client) Start() (string, []byte, error) {
	name, response, err := c.Client.Start()
	c.keep(response)
	return name, response, err
}

// Next implements sasl.Client.
func (c *Client) Next(challenge []byte) ([]byte, error) {
	if c.dismissal != nil {
		// The token is refused. The challenge says why, and the refusal itself
		// follows an answer that says nothing.
		c.reason = reason(challenge)
		return c.dismissal, nil
	}
	response, err := c.Client.Next(challenge)
	c.keep(response)
	return response, err
}

// keep keeps what was said, unless it is the user name alone: that stands in what
// the server says of the mailbox.
func (c *Client) keep(response []byte) {
	if len(response) > 1 && string(response) != c.public {
		c.said = append(c.said, base64.StdEncoding.EncodeToString(response), string(response))
	}
}

// Said is what the client said, in the spellings in which it went over the
// wire, the longest first.
func (c *Client) Said() []string {
	slices.SortFunc(c.said, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return c.said
}

// Reason is what the server said about a token that it refused, beyond its
// refusal; it may be empty.
func (c *Client) Reason() string { return c.reason }

// Proved reports whether the server has shown that it knows the password, where
// the mechanism has it do so. One that lets in whoever comes does not.
func (c *Client) Proved() bool {
	s, ok := c.Client.(*scramClient)
	return !ok || s.conversation.Valid()
}
