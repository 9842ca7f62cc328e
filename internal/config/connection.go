package config

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// draft is a connection while it is read.
type draft struct {
	mail.Connection
	caFile string

	where node            // the mapping
	at    map[string]node // the values that are given in it
}

// newDraft is a connection with nothing given.
func newDraft() *draft {
	return &draft{Connection: mail.Connection{
		Enabled:     true,
		Security:    mail.SSLTLS,
		Auth:        mail.AuthAuto,
		Store:       mail.IMAP,
		Mailbox:     "INBOX",
		Pull:        disposition.Pull{Unread: true},
		FileMode:    0o640,
		DirMode:     0o750,
		Schedule:    "@every 1m",
		BackOff:     true,
		MaxMessages: 1,
		Timeout:     30 * time.Second,
		PollTimeout: 10 * time.Minute,
	}}
}

func (d *draft) clone() *draft {
	c := *d
	c.at = maps.Clone(d.at)
	return &c
}

// place is where a key is given, or else the connection as a whole.
func (d *draft) place(key string) node {
	if n, ok := d.at[key]; ok {
		return n
	}
	return d.where
}

// require reports the keys that are missing, and a name that is taken.
func (l *loader) require(d *draft, named map[string]node) {
	for _, needed := range []struct {
		key   string
		given bool
	}{{"name", d.Name != ""}, {"host", d.Host != ""}, {"port", d.Port != 0}, {"folder", d.Folder != ""}} {
		n, written := d.at[needed.key]
		if needed.given || written && !n.empty() { // what is written was reported
			continue
		}
		l.fault(d.place(needed.key), "%s: missing; accepted: %s", needed.key, lookUp(connectionKeys, needed.key).accepts)
	}
	if d.Name == "" {
		return
	}
	if first, taken := named[d.Name]; taken {
		l.fault(d.place("name"), "name: found %q, which is taken by the connection at %s:%d", d.Name, first.file, first.Line)
		return
	}
	named[d.Name] = d.place("name")
}

// finish completes a connection with what depends on other keys, checks what
// the keys mean together, and says what is doubtful.
func (l *loader) finish(d *draft, c *Config) mail.Connection {
	if d.Dispose == "" {
		d.Dispose = disposition.Keep
		if d.Store == mail.POP3 {
			d.Dispose = disposition.Delete
		}
	}
	if n, given := d.at["mailbox"]; given && !n.empty() && d.Store == mail.POP3 {
		l.fault(n, "mailbox: found %s, but POP3 has one mailbox alone; accepted: nothing, or store_type: IMAP", n.found())
	}
	if d.Timeout > d.PollTimeout {
		l.fault(d.place("timeout"), "timeout: found %v, which is longer than poll_timeout of %v", d.Timeout, d.PollTimeout)
	}
	var certificates string
	if files := nonEmpty(c.caFile, d.caFile); len(files) > 0 {
		r := l.certificates(files...)
		d.TLS.Roots, certificates = r.pool, r.digest
	}
	l.doubt(d)
	d.Fingerprint = d.fingerprint(certificates)
	return d.Connection
}

func nonEmpty(all ...string) []string {
	var some []string
	for _, s := range all {
		if s != "" {
			some = append(some, s)
		}
	}
	return some
}

// doubt warns of what works, but may not be meant.
func (l *loader) doubt(d *draft) {
	for _, w := range []struct {
		if_  bool
		key  string
		text string
	}{
		{
			d.Security == mail.NoTLS && !loopback(d.Host), "connection_security",
			"connection_security: NONE sends the password and the messages in clear text",
		},
		{
			d.Security != mail.NoTLS && !d.TLS.MatchHostname, "match_server_hostname",
			"match_server_hostname: DISABLED accepts the certificate of any host whose issuer is trusted",
		},
		{
			d.Pull == disposition.Pull{} && d.Dispose != disposition.Delete, "pull_disposition",
			"pull_disposition: GET_FIRST_MESSAGE with disposition " + string(d.Dispose) + " can never move on to a second message",
		},
		{
			(d.Retry.Max == 0) != (d.Retry.Interval == 0), "max_retries",
			"max_retries: nothing is tried again unless both max_retries and retry_interval are given",
		},
		{
			d.Username == "", "username",
			"username: missing, so nobody can log in",
		},
		{
			d.Username != "" && d.Password.IsZero(), "password",
			"password: missing, so nobody can log in",
		},
		{
			!d.Password.Literal.IsZero() && l.open[d.place("password").file], "password",
			"password: other users can read this file; see {file: PATH} and {credential: NAME}, or chmod go= it",
		},
	} {
		if w.if_ {
			l.warn(d.place(w.key), "%s", w.text)
		}
	}
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}

// lookAlike warns of connections that share a folder and whose files a file
// system that ignores case would take for one another's.
func (l *loader) lookAlike(drafts []*draft) {
	first := make(map[string]*draft)
	for _, d := range drafts {
		id := d.Folder + "\x00" + strings.ToLower(d.Name)
		if other, ok := first[id]; ok && other.Name != d.Name {
			l.warn(d.place("name"), "name: %q and %q share a folder and differ by case alone", other.Name, d.Name)
			continue
		}
		first[id] = d
	}
}

// fingerprint is equal exactly when all settings are. A secret goes into it as
// a digest, and the result is one of all.
func (d *draft) fingerprint(certificates string) string {
	settings := shown(connectionKeys, d)
	text, err := json.Marshal(append(settings,
		item{"password digest", digest(d.Name + "\x00" + d.Password.Literal.Reveal())},
		item{"certificates", certificates}))
	if err != nil {
		panic(err) // texts, numbers and lists of them
	}
	return digest(string(text))
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
