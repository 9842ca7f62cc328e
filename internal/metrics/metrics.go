// Package metrics turns the results of polls into Prometheus series.
//
// A connection has its series from the moment it is configured, at zero, so that
// rates are right from the first event on; they go when it does. Those that most
// connections never need are there while there is something to say.
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

// Unsaved is how many messages of a connection jobs skip.
type Unsaved struct{ Quarantined, Oversized int }

// Metrics holds every series of the program. Its methods may be called by many
// goroutines.
type Metrics struct {
	// BackingOff is asked at each scrape which connections back off, and until
	// when; nil for never. It is set before the first scrape.
	BackingOff func() map[string]time.Time
	// Unsaved is asked at each scrape how many messages jobs skip, by connection.
	Unsaved func() map[string]Unsaved

	registry *prometheus.Registry

	duration   prometheus.Histogram
	lag        prometheus.Histogram
	running    prometheus.Gauge
	configured prometheus.Gauge
	enabled    prometheus.Gauge
	panics     prometheus.Counter
	reloadOK   prometheus.Gauge
	reloadAt   prometheus.Gauge

	handshakes    *prometheus.CounterVec
	serverInfo    *prometheus.GaugeVec
	serverExpires *prometheus.GaugeVec
	keyExpires    *prometheus.GaugeVec

	tokens *prometheus.CounterVec
	spans  *prometheus.CounterVec

	mu            sync.Mutex
	tallies       map[string]*tally // of the connections that are enabled
	total         counts            // of all that ever were
	perConnection bool
	servers       map[mail.Server]negotiated // that have series, or will
}

const (
	labelConnection = "connection"
	labelOutcome    = "outcome"
	labelKind       = "kind"
	labelServer     = "server"
)

// New registers every series. version and commit label poller_build_info.
func New(version, commit string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), perConnection: true}
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
	m.enabled = prometheus.NewGauge(prometheus.GaugeOpts{Name: "poller_connections_enabled", Help: "Connections that are configured and not disabled."})
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
	m.spans = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "poller_trace_spans_total", Help: "Spans that were handed to the trace collector, or dropped.",
	}, []string{"result"})
	m.tokens = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "poller_oauth_refreshes_total", Help: "Requests for an access token, by what they came to.",
	}, []string{"result"})
	for _, result := range []string{resultOK, resultRefused, resultFailed} {
		m.tokens.WithLabelValues(result)
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "poller_build_info", Help: "Always 1; what is running is in the labels.",
		ConstLabels: prometheus.Labels{"version": version, "commit": commit, "goversion": runtime.Version()},
	})
	info.Set(1)
	m.Reloaded(true)
	m.registry.MustRegister(
		connections{m, connectionFamilies()},
		m.duration, m.lag, m.running, m.configured, m.enabled, m.panics, m.reloadOK, m.reloadAt, info,
		m.handshakes, m.serverInfo, m.serverExpires, m.keyExpires,
		m.tokens, m.spans,
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

// Started counts a job that starts, lag after its firing was due.
func (m *Metrics) Started(lag time.Duration) { m.lag.Observe(lag.Seconds()) }

// Running counts a job in progress until the returned function is called.
func (m *Metrics) Running() (done func()) {
	m.running.Inc()
	return m.running.Dec
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
