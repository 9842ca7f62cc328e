// Package tracing makes spans of polls, for a collector that speaks OTLP over
// HTTP. A job is a trace: its attempts, and in each the steps of opening a
// session and the parts of a poll, with what each failed of in the words of
// the log. It hears of a poll through mail.Trace and never keeps one waiting:
// what the collector does not take in time is dropped, and counted.
package tracing

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

// Tracing makes spans and hands them to a collector while Run runs.
type Tracing struct {
	tracer   trace.Tracer
	provider *sdk.TracerProvider
	queue    *queue
}

// Wanted reports whether spans are to be exported: to the endpoint of the
// configuration, or where OpenTelemetry's variables say.
func Wanted(endpoint string) bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	return endpoint != "" || os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// New makes ready to export. An endpoint that is not empty stands before those
// of the environment; /v1/traces is added to it. counted hears of spans that
// were handed over, or dropped.
func New(ctx context.Context, endpoint, version string, counted func(exported, dropped int), log *zap.Logger) (*Tracing, error) {
	options := []otlptracehttp.Option{
		// What fails goes with the next batch, or is dropped: the library would
		// try again for a minute, while the queue runs full.
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: false}),
	}
	if endpoint != "" {
		options = append(options, otlptracehttp.WithEndpointURL(strings.TrimSuffix(endpoint, "/")+"/v1/traces"))
	}
	// What the library has to say goes to the log, and not past it.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("tracing", zap.String("error", brief(err))) }))
	otel.SetLogger(logr.New(sayings{log}))
	exporter, err := otlptracehttp.New(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("open trace exporter: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "poller"), attribute.String("service.version", version)),
		resource.WithHost(), resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		log.Warn("OTEL_RESOURCE_ATTRIBUTES cannot be read", zap.Error(err))
	}
	q := newQueue(exporter, counted, log)
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(q), sdk.WithResource(about))
	return &Tracing{tracer: provider.Tracer("mailpoller"), provider: provider, queue: q}, nil
}

// Run exports until ctx ends, and then what is left, for a moment.
func (t *Tracing) Run(ctx context.Context) error { return t.queue.run(ctx) }

// Job is ctx with a trace that makes spans of the job that runs under it,
// beside the trace that it carries.
func (t *Tracing) Job(ctx context.Context, c *mail.Connection) context.Context {
	j := &job{tracer: t.tracer, outer: *mail.TraceOf(ctx)}
	// Not the context of the job: a span needs no more of it than its parent.
	j.ctx, j.whole = t.tracer.Start(context.Background(), "job", trace.WithNewRoot(), trace.WithAttributes(
		attribute.String("poller.connection", c.Name),
		attribute.String("poller.store_type", string(c.Store)),
		attribute.String("server.address", c.Host),
		attribute.Int("server.port", c.Port),
	))
	own := j.outer
	own.Job, own.Step, own.Span = j.report, j.step, j.span
	return mail.WithTrace(ctx, &own)
}

// job is the spans of one job.
type job struct {
	tracer trace.Tracer
	outer  mail.Trace
	ctx    context.Context // with the span of the whole job
	whole  trace.Span

	mu      sync.Mutex // parts of a poll work beside each other
	number  int        // of the attempt
	attempt trace.Span // nil between two
	within  context.Context
}

// report makes spans of what becomes of a job.
func (j *job) report(r mail.Result) {
	if j.outer.Job != nil {
		j.outer.Job(r)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case r.State == mail.Running && r.Attempts > j.number:
		j.number = r.Attempts
		j.within, j.attempt = j.tracer.Start(j.ctx, "attempt", trace.WithAttributes(attribute.Int("poller.attempt", r.Attempts)))
	case r.State == mail.Retrying:
		j.endAttempt(r.Err)
	case r.State == mail.Succeeded, r.State == mail.Failed:
		j.endAttempt(r.Err)
		j.whole.SetAttributes(
			attribute.String("poller.job", r.Job),
			attribute.String("poller.outcome", string(r.Outcome)),
			attribute.Int("poller.attempts", r.Attempts),
			attribute.Int("poller.messages", r.Messages),
			attribute.Int64("poller.bytes", r.Bytes),
			attribute.Int("poller.disposed", r.Disposed),
		)
		end(j.whole, r.Err)
	}
}

func (j *job) endAttempt(err *mail.Error) {
	if j.attempt != nil {
		end(j.attempt, err)
		j.attempt = nil
	}
}

// parent is the attempt in progress, or else the job.
func (j *job) parent() context.Context {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.attempt != nil {
		return j.within
	}
	return j.ctx
}

// step is a span of a step that has ended.
func (j *job) step(s mail.Step) {
	if j.outer.Step != nil {
		j.outer.Step(s)
	}
	now := time.Now()
	_, span := j.tracer.Start(j.parent(), s.Name, trace.WithTimestamp(now.Add(-s.Duration)))
	if s.Detail != "" {
		span.SetAttributes(attribute.String("poller.detail", s.Detail))
	}
	end(span, mail.AsError(s.Err, s.Name, mail.KindInternal))
}

// span is one of a part of a poll.
func (j *job) span(op string, messages int) func(error) {
	_, span := j.tracer.Start(j.parent(), op)
	if messages > 0 {
		span.SetAttributes(attribute.Int("poller.messages", messages))
	}
	return func(err error) { end(span, mail.AsError(err, op, mail.KindInternal)) }
}

// end ends a span; with an error in the words of the log, which hold no secret.
func end(span trace.Span, err *mail.Error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(attribute.String("error.type", string(err.Kind)))
		if err.Hint != "" {
			span.SetAttributes(attribute.String("poller.hint", err.Hint))
		}
	}
	span.End()
}
