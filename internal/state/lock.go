package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLocked means that another process works on the state directory.
var ErrLocked = errors.New("state directory is in use")

// lockedError is ErrLocked with its particulars.
type lockedError struct{ dir, process string }

func (e *lockedError) Error() string {
	return fmt.Sprintf("state directory %s is in use by %s", e.dir, e.process)
}

func (e *lockedError) Is(target error) bool { return target == ErrLocked }

// lock takes the lock of a state directory, which ends when the file is closed
// or the process does, however it ends. The process id in the file is for
// people; nothing depends on it.
func lock(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := claim(file, dir); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

func claim(file *os.File, dir string) error {
	switch err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		process := "another process"
		if pid, _ := io.ReadAll(io.LimitReader(file, 20)); len(pid) > 0 {
			process = "process " + strings.TrimSpace(string(pid))
		}
		return &lockedError{dir, process}
	case err != nil:
		return fmt.Errorf("lock %s: %w", file.Name(), err)
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintln(file, os.Getpid())
	return err
}
