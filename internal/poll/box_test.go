package poll

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// rebuild makes the mailbox another one with the same messages: by IMAP with
// another UIDVALIDITY, by POP3 with other unique-ids.
func (r *rig) rebuild() {
	r.validity++
	for _, l := range r.letters {
		l.uid += 5000
		l.uidl = "new-" + l.uidl
	}
}

// TestAMailboxIsRebuilt: what was kept in it is recognised and not delivered
// again; what is new is taken.
func TestAMailboxIsRebuilt(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		store    mail.StoreType
		messages int
	}{{mail.IMAP, 150}, {mail.POP3, 50}} {
		t.Run(string(row.store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, row.store, disposition.Keep)
			var want []string
			for uid := range uint32(row.messages) {
				want = append(want, r.add(uid+1, fmt.Sprintf("message-%d", uid+1)).text)
			}
			r.poll(mail.OutcomeSaved)
			r.rebuild()
			r.add(9999, "new")
			if result := r.poll(mail.OutcomeSaved); result.Messages != 1 || r.text(result.Files...) != "new" {
				t.Errorf("%d messages were saved", result.Messages)
			}
			r.delivered(append(want, "new")...)
			r.poll(mail.OutcomeUnchanged)
			r.fetches(func() map[string]int {
				twice := map[string]int{"new": 1}
				for _, text := range want {
					twice[text] = 2 // once more, for its digest
				}
				return twice
			}())
		})
	}
}

// TestCopiesInARebuiltMailbox: a record of the old mailbox stands for one
// message of the new one, so of messages that are alike as many are delivered
// as there ever were.
func TestCopiesInARebuiltMailbox(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ before, after, delivered int }{{2, 2, 2}, {1, 2, 2}, {2, 1, 2}, {2, 3, 3}} {
		for _, store := range everyStore {
			t.Run(fmt.Sprint(store, row), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Keep)
				for uid := range uint32(3) {
					r.add(uid+1, "copy")
				}
				all := r.letters
				r.letters = slices.Clone(all[:row.before])
				r.poll(mail.OutcomeSaved)
				r.letters = slices.Clone(all[:row.after])
				for uid, l := range all {
					l.uidl = fmt.Sprint("new-", uid)
				}
				r.validity++
				r.Poll(t.Context(), r.c)
				r.delivered(slices.Repeat([]string{"copy"}, row.delivered)...)
				r.poll(mail.OutcomeUnchanged)
			})
		}
	}
}

// TestADeletionIsPendingWhileTheMailboxIsRebuilt: the messages are delivered
// once and end up deleted, wherever the earlier poll was stopped.
func TestADeletionIsPendingWhileTheMailboxIsRebuilt(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"saved", "publish", "published", "commit", "middle of a commit", "dispose"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, mail.IMAP, disposition.Delete)
			r.consumer = func(text string) bool { return text == "1" }
			r.mailbox("123")
			r.at = func(at string) error {
				if at == point {
					panic(stopped{point})
				}
				return nil
			}
			r.fails(mail.KindInternal)
			r.unhindered()
			r.restart()
			r.validity++
			for _, l := range r.letters {
				l.marked = false // a restored mailbox has no marks
			}
			for range 2 {
				if result := r.Poll(t.Context(), r.c); result.State != mail.Succeeded {
					t.Fatal(result.Err)
				}
			}
			r.delivered("1", "2", "3")
			r.left()
		})
	}
}

// TestAUIDIsUsedAgain for a message of another size, while the deletion of the
// first one is pending: it is not deleted for it, but taken as new.
func TestAUIDIsUsedAgain(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Delete)
			r.add(1, "first")
			r.at = once("commit", errWire)
			r.fails(mail.KindNetwork)
			r.remove(r.letters[0])
			r.add(1, "another")
			r.poll(mail.OutcomeSaved)
			r.delivered("first", "another")
			r.left()
		})
	}
}

// TestTheConnectionReadsAnotherAccount: what was saved out of the one says
// nothing about the other.
func TestTheConnectionReadsAnotherAccount(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Keep)
			r.mailbox("12")
			r.poll(mail.OutcomeSaved)
			r.c.Username = "other"
			for _, l := range r.letters {
				l.text = "other-" + l.text
			}
			r.poll(mail.OutcomeSaved)
			r.delivered("1", "2", "other-1", "other-2")
		})
	}
}

// TestTheJournalDropsWhatIsGoneFromTheServer: it does not grow with mail that
// was.
func TestTheJournalDropsWhatIsGoneFromTheServer(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, store, disposition.Keep)
			r.c.Pull.Unread = true
			r.mailbox("1234")
			r.letters[3].refused = errNo
			r.fails(mail.KindProtocol)
			r.remove(r.letters[0])
			r.remove(r.letters[2])
			r.poll(mail.OutcomeEmpty)
			r.same("on record", 2, r.ledger().Saved.Len())
			r.faults(nil)
			r.delivered("1", "2", "3")
		})
	}
}

// TestAPollWithoutNewsWritesNothing: neither to the state nor to the folder.
func TestAPollWithoutNewsWritesNothing(t *testing.T) {
	t.Parallel()
	type file struct {
		Size    int64
		Changed time.Time
	}
	for _, store := range everyStore {
		for _, pull := range disposition.Pulls() {
			t.Run(fmt.Sprint(store, pull), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Keep)
				r.c.Pull = pull
				r.mailbox("123")
				result := r.poll(mail.OutcomeSaved)
				if !result.Wrote() {
					t.Error("a poll with news is not written down")
				}
				look := func() map[string]file {
					files := make(map[string]file)
					for _, dir := range []string{r.dir, r.c.Folder} {
						all, err := os.ReadDir(dir)
						r.ok(err)
						for _, e := range append(all, nil) {
							path := dir
							if e != nil {
								path = filepath.Join(dir, e.Name())
							}
							info, err := os.Stat(path)
							r.ok(err)
							files[path] = file{info.Size(), info.ModTime()}
						}
					}
					return files
				}
				before := look()
				for range 3 {
					if result = r.Poll(t.Context(), r.c); result.Err != nil || result.Wrote() {
						t.Errorf("the result is %+v", result)
					}
				}
				r.same("files", before, look())
			})
		}
	}
}
