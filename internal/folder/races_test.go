package folder

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"mailpoller/internal/mail"
)

// TestAFolderThatChangesWhileItIsPublishedProvesNothing: somebody takes the folder
// between the look at it and the rename, and puts an empty one in its place: the
// message was not delivered. Or none, as where a mount is lost: nothing is decided.
func TestAFolderThatChangesWhileItIsPublishedProvesNothing(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		replaced bool
		vanished int
		kind     mail.Kind // of the error; empty for none
	}{
		"replaced": {true, 1, ""},
		"gone":     {false, 0, mail.KindStorage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachFormat(t, func(t *testing.T, format mail.Format) {
				parent, s := t.TempDir(), New("i")
				dir := filepath.Join(parent, "in")
				if err := os.Mkdir(dir, 0o750); err != nil {
					t.Fatal(err)
				}
				c := described(t, dir, format)
				c.Metadata = false
				e := entries(t, s, c, letter(1))[0]
				if err := os.WriteFile(filepath.Join(dir, e.Name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
				published, vanished, err := s.Publish(t.Context(), []mail.Entry{e}, func(mail.Entry) error {
					err := os.Rename(dir, filepath.Join(parent, "taken"))
					if row.replaced {
						err = errors.Join(err, os.MkdirAll(filepath.Join(dir, filepath.Dir(e.Temp)), 0o750), os.MkdirAll(filepath.Join(dir, filepath.Dir(e.Name)), 0o750))
					}
					return err
				})
				var kind mail.Kind
				if err != nil {
					kind = mail.AsError(err, "", "").Kind
				}
				if kind != row.kind || len(published) != 0 || len(vanished) != row.vanished {
					t.Errorf("%d published, %d vanished, %v", len(published), len(vanished), err)
				}
			})
		})
	}
}

// TestOfTwoWhoWantOneNameOneGetsIt, also on a file system that cannot rename
// without replacing, as NFS: connections that share a folder and a template.
func TestOfTwoWhoWantOneNameOneGetsIt(t *testing.T) {
	t.Parallel()
	for range 200 {
		dir := t.TempDir()
		to := filepath.Join(dir, "name")
		const many = 8
		var all sync.WaitGroup
		var begin sync.WaitGroup
		begin.Add(1)
		errs := make([]error, many)
		for i := range many {
			from := filepath.Join(dir, strconv.Itoa(i))
			if err := os.WriteFile(from, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			all.Go(func() {
				begin.Wait()
				errs[i] = renameAfterALook(from, to)
			})
		}
		begin.Done()
		all.Wait()
		got := 0
		for _, err := range errs {
			if err == nil {
				got++
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		}
		if got != 1 {
			t.Fatalf("%d of %d messages got one name, and all but one are lost", got, many)
		}
	}
}
