package folder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"mailpoller/internal/mail"
)

// Sync makes entries durable: their octets, and their names in the folder. The
// entries are in the order in which they were written. Sync closes their
// files, and sets File to nil. After an error none of them counts as durable.
func (s *Store) Sync(folder string, entries []mail.Entry) error {
	if !slices.ContainsFunc(entries, func(e mail.Entry) bool { return e.Temp != "" }) {
		return nil // all were delivered before: nothing was written
	}
	var files []*os.File
	one := true // they are all in one folder, which was not replaced meanwhile
	for i := range entries {
		if e := &entries[i]; e.File != nil {
			files, e.File = append(files, e.File), nil
			one = one && e.Inode == entries[0].Inode
		}
	}
	if err := syncFiles(files, one && len(files) >= many); err != nil {
		return failure(folder, err)
	}
	temps := make(map[string]bool)
	for _, e := range entries {
		if e.Temp != "" {
			temps[filepath.Dir(filepath.Join(folder, e.Temp))] = true
		}
	}
	for path := range temps {
		if err := s.syncDir(folder, path); err != nil {
			return err
		}
	}
	return nil
}

// syncDir makes the names in a directory of a folder durable.
func (s *Store) syncDir(folder, path string) error {
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return s.syncNames(folder, dir)
}

// syncers is how many files are synced at once: a journaling file system
// makes durable together what is asked for at the same time.
const syncers = 16

// many is from how many files on the whole file system is synced: once, and
// not each file. What others have written to it is synced with them.
const many = 8

// syncFiles makes files durable, which are in the order in which they were
// opened, and closes them. Those of one file system may be synced together.
func syncFiles(files []*os.File, together bool) error {
	var group errgroup.Group
	group.SetLimit(syncers)
	if together && syncsWhole(files[0]) {
		// The first file was opened before any was written to, so that it
		// hears of every failure since.
		group.Go(func() error { return os.NewSyscallError("syncfs", unix.Syncfs(int(files[0].Fd()))) })
	} else {
		for _, file := range files {
			group.Go(file.Sync)
		}
	}
	err := group.Wait()
	for _, file := range files {
		err = errors.Join(err, file.Close())
	}
	return err
}

// syncsWhole reports whether syncfs(2) does for all files on the file system of
// a file what fsync(2) does for one. So it is on these; some others, such as
// FUSE, do not pass it on.
func syncsWhole(file *os.File) bool {
	var stat unix.Statfs_t
	if !syncfsTells() || unix.Fstatfs(int(file.Fd()), &stat) != nil {
		return false
	}
	switch stat.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC: // ext2 and ext3 have the number of ext4
		return true
	}
	return false
}

// syncfsTells reports whether syncfs(2) tells of every failure: since Linux 5.8
// of those to write, and since 5.17 of those of the file system itself.
var syncfsTells = sync.OnceValue(func() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	release := unix.ByteSliceToString(name.Release[:])
	major, rest, _ := strings.Cut(release, ".")
	minor := strings.TrimRight(rest[:min(2, len(rest))], ".-")
	a, failed := strconv.Atoi(major)
	b, failedToo := strconv.Atoi(minor)
	return failed == nil && failedToo == nil && (a > 5 || a == 5 && b >= 17)
})

// errNoDirectorySync says that a file system cannot sync a directory.
var errNoDirectorySync = errors.New("the file system cannot sync a directory")

// syncNames makes the names in an open directory of a folder durable. XFS reports
// that it did also when an error has shut it down before, and the names are lost;
// nothing on it can be opened then.
func (s *Store) syncNames(folder string, dir *os.File) error {
	if err := dir.Sync(); err != nil {
		if !unsupported(err) {
			return failure(folder, err)
		}
		if !s.unsynced(folder) {
			return failure(folder, fmt.Errorf("%w: %w", errNoDirectorySync, err))
		}
		s.warn(folder, "sync", fmt.Sprintf("folder %s: %v (%v), which directory_sync: IF_SUPPORTED allows: where the files are, a power failure may lose the last messages", folder, errNoDirectorySync, cause(err)))
	}
	again, err := openDir(dir.Name())
	if err != nil {
		return err
	}
	again.Close()
	return nil
}

// unsupported reports whether a file system said by an error that it has no such
// thing.
func unsupported(err error) bool {
	for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOTSUP, unix.ENOSYS, unix.EBADF} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
