package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// account is the account of the daemon, which reads what root writes for it.
type account struct {
	uid, gid int
	known    bool
}

// daemonAccount finds the account that the packages make. For any other user
// than root there is none: what is written is that user's own.
func daemonAccount() account {
	if os.Geteuid() != 0 {
		return account{}
	}
	u, err := user.Lookup("poller")
	if err != nil {
		return account{}
	}
	uid, err := strconv.Atoi(u.Uid)
	gid, failed := strconv.Atoi(u.Gid)
	return account{uid, gid, err == nil && failed == nil}
}

// staged is a file that is whole and durable, and not yet at its place.
type staged struct{ temp, path string }

// stage writes a file beside where it will be. A secret is for the daemon's
// group, if there is one, and else for its owner alone.
func stage(path string, data []byte, secret bool, a account) (s *staged, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	s = &staged{f.Name(), path}
	defer func() {
		if err != nil {
			f.Close()
			s.discard()
		}
	}()
	mode := fs.FileMode(0o640)
	if secret && !a.known {
		mode = 0o600
	}
	if a.known {
		if err := f.Chown(-1, a.gid); err != nil {
			return nil, err
		}
	}
	if err := f.Chmod(mode); err != nil {
		return nil, err
	}
	if _, err := f.Write(data); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return s, f.Close()
}

// discard removes a file that was not put in its place.
func (s *staged) discard() {
	if s != nil {
		_ = os.Remove(s.temp) // it may be in its place by now
	}
}

// put puts the file in its place. Where there is one already it fails, or with
// replace keeps that one as a backup, whose name it returns.
func (s *staged) put(replace bool) (backup string, err error) {
	if replace {
		backup = s.path + ".bak-" + time.Now().UTC().Format("20060102T150405.000Z")
		// A second name for what is there, so that there is no moment without it.
		if err = os.Link(s.path, backup); errors.Is(err, fs.ErrNotExist) {
			backup, err = "", nil
		}
		if err == nil {
			err = os.Rename(s.temp, s.path)
		}
	} else {
		err = os.Link(s.temp, s.path) // unlike rename(2) it replaces nothing
		if errors.Is(err, fs.ErrExist) {
			err = exists(s.path)
		}
		s.discard()
	}
	if err != nil {
		return "", err
	}
	return backup, syncDir(filepath.Dir(s.path))
}

func exists(path string) error {
	return fmt.Errorf("%s exists, and is not overwritten; --force replaces it and keeps a copy", path)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// makeDir makes a directory of the configuration, for root and the daemon's
// group. One that is there stays as it is.
func makeDir(path string, a account) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as install -d and mkdir -p make them
		return err
	}
	if err := os.Mkdir(path, 0o750); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	if a.known {
		return os.Chown(path, -1, a.gid)
	}
	return nil
}

// makeFolder makes a target folder as docs/install.md has it: the daemon's, with
// a group that its files inherit.
func makeFolder(path string, a account) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as install -d makes them
		return err
	}
	if err := os.Mkdir(path, 0o770); err != nil { //nolint:gosec // its group may take what is saved
		return err
	}
	if a.known {
		if err := os.Chown(path, a.uid, a.gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, 0o770|fs.ModeSetgid) // whatever the umask is
}
