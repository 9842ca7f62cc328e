package login

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // G501: CRAM-MD5 and APOP are made of it
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// xoauth2 is the mechanism that Google and Microsoft made for tokens ahead of
// RFC 7628.
type xoauth2 struct{ user, token string }

func (x *xoauth2) Start() (string, []byte, error) {
	return string(XOAuth2), []byte("user=" + x.user + "\x01auth=Bearer " + x.token + "\x01\x01"), nil
}

// Next is not asked: all has been said.
func (x *xoauth2) Next([]byte) ([]byte, error) { return nil, errUnasked }

// plainLogin is draft-murchison-sasl-login-00. What the server asks with is for
// people, and servers spell it in many ways.
type plainLogin struct{ answers []string }

func (l *plainLogin) Start() (string, []byte, error) { return string(Login), nil, nil }

func (l *plainLogin) Next([]byte) ([]byte, error) {
	if len(l.answers) == 0 {
		return nil, errUnasked
	}
	answer := l.answers[0]
	l.answers = l.answers[1:]
	return []byte(answer), nil
}

// reason is what a server says about a token that it refuses: JSON with a
// status (RFC 7628, section 3.2.2), or whatever it is, as far as it is text.
func reason(challenge []byte) string {
	var said struct {
		Status, Scope, Error string
		Description          string `json:"error_description"`
	}
	if json.Unmarshal(challenge, &said) != nil {
		return ""
	}
	var parts []string
	for _, part := range []struct{ title, text string }{{"status ", said.Status}, {"scope ", said.Scope}, {"", said.Error}, {"", said.Description}} {
		if part.text != "" {
			parts = append(parts, part.title+part.text)
		}
	}
	return strings.Join(parts, ", ")
}

// cramMD5 is RFC 2195.
type cramMD5 struct{ user, secret string }

func (c *cramMD5) Start() (string, []byte, error) { return string(CramMD5), nil, nil }

func (c *cramMD5) Next(challenge []byte) ([]byte, error) {
	if len(challenge) == 0 {
		return nil, errors.New("server sends no challenge")
	}
	mac := hmac.New(md5.New, []byte(c.secret))
	mac.Write(challenge)
	return []byte(c.user + " " + hex.EncodeToString(mac.Sum(nil))), nil
}

// messageID is a message id as a server makes one (RFC 5322, section 3.6.4), and
// no more than that.
var messageID = regexp.MustCompile(`<[A-Za-z0-9!#$%&'*+/=?^_{|}~.` + "`" + `-]{1,200}@[A-Za-z0-9!#$%&'*+/=?^_{|}~.:\[\]` + "`" + `-]{1,200}>`)

// Timestamp is the part of a POP3 greeting that APOP signs, or empty where the
// server does not offer APOP (RFC 1939, section 7). What is no message id is not
// signed: who is in between could find out a part of the password by what he has
// signed (CVE-2007-1558).
func Timestamp(greeting string) string {
	_, behind, _ := strings.Cut(greeting, "<")
	id, _, ok := strings.Cut(behind, ">")
	if text := "<" + id + ">"; ok && messageID.FindString(text) == text {
		return text
	}
	return ""
}

// Digest is what APOP sends in place of a password.
func Digest(timestamp, secret string) string {
	sum := md5.Sum([]byte(timestamp + secret)) //nolint:gosec // G401: that is APOP
	return hex.EncodeToString(sum[:])
}

// scramClient is RFC 7677, with the channel binding of RFC 5929 and 9266.
type scramClient struct {
	way          Way
	conversation *scram.ClientConversation
}

// How often a server may have the password hashed. RFC 7677, section 4, asks for
// the least; more than the most, which takes a second or so, only keeps us busy.
const (
	minIterations = 4096
	maxIterations = 2_000_000
)

func newScram(way Way, user, secret string, wire *tls.ConnectionState, offered []Way) (*scramClient, error) {
	client, err := scram.SHA256.NewClient(user, secret, "")
	if err != nil {
		return nil, fmt.Errorf("user name or password cannot be used with %s: %w", way, err)
	}
	client = client.WithMinIterations(minIterations)
	s := &scramClient{way: way}
	switch {
	case way == ScramPlus:
		bind := scram.NewTLSExporterBinding
		if wire.Version < tls.VersionTLS13 {
			bind = scram.NewTLSServerEndpointBinding
		}
		binding, err := bind(wire)
		if err != nil {
			return nil, fmt.Errorf("bind %s to the TLS session: %w", way, err)
		}
		s.conversation = client.NewConversationWithChannelBinding(binding)
	case wire != nil && !slices.Contains(offered, ScramPlus):
		// So that a server that does offer it knows that somebody in between
		// has taken it away.
		s.conversation = client.NewConversationAdvertisingChannelBinding()
	default:
		s.conversation = client.NewConversation()
	}
	return s, nil
}

func (s *scramClient) Start() (string, []byte, error) {
	first, err := s.conversation.Step("")
	return string(s.way), []byte(first), err
}

// Next implements sasl.Client. The server, too, has to know the password.
func (s *scramClient) Next(challenge []byte) ([]byte, error) {
	if s.conversation.Done() {
		return nil, errUnasked
	}
	for part := range strings.SplitSeq(string(challenge), ",") {
		if count, ok := strings.CutPrefix(part, "i="); ok {
			if n, err := strconv.Atoi(count); err != nil || n > maxIterations {
				return nil, fmt.Errorf("%s: server asks for %.20q iterations; accepted are %d to %d", s.way, count, minIterations, maxIterations)
			}
		}
	}
	response, err := s.conversation.Step(string(challenge))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.way, err)
	}
	return []byte(response), nil
}
