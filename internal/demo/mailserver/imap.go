package mailserver

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"mailpoller/internal/mail"
)

// IMAP is an IMAP server. Its methods may be called by many goroutines.
type IMAP struct {
	tls      *tls.Config
	caps     imap.CapSet
	validity uint32
	ports    ports

	mu    sync.Mutex
	users map[string]*imapmemserver.User
}

// NewIMAP makes a server that does not listen yet. With a nil config it cannot
// do TLS. With no capabilities it offers IMAP4rev1, ESEARCH and UIDPLUS;
// otherwise those given, of which IMAP4rev1 or IMAP4rev2 must be one, and what
// the library adds of its own.
func NewIMAP(config *tls.Config, caps ...imap.Cap) *IMAP {
	if len(caps) == 0 {
		caps = []imap.Cap{imap.CapIMAP4rev1, imap.CapESearch, imap.CapUIDPlus}
	}
	set := make(imap.CapSet)
	for _, c := range caps {
		set[c] = struct{}{}
	}
	return &IMAP{
		tls:   config,
		caps:  set,
		users: make(map[string]*imapmemserver.User),
		// The library counts the UIDVALIDITY of each user's mailboxes from 1,
		// so a server that is started again would pass its new messages off
		// as the old ones. Counted from now on, it does not (RFC 9051, 2.3.1.1).
		validity: uint32(time.Now().Unix()), //nolint:gosec // G115: fits until 2106
	}
}

// inbox is the mailbox that every user has.
const inbox = "INBOX"

// AddUser makes an account with an empty INBOX. It replaces one of the same
// name, whose sessions go on with what they had.
func (s *IMAP) AddUser(name, password string) error {
	user := imapmemserver.NewUser(name, password)
	if err := user.Create(inbox, nil); err != nil {
		return fmt.Errorf("make mailbox of %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[name] = user
	return nil
}

// Deliver puts messages into the INBOX of a user, in this order, under flags
// such as `\Seen`. It copies them.
func (s *IMAP) Deliver(name string, flags []imap.Flag, messages ...[]byte) error {
	user := s.user(name)
	if user == nil {
		return fmt.Errorf("deliver to %s: no such user", name)
	}
	for _, m := range messages {
		literal := sized{bytes.NewReader(m)}
		if _, err := user.Append(inbox, literal, &imap.AppendOptions{Flags: flags}); err != nil {
			return fmt.Errorf("deliver to %s: %w", name, err)
		}
	}
	return nil
}

// sized is a bytes.Reader as the library wants its literals.
type sized struct{ *bytes.Reader }

func (s sized) Size() int64 { return s.Reader.Size() }

var _ imap.LiteralReader = sized{}

func (s *IMAP) user(name string) *imapmemserver.User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.users[name]
}

// Listen opens a port on 127.0.0.1. Over STARTTLS nobody can log in before the
// upgrade; over NONE there is none.
func (s *IMAP) Listen(security mail.Security) (port int, err error) {
	options := &imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return &imapSession{server: s}, nil, nil
		},
		Caps:         maps.Clone(s.caps),
		InsecureAuth: security == mail.NoTLS,
		Logger:       silent{},
	}
	if security == mail.StartTLS {
		options.TLSConfig = s.tls
	}
	server := imapserver.New(options)
	return s.ports.add(security, s.tls, func(l net.Listener) { _ = server.Serve(l) })
}

// silent is a logger for what clients do wrong, which is no news.
type silent struct{}

func (silent) Printf(string, ...any) {}

// Close ends all connections and returns when nothing serves them any more.
func (s *IMAP) Close() { s.ports.close() }

// imapSession is one client. The library does the work; what is added is the
// server's own UIDVALIDITY.
type imapSession struct {
	*imapmemserver.UserSession // nil before Login
	server                     *IMAP
}

// Login implements imapserver.Session.
func (s *imapSession) Login(name, password string) error {
	user := s.server.user(name)
	if user == nil {
		return imapserver.ErrAuthFailed
	}
	if err := user.Login(name, password); err != nil {
		return err
	}
	s.UserSession = imapmemserver.NewUserSession(user)
	return nil
}

// Select implements imapserver.Session.
func (s *imapSession) Select(name string, options *imap.SelectOptions) (*imap.SelectData, error) {
	data, err := s.UserSession.Select(name, options)
	if err == nil {
		data.UIDValidity += s.server.validity
	}
	return data, err
}

// Status implements imapserver.Session.
func (s *imapSession) Status(name string, options *imap.StatusOptions) (*imap.StatusData, error) {
	data, err := s.UserSession.Status(name, options)
	if err == nil && options.UIDValidity {
		data.UIDValidity += s.server.validity
	}
	return data, err
}

// Append implements imapserver.Session.
func (s *imapSession) Append(name string, r imap.LiteralReader, options *imap.AppendOptions) (*imap.AppendData, error) {
	data, err := s.UserSession.Append(name, r, options)
	if err == nil {
		data.UIDValidity += s.server.validity
	}
	return data, err
}

// Copy implements imapserver.Session.
func (s *imapSession) Copy(set imap.NumSet, name string) (*imap.CopyData, error) {
	data, err := s.UserSession.Copy(set, name)
	if err == nil {
		data.UIDValidity += s.server.validity
	}
	return data, err
}
