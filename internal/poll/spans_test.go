package poll

import (
	"testing"

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

// BenchmarkUntraced is what there is to pay.
func BenchmarkUntraced(b *testing.B) {
	p, trace := &Poller{}, &mail.Trace{}
	b.ReportAllocs()
	for b.Loop() {
		p.spanned(trace)
	}
}
