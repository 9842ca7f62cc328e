package state

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"mailpoller/internal/mail"
)

// crashDir names the environment variable that makes this test binary save
// messages into a state directory until it is killed.
const crashDir = "POLLER_TEST_CRASH_DIR"

func saveUntilKilled(dir string) {
	ctx := context.Background()
	s, err := Open(ctx, dir)
	for n := uint32(1); err == nil; n++ {
		if err = s.Save(ctx, "c", kinds["imap"].box, []mail.Entry{entry(uid(n), 1)}); err == nil {
			_, err = fmt.Fprintln(os.Stdout, n)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestWhatWasSavedSurvivesAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), crashDir+"="+dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	saved := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if saved, err = strconv.Atoi(lines.Text()); err != nil {
			t.Error(err)
		}
		if saved == 50 {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := child.Wait(); err == nil || saved < 50 {
		t.Fatalf("the child ended by itself after %d messages: %v", saved, err)
	}

	s, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l, err := s.Load(t.Context(), "c", kinds["imap"].box)
	if err != nil {
		t.Fatal(err)
	}
	// One more may have been committed and not been printed.
	if n := l.Saved.Len(); n < saved || n > saved+1 || len(l.Pending) != n || len(l.Saved.UIDs) != 1 {
		t.Errorf("%d messages were saved, on record are %s, and %d as pending", saved, l.Saved.UIDs, len(l.Pending))
	}
}
