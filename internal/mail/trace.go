package mail

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Step is one step of opening a session or of a connection test, finished.
type Step struct {
	Name     string // an Op
	Duration time.Duration
	Detail   string // what was learned, in one line
	Err      error
}

// Test is what a connection test found.
type Test struct {
	Connection string
	Steps      []Step // those that were made, in their order
}

// OK reports whether every step went well.
func (t *Test) OK() bool {
	return !slices.ContainsFunc(t.Steps, func(s Step) bool { return s.Err != nil })
}

// Trace hears of a poll as it happens. A field may be nil. The functions are
// called by the goroutine that polls and must return quickly.
type Trace struct {
	Step     func(Step)
	Job      func(Result)                        // a job changed its state
	Progress func(ref Ref, done, size int64)     // octets of the message at hand; size 0 when unknown
	Saved    func(ref Ref, path string, n int64) // a message became visible
	Prompt   func(Prompt)                        // a login waits for a person

	// Span hears that a part of a poll begins, which is about so many messages,
	// or a number not known; what it returns is called when the part ends. Parts
	// that work beside each other report at the same time. Opening a session is
	// told by Step.
	Span func(op string, messages int) (end func(err error))
}

// Spans tells step of parts of a poll that ended, as Trace.Span begins them. The
// detail is how many messages the part was about.
func Spans(step func(Step)) func(op string, messages int) (end func(error)) {
	return func(op string, messages int) func(error) {
		begun, detail := time.Now(), ""
		switch messages {
		case 0:
		case 1:
			detail = "1 message"
		default:
			detail = fmt.Sprintf("%d messages", messages)
		}
		return func(err error) { step(Step{Name: op, Duration: time.Since(begun), Detail: detail, Err: err}) }
	}
}

// Parts of a poll that no Op is about.
const (
	SpanSync    = "sync"
	SpanPublish = "publish"
)

type traceKey struct{}

// WithTrace makes the polls and sessions that run under the context report
// to t.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceOf is the trace of the context. It is never nil, but may hear nothing.
func TraceOf(ctx context.Context) *Trace {
	if t, ok := ctx.Value(traceKey{}).(*Trace); ok {
		return t
	}
	return &Trace{}
}
