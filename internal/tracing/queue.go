package tracing

import (
	"context"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"
)

// The bounds of what waits for a collector: a span is about 1 kB.
const (
	queued  = 4096
	batch   = 512
	every   = 2 * time.Second
	timeout = 5 * time.Second // of one export
)

// queue is a sdk.SpanProcessor. The library's own one drops without saying how
// much.
type queue struct {
	spans    chan sdk.ReadOnlySpan
	exporter sdk.SpanExporter
	counted  func(exported, dropped int)
	log      *zap.Logger
	failing  bool
}

func newQueue(e sdk.SpanExporter, counted func(exported, dropped int), log *zap.Logger) *queue {
	return &queue{spans: make(chan sdk.ReadOnlySpan, queued), exporter: e, counted: counted, log: log}
}

// OnStart implements sdk.SpanProcessor.
func (q *queue) OnStart(context.Context, sdk.ReadWriteSpan) {}

// OnEnd implements sdk.SpanProcessor. It never waits.
func (q *queue) OnEnd(s sdk.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	select {
	case q.spans <- s:
	default:
		q.counted(0, 1)
	}
}

// Shutdown implements sdk.SpanProcessor; run ends with its context.
func (q *queue) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdk.SpanProcessor.
func (q *queue) ForceFlush(context.Context) error { return nil }

// run hands over what is queued, until ctx ends, and then what is left. An
// export that is on its way then, and the last one, have their time each.
func (q *queue) run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var waiting []sdk.ReadOnlySpan
	for {
		select {
		case s := <-q.spans:
			if waiting = append(waiting, s); len(waiting) < batch {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
			defer cancel()
			for {
				select {
				case s := <-q.spans:
					waiting = append(waiting, s)
					continue
				default:
				}
				break
			}
			q.export(last, waiting)
			return q.exporter.Shutdown(last)
		}
		q.export(context.WithoutCancel(ctx), waiting) // not lost for being on its way at the end
		waiting = nil
	}
}

// export hands spans over. What the collector does not take is dropped; the log
// says so once, until it takes spans again.
func (q *queue) export(ctx context.Context, spans []sdk.ReadOnlySpan) {
	if len(spans) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err := q.exporter.ExportSpans(ctx, spans)
	if err != nil {
		q.counted(0, len(spans))
		if !q.failing {
			q.log.Warn("the trace collector takes no spans; they are dropped until it does", zap.String("error", brief(err)))
		}
	} else {
		q.counted(len(spans), 0)
		if q.failing {
			q.log.Info("the trace collector takes spans again")
		}
	}
	q.failing = err != nil
}
