// Package mail holds the words of the domain: what a connection is, what a
// message is called, what a poll comes to and how it fails. It does no I/O.
package mail

import (
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/filename"
	"mailpoller/internal/match"
	"mailpoller/internal/retry"
	"mailpoller/internal/tlspolicy"
)

// StoreType is the protocol that a mailbox is read with.
type StoreType string

// The store types, spelled as the configuration spells them.
const (
	IMAP StoreType = "IMAP"
	POP3 StoreType = "POP3"
)

// Security is how the wire to the server is protected.
type Security string

// The securities, spelled as the configuration spells them.
const (
	SSLTLS   Security = "SSL_TLS"  // TLS from the first octet
	StartTLS Security = "STARTTLS" // upgraded before anything else is said
	NoTLS    Security = "NONE"     // clear text
)

// AuthMethod is how a session proves who it is.
type AuthMethod string

// The methods, spelled as the configuration spells them.
const (
	AuthAuto            AuthMethod = "AUTO" // the strongest that server and secret allow
	AuthPlain           AuthMethod = "PLAIN"
	AuthLogin           AuthMethod = "LOGIN"
	AuthCramMD5         AuthMethod = "CRAM_MD5"
	AuthScramSHA256     AuthMethod = "SCRAM_SHA_256"      // without channel binding
	AuthScramSHA256Plus AuthMethod = "SCRAM_SHA_256_PLUS" // bound to the TLS session
	AuthAPOP            AuthMethod = "APOP"
	AuthXOAuth2         AuthMethod = "XOAUTH2"
	AuthOAuthBearer     AuthMethod = "OAUTHBEARER"
	AuthExternal        AuthMethod = "EXTERNAL"
)

// Format is how messages are laid out in the folder.
type Format string

// The formats, spelled as the configuration spells them.
const (
	EML         Format = "EML"         // one file per message
	Maildir     Format = "MAILDIR"     // tmp, new and cur (maildir(5))
	Attachments Format = "ATTACHMENTS" // a directory per message, with its attachments
)

// Without is what becomes of a message without attachments.
type Without string

// The choices, spelled as the configuration spells them.
const (
	SaveMessage Without = "SAVE"      // its directory holds the message itself
	SetAside    Without = "SET_ASIDE" // it stays on the server
)

// ClientID is what an IMAP server is told about the client (RFC 2971).
type ClientID struct {
	Disabled bool        // it is told nothing
	Fields   [][2]string // names and values besides name and version, in the order of the file
}

// Notify is a command that is run once a message is saved.
type Notify struct {
	Command []string // the program and its arguments
	Timeout time.Duration
}

// Connection is one mailbox account on one server, as configured, validated
// and completed with its defaults. It is never changed after it was loaded: a
// reload makes new ones. Any number of goroutines may read it.
type Connection struct {
	Name        string
	Description string
	Enabled     bool

	Host     string
	Port     int
	Security Security
	TLS      tlspolicy.Policy
	Key      *ClientKey // presented to the server; nil for none

	Proxy *Proxy // what the server is reached through; nil for nothing

	Username string
	Password SecretSource
	Auth     AuthMethod
	OAuth2   *OAuth2  // how to get a token; nil for a password
	ClientID ClientID // IMAP only

	Store   StoreType
	Mailbox string        // IMAP only
	Match   *match.Filter // which messages are taken; nil for all
	Pull    disposition.Pull
	Dispose disposition.Disposition
	MoveTo  string // the mailbox that a saved message is moved to; empty: it is not. IMAP only
	// ReadOnly is set in a copy that Untouched makes.
	ReadOnly bool
	// Diagnose is set in a copy that is tested: why its mailbox cannot be opened
	// is worth further connections.
	Diagnose bool

	Folder             string // absolute
	Format             Format
	Filename           *filename.Template // nil for names that tell all messages apart
	Metadata           bool               // a JSON file describes each message
	KeepOriginal       bool               // ATTACHMENTS: the message itself is kept beside them
	WithoutAttachments Without            // ATTACHMENTS
	Notify             *Notify            // nil for nothing
	FileMode           fs.FileMode
	DirMode            fs.FileMode
	// DirectorySyncOptional allows a file system that cannot sync a directory: a
	// power cut may then undo what was saved.
	DirectorySyncOptional bool

	Schedule       string
	Retry          retry.Policy
	BackOff        bool          // space out the polls of a connection that keeps failing
	MaxMessages    int           // messages taken in one poll; 0 means all that match
	MaxMessageSize int64         // octets; 0 means no limit
	Timeout        time.Duration // the longest silence on the wire
	CommandTimeout time.Duration // the longest silence while the server works on a long command; Timeout to PollTimeout
	PollTimeout    time.Duration // the bound on one attempt

	// Fingerprint is equal for two connections exactly when all their
	// settings are. It holds no secret.
	Fingerprint string
}

// Proxy is what connections go through.
type Proxy struct {
	Scheme   string // proxy.SOCKS5 or proxy.HTTP
	Address  string // host and port
	Username string // empty for none
	Password SecretSource
}

// String is the proxy without its secret.
func (p *Proxy) String() string { return p.Scheme + "://" + p.Address }

// Ending is what becomes of a saved message on the server.
func (c *Connection) Ending() disposition.Disposition {
	switch {
	case c.ReadOnly:
		return disposition.Keep
	case c.MoveTo != "":
		return disposition.Move
	}
	return c.Dispose
}

// Untouched is the connection, so that nothing changes on the server.
func (c *Connection) Untouched() *Connection {
	copied := *c
	copied.ReadOnly = true
	return &copied
}

// Described reports whether what the server tells of a message beside its octets
// is wanted.
func (c *Connection) Described() bool {
	return c.Format == Maildir || c.Filename != nil || c.Metadata || c.Notify != nil
}

// NamedByContent reports whether what a message is called in the folder takes
// more than its identity on the server.
func (c *Connection) NamedByContent() bool {
	return c.Filename != nil || c.Format == Maildir && c.Store == IMAP
}

// Bearer reports whether the connection logs in with an access token.
func (c *Connection) Bearer() bool {
	return c.OAuth2 != nil || c.Auth == AuthXOAuth2 || c.Auth == AuthOAuthBearer
}

// Addr is the host and port to dial.
func (c *Connection) Addr() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// Server is what trust in the server's certificate is bound to.
func (c *Connection) Server() Server { return Server{strings.ToLower(c.Host), c.Port} }

// Account names the mailbox that the connection reads, so that what was saved
// from one account is never taken for what another one holds. How the server
// is reached (port, security) is no part of it.
func (c *Connection) Account() string {
	name := strings.ToLower(string(c.Store)) + "://" + c.Username + "@" + strings.ToLower(c.Host)
	if c.Store == IMAP {
		name += "/" + c.Mailbox
	}
	return name
}
