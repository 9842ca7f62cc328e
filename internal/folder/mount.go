package folder

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	"golang.org/x/sys/unix"
)

// mounts is what is known of the file systems that folders are on, by folder.
// Some have no modes, owners or times, and some cannot sync a directory.
type mounts struct {
	mu       sync.Mutex
	told     map[string]bool     // by folder and what it refuses
	warnings map[string][]string // that nobody has heard yet
	unsynced map[string]bool     // where a directory need not be synced
}

// Warnings are what an operator should know of the file system of a folder. Each
// is returned once in the life of the Store.
func (s *Store) Warnings(folder string) []string {
	s.mounts.mu.Lock()
	defer s.mounts.mu.Unlock()
	warnings := s.mounts.warnings[folder]
	delete(s.mounts.warnings, folder)
	return warnings
}

// SyncIfSupported names the folders whose directories are synced only where their
// file system can do that, in place of those that were named before. In all others
// a directory that cannot be synced is a failure.
func (s *Store) SyncIfSupported(folders ...string) {
	s.mounts.mu.Lock()
	defer s.mounts.mu.Unlock()
	s.mounts.unsynced = make(map[string]bool)
	for _, folder := range folders {
		s.mounts.unsynced[folder] = true
	}
}

// unsynced reports whether a folder is one of those.
func (s *Store) unsynced(folder string) bool {
	s.mounts.mu.Lock()
	defer s.mounts.mu.Unlock()
	return s.mounts.unsynced[folder]
}

// warn keeps a warning about a folder, the first of its sort.
func (s *Store) warn(folder, sort, text string) {
	s.mounts.mu.Lock()
	defer s.mounts.mu.Unlock()
	if key := sort + " " + folder; !s.mounts.told[key] {
		if s.mounts.told == nil {
			s.mounts.told, s.mounts.warnings = make(map[string]bool), make(map[string][]string)
		}
		s.mounts.told[key] = true
		s.mounts.warnings[folder] = append(s.mounts.warnings[folder], text)
	}
}

// modeSet takes what came of setting a mode in a folder, whatever it is: a message
// is as safe with another mode, and an error of the disk comes again when it is
// synced.
func (s *Store) modeSet(folder string, err error) {
	if err != nil {
		s.warn(folder, "mode", fmt.Sprintf("folder %s: file_mode and dir_mode cannot be set (%v); files and directories have the modes that the mount gives them", folder, cause(err)))
	}
}

// timeSet takes what came of setting a time in a folder, as modeSet does.
func (s *Store) timeSet(folder string, err error) {
	if err != nil {
		s.warn(folder, "time", fmt.Sprintf("folder %s: times cannot be set (%v); a file has the time at which it was written, not that of its message", folder, cause(err)))
	}
}

// cause is what the system said, without the name of a temporary file.
func cause(err error) error {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return errno
	}
	return err
}

// trial is a Store that knows of file systems what s was told, and not what s has
// found out.
func (s *Store) trial() *Store {
	s.mounts.mu.Lock()
	defer s.mounts.mu.Unlock()
	return &Store{Left: s.Left, prefix: s.prefix, run: s.run, mounts: mounts{unsynced: maps.Clone(s.mounts.unsynced)}}
}
