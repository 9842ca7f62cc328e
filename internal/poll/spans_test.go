package poll

import (
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// TestNobodyListening: without tracing a poll is made of the same parts as
// ever, and pays nothing for it.
func TestNobodyListening(t *testing.T) {
	t.Parallel()
	p := &Poller{}
	if p.spanned(&mail.Trace{}) != p {
		t.Error("a poll that nobody listens to is wrapped")
	}
}

// TestWhoListensChangesNothing: what a poll comes to is the same with spans.
func TestWhoListensChangesNothing(t *testing.T) {
	t.Parallel()
	for _, listened := range []bool{false, true} {
		r := newRig(t, mail.IMAP, disposition.Delete)
		r.mailbox("12")
		r.others = 3
		var spans []string
		trace := &mail.Trace{}
		if listened {
			trace.Span = func(op string, _ int) func(error) {
				spans = append(spans, op)
				return func(error) {}
			}
		}
		result := r.Poll(mail.WithTrace(t.Context(), trace), r.c)
		if result.NotMatching != 3 || result.State != mail.Succeeded || listened != (len(spans) > 0) {
			t.Errorf("listened to %t: %+v, spans %q", listened, result, spans)
		}
	}
}

// BenchmarkUntraced is what there is to pay.
func BenchmarkUntraced(b *testing.B) {
	p, trace := &Poller{}, &mail.Trace{}
	b.ReportAllocs()
	for b.Loop() {
		p.spanned(trace)
	}
}
