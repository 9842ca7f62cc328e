package poll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/retry"
)

// fails makes the server break off in the middle of the message.
func (l *letter) fails(err error) {
	l.body = func(_ context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, l.text[:len(l.text)/2]); err != nil {
			return err
		}
		return err
	}
}

// TestTheJournalDoesNotRecord: nothing is visible, nothing is disposed of, no
// file stays, and the next poll takes the messages.
func TestTheJournalDoesNotRecord(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Delete)
			r.mailbox("12")
			r.at = once("save", errBusy)
			result := r.fails(mail.KindState)
			if result.Messages != 0 || result.Disposed != 0 || result.Failures != 0 {
				t.Errorf("the result is %+v", result)
			}
			r.delivered()
			r.left("1", "2")
			r.faults(nil)
			r.poll(mail.OutcomeSaved)
			r.delivered("1", "2")
			r.left()
		})
	}
}

// TestTheJournalMayHaveRecorded: where a Save fails and the journal says that
// it was done, or cannot be asked any more, the files stay for the next poll,
// which publishes them without fetching.
func TestTheJournalMayHaveRecorded(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]error{"and says so": nil, "and cannot be asked": errBusy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mail.IMAP, disposition.Delete)
			r.mailbox("12")
			broken := false
			r.at = func(point string) error {
				switch {
				case point == "saved":
					broken = true
					return errBusy
				case broken && point == "load":
					return asked
				}
				return nil
			}
			r.fails(mail.KindState)
			if n := len(r.names(true)); n != 2 || len(r.names(false)) != 0 {
				t.Fatalf("%d temporary files, and visible %v", n, r.names(false))
			}
			r.left("1", "2")
			r.unhindered()
			r.restart()
			r.poll(mail.OutcomeEmpty)
			r.delivered("1", "2")
			r.left()
			r.fetches(map[string]int{"1": 1, "2": 1})
		})
	}
}

// TestTheJournalHasNotRecordedAndCannotBeAsked: its files stay then too, and the next
// start removes them, also where the program has ended in good order.
func TestTheJournalHasNotRecordedAndCannotBeAsked(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Delete)
	r.mailbox("12")
	broken := false
	r.at = func(point string) error {
		if broken = broken || point == "save"; broken {
			return errBusy
		}
		return nil
	}
	r.fails(mail.KindState)
	if n := len(r.names(true)); n != 2 {
		t.Fatalf("%d temporary files", n)
	}
	r.unhindered()
	r.restart()
	if hidden := r.names(true); len(hidden) > 0 {
		t.Errorf("%v stayed behind", hidden)
	}
	r.poll(mail.OutcomeSaved)
	r.delivered("1", "2")
	r.left()
}

// TestTheServerDoesNotCommit: the messages are saved and stay pending until
// the server does, and are not fetched again. A deletion that was carried out
// although QUIT was not answered +OK is found done.
func TestTheServerDoesNotCommit(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for _, point := range []string{"commit", "middle of a commit", "committed"} {
			t.Run(fmt.Sprint(store, " ", point), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Delete)
				r.mailbox("12")
				r.at = once(point, errNo)
				result := r.fails(mail.KindProtocol)
				if result.Messages != 2 || result.Disposed != 0 {
					t.Errorf("the result is %+v", result)
				}
				r.delivered("1", "2")
				if n := len(r.ledger().Pending); n != 2 {
					t.Errorf("%d messages are pending", n)
				}
				r.faults(nil)
				if result = r.poll(mail.OutcomeEmpty); result.Disposed != 2 || result.Messages != 0 {
					t.Errorf("the result is %+v", result)
				}
				r.left()
				r.delivered("1", "2")
				r.fetches(map[string]int{"1": 1, "2": 1})
			})
		}
	}
}

// TestAMessageFails: the others are taken, the attempt fails with the message
// as its reason, and after three jobs it is quarantined until it is asked for.
func TestAMessageFails(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for _, row := range []struct {
			name     string
			fail     func(*letter)
			sessions int // of the first job
		}{
			{"and is refused", func(l *letter) { l.refused = errNo }, 1},
			{"and breaks the session", func(l *letter) { l.fails(errNo) }, 3}, // together with others, alone, and what is behind it
		} {
			t.Run(fmt.Sprint(store, " ", row.name), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Delete)
				r.mailbox("123")
				bad := r.letters[1]
				row.fail(bad)
				id := (&session{server: r.server, c: r.c, held: r.letters}).ref(1).ID()

				result := r.fails(mail.KindProtocol)
				if result.Messages != 2 || result.Failures != 1 || result.Quarantined != 0 || r.opened != row.sessions {
					t.Errorf("after %d sessions the result is %+v", r.opened, result)
				}
				if want := "fetch: message " + id + ": server refused: no"; result.Err.Error() != want || result.Err.Hint == "" {
					t.Errorf("the reason is %q (%s), not %q", result.Err, result.Err.Hint, want)
				}
				r.delivered("1", "3")
				r.left("2")
				r.faults(map[string]int{"2": 1})
				r.fails(mail.KindProtocol)
				if result = r.fails(mail.KindProtocol); result.Quarantined != 1 {
					t.Errorf("a message was quarantined, and the result is %+v", result)
				}
				r.faults(map[string]int{"2": 3})

				r.mailbox("4")
				if result = r.poll(mail.OutcomeSaved); result.Quarantined != 1 || result.Failures != 0 {
					t.Errorf("a message is quarantined, and the result is %+v", result)
				}
				r.left("2")
				bad.refused, bad.body = nil, nil
				r.poll(mail.OutcomeEmpty)

				n, err := r.store.Retry(t.Context(), r.c.Name)
				r.ok(err)
				r.same("brought back", 1, n)
				r.poll(mail.OutcomeSaved)
				r.delivered("1", "2", "3", "4")
				r.left()
				r.faults(nil)
			})
		}
	}
}

// TestAMessageThatFailsIsCountedOncePerJob, however many attempts it has, and
// not at all when one of them succeeds.
func TestAMessageThatFailsIsCountedOncePerJob(t *testing.T) {
	t.Parallel()
	for attempts, want := range map[int]map[string]int{2: nil, 9: {"2": 1}} {
		t.Run(fmt.Sprint("mended after ", attempts), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, mail.IMAP, disposition.Keep)
				r.mailbox("12")
				r.c.Retry = retry.Policy{Max: 3, Interval: time.Minute}
				bad := r.letters[1]
				bad.refused = errNo
				r.at = func(string) error {
					if r.opened == attempts {
						bad.refused = nil
					}
					return nil
				}
				result := r.Poll(t.Context(), r.c)
				if failed := want != nil; failed != (result.State == mail.Failed) || result.Failures != len(want) || result.Messages+result.Failures != 2 {
					t.Errorf("the result is %+v", result)
				}
				r.faults(want)
			})
		})
	}
}

// TestManyMessagesThatBreakTheSession do not keep back the others, and those that are
// seen to be at fault in three jobs, because others can be had behind them, are
// quarantined.
func TestManyMessagesThatBreakTheSession(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Delete)
			for uid := range uint32(maxReopen + 2) {
				r.add(uid+1, "bad").fails(errNo)
			}
			r.fails(mail.KindProtocol)
			r.counted(nil)
			var good []string
			jobs := uint32(0)
			for result := (mail.Result{Quarantined: -1}); result.Quarantined < maxReopen+2 && jobs < 40; jobs++ {
				good = append(good, fmt.Sprint("good ", jobs))
				r.add(100+jobs, good[jobs])
				result = r.Poll(t.Context(), r.c)
				r.delivered(good...)
			}
			if jobs == 40 {
				t.Errorf("after %d jobs not all are quarantined", jobs)
			}
			t.Logf("%d jobs", jobs)
		})
	}
}

// TestTheWireBreaksOnce while messages are asked for together: those that may have been
// the reason are asked for alone, and when all come, nothing has failed.
func TestTheWireBreaksOnce(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"fetch", "middle of a message"} {
		for _, store := range everyStore {
			t.Run(string(store)+", "+point, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Delete)
				r.mailbox("123")
				n := 0
				r.at = func(at string) error {
					if at == point {
						if n++; n == 2 {
							return errWire
						}
					}
					return nil
				}
				result := r.poll(mail.OutcomeSaved)
				r.same("failures", 0, result.Failures)
				r.same("sessions", 2, r.opened)
				r.delivered("1", "2", "3")
				r.left()
				r.faults(nil)
			})
		}
	}
}

// TestTheAttemptFails by what is not the fault of a message: those that came
// before are saved, the rest waits for the next attempt.
func TestTheAttemptFails(t *testing.T) {
	t.Parallel()
	second := func(point string, err error) func(*rig) {
		return func(r *rig) {
			n := 0
			r.at = func(at string) error {
				if at == point {
					n++
				}
				if at == point && n == 2 {
					return err
				}
				return nil
			}
		}
	}
	for name, row := range map[string]struct {
		interfere func(*rig)
		kind      mail.Kind
		before    []string       // delivered by the attempt that fails
		faults    map[string]int // what it counts against the message at hand
	}{
		"the wire, at the pick":        {func(r *rig) { r.at = once("pick", errWire) }, mail.KindNetwork, nil, nil},
		"the folder, at a message":     {second("write", errDisk), mail.KindStorage, []string{"1"}, nil},
		"the folder, inside a message": {func(r *rig) { r.letters[1].fails(errDisk) }, mail.KindStorage, []string{"1"}, nil},
		"the folder, at its sync":      {func(r *rig) { r.at = once("sync", errDisk) }, mail.KindStorage, nil, nil},
		"the journal, at the start":    {func(r *rig) { r.at = once("load", errBusy) }, mail.KindState, nil, nil},
		"the server, at the start":     {func(r *rig) { r.at = once("open", errWire) }, mail.KindNetwork, nil, nil},
	} {
		for _, store := range everyStore {
			t.Run(string(store)+", "+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Delete)
				r.mailbox("123")
				row.interfere(r)
				result := r.fails(row.kind)
				r.same("failures", len(row.faults), result.Failures)
				r.same("sessions left open", 0, r.opened-r.closed)
				r.delivered(row.before...)
				r.faults(row.faults)
				r.unhindered()
				for _, l := range r.letters {
					l.body = nil
				}
				r.Poll(t.Context(), r.c)
				r.delivered("1", "2", "3")
				r.left()
				r.faults(nil)
			})
		}
	}
}

// TestTheFolderIsMissing: nothing is fetched, nothing is disposed of, and when
// it is there again everything is taken.
func TestTheFolderIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Delete)
	r.mailbox("12")
	there := r.c.Folder
	r.c.Folder = filepath.Join(there, "missing")
	r.fails(mail.KindStorage)
	r.fetches(map[string]int{})
	r.c.Folder = there
	r.poll(mail.OutcomeSaved)
	r.delivered("1", "2")
	r.left()
}

// TestAMessageIsTooLarge: it is skipped and counted, does not block the
// rest, and is taken once the limit was raised.
func TestAMessageIsTooLarge(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for _, limit := range []int{0, 1} {
			t.Run(fmt.Sprint(store, " ", limit), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Delete)
				r.c.MaxMessageSize, r.c.MaxMessages = 5, limit
				r.add(1, "larger")
				r.add(2, "small")
				for _, want := range []mail.Outcome{mail.OutcomeSaved, mail.OutcomeEmpty, mail.OutcomeEmpty} {
					if result := r.poll(want); result.Oversized != 1 || result.Failures != 0 {
						t.Errorf("the result is %+v", result)
					}
					r.faults(map[string]int{"1": -1})
				}
				r.delivered("small")
				r.left("larger")
				r.same("warnings", 1, r.logs.FilterMessage("message skipped").Len())
				r.c.MaxMessageSize = 6
				if result := r.poll(mail.OutcomeSaved); result.Oversized != 0 {
					t.Errorf("the result is %+v", result)
				}
				r.delivered("small", "larger")
				r.left()
				r.faults(nil)
			})
		}
	}
}

// TestAMessageIsLargerThanAnnounced: the limit holds for what comes, and
// nothing of it stays.
func TestAMessageIsLargerThanAnnounced(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Delete)
			r.c.MaxMessageSize = 5
			r.add(1, "larger").size = 4
			r.add(2, "small")
			result := r.fails(mail.KindProtocol)
			if !strings.Contains(result.Err.Error(), "larger than the server announced") {
				t.Errorf("%v", result.Err)
			}
			r.delivered("small")
			r.left("larger")
		})
	}
}

// TestAServerNamesMessagesWithoutEnd that it does not hand over: the attempt
// ends.
func TestAServerNamesMessagesWithoutEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Delete)
	r.c.MaxMessages = 1
	for uid := range uint32(maxFailed + 50) {
		r.add(uid+1, "bad").refused = errNo
	}
	if result := r.fails(mail.KindProtocol); result.Failures != maxFailed {
		t.Errorf("%d messages failed", result.Failures)
	}
}

// TestAMessageGoesWhileItIsPicked: somebody else has removed it, which is no
// failure.
func TestAMessageGoesWhileItIsPicked(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Keep)
	r.mailbox("123")
	gone := r.letters[1]
	r.at = func(point string) error {
		if point == "fetch" {
			r.remove(gone)
		}
		return nil
	}
	if result := r.poll(mail.OutcomeSaved); result.Messages != 2 || result.Failures != 0 {
		t.Errorf("the result is %+v", result)
	}
	r.delivered("1", "3")
	r.faults(nil)
}

// TestAPanicFailsTheJob, and leaves what a crash would.
func TestAPanicFailsTheJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Delete)
	r.mailbox("12")
	panics := 0
	r.Panicked = func() { panics++ }
	r.at = func(point string) error {
		if point == "pick" {
			panic(errors.New("a fault of ours"))
		}
		return nil
	}
	result := r.fails(mail.KindInternal)
	if want := "poll: panic: a fault of ours"; result.Err.Error() != want || panics != 1 || result.State != mail.Failed {
		t.Errorf("after %d panics the result is %+v", panics, result)
	}
	r.unhindered()
	r.poll(mail.OutcomeSaved)
	r.delivered("1", "2")
	r.left()
}
