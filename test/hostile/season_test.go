package hostile

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// A season is several jobs on an odd server, with a consumer that takes each
// message the moment it is there, and two jobs once the server is mended.
type season struct {
	name    string
	store   mail.StoreType
	prepare func(*box)
	with    func(*mail.Connection)
	odd     odd
	op      string // of the failure of each odd job; they succeed when it is empty
	kind    mail.Kind
	says    string        // a part of the error, or of the warnings where there is none
	wait    time.Duration // for which the server wants to be left alone
	saved   int           // messages that are delivered while the server is odd
}

const jobs = 4 // of a season

func moves(c *mail.Connection) { c.MoveTo = "Done" }

func marks(c *mail.Connection) { c.Dispose = disposition.Seen }

// play holds that each message is delivered once in the whole season, and
// disposed of in the end.
func (s season) play(t *testing.T, more ...func(*mail.Connection)) {
	t.Helper()
	b := newBox(s.store, bodies...)
	if s.prepare != nil {
		s.prepare(b)
	}
	before, _ := b.bodies()
	b.odd = s.odd
	r := newBench(t, b)
	for _, set := range append(more, s.with) {
		if set != nil {
			set(r.c)
		}
	}
	for job := range jobs {
		result := r.poll()
		r.take()
		said := strings.Join(result.Warnings, "\n")
		if e := result.Err; e != nil {
			said = e.Error()
			if e.Op != s.op || e.Kind != s.kind || e.Wait != s.wait {
				t.Errorf("job %d: %v of kind %s, to wait for %v, not %s of kind %s, %v", job, e, e.Kind, e.Wait, s.op, s.kind, s.wait)
			}
			if s.wait > 0 && result.Attempts != 1 {
				t.Errorf("job %d: %d attempts at a server that wants to be left alone", job, result.Attempts)
			}
		} else if s.op != "" {
			t.Errorf("job %d: %+v", job, result)
		}
		if !strings.Contains(said, s.says) {
			t.Errorf("job %d: it says %q, not %q", job, said, s.says)
		}
		if result.Quarantined+result.Oversized > 0 {
			t.Errorf("job %d skips messages: %+v", job, result)
		}
	}
	if n := len(r.delivered()); n != s.saved {
		t.Errorf("%d messages were delivered by the odd server, not %d", n, s.saved)
	}
	b.mend()
	r.c.MaxMessages = 0
	r.poll()
	r.take()
	if result := r.poll(); result.Err != nil || result.Messages > 0 || len(result.Warnings) > 0 {
		t.Errorf("a job of the mended server: %+v", result)
	}
	slices.Sort(before)
	if got := r.delivered(); !slices.Equal(got, before) {
		t.Errorf("delivered: %q", got)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.messages {
		if !m.seen || r.c.Ending() != disposition.Seen {
			t.Errorf("left on the server: %q", m.body)
		}
	}
}

// pulls plays a season with each pull, of all messages and of one in a job.
func (s season) pulls(t *testing.T) {
	t.Helper()
	for _, pull := range disposition.Pulls() {
		t.Run(fmt.Sprint(s.store, " ", s.name, " ", pull), func(t *testing.T) {
			t.Parallel()
			s.play(t, func(c *mail.Connection) { c.Pull = pull })
		})
	}
}
