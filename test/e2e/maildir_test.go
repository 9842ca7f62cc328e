package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestAMaildirIsReadByDovecot: what format: MAILDIR makes is a mailbox to
// another program, with the flags and the dates of the first one.
func TestAMaildirIsReadByDovecot(t *testing.T) {
	t.Parallel()
	from, to := mailtest.StartDovecot(t), mailtest.StartDovecot(t)
	user, reader := from.NewUser(t), to.NewUser(t)
	messages := rig.Numbered(3)
	from.Deliver(t, user, messages[0])
	from.DeliverFlagged(t, user, []string{`\Seen`, `\Flagged`}, messages[1])
	from.Deliver(t, user, messages[2])
	received := time.Date(2020, 2, 29, 12, 30, 15, 0, time.UTC)
	dated(t, from.Maildir(user), func(path string) {
		if err := os.Chtimes(path, received, received); err != nil {
			t.Fatal(err)
		}
	})

	maildir := to.Maildir(reader)
	for _, dir := range []string{"tmp", "new", "cur"} { // they are made where they are missing
		if err := os.RemoveAll(filepath.Join(maildir, dir)); err != nil {
			t.Fatal(err)
		}
	}
	s := rig.New(t, rig.Connect(t, from, "orders", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{
		"folder": maildir, "format": "MAILDIR", "file_mode": "0666", "dir_mode": "0777",
		"max_messages": 0, "pull_disposition": "GET_FIRST_MESSAGE", "disposition": "KEEP",
	}))
	v := s.Poll("orders")[0]
	if v.State != "SUCCEEDED" || v.Messages != 3 {
		t.Fatalf("%+v %+v", v, v.Error)
	}
	shape := regexp.MustCompile(`^(new/orders-\d+-1|cur/orders-\d+-2:2,FS|new/orders-\d+-3)$`)
	for _, file := range v.Files {
		if name, _ := filepath.Rel(maildir, file); !shape.MatchString(name) {
			t.Errorf("%s", name)
		}
	}
	if left, err := os.ReadDir(filepath.Join(maildir, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("in tmp: %v %v", left, err)
	}

	// Dovecot's view of it: over IMAP, by its flags, and with its dates.
	reading := rig.Connect(t, to, "all", reader, mail.IMAP, mail.SSLTLS).With(rig.Settings{
		"format": "MAILDIR", "max_messages": 0, "pull_disposition": "GET_FIRST_MESSAGE", "disposition": "KEEP",
	})
	again := rig.New(t, reading, reading.With(rig.Settings{"name": "unread", "pull_disposition": "GET_FIRST_UNREAD_MESSAGE"}))
	views := again.Poll("all", "unread")
	if views[0].Messages != 3 || views[1].Messages != 2 {
		t.Errorf("%d messages, of which %d unread; not 3 and 2", views[0].Messages, views[1].Messages)
	}
	for _, file := range views[0].Files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if !info.ModTime().Equal(received) {
			t.Errorf("%s was received %v, not %v", file, info.ModTime(), received)
		}
		body, err := os.ReadFile(file)
		if err != nil || !slices.ContainsFunc(messages, func(m []byte) bool { return bytes.Equal(m, body) }) {
			t.Errorf("another message: %q, %v", body, err)
		}
	}
}

// dated calls do for each message of a Maildir.
func dated(t *testing.T, maildir string, do func(path string)) {
	t.Helper()
	for _, dir := range []string{"new", "cur"} {
		paths, err := filepath.Glob(filepath.Join(maildir, dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			do(path)
		}
	}
}
