package poll

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// stopped is what the program dies of.
type stopped struct{ point string }

// stopAt interferes by stopping the program dead at the n-th point that it
// comes by, counted from 0, and counts the points.
func (r *rig) stopAt(n int) (passed *int) {
	passed = new(int)
	r.at = func(point string) error {
		if *passed++; *passed == n+1 {
			panic(stopped{point})
		}
		return nil
	}
	return passed
}

// unhindered lets the program run.
func (r *rig) unhindered() { r.at = func(string) error { return nil } }

// variants are the connections for which the crash table has to hold, with a
// consumer that takes some files the moment they appear, and leaves others.
func variants(t *testing.T, test func(t *testing.T, fresh func(t *testing.T) *rig)) {
	for _, store := range everyStore {
		for _, dispose := range everyDisposition {
			t.Run(fmt.Sprint(store, " ", dispose), func(t *testing.T) {
				t.Parallel()
				test(t, func(t *testing.T) *rig {
					r := newRig(t, store, dispose)
					r.consumer = func(text string) bool { return text != "2" }
					r.mailbox("123")
					return r
				})
			})
		}
	}
}

// promised checks the end of every story: each message was delivered once, the
// disposition is in force, nothing is pending, and a further poll does nothing.
func (r *rig) promised() {
	r.t.Helper()
	r.delivered("1", "2", "3")
	switch {
	case r.c.Dispose == disposition.Delete:
		r.left()
	case r.c.Dispose == disposition.Seen && r.c.Store == mail.IMAP:
		r.left("1+", "2+", "3+")
	default:
		r.left("1", "2", "3")
	}
	l := r.ledger()
	asked := slices.DeleteFunc(l.Pending, func(e mail.Entry) bool { return r.c.Store == mail.POP3 && e.Stage == mail.Asked }) // for the next poll to see
	if len(asked)+len(l.Orphans) > 0 {
		r.t.Errorf("still pending: %v %v", l.Pending, l.Orphans)
	}
	fetched := fmt.Sprint(r.fetched)
	outcome := mail.OutcomeUnchanged
	if r.c.Dispose == disposition.Delete {
		outcome = mail.OutcomeEmpty
	}
	r.poll(outcome)
	r.same("fetched by a further poll", fetched, fmt.Sprint(r.fetched))
	if l := r.ledger(); len(l.Pending) > 0 {
		r.t.Errorf("still pending: %v", l.Pending)
	}
}

// TestStoppedDeadAnywhere stops a poll at every point there is and starts
// anew. From the moment that a message is recorded it is not fetched again.
func TestStoppedDeadAnywhere(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, fresh func(t *testing.T) *rig) {
		r := fresh(t)
		points := r.stopAt(-1)
		r.poll(mail.OutcomeSaved)
		r.unhindered()
		r.promised()
		for n := range *points {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				r := fresh(t)
				r.stopAt(n)
				result := r.fails(mail.KindInternal)
				r.unhindered()
				r.restart()
				recorded := len(r.saves) > 0
				switch {
				case !recorded:
					r.poll(mail.OutcomeSaved)
				case r.c.Dispose == disposition.Delete:
					r.poll(mail.OutcomeEmpty)
				default:
					r.poll(mail.OutcomeUnchanged)
				}
				for text, n := range r.fetched {
					if recorded && n != 1 {
						t.Errorf("%v: message %s was recorded and fetched %d times", result.Err, text, n)
					}
				}
				r.promised()
			})
		}
	})
}

// TestStoppedDeadOverAndOver stops the program at the first point, starts it
// again, stops it at the second, and so on until it comes through.
func TestStoppedDeadOverAndOver(t *testing.T) {
	t.Parallel()
	variants(t, func(t *testing.T, fresh func(t *testing.T) *rig) {
		r := fresh(t)
		for n := 0; ; n++ {
			r.stopAt(n)
			result := r.Poll(t.Context(), r.c)
			r.restart()
			if result.State == mail.Succeeded {
				break
			}
			if !strings.Contains(result.Err.Error(), "panic: {") {
				t.Fatalf("stopped by %v", result.Err)
			}
		}
		r.unhindered()
		r.promised()
	})
}
