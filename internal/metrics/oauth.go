package metrics

import (
	"time"

	"mailpoller/internal/mail"
)

// What a request for an access token comes to.
const (
	resultOK      = "ok"
	resultRefused = "refused" // an operator has to act
	resultFailed  = "failed"  // the next attempt asks again
)

// Granted sets when the token of each connection expires that logs in with
// one, and takes the series of all others away.
func (m *Metrics) Granted(expires map[string]time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, t := range m.tallies {
		var at time.Time
		at, t.granted = expires[name]
		t.token = 0
		if !at.IsZero() {
			t.token = seconds(at)
		}
	}
}

// Token counts a request for the access token of these connections.
func (m *Metrics) Token(names []string, expires time.Time, err *mail.Error) {
	switch {
	case err == nil:
		m.tokens.WithLabelValues(resultOK).Inc()
	case err.Kind == mail.KindAuth, err.Kind == mail.KindConfig:
		m.tokens.WithLabelValues(resultRefused).Inc()
	default:
		m.tokens.WithLabelValues(resultFailed).Inc()
	}
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		if t, ok := m.tallies[name]; ok && t.granted {
			t.token = seconds(expires)
		}
	}
}
