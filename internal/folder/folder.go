// Package folder puts messages durably into target folders.
//
// A message takes two steps to become visible, so that the journal can stand
// between them. Write puts it under a hidden temporary name, and Sync makes it
// durable there, together with others: a file system makes many files durable
// at little more than the cost of one. Publish renames it to its final name and
// makes that durable too. Whatever happens in between, the temporary name tells:
// while it is there the message was not delivered, once it is gone it was.
//
// Nothing here ever replaces or removes a file that it did not make.
package folder

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"mailpoller/internal/mail"
)

// Store writes into the folders of any number of connections. It may be used by
// many goroutines.
type Store struct {
	// Left, unless nil, hears that temporary files may stay behind, for Clean to
	// remove at the next start. It is set before the first use.
	Left   func()
	prefix string // of the names of our temporary files
	run    string // what those of this process have behind it
	mounts mounts
}

const suffix = ".part"

// New makes a Store. instance tells this installation's temporary files from
// those of another one that writes into the same folder.
func New(instance string) *Store {
	return &Store{prefix: ".poller-" + instance + "-", run: rand.Text()[:8]}
}

// Write writes a message under a temporary name in the folder of c. The entry
// holds all that Publish needs; its File is open until Sync or Discard, so that
// no failure of the disk goes unnoticed in between. On failure nothing stays
// behind. A failure of the message's body is returned as the body reported it,
// one of the folder as a *mail.Error of kind storage. It is mail.ErrNoAttachments
// for a message that is not wanted for that.
func (s *Store) Write(c *mail.Connection, box mail.Box, m mail.Message) (mail.Entry, error) {
	at := layoutOf(c.Format)
	if err := s.makeDirs(c.Folder, at.makes, c.DirMode); err != nil {
		return mail.Entry{}, err
	}
	entry := mail.Entry{
		Ref:  m.Ref,
		Dir:  c.Folder,
		Temp: filepath.Join(at.temps, s.prefix+s.run+rand.Text()+suffix),
		Name: at.name(stem(c.Name, box, m.Ref), m.Flags),
	}
	if err := s.write(c, box, &m, &entry); err != nil {
		return mail.Entry{}, errors.Join(err, s.Discard(entry))
	}
	return entry, nil
}

func (s *Store) write(c *mail.Connection, box mail.Box, m *mail.Message, entry *mail.Entry) error {
	temp := filepath.Join(entry.Dir, entry.Temp)
	path := temp
	if c.Format == mail.Attachments {
		path = filepath.Join(temp, original)
		if err := s.makeDir(c.Folder, temp, c.DirMode); err != nil {
			return failure(c.Folder, err)
		}
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, writable(c.FileMode))
	if err != nil {
		return failure(c.Folder, err)
	}
	w := &writer{file: file, digester: mail.NewDigester()}
	entry.File = file
	// Not before there is a file in it: an overlay file system makes a folder
	// anew when it is first written to.
	if entry.Inode, err = identity(unix.AT_FDCWD, filepath.Dir(temp)); err != nil {
		return failure(c.Folder, err)
	}
	if _, err := m.Body.WriteTo(w); err != nil {
		return err
	}
	// The mode is set here, whatever the umask is, and before the sync.
	s.modeSet(c.Folder, file.Chmod(c.FileMode))
	if c.Format == mail.Maildir && !m.Received.IsZero() { // which readers take it from
		s.timeSet(c.Folder, os.Chtimes(path, m.Received, m.Received))
	}
	entry.Octets = w.n
	entry.Digest, entry.SHA256 = w.digester.Sum()
	if c.Described() || c.Format == mail.Attachments {
		return s.describe(c, box, m, entry)
	}
	return nil
}

// writable is the mode that a file is made with: its own, so that it has that also
// where none can be set, and one that its owner may write to.
func writable(mode fs.FileMode) fs.FileMode { return mode | 0o600 }

// writer counts and digests what passes through it into a file.
type writer struct {
	file     *os.File
	digester *mail.Digester
	n        int64
}

// Write is io.Writer for a message's body.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.file.Write(p)
	_, _ = w.digester.Write(p[:n]) // never fails
	w.n += int64(n)
	if err != nil {
		return n, failure(filepath.Dir(w.file.Name()), err)
	}
	return n, nil
}

// Publish makes the messages of entries visible, each in one rename, and the
// renames durable. published are the entries whose message is or was visible,
// with the Name it got; it is safe to publish an entry again. vanished are
// those whose temporary file went together with the folder it was in: they
// were not delivered, and have to be fetched again. After an error the
// entries that are in neither list are still to be published.
//
// Where something else has the name of an entry, renamed is told which one it
// will get instead, before it does; unless nil.
func (s *Store) Publish(ctx context.Context, entries []mail.Entry, renamed func(mail.Entry) error) (published, vanished []mail.Entry, err error) {
	for len(entries) > 0 {
		folder := entries[0].Dir
		n := 1
		for n < len(entries) && entries[n].Dir == folder {
			n++
		}
		p, v, err := s.publishIn(ctx, folder, entries[:n], renamed)
		published, vanished = append(published, p...), append(vanished, v...)
		if err != nil {
			return published, vanished, err
		}
		entries = entries[n:]
	}
	return published, vanished, nil
}

func (s *Store) publishIn(ctx context.Context, folder string, entries []mail.Entry, told func(mail.Entry) error) (published, vanished []mail.Entry, err error) {
	if folder == "" { // delivered before, under another UID
		return entries, nil, nil
	}
	open := make(directories)
	defer open.close()
	if _, err := open.dir(folder); err != nil { // where a mount is missing nothing is decided
		return nil, nil, failure(folder, err)
	}
	var renamed []mail.Entry
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return published, vanished, context.Cause(ctx)
		}
		proves, err := s.prepare(open, e)
		if err == nil {
			e.Name, err = s.publish(e, told)
		}
		switch {
		case err == nil:
			renamed = append(renamed, e)
		case errors.As(err, new(*mail.Error)): // of the one who was told
			return published, vanished, err
		case !errors.Is(err, errTaken):
			return published, vanished, failure(folder, err)
		case proves:
			still, err := proven(e)
			if err != nil {
				return published, vanished, failure(folder, err)
			}
			if still {
				renamed = append(renamed, e) // the rename was done before
			} else {
				vanished = append(vanished, e)
			}
		default:
			vanished = append(vanished, e)
		}
	}
	if err := s.syncAll(folder, open); err != nil {
		return published, vanished, err
	}
	return append(published, renamed...), vanished, nil
}

// identity tells a directory, which is open or has a path, from one that was
// made in its place, also when that got the same inode: by the number of its
// inode and the time of its birth, where the file system keeps it.
func identity(dir int, path string) (uint64, error) {
	var stat unix.Statx_t
	if err := unix.Statx(dir, path, unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &stat); err != nil {
		return 0, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	sum := fnv.New64a()
	fmt.Fprintln(sum, stat.Ino)
	if stat.Mask&unix.STATX_BTIME != 0 {
		fmt.Fprintln(sum, stat.Btime.Sec, stat.Btime.Nsec)
	}
	return sum.Sum64(), nil
}

// errTaken says that a temporary file is gone.
var errTaken = errors.New("temporary file is gone")

// publish renames one entry to its name, or to the next one that is free when
// something else has it, and says which it got. Its description is visible
// before. It is errTaken when the temporary file is gone.
func (s *Store) publish(e mail.Entry, told func(mail.Entry) error) (string, error) {
	described, err := exists(metadataTemp(e))
	if err != nil {
		return "", err
	}
	if described {
		// Of a message that was delivered a consumer may have taken both: its
		// description was there before it, and is not shown again.
		if there, err := exists(filepath.Join(e.Dir, e.Temp)); err != nil {
			return "", err
		} else if !there {
			return e.Name, cmp.Or(dropMetadata(e), errTaken)
		}
	}
	for n := 1; ; n++ {
		name := numbered(e.Name, n, n > 1 && isDirectory(e))
		if n > 1 && told != nil {
			other := e
			other.Name = name
			if err := told(other); err != nil {
				return "", err
			}
		}
		if described {
			if free, err := s.showMetadata(e, name); err != nil {
				return "", err
			} else if !free {
				continue
			}
		}
		err := place(e, name)
		if described && (errors.Is(err, fs.ErrExist) || errors.Is(err, errNoDirectoryRename)) {
			err = cmp.Or(hideMetadata(e, name), err)
		}
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if described && (err == nil || errors.Is(err, errTaken)) {
			err = cmp.Or(dropMetadata(e), err)
		}
		return name, err
	}
}

// place renames an entry to a name that nothing has, and is fs.ErrExist where
// something else has it.
func place(e mail.Entry, name string) error {
	temp, path := filepath.Join(e.Dir, e.Temp), filepath.Join(e.Dir, name)
	err := renameNoReplace(temp, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Of the two names only this one means that it was delivered.
		if there, err := exists(temp); !there && err == nil {
			return errTaken
		}
		return fmt.Errorf("%w: %w", errMissing, err)
	case unsupported(err) && isDirectory(e):
		return fmt.Errorf("%w: %w", errNoDirectoryRename, err)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	// A file system without a journal may have both names of it after a power
	// cut.
	if both, failed := sameFile(temp, path); failed != nil {
		return failed
	} else if both {
		return os.Remove(temp)
	}
	return err // of another message, also where it has the same bytes
}

// errNoDirectoryRename says that a file system cannot rename a directory.
var errNoDirectoryRename = errors.New("the file system cannot rename a directory")

// errMissing says that a directory went away beneath a message.
var errMissing = errors.New("directory is missing")

// exists reports whether there is anything under a path.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// isDirectory reports whether an entry is a directory, under its temporary name.
// What keeps that from being known keeps it from being renamed too.
func isDirectory(e mail.Entry) bool {
	info, err := os.Lstat(filepath.Join(e.Dir, e.Temp))
	return err == nil && info.IsDir()
}

// renameNoReplace renames without ever replacing a file. Where the file system
// cannot do that in one step, a look before the rename has to do: nobody but
// this program makes such names.
func renameNoReplace(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOSYS, unix.ENOTSUP, unix.EPERM} { // EPERM: a filter of system calls
		if errors.Is(err, errno) {
			return renameAfterALook(from, to)
		}
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// looking is held from the look to the rename: connections that share a folder
// may want the same name at the same time.
var looking sync.Mutex

func renameAfterALook(from, to string) error {
	looking.Lock()
	defer looking.Unlock()
	if _, err := os.Lstat(to); err == nil {
		return fs.ErrExist
	}
	return os.Rename(from, to)
}

// openDir opens a folder. That it must be there already is on purpose: where
// a mount is missing, a folder made in its place would swallow mail.
func openDir(folder string) (*os.File, error) {
	dir, err := os.OpenFile(folder, os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, failure(folder, err)
	}
	return dir, nil
}

// failure makes a storage error out of what the system said of a folder.
func failure(folder string, err error) error {
	hint := "see whether the folder and its file system are in order; the message stays on the server until it can be saved"
	for _, known := range []struct {
		is   error
		hint string
	}{
		{errNoDirectoryRename, "set another format: than ATTACHMENTS, or name a folder on another file system; then `poller forget NAME`, which has the messages fetched again"},
		{errNoDirectorySync, "set directory_sync: IF_SUPPORTED if messages may be lost when the power fails where the files are; else name a folder on another file system"},
		{fs.ErrNotExist, fmt.Sprintf("create %s, or mount what belongs there; folders are not created, so that a missing mount cannot swallow mail", folder)},
		{syscall.ENOTDIR, "name a directory in folder:"},
		{fs.ErrPermission, fmt.Sprintf("let the user that runs poller write to %s (and see ReadWritePaths= of its unit)", folder)},
		{syscall.EROFS, fmt.Sprintf("mount the file system of %s read-write (and see ReadWritePaths= of the unit)", folder)},
		{syscall.ENOSPC, "free some space; the message stays on the server until it can be saved"},
		{syscall.EDQUOT, "raise the quota or free some space; the message stays on the server until it can be saved"},
		{syscall.EMFILE, "raise the limit of open files (LimitNOFILE= of the unit), or lower limits.polls"},
	} {
		if errors.Is(err, known.is) {
			hint = known.hint
			break
		}
	}
	return &mail.Error{Op: mail.OpSave, Kind: mail.KindStorage, Err: err, Hint: hint}
}
