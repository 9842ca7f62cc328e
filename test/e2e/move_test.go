package e2e

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestMoving: with move_to a saved message is in the other mailbox, once, and
// no longer in the one that is read; whatever the server can do.
func TestMoving(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"MOVE":          nil,
		"UIDPLUS alone": {"imap_capability = IMAP4rev1 UIDPLUS"},
		"neither":       {"imap_capability = IMAP4rev1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := mailtest.StartDovecot(t, append(settings, "namespace inbox {\n inbox = yes\n mailbox Archive {\n auto = create\n }\n}")...)
			u := d.NewUser(t)
			messages := rig.Numbered(5)
			d.Deliver(t, u, messages...)
			orders := rig.Connect(t, d, "orders", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{"disposition": "SEEN", "max_messages": 0, "move_to": "Nowhere"})
			archive := rig.Connect(t, d, "archive", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{
				"mailbox": "Archive", "disposition": "KEEP", "max_messages": 0, "pull_disposition": "GET_FIRST_MESSAGE",
			})

			s := rig.New(t, orders, archive)
			for _, args := range [][]string{{"test", "orders"}, {"poll", "--dry-run", "orders"}} {
				if out, errs, code := s.Run(args...); code != 1 || !strings.Contains(out+errs, `move to "Nowhere"`) || !strings.Contains(out+errs, "create the mailbox") {
					t.Errorf("%s does not tell that there is no such mailbox: %d\n%s%s", args[0], code, out, errs)
				}
			}
			v := s.Poll("orders")[0]
			if v.State != "FAILED" || v.Error.Op != mail.OpDispose || !strings.Contains(v.Error.Message, `move to "Nowhere"`) || !strings.Contains(v.Error.Hint, "create the mailbox") {
				t.Fatalf("there is no such mailbox: %+v %+v", v, v.Error)
			}
			if left := d.Messages(t, u); len(left) != 5 {
				t.Errorf("%d of 5 messages are left although they could not be moved", len(left))
			}

			s.Configure(orders.With(rig.Settings{"move_to": "Archive"}), archive)
			if out, errs, code := s.Run("poll", "--dry-run", "orders"); code != 0 || !strings.Contains(out, `finish what an earlier poll saved (5), and move them to "Archive"`) {
				t.Errorf("the dry run: %d\n%s%s", code, out, errs)
			}
			if v := s.Poll("orders")[0]; v.State != "SUCCEEDED" || v.Messages != 0 {
				t.Errorf("what was saved is moved, and not saved again: %+v", v)
			}
			more := []byte("Subject: one more\r\n\r\none more\r\n")
			d.Deliver(t, u, more)
			if v := s.Poll("orders")[0]; v.State != "SUCCEEDED" || v.Messages != 1 {
				t.Errorf("one more: %+v", v)
			}
			if left := d.Messages(t, u); len(left) != 0 {
				t.Errorf("%d messages are left", len(left))
			}
			s.Poll("archive")
			for _, connection := range []string{"orders", "archive"} {
				found := values(rig.Files(t, s.Dir+"/"+connection))
				for _, m := range append(slices.Clone(messages), more) {
					if !slices.ContainsFunc(found, func(f []byte) bool { return bytes.Equal(f, m) }) {
						t.Errorf("%s: %q is missing", connection, m)
					}
				}
				if len(found) != 6 {
					t.Errorf("%s: %d messages, not 6", connection, len(found))
				}
			}
			unread := archive.With(rig.Settings{"name": "unread", "pull_disposition": "GET_FIRST_UNREAD_MESSAGE"})
			s.Configure(unread)
			if v := s.Poll("unread")[0]; v.Outcome != "empty" {
				t.Errorf("what was moved is not marked as read: %+v", v)
			}
		})
	}
}
