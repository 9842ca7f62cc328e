package metrics

import (
	"flag"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"mailpoller/internal/mail"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// named are connections with these names.
func named(names ...string) []mail.Connection {
	all := make([]mail.Connection, len(names))
	for i, name := range names {
		all[i] = mail.Connection{Name: name, Enabled: true}
	}
	return all
}

// values are the series of m whose names begin with poller_, as name{labels}.
// Of a histogram it is the count.
func values(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "poller_") {
			continue
		}
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			// Of the three only one is there, and the others are zero.
			all[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = s.GetCounter().GetValue() + s.GetGauge().GetValue() + float64(s.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// change is what test changes in the series of m.
func change(t *testing.T, m *Metrics, test func()) map[string]float64 {
	t.Helper()
	before := values(t, m)
	test()
	changed := make(map[string]float64)
	for name, v := range values(t, m) {
		if was, ok := before[name]; !ok || was != v {
			changed[name] = v
		}
	}
	for name := range before {
		if _, ok := values(t, m)[name]; !ok {
			changed[name] = math.Inf(-1) // gone
		}
	}
	return changed
}

func TestAResultIsCountedOnce(t *testing.T) {
	t.Parallel()
	failed := func(kind mail.Kind) mail.Result {
		return mail.Result{
			Connection: "a", State: mail.Failed, Outcome: mail.OutcomeFailed, Attempts: 3,
			Err: mail.Errorf(mail.OpConnect, kind, "down"),
		}
	}
	for _, c := range []struct {
		name    string
		results []mail.Result
		want    map[string]float64
	}{
		{"saved", []mail.Result{{
			Connection: "a", State: mail.Succeeded, Outcome: mail.OutcomeSaved, Attempts: 2,
			Messages: 5, Bytes: 1234, Disposed: 4, Quarantined: 2, Duration: time.Second,
		}}, map[string]float64{
			"poller_jobs_total{connection=a,outcome=saved}":       1,
			"poller_attempts_total{connection=a}":                 2,
			"poller_messages_saved_total{connection=a}":           5,
			"poller_message_bytes_total{connection=a}":            1234,
			"poller_messages_disposed_total{connection=a}":        4,
			"poller_last_success_timestamp_seconds{connection=a}": 1, // a time, and greater than 0
			"poller_job_duration_seconds{}":                       1,
		}},
		{"failed twice", []mail.Result{failed(mail.KindAuth), failed(mail.KindAuth)}, map[string]float64{
			"poller_jobs_total{connection=a,outcome=failed}":    2,
			"poller_job_failures_total{connection=a,kind=auth}": 2,
			"poller_attempts_total{connection=a}":               6,
			"poller_consecutive_failures{connection=a}":         2,
			"poller_failing{connection=a,kind=auth}":            1,
			"poller_job_duration_seconds{}":                     2,
		}},
		{"cut off by the shutdown", []mail.Result{failed(mail.KindCanceled)}, map[string]float64{
			"poller_jobs_total{connection=a,outcome=failed}":        1,
			"poller_job_failures_total{connection=a,kind=canceled}": 1,
			"poller_attempts_total{connection=a}":                   3,
			"poller_job_duration_seconds{}":                         1,
		}},
		{"of a connection that was removed", []mail.Result{{Connection: "gone", Outcome: mail.OutcomeSaved, Messages: 1}}, map[string]float64{
			"poller_job_duration_seconds{}": 1,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := New("v1", "abc")
			m.Connections(named("a", "b"), true)
			got := change(t, m, func() {
				for _, r := range c.results {
					m.Finished(r)
				}
			})
			const last = "poller_last_success_timestamp_seconds{connection=a}"
			if at, ok := got[last]; ok && math.Abs(at-float64(time.Now().Unix())) < 60 {
				got[last] = 1
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestASuccessEndsTheFailures(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	m.Connections(named("a"), true)
	failed := mail.Result{Connection: "a", Outcome: mail.OutcomeFailed, Err: mail.Errorf(mail.OpConnect, mail.KindNetwork, "down")}
	for failures, result := range []mail.Result{{Connection: "a", Outcome: mail.OutcomeEmpty}, failed, failed} {
		m.Finished(result)
		if got := values(t, m)["poller_consecutive_failures{connection=a}"]; got != float64(failures) {
			t.Errorf("after %s: %v failures", result.Outcome, got)
		}
	}
	m.Finished(mail.Result{Connection: "a", Outcome: mail.OutcomeEmpty})
	if got := values(t, m)["poller_consecutive_failures{connection=a}"]; got != 0 {
		t.Errorf("after a success: %v failures", got)
	}
}

// TestWhatJobsSkipIsCountedAtTheScrape: an operator who has messages tried again sees
// it at once, and a job that fails early hides nothing.
func TestWhatJobsSkipIsCountedAtTheScrape(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	m.Connections(named("a", "b"), true)
	now := map[string]Unsaved{"a": {Quarantined: 2, Oversized: 1}}
	m.Unsaved = func() map[string]Unsaved { return now }
	is := func(series string, want float64) {
		t.Helper()
		if got := values(t, m)[series]; got != want {
			t.Errorf("%s is %v, not %v", series, got, want)
		}
	}
	is("poller_messages_quarantined{connection=a}", 2)
	is("poller_messages_oversized{connection=a}", 1)
	m.Finished(mail.Result{Connection: "a", Outcome: mail.OutcomeFailed, Err: mail.Errorf(mail.OpConnect, mail.KindNetwork, "down")})
	is("poller_messages_quarantined{connection=a}", 2)
	now = nil
	is("poller_messages_quarantined{connection=a}", 0)
}

func TestEventsAreCounted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		event func(m *Metrics)
		want  map[string]float64
	}{
		{"skipped", func(m *Metrics) { m.Skipped("a") }, map[string]float64{"poller_skipped_firings_total{connection=a}": 1}},
		{"skipped, but removed", func(m *Metrics) { m.Skipped("gone") }, map[string]float64{}},
		{"started", func(m *Metrics) { m.Started(time.Second) }, map[string]float64{"poller_schedule_lag_seconds{}": 1}},
		{"running", func(m *Metrics) { m.Running() }, map[string]float64{"poller_jobs_running{}": 1}},
		{"no more running", func(m *Metrics) { m.Running()() }, map[string]float64{}},
		{"panicked", func(m *Metrics) { m.Panicked() }, map[string]float64{"poller_panics_total{}": 1}},
		{"not reloaded", func(m *Metrics) { m.Reloaded(false) }, map[string]float64{"poller_config_last_reload_successful{}": 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := New("v1", "abc")
			m.Connections(named("a"), true)
			if diff := cmp.Diff(c.want, change(t, m, func() { c.event(m) })); diff != "" {
				t.Errorf("want -, got +:\n%s", diff)
			}
		})
	}
}

func TestAConnectionHasItsSeriesAsLongAsItIsConfigured(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	bare := values(t, m)
	odd := `a/b{c="d"}` + "\u00e9"
	m.Connections(named("a", odd), true)
	preset := values(t, m)
	for _, name := range []string{"a", odd} {
		for _, outcome := range mail.Outcomes() {
			if v, ok := preset[fmt.Sprintf("poller_jobs_total{connection=%s,outcome=%s}", name, outcome)]; !ok || v != 0 {
				t.Errorf("%s, %s: %v, %v", name, outcome, v, ok)
			}
		}
	}
	m.Connections(append(named("a", odd), mail.Connection{Name: "disabled"}), true)
	if got := values(t, m); len(got) != len(preset) || got["poller_connections{}"] != 3 || got["poller_connections_enabled{}"] != 2 {
		t.Errorf("with one that is disabled: %v", got)
	}
	m.Finished(mail.Result{Connection: "a", Outcome: mail.OutcomeSaved, Messages: 7})
	m.Finished(mail.Result{Connection: odd, Outcome: mail.OutcomeFailed, Err: mail.Errorf(mail.OpTLS, mail.KindTLS, "no")})
	m.Connections(named("a"), true)
	kept := values(t, m)
	if kept["poller_messages_saved_total{connection=a}"] != 7 || kept["poller_connections{}"] != 1 {
		t.Errorf("a reload lost what was counted: %v", kept)
	}
	m.Connections(nil, true)
	if len(values(t, m)) != len(bare) {
		t.Errorf("series are left: %v", values(t, m))
	}
}

func TestWhatIsServed(t *testing.T) {
	t.Parallel()
	m := New("v1.2.3", "abc")
	m.Connections(named("a"), true)
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{
		`poller_build_info{commit="abc",goversion="go`, `version="v1.2.3"} 1`, "poller_config_last_reload_successful 1\n",
		`poller_messages_saved_total{connection="a"} 0`, "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(w.Body.String(), line) {
			t.Errorf("%q is not served", line)
		}
	}
	if w.Code != http.StatusOK {
		t.Errorf("status %d", w.Code)
	}
}

// full is a Metrics with every series that there can be.
func full() *Metrics {
	m := New("v1", "abc")
	m.BackingOff = func() map[string]time.Time { return map[string]time.Time{"a": time.Unix(1, 0)} }
	m.Connections(named("a"), true)
	m.Finished(mail.Result{Connection: "a", Outcome: mail.OutcomeSaved, Notified: 1, Unheard: 1, NotMatching: 1})
	m.Finished(mail.Result{Connection: "a", Outcome: mail.OutcomeFailed, Err: mail.Errorf(mail.OpTLS, mail.KindTLS, "no")})
	m.Servers([]mail.Connection{{Host: "h", Port: 993, Security: mail.SSLTLS}})
	m.Secured(mail.Handshake{Server: mail.Server{Host: "h", Port: 993}, Version: "TLS 1.3", Suite: "S"})
	m.Keys(map[string]time.Time{"k": time.Unix(1, 0)})
	m.Granted(map[string]time.Time{"a": {}})
	m.Hooks("a", mail.Hooks{Due: 1, Since: time.Unix(1, 0)})
	m.Spans(1, 0)
	return m
}

func TestAServerHasItsSeriesFromItsFirstHandshakeOn(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	server := mail.Server{Host: "h", Port: 993}
	configured := []mail.Connection{{Host: "H", Port: 993, Security: mail.SSLTLS}, {Host: "plain", Port: 143, Security: mail.NoTLS}}
	bare := len(values(t, m))
	m.Servers(configured)
	if n := len(values(t, m)); n != bare {
		t.Errorf("%d series ahead of a handshake", n-bare)
	}
	m.Secured(mail.Handshake{Server: server, Version: "TLS 1.2", Suite: "A", Expires: time.Unix(5, 0)})
	m.Secured(mail.Handshake{Server: server, Version: "TLS 1.3", Suite: "B", Expires: time.Unix(7, 0), Resumed: true})
	m.Secured(mail.Handshake{Server: mail.Server{Host: "gone", Port: 1}, Version: "TLS 1.3", Suite: "B"})
	m.Servers(configured) // a reload keeps them
	got := values(t, m)
	for series, want := range map[string]float64{
		"poller_tls_handshakes_total{resumed=true}":                            1,
		"poller_tls_handshakes_total{resumed=false}":                           2,
		"poller_tls_server_info{server=h:993,suite=B,version=TLS 1.3}":         1,
		"poller_tls_server_certificate_expiry_timestamp_seconds{server=h:993}": 7,
	} {
		if v, ok := got[series]; !ok || v != want {
			t.Errorf("%s is %v, %v", series, v, ok)
		}
	}
	if len(got) != bare+2 {
		t.Errorf("%d series: %v", len(got)-bare, got)
	}
	m.Servers(nil)
	if n := len(values(t, m)); n != bare {
		t.Errorf("%d series of a server that is gone", n-bare)
	}
}

func TestAKeyHasItsExpiry(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	m.Keys(map[string]time.Time{"old": time.Unix(1, 0), "new": time.Unix(2, 0)})
	m.Keys(map[string]time.Time{"new": time.Unix(3, 0)})
	got := values(t, m)
	if _, left := got["poller_key_expiry_timestamp_seconds{key=old}"]; left || got["poller_key_expiry_timestamp_seconds{key=new}"] != 3 {
		t.Errorf("%v", got)
	}
}

func TestNamesFollowTheRules(t *testing.T) {
	t.Parallel()
	m := full()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range families {
		if name := f.GetName(); !strings.HasPrefix(name, "poller_") && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s does not begin with poller_", name)
		}
	}
}

const page = "../../docs/metrics.md"

func TestEverySeriesIsDocumented(t *testing.T) {
	t.Parallel()
	m := full()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range connectionFamilies() {
		if !slices.ContainsFunc(families, func(there *dto.MetricFamily) bool {
			return strings.Contains(f.desc.String(), fmt.Sprintf("%q", there.GetName()))
		}) {
			t.Errorf("full() has no series of %v", f.desc)
		}
	}
	var table strings.Builder
	table.WriteString("| name | type | labels | meaning |\n| --- | --- | --- | --- |\n")
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "poller_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- the series -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	want := before + begin + table.String() + end + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("%s is not what the registry says; go test ./internal/metrics -update writes it (want -, is +):\n%s", page, diff)
	}
}

func TestATokenIsCounted(t *testing.T) {
	t.Parallel()
	m := New("v1", "abc")
	m.Connections(named("a", "b", "password", "gone"), true)
	m.Granted(map[string]time.Time{"a": {}, "b": time.Unix(5, 0), "gone": {}})
	m.Connections(named("a", "b", "password"), true)
	m.Granted(map[string]time.Time{"a": {}, "b": time.Unix(5, 0)})
	m.Token([]string{"a", "b", "unknown"}, time.Unix(7, 0), nil)
	m.Token([]string{"a"}, time.Time{}, mail.Errorf(mail.OpToken, mail.KindAuth, "invalid_grant"))
	m.Token([]string{"a"}, time.Time{}, mail.Errorf(mail.OpToken, mail.KindNetwork, "down"))
	got := values(t, m)
	for series, want := range map[string]float64{
		"poller_oauth_refreshes_total{result=ok}":                          1,
		"poller_oauth_refreshes_total{result=refused}":                     1,
		"poller_oauth_refreshes_total{result=failed}":                      1,
		"poller_oauth_token_expiry_timestamp_seconds{connection=a}":        7,
		"poller_oauth_token_expiry_timestamp_seconds{connection=b}":        7,
		"poller_oauth_token_expiry_timestamp_seconds{connection=gone}":     -1,
		"poller_oauth_token_expiry_timestamp_seconds{connection=password}": -1,
		"poller_oauth_token_expiry_timestamp_seconds{connection=unknown}":  -1,
	} {
		if v, ok := got[series]; ok != (want >= 0) || ok && v != want {
			t.Errorf("%s is %v, %v; want %v", series, v, ok, want)
		}
	}
	m.Token([]string{"b"}, time.Unix(9, 0), nil)
	m.Connections(named("a", "b"), false)
	if v := values(t, m)["poller_oauth_token_expiry_timestamp_seconds{connection=}"]; v != 7 {
		t.Errorf("the first of all expires at %v", v)
	}
}
