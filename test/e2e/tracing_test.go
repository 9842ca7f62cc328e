package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	traces "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// spanCollector takes OTLP over HTTP.
type spanCollector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []*traces.Span
	changed chan struct{}
}

func newSpanCollector(t *testing.T) *spanCollector {
	t.Helper()
	c := &spanCollector{changed: make(chan struct{}, 1)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var batch collector.ExportTraceServiceRequest
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = proto.Unmarshal(body, &batch)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
			return
		}
		c.mu.Lock()
		for _, resource := range batch.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		c.mu.Unlock()
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// job waits for the trace of a job that came to this, and returns its spans by
// their names.
func (c *spanCollector) job(t *testing.T, connection, outcome string) map[string][]*traces.Span {
	t.Helper()
	for late := time.After(rig.Patience); ; {
		c.mu.Lock()
		spans := slices.Clone(c.spans)
		c.mu.Unlock()
		for _, s := range spans {
			if s.Name != "job" || attribute(s, "poller.connection") != connection || attribute(s, "poller.outcome") != outcome {
				continue
			}
			byName := make(map[string][]*traces.Span)
			for _, other := range spans {
				if string(other.TraceId) == string(s.TraceId) {
					byName[other.Name] = append(byName[other.Name], other)
				}
			}
			return byName
		}
		select {
		case <-c.changed:
		case <-late:
			t.Fatalf("no job of %s %s among %d spans", connection, outcome, len(spans))
		}
	}
}

func attribute(s *traces.Span, key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// TestSpansOfPolls: of one that saved a message and of one that failed, with
// its attempts, in the words of the log and without its secrets.
func TestSpansOfPolls(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	c := newSpanCollector(t)
	user, other := d.NewUser(t), d.NewUser(t)
	d.Deliver(t, user, rig.Numbered(1)...)
	good := rig.Connect(t, d, "good", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{"disposition": "DELETE", "schedule": "@every 1s"})
	bad := rig.Connect(t, d, "bad", other, mail.IMAP, mail.StartTLS).With(rig.Settings{
		"password": "canary-wrong", "schedule": "@every 1s", "max_retries": 1, "retry_interval": "10ms",
	})
	s := rig.New(t, good, bad)
	s.Write(map[string]any{
		"listen": "127.0.0.1:0", "state_dir": s.Dir + "/state", "connections": []rig.Settings{good, bad},
		"tracing": map[string]any{"endpoint": c.URL},
	})
	daemon := s.Start().Ready()
	saved, failed := c.job(t, "good", "saved"), c.job(t, "bad", "failed")
	for name, n := range map[string]int{
		"job": 1, "attempt": 1, "resolve": 1, "connect": 1, "tls": 1, "greeting": 1, "authenticate": 1, "open mailbox": 1,
		"pick": 1, "fetch": 1, "sync": 1, "record": 2, "publish": 1, "dispose": 1, "close": 1,
	} {
		if len(saved[name]) != n {
			t.Errorf("%d spans %q of a poll that saved, and not %d", len(saved[name]), name, n)
		}
	}
	attempt := saved["attempt"][0]
	for name, spans := range saved {
		for _, span := range spans {
			if span.Status.GetCode() == traces.Status_STATUS_CODE_ERROR {
				t.Errorf("%q failed: %v", name, span.Status)
			}
			if name != "job" && name != "attempt" && string(span.ParentSpanId) != string(attempt.SpanId) {
				t.Errorf("%q is no part of the attempt", name)
			}
			if span.StartTimeUnixNano > span.EndTimeUnixNano {
				t.Errorf("%q ends before it begins", name)
			}
		}
	}
	if len(failed["attempt"]) != 2 || len(failed["authenticate"]) != 2 {
		t.Errorf("%d attempts, %d logins of a poll that failed", len(failed["attempt"]), len(failed["authenticate"]))
	}
	words := daemon.Await(0, `"msg":"poll failed".*"error":"(authenticate: [^"]*)`)[1]
	for _, span := range slices.Concat(failed["authenticate"], failed["attempt"], failed["job"]) {
		if span.Status.GetCode() != traces.Status_STATUS_CODE_ERROR || span.Status.Message != words || attribute(span, "error.type") != "auth" {
			t.Errorf("%q: %v, %q; the log: %q", span.Name, span.Status, attribute(span, "error.type"), words)
		}
	}
	if code := daemon.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, span := range c.spans {
		for _, secret := range []string{"canary-wrong", d.Password, "message 1"} {
			if strings.Contains(span.String(), secret) {
				t.Errorf("a span shows %q: %v", secret, span)
			}
		}
	}
}

// TestATraceCollectorThatIsAway disturbs nothing: messages are saved, and the
// spans that were dropped are counted.
func TestATraceCollectorThatIsAway(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	d.Deliver(t, user, rig.Numbered(1)...)
	s := rig.New(t, rig.Connect(t, d, "good", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{"schedule": "@every 1s"}))
	daemon := s.Start(fmt.Sprintf("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:%d", closedPort)).Ready()
	daemon.Await(0, `"msg":"poll finished"`)
	daemon.Await(0, `the trace collector takes no spans`)
	if text, _ := daemon.Get("/metrics"); !strings.Contains(text, `poller_trace_spans_total{result="dropped"}`) {
		t.Error("what was dropped is not counted")
	}
	if code := daemon.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestTracingThatCannotBegin stops no mail: what is wrong with the variables of
// OpenTelemetry is said, and polls go on without spans.
func TestTracingThatCannotBegin(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	d.Deliver(t, user, rig.Numbered(1)...)
	s := rig.New(t, rig.Connect(t, d, "good", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{"schedule": "@every 1s"}))
	daemon := s.Start("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_CERTIFICATE="+d.CA.PEMFile(t)).Ready()
	daemon.Await(0, `"msg":"no spans[^"]*".*TLS`)
	daemon.Await(0, `"msg":"poll finished".*"messages":1`)
	if code := daemon.Stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
