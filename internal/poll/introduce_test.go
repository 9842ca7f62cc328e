package poll

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// TestMessagesThatStayAreIntroduced: an operator reads who sent a message that failed
// or is too large, when, and about what, and its header is asked for once.
func TestMessagesThatStayAreIntroduced(t *testing.T) {
	t.Parallel()
	const head = "From: =?UTF-8?Q?J=C3=BCrgen?= <j@example.org>\r\nSubject: the\r\n order\r\nDate: Sun, 29 Nov 2026 12:00:00 +0100\r\n\r\n"
	for _, store := range everyStore {
		for _, d := range []disposition.Disposition{disposition.Keep, disposition.Delete} {
			t.Run(fmt.Sprint(store, " ", d), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, d)
				r.c.MaxMessageSize, r.c.MaxMessages = 1000, 0
				r.add(1, head+strings.Repeat("x", 1000))
				r.add(2, head+"it is refused").refused = errNo
				r.add(3, "fine")
				var asked int
				r.at = func(point string) error {
					if point == "heads" {
						asked++
					}
					return nil
				}
				for range 2 {
					r.fails(mail.KindProtocol)
				}
				before := asked
				r.fails(mail.KindProtocol)
				if asked > before+1 { // that of another message, to tell whose fault it is
					t.Errorf("%d headers were asked for once more", asked-before)
				}
				ledger := r.ledger()
				if len(ledger.Unsaved) != 2 {
					t.Fatalf("%+v", ledger.Unsaved)
				}
				for _, got := range ledger.Unsaved {
					want := mail.Unsaved{
						Ref: got.Ref, Oversized: got.Oversized, Jobs: got.Jobs, Reason: got.Reason,
						From: "Jürgen <j@example.org>", Subject: "the order", Date: time.Date(2026, 11, 29, 11, 0, 0, 0, time.UTC),
					}
					got.Date = got.Date.UTC()
					if diff := cmp.Diff(want, got, cmp.AllowUnexported(mail.Ref{})); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				}
			})
		}
	}
}

// TestAHeaderThatCannotBeHadIsNoFailure: the message counts as what it is, and the
// others are done with.
func TestAHeaderThatCannotBeHadIsNoFailure(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for name, spoil := range map[string]func(*rig){
			"refused":      func(r *rig) { r.headless = true },
			"session ends": func(r *rig) { r.at = always("heads", errWire) },
		} {
			t.Run(fmt.Sprint(store, " ", name), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Keep)
				r.c.MaxMessageSize, r.c.MaxMessages = 5, 0
				r.add(1, "larger")
				r.add(2, "small")
				spoil(r)
				if result := r.poll(mail.OutcomeSaved); result.Oversized != 1 || result.Attempts != 1 {
					t.Errorf("%+v", result)
				}
				r.delivered("small")
				r.faults(map[string]int{"1": -1})
			})
		}
	}
}
