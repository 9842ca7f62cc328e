package mailbox

import (
	"crypto/tls"
	"fmt"
	"sync"

	"mailpoller/internal/certificate"
	"mailpoller/internal/mail"
)

// sessions keeps TLS sessions, so that the next poll of the same server under
// the same settings need not make a whole handshake. What is verified of the
// server is verified again when a session is resumed.
type sessions struct {
	once  sync.Once
	cache tls.ClientSessionCache
}

// maxSessions bounds how many sessions are kept; those unused for longest go.
const maxSessions = 4096

// of is the part of the cache that a connection may use: that of all
// connections to its server with its TLS settings and its key.
func (s *sessions) of(c *mail.Connection, key *tls.Certificate) tls.ClientSessionCache {
	if c.TLS.Identity == "" {
		return nil // nothing says which settings are the same
	}
	s.once.Do(func() { s.cache = tls.NewLRUClientSessionCache(maxSessions) })
	identity := ""
	if key != nil {
		identity = certificate.Of(key.Leaf).Fingerprint()
	}
	return &partition{s.cache, fmt.Sprintf("%s %s %s ", c.Server(), c.TLS.Identity, identity)}
}

// partition is the part of a cache whose keys have a prefix.
type partition struct {
	cache  tls.ClientSessionCache
	prefix string
}

// Get implements tls.ClientSessionCache.
func (p *partition) Get(key string) (*tls.ClientSessionState, bool) {
	return p.cache.Get(p.prefix + key)
}

// Put implements tls.ClientSessionCache.
func (p *partition) Put(key string, state *tls.ClientSessionState) {
	p.cache.Put(p.prefix+key, state)
}
