package poll

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/retry"
)

var errTrouble = &mail.Error{Op: mail.OpFetch, Kind: mail.KindServer, Err: errors.New("server refused: [UNAVAILABLE] later")}

var errAccount = &mail.Error{Op: mail.OpFetch, Kind: mail.KindAuth, Err: errors.New("server refused: User is authenticated but not connected")}

// counted checks in how many jobs each message failed, as the journal has it.
func (r *rig) counted(want map[string]int) {
	r.t.Helper()
	got := make(map[string]int)
	for _, f := range r.ledger().Unsaved {
		if f.Jobs > 0 {
			got[strings.TrimPrefix(f.ID(), "id-")] = f.Jobs
		}
	}
	r.same("counted against messages", want, got)
}

// TestAServerThatRefusesEverything for several jobs is at fault itself: the jobs
// fail, nothing counts against a message, and when it is well again everything is
// taken.
func TestAServerThatRefusesEverything(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for name, row := range map[string]struct {
			fail func(*letter)
			kind mail.Kind
		}{
			"with trouble of its own":        {func(l *letter) { l.refused = errTrouble }, mail.KindServer},
			"without a reason":               {func(l *letter) { l.refused = errNo }, mail.KindProtocol},
			"by hanging up at each message":  {func(l *letter) { l.fails(errWire) }, mail.KindNetwork},
			"by breaking off each message":   {func(l *letter) { l.fails(errNo) }, mail.KindProtocol},
			"with the account":               {func(l *letter) { l.refused = errAccount }, mail.KindAuth},
			"by silence behind each message": {func(l *letter) { l.fails(mail.Errorf(mail.OpFetch, mail.KindTimeout, "silent")) }, mail.KindTimeout},
		} {
			t.Run(fmt.Sprint(store, " ", name), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Delete)
				r.mailbox("123456789")
				for _, l := range r.letters {
					row.fail(l)
				}
				for range 5 {
					if result := r.fails(row.kind); result.Quarantined != 0 {
						t.Errorf("the result is %+v", result)
					}
				}
				r.counted(nil)
				r.delivered()
				for _, l := range r.letters {
					l.refused, l.body = nil, nil
				}
				r.poll(mail.OutcomeSaved)
				r.delivered("1", "2", "3", "4", "5", "6", "7", "8", "9")
				r.left()
			})
		}
	}
}

// TestAServerThatShowsHeadersAlone: its index answers, its store of messages does not.
// Nothing counts against a message, whatever was saved before and stays.
func TestAServerThatShowsHeadersAlone(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Keep)
			r.mailbox("12")
			r.poll(mail.OutcomeSaved)
			r.mailbox("34")
			for _, l := range r.letters {
				l.refused = errNo
			}
			for range 5 {
				r.fails(mail.KindProtocol)
			}
			r.counted(nil)
			for _, l := range r.letters {
				l.refused = nil
			}
			r.poll(mail.OutcomeSaved)
			r.delivered("1", "2", "3", "4")
		})
	}
}

// TestAMessageThatFailedIsNotBlamedForTheServer, when that goes down later, for another
// reason, or for all messages.
func TestAMessageThatFailedIsNotBlamedForTheServer(t *testing.T) {
	t.Parallel()
	down := &mail.Error{Op: mail.OpFetch, Kind: mail.KindProtocol, Err: errors.New("server refused: out of order")}
	for _, d := range []disposition.Disposition{disposition.Keep, disposition.Delete} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mail.IMAP, d)
			r.mailbox("123")
			bad := r.letters[0]
			bad.refused = errNo
			r.fails(mail.KindProtocol)
			r.counted(map[string]int{"1": 1})
			for _, l := range r.letters {
				l.refused = down
			}
			for range 5 {
				r.fails(mail.KindProtocol)
			}
			r.counted(map[string]int{"1": 1})
		})
	}
}

// TestTroubleOfTheServerNeverCounts, also where it says so of one message alone,
// for ever: the attempt fails, and the others are taken.
func TestTroubleOfTheServerNeverCounts(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Delete)
	r.mailbox("123")
	r.letters[0].refused = errTrouble
	for range 5 {
		r.fails(mail.KindServer)
	}
	r.delivered("2", "3")
	r.left("1")
	r.counted(nil)
}

// TestAServerThatWantsToBeLeftAlone is not asked for the next message, nor in a
// further attempt that would come too soon.
func TestAServerThatWantsToBeLeftAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mail.IMAP, disposition.Delete)
		r.c.Retry = retry.Policy{Max: 3, Interval: time.Minute}
		r.mailbox("123")
		wait := *errTrouble
		wait.Wait = 2 * time.Minute
		r.letters[0].refused = &wait
		if result := r.fails(mail.KindServer); result.Attempts != 1 || result.Err.Wait != 2*time.Minute {
			t.Errorf("the result is %+v", result)
		}
		r.delivered()
		wait.Wait = time.Second
		if result := r.fails(mail.KindServer); result.Attempts != 4 {
			t.Errorf("the result is %+v", result)
		}
	})
}

// TestTheOnlyMessage that cannot be had counts when another one, which was saved
// before, can be had; and not when there is none to tell.
func TestTheOnlyMessage(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for others, want := range map[string]int{"": 0, "1": 2} {
			t.Run(fmt.Sprint(store, " beside ", len(others)), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Keep)
				r.c.Pull.Unread = true
				r.mailbox(others)
				r.Poll(t.Context(), r.c)
				r.add(9, "bad").refused = errNo
				for range 2 {
					r.fails(mail.KindProtocol)
				}
				got := 0
				for _, f := range r.ledger().Unsaved {
					got += f.Jobs
				}
				r.same("counted", want, got)
			})
		}
	}
}

// TestTheServerGoesDownInTheMiddle: that one message was at hand says nothing of
// it, however often it happens.
func TestTheServerGoesDownInTheMiddle(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Keep)
	r.mailbox("1234")
	r.letters[2].fails(errWire)
	r.at = func(point string) error {
		if point == "open" && r.opened%2 == 1 { // it is not up again at once
			return errWire
		}
		return nil
	}
	for range 5 {
		r.fails(mail.KindNetwork)
		r.opened = 0
		r.closed = 0
	}
	r.counted(nil)
}

// TestAMessageThatTakesTooLong: after an attempt in which there was no time for any
// other, the others come first, so that it keeps none of them back; and by then it
// is known to be its own fault.
func TestAMessageThatTakesTooLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mail.IMAP, disposition.Delete)
		r.c.PollTimeout = time.Minute
		r.mailbox("123")
		r.letters[0].within(time.Hour)
		r.fails(mail.KindTimeout)
		r.delivered()
		r.counted(nil)
		r.fails(mail.KindTimeout)
		r.delivered("2", "3")
		r.counted(map[string]int{"1": 1})
		r.fails(mail.KindTimeout)
		r.fails(mail.KindTimeout)
		r.poll(mail.OutcomeEmpty)
		r.counted(map[string]int{"1": 3})
		n, err := r.store.Retry(t.Context(), r.c.Name)
		r.ok(err)
		r.same("brought back", 1, n)
		r.letters[0].body = nil
		r.poll(mail.OutcomeSaved)
		r.delivered("1", "2", "3")
		r.same("faults", 0, len(r.ledger().Unsaved))
	})
}

// TestASessionThatAskedInTheWrongWay is opened anew at once, and counts for nothing.
func TestASessionThatAskedInTheWrongWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.POP3, disposition.Delete)
	r.mailbox("123")
	wrong := *errNo
	wrong.Reopen = true
	second := r.letters[1]
	second.fails(&wrong)
	r.at = func(point string) error {
		if point == "open" && r.opened == 1 {
			second.body = nil
		}
		return nil
	}
	r.poll(mail.OutcomeSaved)
	r.same("sessions", 2, r.opened)
	r.delivered("1", "2", "3")
	r.counted(nil)
}

// TestAMessageThatWasCutOffCountsAsUnread, although the server has marked it as
// read when it began to send it.
func TestAMessageThatWasCutOffCountsAsUnread(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Delete)
	r.c.Pull.Unread = true
	r.mailbox("123")
	r.letters[1].fails(errWire)
	r.letters[1].seen, r.letters[2].seen = false, false
	down := false
	r.at = func(point string) error {
		if point == "fetch" && r.opened == 1 {
			r.letters[0].seen, r.letters[1].seen = true, true
		}
		if down && point == "open" {
			return errWire
		}
		down = down || point == "fetch" && r.fetched["2"] > 0
		return nil
	}
	r.fails(mail.KindNetwork)
	r.unhindered()
	for _, l := range r.letters {
		l.body = nil
	}
	r.Poll(t.Context(), r.c)
	r.delivered("1", "2", "3")
	r.left()
	r.same("faults", 0, len(r.ledger().Unsaved))
}
