package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/filename"
	"mailpoller/internal/mail"
)

// consumer is what stands behind a folder: it reads the messages that are in
// it, of any format, with what is beside them, and what the command was told.
type consumer struct {
	*testing.T
	c         *mail.Connection
	delivered map[uint32]string   // paths, by UID
	told      map[uint32][]string // paths that a command was run for
}

// look sees what is visible, and takes it if it is to. Each message has its
// description beside it, of itself.
func (k *consumer) look(take bool) {
	k.Helper()
	pattern := map[mail.Format]string{mail.EML: "*.eml", mail.Maildir: "[nc]e[wu]*/*", mail.Attachments: "*/n.txt"}[k.c.Format]
	paths, err := filepath.Glob(filepath.Join(k.c.Folder, pattern))
	if err != nil {
		k.Fatal(err)
	}
	for _, path := range paths {
		if strings.Contains(path, "/.poller") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			k.Fatal(err)
		}
		if k.c.Format == mail.Attachments {
			path = filepath.Dir(path)
		}
		description := path + ".json"
		if k.c.Format == mail.Maildir {
			description = filepath.Join(k.c.Folder, filepath.Base(path)+".json")
		}
		uid := k.described(description)
		if want := fmt.Sprintf("number %d\r\n", uid); string(data) != letter(uid) && string(data)+"\r\n" != want {
			k.Errorf("%s describes message %d, and beside it is %q", description, uid, data)
		}
		if was := k.delivered[uid]; was != "" && was != path {
			k.Errorf("message %d was delivered as %s, and is as %s", uid, was, path)
		}
		k.delivered[uid] = path
		if take {
			for _, gone := range []string{path, description} {
				if err := os.RemoveAll(gone); err != nil {
					k.Fatal(err)
				}
			}
			k.delivered[uid] += " (taken)" // its name is free, and no other message has its UID
		}
	}
}

// described is the UID that a description is of.
func (k *consumer) described(path string) uint32 {
	k.Helper()
	var about struct{ UID uint32 }
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &about)
	}
	if err != nil {
		k.Fatal(err)
	}
	return about.UID
}

// tell is the command. A message that it is run for is visible, or was.
func (k *consumer) tell(_ context.Context, _ *mail.Connection, n mail.Notice) error {
	var about struct{ UID uint32 }
	if err := json.Unmarshal(n.Facts, &about); err != nil {
		k.Error(err)
	}
	k.look(false)
	path := filepath.Join(n.Dir, n.Name)
	if k.delivered[about.UID] == "" {
		k.Errorf("the command is run for message %d, which is not visible, as %s", about.UID, path)
	}
	k.told[about.UID] = append(k.told[about.UID], path)
	return nil
}

func letter(uid uint32) string {
	return fmt.Sprintf("From: ann@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"+
		"--b\r\nContent-Disposition: attachment; filename=n.txt\r\n\r\nnumber %d\r\n--b--\r\n", uid)
}

// TestCrashTableOfEachFormat is the crash table for messages that all have one
// name, with descriptions and a command: no message is lost or comes twice,
// each has its own description from the moment it is visible, and for each the
// command was run, with the name that it got.
func TestCrashTableOfEachFormat(t *testing.T) {
	t.Parallel()
	// Each pair of a format and an ending, and each of a format and a point.
	endings := append(disposition.Dispositions(), disposition.Move)
	points := append([]string{"before the command", "after the command"}, points...)
	for _, format := range []mail.Format{mail.EML, mail.Maildir, mail.Attachments} {
		for i, point := range points {
			for _, takes := range []bool{false, true} {
				ending := endings[i%len(endings)]
				t.Run(fmt.Sprintf("%s %s %s, taken %v", format, ending, point, takes), func(t *testing.T) {
					t.Parallel()
					crashOfFormat(t, format, ending, point, takes)
				})
			}
		}
	}
}

// bulky is a connection with all that there is, whose messages have one name.
func bulky(t *testing.T, format mail.Format, ending disposition.Disposition) *mail.Connection {
	t.Helper()
	c := &mail.Connection{
		Name: "a", Store: mail.IMAP, Mailbox: "INBOX", Folder: t.TempDir(), FileMode: 0o640, DirMode: 0o750, Dispose: ending,
		Pull: disposition.Pull{Unread: true}, PollTimeout: time.Minute,
		Format: format, Metadata: true, Notify: &mail.Notify{Timeout: time.Minute},
	}
	if ending == disposition.Move {
		c.Dispose, c.MoveTo = disposition.Keep, "Done"
	}
	if format != mail.Maildir {
		var err error
		if c.Filename, err = filename.Parse(`{{.From | default "nobody"}}`); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// TestNoCommandForWhatIsNotVisible: a poll was stopped before its messages were
// visible, and at the next the folder is not there, nor is the server.
func TestNoCommandForWhatIsNotVisible(t *testing.T) {
	t.Parallel()
	for _, format := range []mail.Format{mail.EML, mail.Maildir, mail.Attachments} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			c := bulky(t, format, disposition.Delete)
			s := &server{messages: map[uint32]string{1: letter(1), 2: letter(2)}, seen: map[uint32]bool{}}
			k := &consumer{T: t, c: c, delivered: map[uint32]string{}, told: map[uint32][]string{}}
			stateDir, elsewhere := t.TempDir(), c.Folder+"-unmounted"
			s.process(t, c, stateDir, "after 7", k.tell)
			if err := os.Rename(c.Folder, elsewhere); err != nil {
				t.Fatal(err)
			}
			s.process(t, c, stateDir, "", k.tell)
			if err := os.Mkdir(c.Folder, 0o750); err != nil {
				t.Fatal(err)
			}
			if r := s.process(t, c, stateDir, "before 3", func(context.Context, *mail.Connection, mail.Notice) error {
				t.Error("a command was run")
				return nil
			}); r.State != mail.Failed {
				t.Errorf("%+v", r)
			}
			if err := errors.Join(os.Remove(c.Folder), os.Rename(elsewhere, c.Folder)); err != nil {
				t.Fatal(err)
			}
			if r := s.process(t, c, stateDir, "", k.tell); r.State != mail.Succeeded || len(k.told[1]) != 1 || len(k.told[2]) != 1 {
				t.Errorf("%+v, %v", r, k.told)
			}
			k.look(false)
			if len(s.messages) > 0 || len(k.delivered) != 2 {
				t.Errorf("%d messages are left, and delivered: %v", len(s.messages), k.delivered)
			}
		})
	}
}

func crashOfFormat(t *testing.T, format mail.Format, ending disposition.Disposition, point string, takes bool) {
	t.Helper()
	c := bulky(t, format, ending)
	s := &server{messages: map[uint32]string{1: letter(1), 2: letter(2), 3: letter(3)}, seen: map[uint32]bool{}}
	k := &consumer{T: t, c: c, delivered: map[uint32]string{}, told: map[uint32][]string{}}
	stateDir := t.TempDir()
	for run, at := range []string{point, "", ""} {
		r := s.process(t, c, stateDir, at, k.tell)
		if run > 0 && r.State != mail.Succeeded {
			t.Errorf("run %d: %+v", run, r.Err)
		}
		k.look(takes)
	}
	for uid := uint32(1); uid <= 3; uid++ {
		path := strings.TrimSuffix(k.delivered[uid], " (taken)")
		if path == "" {
			t.Errorf("message %d is lost", uid)
		}
		for i, told := range append(k.told[uid], "") {
			if told != path && (i == 0 || told != "") {
				t.Errorf("message %d is %s, and the command was run for %q", uid, path, k.told[uid])
			}
		}
	}
	left, read := 3, 0
	switch {
	case ending.Removes():
		left = 0
	case ending == disposition.Seen:
		read = 3
	}
	if len(s.messages) != left || len(s.seen) != read {
		t.Errorf("%d messages are left, %d read", len(s.messages), len(s.seen))
	}
	if !takes {
		return
	}
	for _, pattern := range []string{"*.json", ".poller*", "*.eml", "*/*"} {
		if rest, err := filepath.Glob(filepath.Join(c.Folder, pattern)); err != nil || len(rest) > 0 {
			t.Errorf("left in the folder: %v, %v", rest, err)
		}
	}
}
