package folder

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mailpoller/internal/attachments"
	"mailpoller/internal/folder/facts"
	"mailpoller/internal/mail"
)

// original is the file of the message itself in the directory of its
// attachments.
const original = "message.eml"

// describe does what takes a look into a message that is written: it takes it
// apart, names it after what it says, and describes it.
func (s *Store) describe(c *mail.Connection, box mail.Box, m *mail.Message, entry *mail.Entry) error {
	known, err := facts.Of(c, box, m, entry, io.NewSectionReader(entry.File, 0, entry.Octets), time.Now())
	if err != nil {
		return failure(c.Folder, err)
	}
	if c.Format == mail.Attachments {
		if err := s.takeApart(c, entry, known); err != nil {
			return err
		}
	}
	if name := templateName(c, m, known); name != "" {
		entry.Name, entry.Shared = name, true
	}
	if c.Metadata {
		if err := s.writeMetadata(c, entry, known.JSON()); err != nil {
			return failure(c.Folder, err)
		}
	}
	if c.Notify != nil {
		entry.Facts = known.JSON()
	}
	return nil
}

// templateName is the name that the connection's template makes; empty where
// it makes none.
func templateName(c *mail.Connection, m *mail.Message, known *facts.Message) string {
	if c.Filename == nil {
		return ""
	}
	fields := known.Fields(uid(m.Ref), m.Sequence)
	if c.Format == mail.Attachments {
		return c.Filename.Stem(fields)
	}
	return c.Filename.Name(fields)
}

// takeApart puts the attachments of a message beside it, in the directory that
// is its temporary file. All of it is durable but the message itself, which
// Sync sees to, where it is kept.
func (s *Store) takeApart(c *mail.Connection, entry *mail.Entry, known *facts.Message) error {
	dir, err := os.OpenRoot(filepath.Join(entry.Dir, entry.Temp))
	if err != nil {
		return failure(c.Folder, err)
	}
	defer dir.Close() //nolint:errcheck // nothing is written through it
	// What is decoded is less than what was received, so it needs no bound of its
	// own, and the message is at hand, so it needs no end but its own.
	found, err := attachments.Extract(context.Background(), io.NewSectionReader(entry.File, 0, entry.Octets), dir,
		attachments.Options{
			Mode: c.FileMode, Taken: []string{original}, Sync: true,
			ModeSet: func(err error) { s.modeSet(c.Folder, err) },
		})
	if err != nil {
		return failure(c.Folder, err)
	}
	if len(found.Files) == 0 && found.Complete && c.WithoutAttachments == mail.SetAside {
		return mail.ErrNoAttachments
	}
	known.Attachments = new(len(found.Files))
	for _, f := range found.Files {
		known.Files = append(known.Files, facts.File{
			Name: f.Name, Original: f.Original, ContentType: f.ContentType, Size: f.Size, SHA256: hex.EncodeToString(f.SHA256[:]),
		})
	}
	known.Incomplete = found.Warnings
	if c.KeepOriginal || len(found.Files) == 0 || !found.Complete {
		known.Files = append(known.Files, facts.File{
			Name: original, ContentType: "message/rfc822", Size: entry.Octets, SHA256: hex.EncodeToString(entry.SHA256[:]),
		})
	} else {
		_ = entry.File.Close() // of a file that goes
		entry.File = nil
		if err := dir.Remove(original); err != nil {
			return failure(c.Folder, err)
		}
	}
	return s.syncDir(c.Folder, filepath.Join(entry.Dir, entry.Temp))
}

// metadataSuffix is added to the name of a message for the file that describes
// it.
const metadataSuffix = ".json"

// metadataTemp is where the description of an entry waits. It lies there until
// the message is visible, and belongs to it by its name.
func metadataTemp(e mail.Entry) string {
	return filepath.Join(e.Dir, strings.TrimSuffix(e.Temp, suffix)+metadataSuffix+suffix)
}

// metadataPath is where the description of an entry of that name is visible.
func metadataPath(e mail.Entry, name string) string {
	base, _, _ := strings.Cut(filepath.Base(name), maildirInfo)
	return filepath.Join(e.Dir, base+metadataSuffix)
}

// writeMetadata writes the description of a message, durably.
func (s *Store) writeMetadata(c *mail.Connection, entry *mail.Entry, text []byte) (err error) {
	file, err := os.OpenFile(metadataTemp(*entry), os.O_CREATE|os.O_EXCL|os.O_WRONLY, writable(c.FileMode))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(text); err != nil {
		return err
	}
	s.modeSet(c.Folder, file.Chmod(c.FileMode))
	return file.Sync()
}

// showMetadata makes the description of a message that is about to get a name
// visible, if it has one. It is a second name of the file, so that it can be
// told from another description when it is tried again. Where the file system has
// no second names it is renamed: whether it still has its temporary name tells then.
// free says whether the name that it needs is its own.
func (s *Store) showMetadata(e mail.Entry, name string) (free bool, err error) {
	temp, path := metadataTemp(e), metadataPath(e, name)
	err = os.Link(temp, path)
	if noLinks(err) {
		err = renameNoReplace(temp, path)
	} else if errors.Is(err, fs.ErrExist) {
		return sameFile(temp, path)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return false, nil
	case err == nil && filepath.Dir(name) != ".": // the rename is synced with another directory
		return true, s.syncDir(e.Dir, e.Dir)
	}
	return err == nil, err
}

// noLinks reports whether a file system said that it has no second names of files.
func noLinks(err error) bool {
	for _, errno := range []unix.Errno{unix.EPERM, unix.EACCES, unix.ENOTSUP, unix.ENOSYS, unix.EINVAL, unix.EMLINK} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// hideMetadata takes back what showMetadata did: something else got the name.
func hideMetadata(e mail.Entry, name string) error {
	temp, path := metadataTemp(e), metadataPath(e, name)
	there, err := exists(temp)
	if err != nil {
		return err
	}
	if !there { // it was renamed
		return renameNoReplace(path, temp)
	}
	if same, err := sameFile(temp, path); !same || err != nil {
		return err
	}
	return os.Remove(path)
}

// dropMetadata removes the temporary name of a description that is shown.
func dropMetadata(e mail.Entry) error {
	if err := os.Remove(metadataTemp(e)); !errors.Is(err, fs.ErrNotExist) { // it may have been renamed
		return err
	}
	return nil
}

func sameFile(a, b string) (bool, error) {
	one, err := os.Lstat(a)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	other, err := os.Lstat(b)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(one, other), err
}
