package app

import (
	"slices"
	"testing"
	"testing/synctest"
)

// TestFoldersThatHangHoldNobodyUp looks at two folders of which one does not
// answer for a while.
func TestFoldersThatHangHoldNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		asked := 0
		p := newProbes()
		p.stat = func(path string) error {
			if path == "/hangs" {
				asked++
				<-release
			}
			return nil
		}
		paths := []string{"/fine", "/hangs"}
		look := func(changed bool, want ...string) {
			t.Helper()
			hung, got := p.look(paths)
			synctest.Wait()
			if !slices.Equal(hung, want) || got != changed {
				t.Errorf("hanging: %v, changed %v; want %v, %v", hung, got, want, changed)
			}
		}
		look(false)
		look(true, "/hangs")
		if got, want := p.status(), "; folders that do not answer: /hangs"; got != want {
			t.Errorf("status %q, want %q", got, want)
		}
		look(false, "/hangs")
		if asked != 1 {
			t.Errorf("a folder that hangs was asked %d times", asked)
		}
		close(release)
		synctest.Wait()
		look(true)
		if p.status() != "" {
			t.Errorf("status %q when all folders answer", p.status())
		}
	})
}
