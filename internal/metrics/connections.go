package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailpoller/internal/mail"
)

// As many as mail.Outcomes and mail.Kinds.
const (
	outcomes = 4
	kinds    = 11
)

// tally is what is known of one connection. It holds plain numbers, and becomes
// series when somebody looks: ten thousand connections cost a few megabytes
// between two scrapes.
type tally struct {
	counts
	present
}

// counts only ever go up.
type counts struct {
	jobs     [outcomes]float64
	failures [kinds]float64

	attempts, messages, octets, disposed, skipped float64
	notified, unheard                             float64
}

// present is how a connection stands.
type present struct {
	failing                [kinds]float64 // 1 at the kind of the last job, if it failed
	lastSuccess, inRow     float64
	quarantined, oversized float64
	others                 float64 // messages that do not match
	until                  float64 // when backing off ends; 0 for now
	granted                bool    // it logs in with a token
	token                  float64 // when that expires; 0 for none so far
	due, hooksSince        float64 // hooks that have still to run; when the first that failed began to, 0 for none
}

// add counts a job that ended.
func (c *counts) add(r mail.Result) {
	if i := slices.Index(mail.Outcomes(), r.Outcome); i >= 0 {
		c.jobs[i]++
	}
	if r.Err != nil {
		if i := slices.Index(mail.Kinds(), r.Err.Kind); i >= 0 {
			c.failures[i]++
		}
	}
	c.attempts += float64(r.Attempts)
	c.messages += float64(r.Messages)
	c.octets += float64(r.Bytes)
	c.disposed += float64(r.Disposed)
	c.notified += float64(r.Notified)
	c.unheard += float64(r.Unheard)
}

// learn takes what a job that ended says of the connection.
func (p *present) learn(r mail.Result) {
	switch {
	case r.Err == nil:
		// A job that failed may not have come so far as to know.
		p.others = float64(r.NotMatching)
		p.inRow, p.failing = 0, [kinds]float64{}
		p.lastSuccess = seconds(time.Now())
	case r.Err.Kind == mail.KindCanceled: // says nothing
	default:
		p.inRow++
		p.failing = [kinds]float64{}
		if i := slices.Index(mail.Kinds(), r.Err.Kind); i >= 0 {
			p.failing[i] = 1
		}
	}
}

// gather takes one more connection into the state of all: how many fail, the
// worst, the latest success, and the first token that expires.
func (p *present) gather(one *present) {
	for i := range p.failing {
		p.failing[i] += one.failing[i]
	}
	p.quarantined += one.quarantined
	p.oversized += one.oversized
	p.others += one.others
	p.inRow = max(p.inRow, one.inRow)
	p.lastSuccess = max(p.lastSuccess, one.lastSuccess)
	p.until = max(p.until, one.until)
	p.granted = p.granted || one.granted
	p.token = earlier(p.token, one.token)
	p.due += one.due
	p.hooksSince = earlier(p.hooksSince, one.hooksSince)
}

// earlier is the earlier one of two times, of which 0 is none.
func earlier(a, b float64) float64 {
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// family is one metric with a series for each connection, or several.
type family struct {
	desc  *prometheus.Desc
	value prometheus.ValueType
	each  func(t *tally, emit func(v float64, labels ...string))
}

// connectionFamilies are those that are made from a tally.
func connectionFamilies() []family {
	var all []family
	add := func(value prometheus.ValueType, name, help string, each func(t *tally, emit func(v float64, labels ...string)), labels ...string) {
		all = append(all, family{prometheus.NewDesc(name, help, append([]string{labelConnection}, labels...), nil), value, each})
	}
	// What most connections never have is a series only where it is not zero.
	unlessZero := func(field func(t *tally) float64) func(t *tally, emit func(v float64, labels ...string)) {
		return func(t *tally, emit func(v float64, labels ...string)) {
			if v := field(t); v != 0 {
				emit(v)
			}
		}
	}
	plain := func(field func(t *tally) float64) func(t *tally, emit func(v float64, labels ...string)) {
		return func(t *tally, emit func(v float64, labels ...string)) { emit(field(t)) }
	}
	byKind := func(field func(t *tally) *[kinds]float64) func(t *tally, emit func(v float64, labels ...string)) {
		return func(t *tally, emit func(v float64, labels ...string)) {
			for i, kind := range mail.Kinds() {
				if v := field(t)[i]; v != 0 {
					emit(v, string(kind))
				}
			}
		}
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	add(counter, "poller_jobs_total", "Jobs that ended, by what they came to.",
		func(t *tally, emit func(v float64, labels ...string)) {
			for i, outcome := range mail.Outcomes() {
				emit(t.jobs[i], string(outcome))
			}
		}, labelOutcome)
	add(counter, "poller_job_failures_total", "Jobs that failed, by the kind of their last error; there from the first one on.",
		byKind(func(t *tally) *[kinds]float64 { return &t.failures }), labelKind)
	add(gauge, "poller_failing", "1 while the last job is one that failed, by the kind of its last error; not there otherwise.",
		byKind(func(t *tally) *[kinds]float64 { return &t.failing }), labelKind)
	add(gauge, "poller_backing_off_until_timestamp_seconds", "Until when firings are passed over of a connection that backs off; there until it works again.",
		unlessZero(func(t *tally) float64 { return t.until }))
	add(gauge, "poller_oauth_token_expiry_timestamp_seconds", "When the access token expires that a connection logs in with; 0 for none so far.",
		func(t *tally, emit func(v float64, labels ...string)) {
			if t.granted {
				emit(t.token)
			}
		})
	add(counter, "poller_attempts_total", "Attempts that jobs made.", plain(func(t *tally) float64 { return t.attempts }))
	add(counter, "poller_messages_saved_total", "Messages that became visible in the target folder.", plain(func(t *tally) float64 { return t.messages }))
	add(counter, "poller_message_bytes_total", "Octets of the messages that became visible.", plain(func(t *tally) float64 { return t.octets }))
	add(counter, "poller_messages_disposed_total", "Messages whose disposition was put in force.", plain(func(t *tally) float64 { return t.disposed }))
	add(counter, "poller_notifications_total", "Commands that were run for saved messages, by what they came to; there from the first one on.",
		func(t *tally, emit func(v float64, labels ...string)) {
			for outcome, v := range map[string]float64{"done": t.notified, "failed": t.unheard} {
				if v != 0 {
					emit(v, outcome)
				}
			}
		}, labelOutcome)
	add(gauge, "poller_hooks_due", "Saved messages that wait for their hook; not there while there are none.",
		unlessZero(func(t *tally) float64 { return t.due }))
	add(gauge, "poller_hooks_failing_since_timestamp_seconds", "When the first message was saved that waits for a hook which failed; not there while none fails. A restart keeps it.",
		unlessZero(func(t *tally) float64 { return t.hooksSince }))
	add(counter, "poller_skipped_firings_total", "Firings of the schedule that found the connection still busy.", plain(func(t *tally) float64 { return t.skipped }))
	add(gauge, "poller_last_success_timestamp_seconds", "When the last job that succeeded ended; 0 before the first.", plain(func(t *tally) float64 { return t.lastSuccess }))
	add(gauge, "poller_consecutive_failures", "Jobs that failed since the last one that succeeded; those that were cut off do not count.", plain(func(t *tally) float64 { return t.inRow }))
	add(gauge, "poller_messages_quarantined", "Messages on the server that jobs skip because they failed.", plain(func(t *tally) float64 { return t.quarantined }))
	add(gauge, "poller_messages_oversized", "Messages on the server that jobs skip because they are larger than max_message_size.", plain(func(t *tally) float64 { return t.oversized }))
	add(gauge, "poller_messages_not_matching", "Messages on the server that the last poll passed over, because match: does not want them; not there while there are none.",
		unlessZero(func(t *tally) float64 { return t.others }))
	return all
}

// connections makes the series of connections when they are collected.
type connections struct {
	*Metrics
	families []family
}

// Describe implements prometheus.Collector.
func (c connections) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.families {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c connections) Collect(ch chan<- prometheus.Metric) {
	for name, t := range c.snapshot() {
		for _, f := range c.families {
			f.each(&t, func(v float64, labels ...string) {
				ch <- prometheus.MustNewConstMetric(f.desc, f.value, v, append([]string{name}, labels...)...)
			})
		}
	}
}

// snapshot is how every connection stands, by name; without series for each
// connection, how all together do, under no name.
func (m *Metrics) snapshot() map[string]tally {
	until := make(map[string]time.Time)
	if m.BackingOff != nil {
		until = m.BackingOff()
	}
	var unsaved map[string]Unsaved
	if m.Unsaved != nil {
		unsaved = m.Unsaved()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]tally, len(m.tallies))
	sum := tally{counts: m.total}
	for name, t := range m.tallies {
		one := *t
		if at, ok := until[name]; ok {
			one.until = seconds(at)
		}
		one.quarantined, one.oversized = float64(unsaved[name].Quarantined), float64(unsaved[name].Oversized)
		if m.perConnection {
			all[name] = one
		}
		sum.gather(&one.present)
	}
	if !m.perConnection {
		all[""] = sum
	}
	return all
}

// Connections says which connections there are. Those that are enabled keep
// what was counted of them, or begin at zero; all others lose it.
// perConnection is whether each has series of its own.
func (m *Metrics) Connections(configured []mail.Connection, perConnection bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.perConnection = perConnection
	tallies := make(map[string]*tally, len(configured))
	for i := range configured {
		if c := &configured[i]; c.Enabled {
			t := m.tallies[c.Name]
			if t == nil {
				t = new(tally)
			}
			tallies[c.Name] = t
		}
	}
	m.tallies = tallies
	m.configured.Set(float64(len(configured)))
	m.enabled.Set(float64(len(tallies)))
}

// Finished counts a job that ended. Of a connection that is no longer
// configured nothing but its duration is.
func (m *Metrics) Finished(r mail.Result) {
	m.duration.Observe(r.Duration.Seconds())
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.tallies[r.Connection]; ok {
		t.add(r)
		t.learn(r)
		m.total.add(r)
	}
}

// Skipped counts a firing that found the connection busy.
func (m *Metrics) Skipped(connection string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.tallies[connection]; ok {
		t.skipped++
		m.total.skipped++
	}
}

// Hooks says how the hooks of a connection stand.
func (m *Metrics) Hooks(connection string, h mail.Hooks) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tallies[connection]
	if !ok {
		return
	}
	t.due, t.hooksSince = float64(h.Due), 0
	if h.Failing() {
		t.hooksSince = seconds(h.Since)
	}
}
