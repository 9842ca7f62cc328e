package poll

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

var errReadOnly = &mail.Error{Op: mail.OpDispose, Kind: mail.KindProtocol, Err: errors.New("server refused: read-only")}

// TestOKIsNoProof: what a server says it disposed of, and did not, is never saved
// again, with a consumer that takes the files; the job says so, and the next one
// tries again.
func TestOKIsNoProof(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for _, pull := range []disposition.Pull{{Unread: true}, {}, {Newest: true}} {
			t.Run(fmt.Sprint(store, " ", pull), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Delete)
				r.Removals.doubt(r.c)
				r.consumer = func(string) bool { return true }
				r.c.Pull = pull
				r.mailbox("123")
				r.letters[1].lies = true
				r.poll(mail.OutcomeSaved)
				for range 5 {
					result := r.poll(mail.OutcomeEmpty)
					if store == mail.POP3 && !strings.Contains(strings.Join(result.Warnings, ""), "still has") {
						t.Errorf("warnings: %q", result.Warnings)
					}
				}
				r.delivered("1", "2", "3")
				r.left("2")
				r.letters[0].lies = false
				r.poll(mail.OutcomeEmpty)
				r.poll(mail.OutcomeEmpty)
				r.left()
				r.delivered("1", "2", "3")
				r.fetches(map[string]int{"1": 1, "2": 1, "3": 1})
				r.same("pending", 0, len(r.ledger().Pending))
			})
		}
	}
}

// TestTheFirstRemovalOfAPOP3ServerIsLookedAt by another session at once, and then
// what it says is believed.
func TestTheFirstRemovalOfAPOP3ServerIsLookedAt(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.POP3, disposition.Delete)
	r.Removals.doubt(r.c)
	r.mailbox("12")
	r.poll(mail.OutcomeSaved)
	r.same("sessions", 2, r.opened)
	r.same("pending", 0, len(r.ledger().Pending))
	r.add(3, "3")
	r.poll(mail.OutcomeSaved)
	r.same("sessions", 3, r.opened)
	r.delivered("1", "2", "3")
}

// TestAnEqualMessageUnderTheSameUniqueID that comes behind the removal of the first
// is another message, and another file: popa3d makes unique-ids of the content.
func TestAnEqualMessageUnderTheSameUniqueID(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.POP3, disposition.Delete)
	r.Removals.doubt(r.c)
	r.add(1, "alarm")
	r.poll(mail.OutcomeSaved)
	for n := 2; n <= 4; n++ {
		r.add(1, "alarm")
		r.poll(mail.OutcomeSaved)
		r.same("files", n, len(r.names(false)))
	}
	r.left()
}

// TestARefusedDispositionStopsNothing: every message is saved, once, the job fails
// with what the server says, and what it refuses is tried again.
func TestARefusedDispositionStopsNothing(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for _, most := range []int{0, 1} {
			for _, pull := range []disposition.Pull{{Unread: true}, {}, {Newest: true}} {
				t.Run(fmt.Sprint(store, " ", most, " ", pull), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, store, disposition.Delete)
					r.c.MaxMessages, r.c.Pull = most, pull
					r.mailbox("123")
					for _, l := range r.letters {
						l.stays = errReadOnly
					}
					for range 4 {
						if result := r.fails(mail.KindProtocol); !strings.Contains(result.Err.Error(), "read-only") || result.Err.Hint == "" {
							t.Errorf("%v (%s)", result.Err, result.Err.Hint)
						}
					}
					r.delivered("1", "2", "3")
					r.left("1", "2", "3")
					r.counted(nil)
					for _, l := range r.letters {
						l.stays = nil
					}
					r.poll(mail.OutcomeEmpty)
					r.poll(mail.OutcomeEmpty)
					r.left()
					r.fetches(map[string]int{"1": 1, "2": 1, "3": 1})
				})
			}
		}
	}
}

// TestAnotherSizeIsNoOtherMessage: the digest tells, and what was saved is not
// saved again.
func TestAnotherSizeIsNoOtherMessage(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Delete)
			r.consumer = func(string) bool { return true }
			r.mailbox("12")
			for _, l := range r.letters {
				l.size = 1000
			}
			r.at = once("commit", errWire)
			r.fails(mail.KindNetwork)
			for _, l := range r.letters {
				l.size = 0
			}
			r.poll(mail.OutcomeEmpty)
			r.delivered("1", "2")
			r.left()
		})
	}
}

// TestAServersRecordsMakeNoOtherMessage: servers with mbox files write UIDs and flags
// into the header of a message. What was saved is not saved again for that, neither
// after a cut, nor when the mailbox is another one.
func TestAServersRecordsMakeNoOtherMessage(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for _, dispose := range []disposition.Disposition{disposition.Delete, disposition.Keep} {
			t.Run(fmt.Sprint(store, " ", dispose), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, dispose)
				r.consumer = func(string) bool { return true }
				r.c.MaxMessages = 0
				first := "Subject: a\r\nX-IMAPbase: 7 2\r\nX-UID: 1\r\n\r\na\r\n"
				r.add(1, first)
				r.add(2, "Subject: b\r\n\r\nb\r\n")
				if dispose == disposition.Delete {
					r.at = once("commit", errWire)
					r.fails(mail.KindNetwork)
				} else {
					r.poll(mail.OutcomeSaved)
					r.validity++
					for i, l := range r.letters {
						l.uidl = fmt.Sprint("new-", i)
					}
				}
				r.letters[0].text = "Subject: a\r\nX-IMAPbase: 8 9\r\nStatus: RO\r\nX-UID: 1\r\n\r\na\r\n"
				r.letters[1].text = "X-UIDL: new\r\nSubject: b\r\nStatus: O\r\nX-UID: 2\r\n\r\nb\r\n"
				for range 2 {
					if result := r.Poll(t.Context(), r.c); result.Err != nil || result.Messages != 0 {
						t.Errorf("a later job saves %d messages, %v", result.Messages, result.Err)
					}
				}
				r.delivered(first, "Subject: b\r\n\r\nb\r\n")
				r.same("pending", 0, len(r.ledger().Pending))
			})
		}
	}
}

// TestWhatAnEarlierVersionSavedIsNoOtherMessage: it recorded digests with the
// fields that servers write into a header.
func TestWhatAnEarlierVersionSavedIsNoOtherMessage(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for _, dispose := range []disposition.Disposition{disposition.Delete, disposition.Keep} {
			t.Run(fmt.Sprint(store, " ", dispose), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, dispose)
				r.consumer = func(string) bool { return true }
				r.add(1, "Subject: a\r\nX-UID: 1\r\n\r\na\r\n")
				r.letters[0].size = 1000
				r.earlier = true
				if dispose == disposition.Delete {
					r.at = once("commit", errWire)
					r.fails(mail.KindNetwork)
				} else {
					r.poll(mail.OutcomeSaved)
					r.validity++
					r.letters[0].uidl = "new"
				}
				r.earlier = false
				r.letters[0].size = 0
				for range 2 {
					if result := r.Poll(t.Context(), r.c); result.Err != nil || result.Messages != 0 {
						t.Errorf("a later job saves %d messages, %v", result.Messages, result.Err)
					}
				}
				r.same("pending", 0, len(r.ledger().Pending))
			})
		}
	}
}

// TestAnotherMessageUnderTheUniqueIDOfASavedOne is delivered, whatever its size: the
// digest of what the server has decides before anything is removed.
func TestAnotherMessageUnderTheUniqueIDOfASavedOne(t *testing.T) {
	t.Parallel()
	for _, uidl := range []string{"1", "x"} { // a position, and an id that is used again
		for _, seen := range []bool{false, true} {
			for name, cut := range map[string]string{"whose removal was not answered": "committed", "whose removal was not seen": ""} {
				t.Run(fmt.Sprint(uidl, " ", seen, " ", name), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, mail.POP3, disposition.Delete)
					r.Removals = &Removals{}
					if seen {
						r.Removals.saw(r.c)
					}
					r.consumer = func(string) bool { return true }
					for n, text := range []string{"Subject: 1\r\n\r\na\r\n", "Subject: 2\r\n\r\nb\r\n", "Subject: 3\r\n\r\nc\r\n"} {
						r.add(1, text)
						r.letters[0].uidl = uidl
						if cut != "" {
							r.at = once(cut, errWire)
						}
						r.wait = time.Minute // between logins: nobody looks at once
						if result := r.Poll(t.Context(), r.c); result.Messages != 1 {
							t.Errorf("job %d: %+v, %v", n, result, result.Err)
						}
						r.unhindered()
					}
					r.delivered("Subject: 1\r\n\r\na\r\n", "Subject: 2\r\n\r\nb\r\n", "Subject: 3\r\n\r\nc\r\n")
				})
			}
		}
	}
}

// TestAMailboxThatLooksEmptyForOnce: what was saved out of it and stays on the server
// is not delivered again.
func TestAMailboxThatLooksEmptyForOnce(t *testing.T) {
	t.Parallel()
	for _, dispose := range []disposition.Disposition{disposition.Keep, disposition.Seen} {
		t.Run(string(dispose), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mail.IMAP, dispose)
			r.c.MaxMessages = 0
			r.consumer = func(string) bool { return true }
			r.mailbox("123")
			r.poll(mail.OutcomeSaved)
			held := r.letters
			r.letters = nil
			r.poll(mail.OutcomeEmpty)
			r.letters = held
			if result := r.Poll(t.Context(), r.c); result.Err != nil || result.Messages > 0 {
				t.Errorf("%+v, %v", result, result.Err)
			}
			r.delivered("1", "2", "3")
		})
	}
}

// TestAQuarantinedMessageThatWasRemoved is told of no longer, also when it was the
// last one in the mailbox.
func TestAQuarantinedMessageThatWasRemoved(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Delete)
			r.mailbox("12")
			r.letters[0].refused = errNo
			for n := range mail.JobsBeforeQuarantine {
				if result := r.fails(mail.KindProtocol); n == mail.JobsBeforeQuarantine-1 && result.Quarantined != 1 {
					t.Errorf("%d are quarantined", result.Quarantined)
				}
			}
			r.letters = nil
			if result := r.poll(mail.OutcomeEmpty); result.Quarantined != 0 {
				t.Errorf("%d are quarantined in an empty mailbox", result.Quarantined)
			}
			r.counted(nil)
		})
	}
}
