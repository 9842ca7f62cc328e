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
	keep := make(map[string]bool, len(expires))
	for name, at := range expires {
		keep[name] = true
		seconds := 0.0
		if !at.IsZero() {
			seconds = float64(at.Unix())
		}
		m.tokenExpires.WithLabelValues(name).Set(seconds)
	}
	for name := range m.granted {
		if !keep[name] {
			m.tokenExpires.DeleteLabelValues(name)
		}
	}
	m.granted = keep
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
		if m.granted[name] {
			m.tokenExpires.WithLabelValues(name).Set(float64(expires.Unix()))
		}
	}
}
