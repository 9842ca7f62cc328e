package folder

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mailpoller/internal/mail"
)

func connection(dir string) *mail.Connection {
	return &mail.Connection{Name: "a/b", Folder: dir, FileMode: 0o640}
}

var box = mail.Box{Account: "imap://u@h/INBOX", Validity: 17}

func message(uid uint32, text string) mail.Message {
	return mail.Message{Ref: mail.Ref{UID: uid}, Body: bytes.NewReader([]byte(text))}
}

func write(t *testing.T, s *Store, dir string, m mail.Message) mail.Entry {
	t.Helper()
	entry, err := s.Write(connection(dir), box, m)
	if err != nil {
		t.Fatal(err)
	}
	entries := []mail.Entry{entry}
	if err := s.Sync(dir, entries); err != nil {
		t.Fatal(err)
	}
	return entries[0]
}

// visible is what a consumer that leaves hidden files alone sees.
func visible(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasPrefix(filepath.Base(path), ".") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = string(data)
	}
	return files
}

func all(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

func TestAMessageIsHiddenUntilItIsPublished(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), New("i")
	text := "a\r\n\x00\xff\r\n.\r\n"
	entry := write(t, s, dir, message(5, text))
	if got := visible(t, dir); len(got) != 0 {
		t.Fatalf("visible before it was published: %v", got)
	}
	if entry.Octets != int64(len(text)) || entry.Digest != sha256.Sum256([]byte(text)) {
		t.Errorf("entry %+v", entry)
	}
	published, vanished, err := s.Publish(t.Context(), []mail.Entry{entry}, nil)
	if err != nil || len(published) != 1 || len(vanished) != 0 {
		t.Fatal(published, vanished, err)
	}
	if got := visible(t, dir)["a%2Fb-17-5.eml"]; got != text {
		t.Errorf("file holds %q", got)
	}
	info, err := os.Stat(filepath.Join(dir, published[0].Name))
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if names := all(t, dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestPublishingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	for _, consumed := range []bool{false, true} {
		dir, s := t.TempDir(), New("i")
		entry := write(t, s, dir, message(5, "x"))
		for range 2 {
			published, vanished, err := s.Publish(t.Context(), []mail.Entry{entry}, nil)
			if err != nil || len(published) != 1 || len(vanished) != 0 {
				t.Fatal(published, vanished, err)
			}
			if consumed {
				if err := os.Remove(filepath.Join(dir, entry.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}
		want := 1
		if consumed {
			want = 0
		}
		if got := visible(t, dir); len(got) != want {
			t.Errorf("a file that a consumer took (%v) is there again: %v", consumed, got)
		}
	}
}

func TestAFileThatIsThereIsNeverReplaced(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), New("i")
	name := "a%2Fb-17-5.eml"
	if err := os.WriteFile(filepath.Join(dir, name), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	first := write(t, s, dir, message(5, "mine!"))
	published, _, err := s.Publish(t.Context(), []mail.Entry{first}, nil)
	if err != nil || published[0].Name != "a%2Fb-17-5.2.eml" {
		t.Fatal(published, err)
	}
	// Another message is another file, whatever is in it: servers that make
	// unique-ids out of the content give equal messages equal names.
	second := write(t, s, dir, message(5, "mine!"))
	published, _, err = s.Publish(t.Context(), []mail.Entry{second}, nil)
	if err != nil || published[0].Name != "a%2Fb-17-5.3.eml" {
		t.Fatal(published, err)
	}
	// Each of them once.
	for _, e := range []mail.Entry{first, second} {
		if published, vanished, err := s.Publish(t.Context(), []mail.Entry{e}, nil); err != nil || len(published) != 1 || len(vanished) != 0 {
			t.Fatal(published, vanished, err)
		}
	}
	got := visible(t, dir)
	if len(got) != 3 || got[name] != "other" || got["a%2Fb-17-5.2.eml"] != "mine!" || got["a%2Fb-17-5.3.eml"] != "mine!" || len(all(t, dir)) != 3 {
		t.Errorf("folder holds %v", got)
	}
}

func TestAFolderThatWasReplacedProvesNothing(t *testing.T) {
	t.Parallel()
	parent, s := t.TempDir(), New("i")
	dir := filepath.Join(parent, "in")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	entry := write(t, s, dir, message(5, "x"))
	if err := os.Rename(dir, filepath.Join(parent, "unmounted")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Publish(t.Context(), []mail.Entry{entry}, nil); mail.AsError(err, "", "").Kind != mail.KindStorage {
		t.Errorf("without a folder: %v", err)
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	// A folder that was removed, and made anew, may get the same inode.
	for range 3 {
		published, vanished, err := s.Publish(t.Context(), []mail.Entry{entry}, nil)
		if err != nil || len(published) != 0 || len(vanished) != 1 {
			t.Errorf("in another folder: published %v, vanished %v, %v", published, vanished, err)
		}
		entry = write(t, s, dir, message(5, "x"))
		for born := birth(t, dir); birth(t, dir) == born; { // the clock of file systems ticks a few hundred times a second
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(dir, 0o750); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// birth is when a directory was made.
func birth(t *testing.T, dir string) unix.StatxTimestamp {
	t.Helper()
	var stat unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_BTIME, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Btime
}

// failing is a body that breaks off.
type failing struct{ err error }

func (f failing) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write([]byte("part"))
	if err == nil {
		err = f.err
	}
	return int64(n), err
}

func TestNothingStaysOfAMessageThatBreaksOff(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), New("i")
	_, err := s.Write(connection(dir), box, mail.Message{Ref: mail.Ref{UID: 1}, Body: failing{io.ErrUnexpectedEOF}})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	if names := all(t, dir); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestAFolderThatCannotBeWrittenToSaysWhy(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ dir, hint string }{
		{filepath.Join(t.TempDir(), "missing"), "create "},
		{file, "name a directory"},
		{"/proc", ""},
	} {
		_, err := New("i").Write(connection(c.dir), box, message(1, "x"))
		e := mail.AsError(err, "", "")
		if e == nil || e.Op != mail.OpSave || e.Kind != mail.KindStorage || !strings.HasPrefix(e.Hint, c.hint) || e.Hint == "" {
			t.Errorf("%s: %v (%+v)", c.dir, err, e)
		}
		if c.hint == "" {
			continue // only writing tells
		}
		if err := New("i").Ready(c.dir); mail.AsError(err, "", "").Kind != mail.KindStorage {
			t.Errorf("%s is ready: %v", c.dir, err)
		}
	}
	dir := t.TempDir()
	if err := New("i").Ready(dir); err != nil || len(all(t, dir)) != 0 {
		t.Errorf("a good folder: %v, and there is %v in it", err, all(t, dir))
	}
}

func TestCleaningSparesWhatIsRecordedOrNotOurs(t *testing.T) {
	t.Parallel()
	dir, s, before, other := t.TempDir(), New("i"), New("i"), New("other")
	kept, left := write(t, before, dir, message(1, "a")), write(t, before, dir, message(2, "b"))
	foreign, ours := write(t, other, dir, message(3, "c")), write(t, s, dir, message(4, "d"))
	if err := os.WriteFile(filepath.Join(dir, "theirs.part"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link") // another name of the folder
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	n, err := s.Clean(link, map[string]bool{kept.Temp: true})
	if err != nil || n != 1 {
		t.Fatal(n, err)
	}
	names := strings.Join(all(t, dir), " ")
	if strings.Contains(names, left.Temp) || !strings.Contains(names, kept.Temp) || !strings.Contains(names, foreign.Temp) || !strings.Contains(names, ours.Temp) || !strings.Contains(names, "theirs.part") {
		t.Errorf("left: %s", names)
	}
	if _, err := s.Clean(filepath.Join(dir, "missing"), nil); err != nil {
		t.Errorf("a missing folder: %v", err)
	}
}

func TestWhatCannotBeRemovedIsLeft(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), New("i")
	left := 0
	s.Left = func() { left++ }
	e := write(t, s, dir, message(1, "a"))
	if err := s.Discard(e); err != nil || left != 0 {
		t.Error(left, err)
	}
	e.Temp = strings.Repeat("x", 300) // no system call takes it
	if err := s.Discard(e); mail.AsError(err, "", "").Kind != mail.KindStorage || left != 1 {
		t.Error(left, err)
	}
}
