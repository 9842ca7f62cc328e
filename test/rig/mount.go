package rig

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// unmountAtTheEnd waits for the pipe on its standard input to be closed, by the
// test or by its death, so that no mount outlives it.
const unmountAtTheEnd = `trap '' INT TERM; read -r _; while umount -l "$0" 2>/dev/null; do :; done`

// MountPoint is a directory for a test to mount on. It and what is mounted on
// it go when the test ends, however it ends.
func MountPoint(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("this test mounts file systems: run it as root, or without POLLER_TEST_DOVECOT and POLLER_TEST_FUSE")
	}
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	guard := exec.Command("sh", "-c", unmountAtTheEnd, dir)
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	alive, err := guard.StdinPipe()
	if err == nil {
		err = guard.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		alive.Close()
		if err := guard.Wait(); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}
