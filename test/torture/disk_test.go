package torture

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailpoller/test/rig"
)

// tool runs a program of the system.
func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// powerDisk is a file system in a file. When its power is cut, what was not
// synced is gone.
//
// The kinds forget differently. The journals of ext4 and XFS make everything
// durable that was done before any sync; but the data of a file is written
// late. On ext2 a sync is of what it is asked for and of nothing else: a name
// is durable when its directory was synced. It must not be mounted for long:
// in five seconds the kernel begins to write by itself.
type powerDisk struct {
	kind  string
	dir   string // where it is mounted
	image string
}

// diskSizes are the sizes in MiB; XFS makes none smaller.
var diskSizes = map[string]int64{"ext2": 32, "ext4": 32, "xfs": 320}

// powerDiskKinds are the file systems that can be made here.
func powerDiskKinds() []string {
	kinds := []string{"ext2", "ext4"}
	if _, err := exec.LookPath("mkfs.xfs"); err == nil {
		kinds = append(kinds, "xfs")
	}
	return kinds
}

func newPowerDisk(t testing.TB, kind string) *powerDisk {
	t.Helper()
	d := &powerDisk{kind: kind, dir: rig.MountPoint(t)}
	d.image = filepath.Join(filepath.Dir(d.dir), "image")
	tool(t, "truncate", "--size", fmt.Sprintf("%dM", diskSizes[kind]), d.image)
	tool(t, "mkfs."+kind, "-q", d.image)
	d.mount(t)
	return d
}

func (d *powerDisk) mount(t testing.TB) {
	t.Helper()
	tool(t, "mount", "-o", "loop", "-t", d.kind, d.image, d.dir)
}

// sync makes durable all that is on the disk.
func (d *powerDisk) sync(t testing.TB) {
	t.Helper()
	f, err := os.Open(d.dir)
	if err == nil {
		defer f.Close()
		err = unix.Syncfs(int(f.Fd()))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The request that stops a file system at once, and its way to do so without
// writing what it still has in memory: include/uapi/linux/ext4.h and, by
// another name, fs/xfs/libxfs/xfs_fs.h of the kernel.
const (
	ioctlShutdown = 0x8004587d
	withoutFlush  = 2
)

// cut cuts the power, and gives it back. What works on the disk dies with it:
// kill returns when it is gone. A journal is cut before the program is, which
// may see its disk fail in between.
func (d *powerDisk) cut(t testing.TB, kill func()) {
	t.Helper()
	if d.kind != "ext2" {
		d.shutdown(t)
	}
	kill()
	// What reached the device is in the image. The copy is taken before the
	// kernel unmounts the file system, because it syncs what it unmounts.
	after := d.image + "+"
	tool(t, "cp", "--sparse=always", d.image, after)
	d.unmount(t)
	if err := os.Rename(after, d.image); err != nil {
		t.Fatal(err)
	}
	if d.kind == "ext2" {
		d.check(t)
	}
	d.mount(t)
	if d.kind == "ext2" { // what was found is thrown away, or the disk fills up
		found, err := filepath.Glob(filepath.Join(d.dir, "lost+found", "*"))
		for _, path := range found {
			err = errors.Join(err, os.RemoveAll(path))
		}
		if err != nil {
			t.Fatal(err)
		}
		d.sync(t)
	}
}

func (d *powerDisk) shutdown(t testing.TB) {
	t.Helper()
	f, err := os.Open(d.dir)
	if err == nil {
		defer f.Close()
		err = unix.IoctlSetPointerInt(int(f.Fd()), ioctlShutdown, withoutFlush)
	}
	if err != nil {
		t.Fatalf("cut the power of %s: %v", d.kind, err)
	}
}

// unmount waits for the kernel to let go of the files of who was killed.
func (d *powerDisk) unmount(t testing.TB) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(rig.Patience); ; {
		err := unix.Unmount(d.dir, 0)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("unmount %s: %v", d.dir, err)
		}
	}
}

// check mends a file system without a journal, as a machine does that starts.
func (d *powerDisk) check(t testing.TB) {
	t.Helper()
	out, err := exec.Command("e2fsck", "-y", d.image).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 2) { // 1, 2: mended
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}
