package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// A batch is synced and made visible together, while the next one arrives.
const (
	batchMessages = 256
	batchOctets   = 16 << 20
	syncers       = 8 // syncs at once: the file system commits them together
	syncWhole     = 8 // from this many files on, the file system is synced instead of each
)

// sysSyncfs is the number of syncfs(2), which package syscall has no name for.
var sysSyncfs = map[string]uintptr{"amd64": 306, "arm64": 267}[runtime.GOARCH]

// saver saves messages into a folder: hidden temporary files, synced, renamed,
// and the folder synced after each batch.
type saver struct {
	folder, user string
	count        int
	batch        []*os.File
	octets       int64
	done         chan error // of the batch that is being synced; nil when none is
}

func newSaver(folder, user string) *saver { return &saver{folder: folder, user: user} }

// create begins the next message.
func (s *saver) create() (*os.File, error) {
	s.count++
	return os.OpenFile(filepath.Join(s.folder, fmt.Sprintf(".%s-%d.part", s.user, s.count)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// add takes a message that was written whole.
func (s *saver) add(f *os.File, octets int64) error {
	s.batch = append(s.batch, f)
	s.octets += octets
	if len(s.batch) < batchMessages && s.octets < batchOctets {
		return nil
	}
	return s.next()
}

// next waits for the batch that is being synced and begins with the present
// one.
func (s *saver) next() error {
	if err := s.wait(); err != nil {
		return err
	}
	batch := s.batch
	s.batch, s.octets, s.done = nil, 0, make(chan error, 1)
	go func() { s.done <- s.publish(batch) }()
	return nil
}

func (s *saver) wait() error {
	if s.done == nil {
		return nil
	}
	err := <-s.done
	s.done = nil
	return err
}

// finish returns when all messages are durable and visible.
func (s *saver) finish() error {
	if s.count == 0 {
		return nil
	}
	return errors.Join(s.next(), s.wait())
}

// publish makes the messages of a batch durable, then visible.
func (s *saver) publish(batch []*os.File) error {
	if len(batch) == 0 {
		return nil
	}
	dir, err := os.Open(s.folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	if len(batch) >= syncWhole && sysSyncfs != 0 {
		if _, _, errno := syscall.Syscall(sysSyncfs, dir.Fd(), 0, 0); errno != 0 {
			return errno
		}
	} else if err := syncEach(batch); err != nil {
		return err
	}
	for _, f := range batch {
		name := filepath.Base(f.Name())
		err := f.Close()
		if err == nil {
			err = os.Rename(f.Name(), filepath.Join(s.folder, name[1:len(name)-len(".part")]+".eml"))
		}
		if err != nil {
			return err
		}
	}
	return dir.Sync()
}

func syncEach(batch []*os.File) error {
	errs := make([]error, syncers)
	var wait sync.WaitGroup
	for n := range syncers {
		wait.Go(func() {
			for i := n; i < len(batch); i += syncers {
				errs[n] = errors.Join(errs[n], batch[i].Sync())
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
