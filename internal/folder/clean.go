package folder

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"mailpoller/internal/mail"
)

// Discard removes the temporary file of an entry that will not be published.
func (s *Store) Discard(e mail.Entry) error {
	if e.File != nil {
		_ = e.File.Close() // whatever becomes of what was written
	}
	err := errors.Join(os.RemoveAll(filepath.Join(e.Dir, e.Temp)), os.RemoveAll(metadataTemp(e)))
	if err != nil {
		s.Leave()
		return failure(e.Dir, err)
	}
	return nil
}

// Leave leaves temporary files where they are, to be published or to be removed
// by Clean at the next start, as what is recorded by then will say.
func (s *Store) Leave() {
	if s.Left != nil {
		s.Left()
	}
}

// Clean removes the temporary files that a crash left in a folder, except
// those whose names are in keep: they are recorded, and will be published. Names
// count, and not paths, because one folder may have several. Files of this process
// stay: it may write while it cleans. It returns how many it removed. A folder that is missing has nothing to clean.
func (s *Store) Clean(folder string, keep map[string]bool) (int, error) {
	folded := make(map[string]bool, len(keep)) // some file systems change the case of names
	for name, kept := range keep {
		folded[strings.ToLower(name)] = kept
	}
	n := 0
	for _, dir := range []string{".", "tmp", "new", "cur"} { // whatever the format was
		removed, err := s.clean(filepath.Join(folder, dir), folded)
		if n += removed; err != nil {
			s.Leave()
			return n, err
		}
	}
	return n, nil
}

func (s *Store) clean(folder string, keep map[string]bool) (int, error) {
	dir, err := openDir(folder)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	n := 0
	for {
		names, err := dir.Readdirnames(1024) // a folder may be large
		for _, name := range names {
			if !s.left(strings.ToLower(name), keep) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(folder, name)); err != nil {
				return n, failure(folder, err)
			}
			n++
		}
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, failure(folder, err)
		}
	}
}

// left reports whether a name, in lower case, is one of ours, of another process,
// that nobody comes back to.
func (s *Store) left(name string, keep map[string]bool) bool {
	rest, ours := strings.CutPrefix(name, strings.ToLower(s.prefix))
	if !ours || strings.HasPrefix(rest, strings.ToLower(s.run)) {
		return false
	}
	stem, temporary := strings.CutSuffix(name, suffix)
	return temporary && !keep[strings.TrimSuffix(stem, metadataSuffix)+suffix] || strings.Contains(rest, tried)
}
