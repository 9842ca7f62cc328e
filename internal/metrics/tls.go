package metrics

import (
	"strconv"
	"time"

	"mailpoller/internal/mail"
)

// negotiated is what the last handshake with a server came to; nothing before
// the first.
type negotiated struct{ version, suite string }

// Servers takes away the series of servers that none of these connections is
// to. A server gets them with its first handshake.
func (m *Metrics) Servers(connections []mail.Connection) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keep := make(map[mail.Server]negotiated)
	for i := range connections {
		if connections[i].Security != mail.NoTLS {
			server := connections[i].Server()
			keep[server] = m.servers[server]
		}
	}
	for server, last := range m.servers {
		if _, ok := keep[server]; !ok {
			m.serverInfo.DeleteLabelValues(server.String(), last.version, last.suite)
			m.serverExpires.DeleteLabelValues(server.String())
		}
	}
	m.servers = keep
}

// Secured notes a TLS handshake.
func (m *Metrics) Secured(h mail.Handshake) {
	m.handshakes.WithLabelValues(strconv.FormatBool(h.Resumed)).Inc()
	m.mu.Lock()
	defer m.mu.Unlock()
	last, configured := m.servers[h.Server]
	if !configured {
		return
	}
	server, now := h.Server.String(), negotiated{h.Version, h.Suite}
	if last != now {
		m.serverInfo.DeleteLabelValues(server, last.version, last.suite)
		m.servers[h.Server] = now
	}
	m.serverInfo.WithLabelValues(server, now.version, now.suite).Set(1)
	m.serverExpires.WithLabelValues(server).Set(float64(h.Expires.Unix()))
}

// Keys sets when the certificate of each key expires, and takes away the series
// of all others.
func (m *Metrics) Keys(expires map[string]time.Time) {
	m.keyExpires.Reset()
	for label, at := range expires {
		m.keyExpires.WithLabelValues(label).Set(float64(at.Unix()))
	}
}
