package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestADryRunSaysWhatItCannotTell: whether a message will be skipped for having no
// attachments, which its header does not show.
func TestADryRunSaysWhatItCannotTell(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	u := d.NewUser(t)
	d.Deliver(t, u, []byte("Subject: plain\r\n\r\nx\r\n"))
	s := rig.New(t, rig.Connect(t, d, "m", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{
		"disposition": "DELETE", "format": "ATTACHMENTS", "without_attachments": "SET_ASIDE",
	}))
	out, errs, code := s.Run("poll", "--dry-run", "m")
	if code != 0 || !strings.Contains(out, "save none of them that turns out to have no attachments") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if v := s.Poll("m")[0]; v.Messages != 0 || d.Messages(t, u) == nil {
		t.Errorf("%+v", v)
	}
}

// TestADryRunTellsTheTruth: it names the very files that a poll then saves, and
// what becomes of the messages, and touches neither them nor the folder.
func TestADryRunTellsTheTruth(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t, "namespace inbox {\n inbox = yes\n mailbox Archive {\n auto = create\n }\n}")
	for name, row := range map[string]struct {
		store    mail.StoreType
		settings rig.Settings
		then     []string
	}{
		"names that messages share": {mail.IMAP, rig.Settings{
			"filename": "{{.Sequence}} {{.Subject}} {{.Date | date \"2006\"}}", "metadata": true,
		}, []string{"delete them from the server (3)"}},
		"one name for all, over POP3": {mail.POP3, rig.Settings{
			"filename": "from {{.From}}", "metadata": true,
		}, []string{"delete them from the server (3)"}},
		"directories": {mail.POP3, rig.Settings{
			"filename": "{{.Subject}} {{.UID}}", "format": "ATTACHMENTS", "disposition": "KEEP",
		}, []string{"leave them on the server as they are, and remember them (3)"}},
		"a Maildir": {mail.IMAP, rig.Settings{"format": "MAILDIR", "disposition": "SEEN"}, []string{"mark them as read on the server (3)"}},
		"moved, and a program runs": {mail.IMAP, rig.Settings{
			"filename": "{{.Subject | default \"none\"}}", "move_to": "Archive", "disposition": nil,
			"notify": map[string]any{"command": []string{"/bin/true"}},
		}, []string{`move them to "Archive" on the server (3)`, "run true for each that is saved"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			for i, flags := range [][]string{{`\Flagged`}, nil, nil} {
				d.DeliverFlagged(t, u, flags, fmt.Appendf(nil, "Date: Mon, 1 Dec 2025 12:00:00 +0000\r\nFrom: ann@example.com\r\nSubject: =?utf-8?q?M=C3=A4rz?= %d\r\n\r\nx\r\n", i/2))
			}
			s := rig.New(t, rig.Connect(t, d, "m", u, row.store, mail.SSLTLS).With(rig.Settings{
				"disposition": "DELETE", "max_messages": 0,
			}).With(row.settings))
			out, errs, code := s.Run("poll", "--dry-run", "--json", "m")
			var would rig.PollView
			if err := json.Unmarshal([]byte(out), &would); err != nil || code != 0 || !slices.Equal(would.Then, row.then) {
				t.Fatalf("%d: %v %+v %s", code, err, would, errs)
			}
			if all, unread := d.Count(t, u); all != 3 || unread != 3 {
				t.Errorf("%d messages are left, %d of them unread", all, unread)
			}
			wantPaths(t, s.Dir+"/m")
			v := s.Poll("m")[0]
			if v.State != "SUCCEEDED" || v.Messages != 3 || would.Messages != 3 || would.Bytes != v.Bytes || !slices.Equal(would.Files, v.Files) {
				t.Errorf("it would save\n%s\nand did\n%s", strings.Join(would.Files, "\n"), strings.Join(v.Files, "\n"))
			}
		})
	}
}
