package mailbox

import (
	"slices"
	"sync"
	"sync/atomic"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/login"
)

// manners is what was learned of one server while the program runs: which of the
// things that save time it does not put up with. A session tries them once; the
// next one, and all that follow, know better.
type manners struct {
	stepwise  atomic.Bool // it loses commands that are sent ahead of the answer to another
	plain     atomic.Bool // IMAP: it refuses SEARCH RETURN although it says that it has ESEARCH
	singly    atomic.Bool // IMAP: it says behind a message which one it is, so that they are fetched one by one
	estimates atomic.Bool // POP3: the sizes in LIST are not exact
	hangups   atomic.Int32

	mu     sync.Mutex
	ways   map[mail.AuthMethod]login.Way // by the value of auth
	broken map[login.Way]bool            // it offers them, and cannot do them
}

// maxHangups is how often a server may close the connection while commands are
// ahead of their answers before these are taken for the reason.
const maxHangups = 2

// worked remembers the way to log in that worked where stronger ones had not.
func (m *manners) worked(auth mail.AuthMethod, way login.Way) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ways == nil {
		m.ways = make(map[mail.AuthMethod]login.Way)
	}
	m.ways[auth] = way
}

// breaks remembers a way to log in that failed for another reason than the password.
func (m *manners) breaks(way login.Way) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken == nil {
		m.broken = make(map[login.Way]bool)
	}
	m.broken[way] = true
}

// working are the ways to log in that are not known to be broken, or all of them.
func (m *manners) working(ways []login.Way) []login.Way {
	m.mu.Lock()
	defer m.mu.Unlock()
	working := slices.DeleteFunc(slices.Clone(ways), func(way login.Way) bool { return m.broken[way] })
	if len(working) == 0 {
		return ways
	}
	return working
}

// first is the way to log in that is tried first.
func (m *manners) first(auth mail.AuthMethod, ways []login.Way) login.Way {
	m.mu.Lock()
	defer m.mu.Unlock()
	if way := m.ways[auth]; slices.Contains(ways, way) {
		return way
	}
	return ways[0]
}

// servers are the manners of each, by protocol, host and port. There are as many
// as are configured.
type servers struct {
	mu sync.Mutex
	of map[string]*manners
}

func (s *servers) manners(c *mail.Connection) *manners {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := string(c.Store) + " " + string(c.Security) + " " + c.Server().String()
	m := s.of[key]
	if m == nil {
		m = &manners{}
		if s.of == nil {
			s.of = make(map[string]*manners)
		}
		s.of[key] = m
	}
	return m
}
