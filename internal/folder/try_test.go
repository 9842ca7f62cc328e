package folder

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailpoller/internal/filename"
	"mailpoller/internal/mail"
)

// TestATrialLeavesTheFolderAsItWas, whatever the format is and whatever lies
// there.
func TestATrialLeavesTheFolderAsItWas(t *testing.T) {
	t.Parallel()
	template, err := filename.Parse("one.eml")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []mail.Format{mail.EML, mail.Maildir, mail.Attachments} {
		for _, before := range [][]string{nil, {"one.eml", "one.eml.json"}, {"new/x", "cur/y:2,S", "tmp/z"}} {
			t.Run(string(format)+" "+strings.Join(before, " "), func(t *testing.T) {
				t.Parallel()
				c := connection(t.TempDir())
				c.Format, c.Metadata, c.WithoutAttachments = format, true, mail.SetAside
				c.Notify = &mail.Notify{Command: []string{"/nonexistent"}}
				if format != mail.Maildir {
					c.Filename = template
				}
				for _, name := range before {
					path := filepath.Join(c.Folder, name)
					if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want := laid(t, c.Folder)
				for range 2 {
					if warnings, err := New("i").Try(t.Context(), c); err != nil || len(warnings) > 0 {
						t.Fatalf("%v, %q", err, warnings)
					}
				}
				if got := laid(t, c.Folder); !slices.Equal(got, want) {
					t.Errorf("the folder holds %q, and held %q", got, want)
				}
			})
		}
	}
}

// TestATrialFindsOut what keeps a poll from writing.
func TestATrialFindsOut(t *testing.T) {
	t.Parallel()
	c := connection(t.TempDir())
	folder := c.Folder
	c.Folder = filepath.Join(folder, "missing")
	if _, err := New("i").Try(t.Context(), c); mail.AsError(err, "", "").Kind != mail.KindStorage || len(laid(t, folder)) != 0 {
		t.Errorf("%v", err)
	}
	c.Folder, c.Format = folder, mail.Maildir
	if err := os.WriteFile(filepath.Join(folder, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New("i").Try(t.Context(), c)
	if e := mail.AsError(err, "", ""); e == nil || e.Kind != mail.KindStorage || e.Hint == "" || !strings.Contains(e.Error(), "not a directory") {
		t.Errorf("%+v", e)
	}
	if got := laid(t, folder); !slices.Equal(got, []string{"new"}) {
		t.Errorf("left in the folder: %q", got)
	}
}

// TestWhatATrialLeftIsCleaned, and nothing else is.
func TestWhatATrialLeftIsCleaned(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	names := []string{
		".poller-i-AAA.tried", ".poller-i-AAA.tried.json", ".poller-i-BBB.tried:2,S", ".poller-i-CCC.part",
		".poller-i-KEEP.part", ".poller-i-KEEP.json.part", ".poller-other-AAA.tried", ".poller-i-DDD.other", "mail.tried",
	}
	for _, dir := range []string{"", "tmp", "new", "cur"} {
		for _, name := range names {
			if err := os.MkdirAll(filepath.Join(folder, dir, name), 0o750); err != nil {
				t.Fatal(err)
			}
		}
	}
	n, err := New("i").Clean(folder, map[string]bool{".poller-i-KEEP.part": true})
	if err != nil || n != 16 {
		t.Errorf("%d removed, %v", n, err)
	}
	if left := laid(t, folder); len(left) != 3+4*5 {
		t.Errorf("left: %q", left)
	}
}

// laid are the paths of all that is in a folder.
func laid(t *testing.T, folder string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
		if path != folder {
			paths = append(paths, strings.TrimPrefix(path, folder+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
