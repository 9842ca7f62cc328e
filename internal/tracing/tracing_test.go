package tracing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mailpoller/internal/mail"
)

// slow is a collector that takes nothing while it is asked to wait.
type slow struct {
	wait chan struct{}
	fail error
	took int
}

func (s *slow) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	select {
	case <-s.wait:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.fail == nil {
		s.took += len(spans)
	}
	return s.fail
}

func (s *slow) Shutdown(context.Context) error { return nil }

func ended() sdk.ReadOnlySpan {
	span := tracetest.SpanStub{Name: "pick"}
	span.SpanContext = span.SpanContext.WithTraceFlags(1)
	return span.Snapshot()
}

// TestACollectorThatHangsKeepsNobodyWaiting: what does not fit is dropped, all
// is counted, and the end waits for two exports at most.
func TestACollectorThatHangsKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const spans = 3 * queued
		done, lost := 0, 0
		counted := func(exported, dropped int) { done, lost = done+exported, lost+dropped }
		core, log := observer.New(zap.WarnLevel)
		q := newQueue(&slow{wait: make(chan struct{})}, counted, zap.New(core))
		for range spans {
			q.OnEnd(ended()) // nobody takes them yet
		}
		if lost != spans-queued {
			t.Errorf("%d dropped, and not %d", lost, spans-queued)
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan error)
		go func() { over <- q.run(ctx) }()
		synctest.Wait() // it exports the first batch, and hangs
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
		if done != 0 || lost != spans || log.Len() != 1 {
			t.Errorf("%d exported, %d dropped of %d, %d lines in the log", done, lost, spans, log.Len())
		}
	})
}

// TestACollectorThatComesBack: spans of the meantime are lost, later ones not,
// and the log says both once.
func TestACollectorThatComesBack(t *testing.T) {
	t.Parallel()
	core, log := observer.New(zap.InfoLevel)
	done, lost := 0, 0
	s := &slow{wait: make(chan struct{}), fail: errors.New("connection refused")}
	close(s.wait)
	q := newQueue(s, func(exported, dropped int) { done, lost = done+exported, lost+dropped }, zap.New(core))
	q.export(t.Context(), []sdk.ReadOnlySpan{ended()})
	q.export(t.Context(), []sdk.ReadOnlySpan{ended()})
	s.fail = nil
	q.export(t.Context(), []sdk.ReadOnlySpan{ended()})
	if done != 1 || lost != 2 || s.took != 1 || log.Len() != 2 {
		t.Errorf("%d exported, %d dropped, %d lines in the log", done, lost, log.Len())
	}
}

// TestACollectorThatSaysMuchFillsNoLog: what it answers is not ours to keep.
func TestACollectorThatSaysMuchFillsNoLog(t *testing.T) {
	t.Parallel()
	core, log := observer.New(zap.InfoLevel)
	s := &slow{wait: make(chan struct{}), fail: errors.New("body: " + strings.Repeat("x\n", 1<<20))}
	close(s.wait)
	q := newQueue(s, func(int, int) {}, zap.New(core))
	q.export(t.Context(), []sdk.ReadOnlySpan{ended()})
	line := fmt.Sprint(log.All()[0].ContextMap())
	if len(line) > 1000 || !strings.Contains(line, "body: x x") {
		t.Errorf("a line of %d octets: %.200q", len(line), line)
	}
}

// BenchmarkJob is what tracing costs one job with ten spans.
func BenchmarkJob(b *testing.B) {
	q := newQueue(&slow{}, func(int, int) {}, zap.NewNop())
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(q))
	t := &Tracing{tracer: provider.Tracer("mailpoller"), queue: q}
	c := &mail.Connection{Name: "a", Host: "h", Port: 993, Store: mail.IMAP}
	b.ReportAllocs()
	for b.Loop() {
		trace := mail.TraceOf(t.Job(b.Context(), c))
		trace.Job(mail.Result{State: mail.Running, Attempts: 1})
		for range 5 {
			trace.Step(mail.Step{Name: mail.OpConnect})
			trace.Span(mail.OpFetch, 1)(nil)
		}
		trace.Job(mail.Result{State: mail.Succeeded, Attempts: 1})
	}
}
