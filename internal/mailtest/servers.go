package mailtest

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailpoller/internal/demo/mailserver"
	"mailpoller/internal/mail"
)

// IMAP is an IMAP server in the process, for the tests that need no real one.
type IMAP struct {
	server *mailserver.IMAP
	account
}

// account is what the servers in the process share.
type account struct {
	CA       *CA
	Password string // of every user
	store    mail.StoreType
	ports    map[mail.Security]int
	users    atomic.Int64
}

// NewIMAP starts a server on loopback ports and stops it when the test ends.
// The capabilities are as mailserver.NewIMAP takes them.
func NewIMAP(t testing.TB, caps ...imap.Cap) *IMAP {
	t.Helper()
	ca := NewCA(t)
	s := &IMAP{server: mailserver.NewIMAP(ca.ServerTLS(t, Host, "localhost"), caps...)}
	t.Cleanup(s.server.Close)
	s.open(t, ca, mail.IMAP, s.server.Listen)
	return s
}

func (a *account) open(t testing.TB, ca *CA, store mail.StoreType, listen func(mail.Security) (int, error)) {
	t.Helper()
	a.CA, a.Password, a.store, a.ports = ca, "in-process-canary", store, make(map[mail.Security]int)
	for _, security := range []mail.Security{mail.NoTLS, mail.StartTLS, mail.SSLTLS} {
		port, err := listen(security)
		if err != nil {
			t.Fatal(err)
		}
		a.ports[security] = port
	}
}

// Connection is a connection to a user's mailbox; see the function of the same
// name for the settings it starts with.
func (a *account) Connection(t testing.TB, user string, security mail.Security) *mail.Connection {
	t.Helper()
	return Connection(t, a.CA, a.store, security, a.ports[security], user, a.Password)
}

func (a *account) nextUser() string { return fmt.Sprintf("user%d", a.users.Add(1)) }

// NewUser makes an account with an empty mailbox.
func (s *IMAP) NewUser(t testing.TB) string {
	t.Helper()
	user := s.nextUser()
	if err := s.server.AddUser(user, s.Password); err != nil {
		t.Fatal(err)
	}
	return user
}

// Deliver puts unread messages into the mailbox of the user, in this order.
func (s *IMAP) Deliver(t testing.TB, user string, messages ...[]byte) {
	t.Helper()
	s.DeliverFlagged(t, user, nil, messages...)
}

// DeliverFlagged puts messages into the mailbox of the user that another
// client has dealt with already: flags such as `\Seen` or `\Deleted`.
func (s *IMAP) DeliverFlagged(t testing.TB, user string, flags []string, messages ...[]byte) {
	t.Helper()
	set := make([]imap.Flag, len(flags))
	for i, f := range flags {
		set[i] = imap.Flag(f)
	}
	if err := s.server.Deliver(user, set, messages...); err != nil {
		t.Fatal(err)
	}
}

// Messages is what the mailbox of the user holds, in the order of delivery, as
// a session of its own finds it with EXAMINE and PEEK. Recent is never set:
// the server does not know it.
func (s *IMAP) Messages(t testing.TB, user string) []Message {
	t.Helper()
	client := s.login(t, user)
	defer client.Close() //nolint:errcheck // it only read
	box, err := client.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if box.NumMessages == 0 {
		return nil
	}
	whole := &imap.FetchItemBodySection{Peek: true}
	found, err := client.Fetch(imap.SeqSet{{Start: 1}}, &imap.FetchOptions{
		UID: true, Flags: true, BodySection: []*imap.FetchItemBodySection{whole},
	}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	messages := make([]Message, len(found))
	for i, m := range found {
		messages[i] = Message{UID: uint32(m.UID), Body: m.FindBodySection(whole)}
		for _, f := range m.Flags {
			messages[i].Flags = append(messages[i].Flags, systemFlag(f))
		}
		slices.Sort(messages[i].Flags)
	}
	return messages
}

// systemFlag spells a flag as IMAP does: the server forgets the capitals.
func systemFlag(f imap.Flag) string {
	for _, known := range maildirFlags {
		if strings.EqualFold(string(f), known.flag) {
			return known.flag
		}
	}
	return string(f)
}

// Rebuild empties the mailbox of the user and gives it another UIDVALIDITY.
func (s *IMAP) Rebuild(t testing.TB, user string) {
	t.Helper()
	client := s.login(t, user)
	defer client.Close() //nolint:errcheck // both commands were answered
	if err := client.Delete("INBOX").Wait(); err != nil {
		t.Fatal(err)
	}
	if err := client.Create("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
}

func (s *IMAP) login(t testing.TB, user string) *imapclient.Client {
	t.Helper()
	addr := net.JoinHostPort(Host, strconv.Itoa(s.ports[mail.NoTLS]))
	client, err := imapclient.DialInsecure(addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Login(user, s.Password).Wait(); err != nil {
		t.Fatal(err)
	}
	return client
}

// POP3 is a POP3 server in the process, for the tests that need no real one.
type POP3 struct {
	server *mailserver.POP3
	account
}

// NewPOP3 starts a server on loopback ports and stops it when the test ends.
// Each of the functions may set its fields before that.
func NewPOP3(t testing.TB, set ...func(*mailserver.POP3)) *POP3 {
	t.Helper()
	ca := NewCA(t)
	s := &POP3{server: mailserver.NewPOP3(ca.ServerTLS(t, Host, "localhost"))}
	t.Cleanup(s.server.Close)
	for _, f := range set {
		f(s.server)
	}
	s.open(t, ca, mail.POP3, s.server.Listen)
	return s
}

// NewUser makes an account with an empty maildrop.
func (s *POP3) NewUser(testing.TB) string {
	user := s.nextUser()
	s.server.AddUser(user, s.Password)
	return user
}

// Deliver puts messages into the maildrop of the user, in this order. One
// without a CRLF at its end gets one.
func (s *POP3) Deliver(t testing.TB, user string, messages ...[]byte) {
	t.Helper()
	if err := s.server.Deliver(user, messages...); err != nil {
		t.Fatal(err)
	}
}

// Messages is what the maildrop of the user holds, in the order of delivery.
func (s *POP3) Messages(_ testing.TB, user string) []Message {
	var messages []Message
	for _, raw := range s.server.Messages(user) {
		messages = append(messages, Message{Body: raw})
	}
	return messages
}
