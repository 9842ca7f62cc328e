package poll

import (
	"sync"
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
		var spans sync.Map // a batch is recorded beside the session
		trace := &mail.Trace{}
		if listened {
			trace.Span = func(op string, _ int) func(error) {
				spans.Store(op, true)
				return func(error) {}
			}
		}
		result := r.Poll(mail.WithTrace(t.Context(), trace), r.c)
		if _, fetched := spans.Load(mail.OpFetch); result.NotMatching != 3 || result.State != mail.Succeeded || listened != fetched {
			t.Errorf("listened to %t, fetching seen: %t: %+v", listened, fetched, result)
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
