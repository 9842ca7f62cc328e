package poll

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/filename"
	"mailpoller/internal/mail"
)

// told is a rig with a command, and what it was told of: the names of files,
// and what they held.
func told(t *testing.T, store mail.StoreType, dispose disposition.Disposition) (r *rig, heard func() map[string]string) {
	t.Helper()
	r = newRig(t, store, dispose)
	r.c.Notify = &mail.Notify{Command: []string{"/bin/true"}, Timeout: time.Minute}
	texts := make(map[string]string)
	r.Notify = func(_ context.Context, _ *mail.Connection, n mail.Notice) error {
		text, err := os.ReadFile(filepath.Join(n.Dir, n.Name))
		texts[n.Name] = string(text)
		return err
	}
	return r, func() map[string]string { return texts }
}

// TestACommandHearsOfAMessageWhoseUIDIsUsedAgain: the message was delivered, and
// its command is still due, whatever the server does with the name of it.
func TestACommandHearsOfAMessageWhoseUIDIsUsedAgain(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			r, heard := told(t, store, disposition.Delete)
			r.add(1, "first")
			tell := r.Notify
			r.Notify = func(context.Context, *mail.Connection, mail.Notice) error { return errors.New("not yet") }
			r.at = once("commit", errWire)
			r.fails(mail.KindNetwork)
			r.Notify = tell
			r.remove(r.letters[0])
			r.add(1, "another")
			r.poll(mail.OutcomeSaved)
			r.delivered("first", "another")
			if len(heard()) != 2 {
				t.Errorf("of two messages that were delivered, the command heard of %q", heard())
			}
		})
	}
}

// TestANameThatWasChosenInsteadStays: stopped dead right before the rename, the
// name that was taken may be free the next time. The command hears of the name
// that the message gets, and no description stays of one that it did not get.
func TestANameThatWasChosenInsteadStays(t *testing.T) {
	t.Parallel()
	for name, notified := range map[string]bool{"with a command": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, heard := told(t, mail.IMAP, disposition.Keep)
			want := map[string]string{"message.2.eml": "first"}
			if !notified {
				r.c.Notify, want = nil, map[string]string{}
			}
			r.c.Metadata = true
			var err error
			r.c.Filename, err = filename.Parse("message")
			r.ok(err)
			r.add(1, "first")
			inTheWay := filepath.Join(r.c.Folder, "message.eml")
			r.Folder = &stopping{r.Folder}
			r.at = func(point string) error {
				if point == "publish" {
					return os.WriteFile(inTheWay, nil, 0o600)
				}
				return nil
			}
			r.poll(mail.OutcomeFailed)
			tell := r.Notify
			r.restart()
			r.Notify = tell
			r.unhindered()
			r.ok(os.Remove(inTheWay))
			r.c.Pull.Unread = true
			r.Poll(r.t.Context(), r.c)
			r.same("what the command heard of", want, heard())
			r.same("files", []string{"message.2.eml", "message.2.eml.json"}, r.names(false))
		})
	}
}

// stopping is a folder that is stopped dead between the description of a
// message and the message, where that gets another name.
type stopping struct{ Folder }

func (s *stopping) Publish(ctx context.Context, entries []mail.Entry, renamed func(mail.Entry) error) (published, vanished []mail.Entry, err error) {
	return s.Folder.Publish(ctx, entries, func(e mail.Entry) error {
		if renamed != nil {
			if err := renamed(e); err != nil {
				return err
			}
		}
		waits := filepath.Join(e.Dir, strings.TrimSuffix(e.Temp, ".part")+".json.part")
		return cmp.Or(os.Link(waits, filepath.Join(e.Dir, e.Name+".json")), error(errWire))
	})
}
