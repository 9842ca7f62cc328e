package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// settings are those of a connection as the file knows them.
type settings struct {
	mail.Connection
	caFile, keyLabel string
}

// newSettings are those of a connection of which nothing is given. The
// disposition depends on the protocol, and follows when that is known.
func newSettings() settings {
	return settings{Connection: mail.Connection{
		Enabled:  true,
		Security: mail.SSLTLS,
		Auth:     mail.AuthAuto,
		Store:    mail.IMAP,
		Mailbox:  inbox,
		Format:   mail.EML,

		WithoutAttachments: mail.SaveMessage,

		Pull:           disposition.Pull{Unread: true},
		FileMode:       0o640,
		DirMode:        0o750,
		Schedule:       "@every 1m",
		BackOff:        true,
		MaxMessages:    1,
		Timeout:        30 * time.Second,
		CommandTimeout: 2 * time.Minute,
		PollTimeout:    10 * time.Minute,
	}}
}

// required are the keys that a connection has, or the defaults.
var required = []string{"name", "host", "port", "folder"}

// section is a part of a file that settings were read from.
type section struct {
	settings
	whole node
	at    map[string]node // the values that are given
	base  *section        // the defaults, which have none
}

// place is where a key is given, here or in the defaults, or else the section
// as a whole.
func (s *section) place(key string) node {
	if n, ok := s.at[key]; ok {
		return n
	}
	if n, ok := s.base.at[key]; ok {
		return n
	}
	return s.whole
}

// given reports whether a key is given, here or in the defaults.
func (s *section) given(key string) bool {
	_, here := s.at[key]
	_, inherited := s.base.at[key]
	return here || inherited
}

// connection reads a connection, completes it with what depends on other keys,
// and judges what the keys mean together. It is nil for what is none.
func (l *loader) connection(n node, base *section, c *Config) *section {
	if n.Kind != yaml.MappingNode {
		l.fault(n, "connections: found %s; accepted: a mapping with the keys of a connection", n.found())
		return nil
	}
	s := &section{settings: base.settings, whole: n, base: base}
	s.at = decode(l, n, connectionKeys, &s.settings)
	for _, name := range required {
		if !s.given(name) {
			l.fault(n, "%s: missing; accepted: %s", name, lookUp(connectionKeys, name).accepts)
		}
	}
	if s.Dispose == "" {
		s.Dispose = disposition.Keep
		if s.Store == mail.POP3 {
			s.Dispose = disposition.Delete
		}
	}
	if s.Store == mail.POP3 {
		if n, given := s.at["mailbox"]; given {
			l.fault(n, "mailbox: found %s, but POP3 has no mailbox to choose; accepted: nothing, or store_type: IMAP", n.found())
		}
		if n, given := s.at["client_id"]; given {
			l.fault(n, "client_id: found %s, but POP3 has no command that tells it; accepted: nothing, or store_type: IMAP", n.found())
		}
		s.Mailbox, s.ClientID = "", mail.ClientID{}
	}
	l.moved(s)
	l.matched(s)
	l.authenticated(s)
	l.timed(s)
	if err := s.TLS.Check(); err != nil {
		l.fault(s.place("accepted_cipher_suites"), "accepted_cipher_suites: %v", err)
	}
	var files []string
	for _, f := range []string{c.caFile, s.caFile} {
		if f != "" {
			files = append(files, f)
		}
	}
	roots, err := l.trusted(files...)
	if err != nil {
		l.fault(s.place("ca_file"), "ca_file: %v", err)
	}
	s.TLS.Roots = roots.pool
	s.TLS.Identity = digest("%q %v %v %v", roots.digest, s.TLS.MatchHostname, s.TLS.Versions, s.TLS.Suites)
	l.keyed(s, c.Keys)
	l.authorised(s)
	l.laidOut(s)
	s.Fingerprint = s.fingerprint(roots.digest)
	l.doubt(s)
	return s
}

// authenticated judges how the connection logs in.
func (l *loader) authenticated(s *section) {
	switch {
	case s.Auth == mail.AuthAPOP && s.Store != mail.POP3:
		l.fault(s.place("auth"), "auth: APOP is a command of POP3; accepted: another value, or store_type: POP3")
	case s.Auth == mail.AuthScramSHA256Plus && s.Security == mail.NoTLS:
		l.fault(s.place("auth"), "auth: SCRAM_SHA_256_PLUS is bound to TLS; accepted: SCRAM_SHA_256, or another connection_security than NONE")
	}
	if s.Auth == mail.AuthExternal || s.given("password") || s.given("oauth2") {
		return
	}
	instead := "oauth2, or auth: EXTERNAL with client_key_label, do without"
	if s.keyLabel != "" {
		instead = "auth: EXTERNAL logs in with the key of client_key_label alone"
	}
	l.fault(s.whole, "password: missing; accepted: %s; %s", lookUp(connectionKeys, "password").accepts, instead)
}

// timed judges how long things may take. The default of command_timeout gives way
// to what is said of the others.
func (l *loader) timed(s *section) {
	if s.Timeout > s.PollTimeout {
		l.fault(s.place("timeout"), "timeout: found %s, which is longer than poll_timeout; accepted: up to %s", short(s.Timeout), short(s.PollTimeout))
		return
	}
	switch fits := min(max(s.CommandTimeout, s.Timeout), s.PollTimeout); {
	case !s.given("command_timeout"):
		s.CommandTimeout = fits
	case s.CommandTimeout != fits:
		l.fault(s.place("command_timeout"), "command_timeout: found %s; accepted: from timeout, %s, to poll_timeout, %s", short(s.CommandTimeout), short(s.Timeout), short(s.PollTimeout))
	}
}

// moved judges move_to.
func (l *loader) moved(s *section) {
	fault := func(format string, args ...any) { l.fault(s.place("move_to"), "move_to: "+format, args...) }
	switch {
	case s.MoveTo == "":
	case s.Store == mail.POP3:
		fault("found %q, but POP3 has no mailbox to move messages to; accepted: nothing, or store_type: IMAP", clipped(s.MoveTo))
	case s.MoveTo == s.Mailbox:
		fault("found %q, which is the mailbox that is read; accepted: another one", clipped(s.MoveTo))
	case s.Dispose == disposition.Delete:
		fault("a message that is moved is not deleted; accepted: with disposition: KEEP, or SEEN to mark it as read before it is moved")
	}
}

// keyed finds the key that the connection names.
func (l *loader) keyed(s *section, keys []mail.ClientKey) {
	if s.Auth == mail.AuthExternal && (s.keyLabel == "" || s.Security == mail.NoTLS) {
		l.fault(s.place("auth"), "auth: EXTERNAL takes a client certificate over TLS; accepted: with client_key_label, and not with connection_security: NONE")
	}
	if s.keyLabel == "" {
		return
	}
	var labels []string
	for i, k := range keys {
		if k.Label == s.keyLabel {
			s.Key = &keys[i]
			return
		}
		if k.Label != "" && !slices.Contains(labels, k.Label) {
			labels = append(labels, k.Label)
		}
	}
	accepted := "nothing, since there are no keys:"
	if len(labels) > 0 {
		accepted = either(nearest(s.keyLabel, labels, 5, math.MaxInt))
	}
	l.fault(s.place("client_key_label"), "client_key_label: found %q, which is not among keys:; accepted: %s", clipped(s.keyLabel), accepted)
}

// named takes the name of a connection. It has to be its own, and should not
// be told from another's by case alone where both save to one folder: some
// file systems ignore it.
func (l *loader) named(s *section, taken map[string]node, twins map[string]string) {
	if s.Name == "" {
		return
	}
	at := s.place("name")
	if first, ok := taken[s.Name]; ok {
		l.fault(at, "name: found %q, which is taken by the connection at %s:%d; accepted: a name of its own", s.Name, first.file, first.Line)
		return
	}
	taken[s.Name] = at
	id := s.Folder + "\x00" + strings.ToLower(s.Name)
	if twin, ok := twins[id]; ok {
		l.warn(at, "name: %q and %q differ in case alone and share a folder", twin, s.Name)
		return
	}
	twins[id] = s.Name
}

// doubt warns of what works, but may not be meant.
func (l *loader) doubt(s *section) {
	for _, doubt := range []struct {
		key, message string
		applies      bool
	}{
		{
			"connection_security", "NONE sends the password and the messages in clear text",
			s.Security == mail.NoTLS && !mail.Loopback(s.Host),
		},
		{
			"match_server_hostname", "DISABLED takes the certificate of any host for that of this one",
			s.Security != mail.NoTLS && !s.TLS.MatchHostname,
		},
		{
			"pull_disposition", "GET_FIRST_MESSAGE with disposition " + string(s.Dispose) + " never gets past the first message",
			s.Pull == disposition.Pull{} && !s.Ending().Removes() && s.MaxMessages > 0, // else it takes what is new behind it
		},
		{
			"max_retries", "has no effect without retry_interval",
			s.Retry.Max > 0 && s.Retry.Interval == 0,
		},
		{
			"retry_interval", "has no effect without max_retries",
			s.Retry.Max == 0 && s.Retry.Interval > 0,
		},
		{
			"client_key_label", "has no effect with connection_security: NONE",
			s.keyLabel != "" && s.Security == mail.NoTLS,
		},
		{
			"username", "missing, so the server will not let anyone in",
			s.Username == "" && s.Auth != mail.AuthExternal && s.OAuth2 == nil,
		},
		{
			"password", "has no effect with oauth2",
			!s.Password.IsZero() && s.OAuth2 != nil,
		},
		{
			"oauth2", "a secret " + readByOthers(s.place("oauth2")),
			s.OAuth2 != nil && s.OAuth2.Literal() && l.exposed[s.place("oauth2").file],
		},
		{
			"password", readByOthers(s.place("password")),
			!s.Password.Literal.IsZero() && l.exposed[s.place("password").file],
		},
		{
			"proxy", "a password " + readByOthers(s.place("proxy")),
			s.Proxy != nil && !s.Proxy.Password.Literal.IsZero() && l.exposed[s.place("proxy").file],
		},
	} {
		if doubt.applies {
			l.warn(s.place(doubt.key), "%s: %s", doubt.key, doubt.message)
		}
	}
}

// readByOthers is the doubt about a secret at a place of a file that other users can
// read. Its group may: the packaged daemon reads its file as a member of that.
func readByOthers(at node) string {
	return fmt.Sprintf("stands in a file that other users can read; chmod o= %s, or see {file: PATH} and {credential: NAME}", at.file)
}

// fingerprint is equal exactly when all settings are, what the certificate
// files hold included. It is a digest, and so gives no secret away.
func (s *settings) fingerprint(certificates string) string {
	text := fmt.Sprintf("%q %q", s.Password.Literal.Reveal(), certificates)
	if s.Proxy != nil {
		text += fmt.Sprintf(" %q", s.Proxy.Password.Literal.Reveal())
	}
	if s.Key != nil {
		text += fmt.Sprintf(" %q %q", s.Key.Password.Literal.Reveal(), shown(clientKeyKeys, s.Key))
	}
	if o := s.OAuth2; o != nil {
		text += fmt.Sprintf(" %q %q %q", o.ClientSecret.Literal.Reveal(), o.RefreshToken.Literal.Reveal(), o.ServiceAccount.Literal.Reveal())
	}
	for _, e := range shown(connectionKeys, s) {
		text += fmt.Sprintf("\n%s %#v", e.key, e.value)
	}
	return digest("%s", text)
}

func digest(format string, args ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, format, args...))
	return hex.EncodeToString(sum[:])
}
