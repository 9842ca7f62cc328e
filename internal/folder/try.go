package folder

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mailpoller/internal/mail"
)

// Ready reports why no message could be written into a folder, as far as that
// can be known without writing.
func (s *Store) Ready(folder string) error {
	dir, err := openDir(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Access(folder, unix.W_OK|unix.X_OK); err != nil {
		return failure(folder, &os.PathError{Op: "write to", Path: folder, Err: err})
	}
	return nil
}

// tried marks the hidden names under which Try makes messages visible. They are
// for Clean to find, should the program be killed.
const tried = ".tried"

// trials are messages that take every way that a poll may go in a folder: a
// Maildir keeps those with flags in another directory, and a directory of
// attachments needs one.
var trials = []mail.Message{
	{Ref: mail.Ref{UIDL: "trial"}},
	{Ref: mail.Ref{UIDL: "trial with flags"}, Flags: []string{`\Seen`}},
}

// trialText is what they say.
const trialText = "Subject: trial\r\nContent-Disposition: attachment; filename=trial.txt\r\n\r\nThis is a trial of poller. It can be removed.\r\n"

// Try does in the folder of c what a poll does, under hidden names, and leaves
// nothing behind. It says what would be a warning of a poll, and why one fails.
func (s *Store) Try(ctx context.Context, c *mail.Connection) (warnings []string, err error) {
	if err := s.Ready(c.Folder); err != nil {
		return nil, err
	}
	t := s.trial()
	var made []string // directories that were not there before
	for _, name := range layoutOf(c.Format).makes {
		path := filepath.Join(c.Folder, name)
		if there, err := exists(path); err == nil && !there {
			made = append(made, path)
		}
	}
	var entries []mail.Entry
	defer func() {
		failed := t.remove(entries)
		for _, dir := range slices.Backward(made) {
			_ = os.Remove(dir) // unless something is in it, by whomever
		}
		warnings, err = t.Warnings(c.Folder), cmp.Or(err, failed)
	}()
	for _, m := range trials {
		m.Received = time.Now()
		m.Body = strings.NewReader(trialText)
		e, err := t.Write(c, mail.Box{}, m)
		if err != nil {
			return nil, err
		}
		dir, name := filepath.Split(e.Name)
		e.Name, e.Shared = dir+t.prefix+t.run+rand.Text()+tried, false
		if at := strings.Index(name, maildirInfo); at >= 0 {
			e.Name += name[at:]
		}
		entries = append(entries, e)
	}
	if err := t.Sync(c.Folder, entries); err != nil {
		return nil, err
	}
	published, vanished, err := t.Publish(ctx, entries, nil)
	if err == nil && (len(vanished) > 0 || len(published) < len(entries)) {
		err = failure(c.Folder, errors.New("what was written is gone"))
	}
	return nil, err
}

// remove removes entries of a trial, whether they are visible or not.
func (s *Store) remove(entries []mail.Entry) (err error) {
	for _, e := range entries {
		err = cmp.Or(err, s.Discard(e))
		for _, path := range []string{filepath.Join(e.Dir, e.Name), metadataPath(e, e.Name)} {
			if failed := os.RemoveAll(path); failed != nil {
				s.Leave()
				err = cmp.Or(err, failure(e.Dir, failed))
			}
		}
	}
	return err
}
