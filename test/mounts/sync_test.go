package mounts

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"mailpoller/internal/folder"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// TestADirectoryThatCannotBeSyncedPassesWhereItIsAllowed, with a warning, in the
// folder that it is allowed for and in no other; an error of the disk never does.
func TestADirectoryThatCannotBeSyncedPassesWhereItIsAllowed(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		errno   syscall.Errno
		allowed bool
		passes  bool
	}{
		{syscall.EINVAL, true, true},
		{syscall.ENOTSUP, true, true},
		{syscall.EBADF, true, true},
		{syscall.EIO, true, false},
		{syscall.ENOSPC, true, false},
		{syscall.EINVAL, false, false},
		{0, true, true},
	} {
		format := []mail.Format{mail.EML, mail.Maildir, mail.Attachments}[i%3]
		t.Run(fmt.Sprintf("%s, %v, allowed %t", format, c.errno, c.allowed), func(t *testing.T) {
			t.Parallel()
			connection := mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, 1, "user", "canary")
			connection.Folder, _ = mount(t, &refusals{dirSync: c.errno})
			connection.Format, connection.Metadata = format, true
			store := folder.New("test")
			store.SyncIfSupported(t.TempDir())
			if c.allowed {
				store.SyncIfSupported(connection.Folder)
			}
			var warned []string
			for range 2 { // also beside what is there
				warnings, err := store.Try(t.Context(), connection)
				if (err == nil) != c.passes {
					t.Fatal(err)
				}
				if e := mail.AsError(err, "", ""); err != nil && (e.Kind != mail.KindStorage || e.Hint == "") {
					t.Errorf("%+v", e)
				}
				warned = append(warned, warnings...)
			}
			text := strings.Join(warned, " ")
			if said := strings.Count(text, "directory_sync: IF_SUPPORTED allows"); said != 2 && c.passes && c.errno != 0 || said != 0 && (!c.passes || c.errno == 0) {
				t.Errorf("warned: %q", warned)
			}
			if left, err := os.ReadDir(connection.Folder); err != nil || len(left) > 0 {
				t.Errorf("left in the folder: %v, %v", left, err)
			}
			if w := store.Warnings(connection.Folder); len(w) > 0 {
				t.Errorf("a trial is told as a poll's: %q", w)
			}
		})
	}
}
