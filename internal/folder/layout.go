package folder

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"mailpoller/internal/mail"
)

// layout is what sets a format apart.
type layout struct {
	temps string                                          // the directory of temporary files
	makes []string                                        // directories that are made where they are missing
	name  func(stem string, flags []string) (path string) // what a message is called in the folder
}

var layouts = map[mail.Format]layout{
	mail.EML:         {temps: ".", name: func(stem string, _ []string) string { return stem + ".eml" }},
	mail.Maildir:     {temps: "tmp", makes: []string{"tmp", "new", "cur"}, name: maildirName},
	mail.Attachments: {temps: ".", name: func(stem string, _ []string) string { return stem }},
}

// layoutOf is the layout of a format; where none is given, of EML.
func layoutOf(f mail.Format) layout { return layouts[cmp.Or(f, mail.EML)] }

// maildirInfo begins the flags at the end of a file name.
const maildirInfo = ":2,"

// maildirFlags are what a Maildir calls the flags of IMAP, in the order that it
// asks for (https://cr.yp.to/proto/maildir.html).
var maildirFlags = []struct {
	letter byte
	flag   string
}{{'D', `\Draft`}, {'F', `\Flagged`}, {'P', "$Forwarded"}, {'R', `\Answered`}, {'S', `\Seen`}}

// maildirName is the name of a message in a Maildir: among the new ones, unless
// it has flags to show. Such a name need only be unique, and a stem is.
func maildirName(stem string, flags []string) string {
	var letters strings.Builder
	for _, known := range maildirFlags {
		if slices.ContainsFunc(flags, func(f string) bool { return strings.EqualFold(f, known.flag) }) {
			letters.WriteByte(known.letter)
		}
	}
	if letters.Len() == 0 {
		return "new/" + stem
	}
	return "cur/" + stem + maildirInfo + letters.String()
}

// makeDirs makes the directories of a format that are missing in a folder, which
// itself has to be there.
func (s *Store) makeDirs(folder string, names []string, mode fs.FileMode) error {
	made := false
	for _, name := range names {
		switch err := s.makeDir(folder, filepath.Join(folder, name), mode); {
		case err == nil:
			made = true
		case !errors.Is(err, fs.ErrExist):
			return failure(folder, err)
		}
	}
	if !made {
		return nil
	}
	return s.syncDir(folder, folder)
}

// makeDir makes a directory in a folder with a mode, whatever the umask is.
func (s *Store) makeDir(folder, path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	s.modeSet(folder, os.Chmod(path, mode))
	return nil
}

// directories are those that messages are published in, open from before the
// first one is: what is synced is what was written to.
type directories map[string]*os.File

// dir opens a directory, once.
func (d directories) dir(path string) (*os.File, error) {
	if dir := d[path]; dir != nil {
		return dir, nil
	}
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		d[path] = dir
	}
	return dir, err
}

// prepare opens what an entry is renamed out of and into. It reports whether
// the former is the directory that the entry was written to, so that a
// temporary file that is gone proves that the message was delivered.
func (s *Store) prepare(d directories, e mail.Entry) (proves bool, err error) {
	from := filepath.Dir(filepath.Join(e.Dir, e.Temp))
	temps, err := d.dir(from)
	if errors.Is(err, fs.ErrNotExist) {
		return false, errTaken // with its directory; the folder is there
	}
	if err != nil {
		return false, err
	}
	inode, err := identity(int(temps.Fd()), "")
	if err != nil {
		return false, err
	}
	into := filepath.Dir(filepath.Join(e.Dir, e.Name))
	_, err = d.dir(into)
	if errors.Is(err, fs.ErrNotExist) { // somebody tidied up
		var info fs.FileInfo
		if info, err = temps.Stat(); err == nil {
			err = s.makeDir(e.Dir, into, info.Mode().Perm())
		}
		if err == nil {
			_, err = d.dir(into)
		}
	}
	return inode == e.Inode, err
}

// proven looks again, by its path, whether the directory of a temporary file
// that is gone is the one that it was written to. Somebody may have put another
// one in its place, or taken it away, since it was opened.
func proven(e mail.Entry) (bool, error) {
	inode, err := identity(unix.AT_FDCWD, filepath.Dir(filepath.Join(e.Dir, e.Temp)))
	return inode == e.Inode, err
}

// syncAll makes all names in directories of a folder durable.
func (s *Store) syncAll(folder string, d directories) error {
	for _, dir := range d {
		if err := s.syncNames(folder, dir); err != nil {
			return err
		}
	}
	return nil
}

func (d directories) close() {
	for _, dir := range d {
		dir.Close()
	}
}
