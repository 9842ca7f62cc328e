// Package metrics turns the results of polls into Prometheus series.
//
// A connection has its series from the moment it is configured, each at zero,
// so that rates are right from the first event on; they go when it does.
package metrics

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mailpoller/internal/mail"
)

// Metrics holds every series of the program. Its methods may be called by many
// goroutines.
type Metrics struct {
	registry *prometheus.Registry

	jobs        *prometheus.CounterVec
	failures    *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	messages    *prometheus.CounterVec
	octets      *prometheus.CounterVec
	disposed    *prometheus.CounterVec
	skipped     *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec
	inRow       *prometheus.GaugeVec
	aside       *prometheus.GaugeVec

	duration   prometheus.Histogram
	lag        prometheus.Histogram
	running    prometheus.Gauge
	configured prometheus.Gauge
	panics     prometheus.Counter
	reloadOK   prometheus.Gauge
	reloadAt   prometheus.Gauge

	handshakes    *prometheus.CounterVec
	serverInfo    *prometheus.GaugeVec
	serverExpires *prometheus.GaugeVec
	keyExpires    *prometheus.GaugeVec

	tokens       *prometheus.CounterVec
	tokenExpires *prometheus.GaugeVec

	mu      sync.Mutex
	names   map[string]bool            // connections that have series
	granted map[string]bool            // those of them that log in with a token
	servers map[mail.Server]negotiated // that have series, or will
}

const (
	labelConnection = "connection"
	labelOutcome    = "outcome"
	labelKind       = "kind"
	labelServer     = "server"
)

// New registers every series. version and commit label poller_build_info.
func New(version, commit string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{labelConnection}, labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{labelConnection})
	}
	m.jobs = counter("poller_jobs_total", "Jobs that ended, by what they came to.", labelOutcome)
	m.failures = counter("poller_job_failures_total", "Jobs that failed, by the kind of their last error.", labelKind)
	m.attempts = counter("poller_attempts_total", "Attempts that jobs made.")
	m.messages = counter("poller_messages_saved_total", "Messages that became visible in the target folder.")
	m.octets = counter("poller_message_bytes_total", "Octets of the messages that became visible.")
	m.disposed = counter("poller_messages_disposed_total", "Messages whose disposition was put in force.")
	m.skipped = counter("poller_skipped_firings_total", "Firings of the schedule that found the connection still busy.")
	m.lastSuccess = gauge("poller_last_success_timestamp_seconds", "When the last job that succeeded ended; 0 before the first.")
	m.inRow = gauge("poller_consecutive_failures", "Jobs that failed since the last one that succeeded; those that were cut off do not count.")
	m.aside = gauge("poller_messages_aside", "Messages on the server that polls pass over, because they failed or are too large.")
	m.duration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "poller_job_duration_seconds", Help: "How long jobs took, retries included.",
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800},
	})
	m.lag = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "poller_schedule_lag_seconds", Help: "How long after its firing was due a job started.",
		Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
	})
	m.running = prometheus.NewGauge(prometheus.GaugeOpts{Name: "poller_jobs_running", Help: "Jobs in progress."})
	m.configured = prometheus.NewGauge(prometheus.GaugeOpts{Name: "poller_connections", Help: "Connections that are configured."})
	m.panics = prometheus.NewCounter(prometheus.CounterOpts{Name: "poller_panics_total", Help: "Jobs that a fault of the program ended."})
	m.reloadOK = prometheus.NewGauge(prometheus.GaugeOpts{Name: "poller_config_last_reload_successful", Help: "Whether the configuration file as it was last read is in force."})
	m.reloadAt = prometheus.NewGauge(prometheus.GaugeOpts{Name: "poller_config_last_reload_success_timestamp_seconds", Help: "When the configuration in force was read."})
	m.handshakes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "poller_tls_handshakes_total", Help: "TLS handshakes that went well, by whether they resumed a session.",
	}, []string{"resumed"})
	for _, resumed := range []bool{false, true} {
		m.handshakes.WithLabelValues(strconv.FormatBool(resumed))
	}
	m.serverInfo = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "poller_tls_server_info", Help: "Always 1; what the last handshake with a server negotiated is in the labels.",
	}, []string{labelServer, "version", "suite"})
	m.serverExpires = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "poller_tls_server_certificate_expiry_timestamp_seconds", Help: "When the certificate expires that a server presented last.",
	}, []string{labelServer})
	m.keyExpires = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "poller_key_expiry_timestamp_seconds", Help: "When the certificate of a key expires.",
	}, []string{"key"})
	m.tokens = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "poller_oauth_refreshes_total", Help: "Requests for an access token, by what they came to.",
	}, []string{"result"})
	for _, result := range []string{resultOK, resultRefused, resultFailed} {
		m.tokens.WithLabelValues(result)
	}
	m.tokenExpires = gauge("poller_oauth_token_expiry_timestamp_seconds", "When the access token expires that a connection logs in with; 0 for none so far.")
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "poller_build_info", Help: "Always 1; what is running is in the labels.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "goversion": runtime.Version()},
	})
	info.Set(1)
	m.Reloaded(true)
	m.registry.MustRegister(
		m.jobs, m.failures, m.attempts, m.messages, m.octets, m.disposed, m.skipped, m.lastSuccess, m.inRow, m.aside,
		m.duration, m.lag, m.running, m.configured, m.panics, m.reloadOK, m.reloadAt, info,
		m.handshakes, m.serverInfo, m.serverExpires, m.keyExpires,
		m.tokens, m.tokenExpires,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Registry is where the series are.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves the series.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Connections gives the series of these connections, and takes those of all
// others away.
func (m *Metrics) Connections(names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.configured.Set(float64(len(names)))
	keep := make(map[string]bool, len(names))
	for _, name := range names {
		keep[name] = true
		if !m.names[name] {
			m.series(name, func(v *prometheus.MetricVec, labels ...string) {
				_, _ = v.GetMetricWithLabelValues(labels...) // fails for what is no UTF-8: no name is that
			})
		}
	}
	for name := range m.names {
		if !keep[name] {
			m.series(name, func(v *prometheus.MetricVec, labels ...string) { v.DeleteLabelValues(labels...) })
		}
	}
	m.names = keep
}

// series names each series of a connection. They are listed one by one because
// to delete by one label alone looks at the series of all connections.
func (m *Metrics) series(connection string, each func(v *prometheus.MetricVec, labels ...string)) {
	for _, outcome := range mail.Outcomes() {
		each(m.jobs.MetricVec, connection, string(outcome))
	}
	for _, kind := range mail.Kinds() {
		each(m.failures.MetricVec, connection, string(kind))
	}
	for _, v := range []*prometheus.MetricVec{
		m.attempts.MetricVec, m.messages.MetricVec, m.octets.MetricVec, m.disposed.MetricVec, m.skipped.MetricVec,
		m.lastSuccess.MetricVec, m.inRow.MetricVec, m.aside.MetricVec,
	} {
		each(v, connection)
	}
}

// Started counts a job that starts, lag after its firing was due.
func (m *Metrics) Started(lag time.Duration) { m.lag.Observe(lag.Seconds()) }

// Running counts a job in progress until the returned function is called.
func (m *Metrics) Running() (done func()) {
	m.running.Inc()
	return m.running.Dec
}

// Finished counts a job that ended. One of a connection that is no longer
// configured has no series.
func (m *Metrics) Finished(r mail.Result) {
	m.duration.Observe(r.Duration.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.names[r.Connection] {
		return
	}
	name := r.Connection
	m.jobs.WithLabelValues(name, string(r.Outcome)).Inc()
	m.attempts.WithLabelValues(name).Add(float64(r.Attempts))
	m.messages.WithLabelValues(name).Add(float64(r.Messages))
	m.octets.WithLabelValues(name).Add(float64(r.Bytes))
	m.disposed.WithLabelValues(name).Add(float64(r.Disposed))
	if r.Err != nil {
		m.failures.WithLabelValues(name, string(r.Err.Kind)).Inc()
		if r.Err.Kind != mail.KindCanceled { // says nothing about the connection
			m.inRow.WithLabelValues(name).Inc()
		}
		return
	}
	// A job that failed may not have come so far as to know.
	m.aside.WithLabelValues(name).Set(float64(r.Aside))
	m.inRow.WithLabelValues(name).Set(0)
	m.lastSuccess.WithLabelValues(name).SetToCurrentTime()
}

// Skipped counts a firing that found the connection busy.
func (m *Metrics) Skipped(connection string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[connection] {
		m.skipped.WithLabelValues(connection).Inc()
	}
}

// Panicked counts a job that a fault of the program ended.
func (m *Metrics) Panicked() { m.panics.Inc() }

// Reloaded notes whether the configuration file could be put into force.
func (m *Metrics) Reloaded(ok bool) {
	m.reloadOK.Set(0)
	if ok {
		m.reloadOK.Set(1)
		m.reloadAt.SetToCurrentTime()
	}
}
