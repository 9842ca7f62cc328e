package mailserver

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"mailpoller/internal/mail"
)

// POP3 is a POP3 server: RFC 1939 with TOP, UIDL and USER, CAPA (RFC 2449),
// STLS (RFC 2595) and AUTH PLAIN (RFC 5034). Its methods may be called by many
// goroutines, but its fields are set before Listen.
type POP3 struct {
	// Without are commands that the server does not know, nor announce: CAPA,
	// UIDL and TOP are optional, and there are servers without each of them.
	Without []string
	// UIDL makes the unique-id of a message out of its octets, so that two
	// equal messages share one, as some servers have it. Nil means that each
	// has its own.
	UIDL func(message []byte) string

	tls   *tls.Config
	epoch int64
	ports ports

	mu        sync.Mutex
	delivered int
	users     map[string]*maildrop
}

// maildrop is the mailbox of one user. A session works on the messages that
// were there when it logged in. It takes no lock on the maildrop, which RFC
// 1939 leaves to the server ("as necessary"): a message is deleted by its
// identity, and deleting it twice is deleting it once.
type maildrop struct {
	password string
	messages []*pop3Message
}

type pop3Message struct {
	uidl string
	raw  []byte // ends in CRLF
}

// NewPOP3 makes a server that does not listen yet. With a nil config it cannot
// do TLS.
func NewPOP3(config *tls.Config) *POP3 {
	// A server that is started again gives out new unique-ids.
	return &POP3{tls: config, epoch: time.Now().UnixNano(), users: make(map[string]*maildrop)}
}

// AddUser makes an account with an empty maildrop, in place of one of the same
// name.
func (s *POP3) AddUser(name, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[name] = &maildrop{password: password}
}

// Deliver puts messages into the maildrop of a user, in this order. It keeps
// the slices. A message whose last line has no CRLF gets one: POP3 has no way
// to tell (RFC 1939, section 3).
func (s *POP3) Deliver(name string, messages ...[]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	drop := s.users[name]
	if drop == nil {
		return fmt.Errorf("deliver to %s: no such user", name)
	}
	for _, m := range messages {
		if !bytes.HasSuffix(m, crlf) {
			m = slices.Concat(m, crlf)
		}
		s.delivered++
		id := fmt.Sprintf("%x.%d", s.epoch, s.delivered)
		if s.UIDL != nil {
			id = s.UIDL(m)
		}
		drop.messages = append(drop.messages, &pop3Message{id, m})
	}
	return nil
}

var crlf = []byte("\r\n")

// Messages are the octets of what the maildrop of a user holds.
func (s *POP3) Messages(name string) [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	drop := s.users[name]
	if drop == nil {
		return nil
	}
	messages := make([][]byte, len(drop.messages))
	for i, m := range drop.messages {
		messages[i] = m.raw
	}
	return messages
}

// login is the maildrop of a user and its messages, or nil when name or
// password are wrong.
func (s *POP3) login(name, password string) (*maildrop, []*pop3Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	drop := s.users[name]
	if drop == nil || drop.password != password {
		return nil, nil
	}
	return drop, slices.Clone(drop.messages)
}

// remove deletes messages for good.
func (s *POP3) remove(drop *maildrop, gone map[*pop3Message]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	drop.messages = slices.DeleteFunc(drop.messages, func(m *pop3Message) bool { return gone[m] })
}

func (s *POP3) knows(command string) bool {
	return !slices.ContainsFunc(s.Without, func(w string) bool { return strings.EqualFold(w, command) })
}

// Listen opens a port on 127.0.0.1. Over STARTTLS nobody can log in before the
// upgrade; over NONE there is none.
func (s *POP3) Listen(security mail.Security) (port int, err error) {
	return s.ports.add(security, s.tls, func(l net.Listener) {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go newPOP3Session(s, c, security).serve() // closes c, which is what Close waits for
		}
	})
}

// Close ends all connections, deleting nothing that was not committed, and
// returns when nothing serves them any more.
func (s *POP3) Close() { s.ports.close() }
