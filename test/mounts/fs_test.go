package mounts

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"mailpoller/test/rig"
)

// fuseEnv says that file systems can be mounted through FUSE: by root, with
// /dev/fuse. `make test` sets it to 1.
const fuseEnv = "POLLER_TEST_FUSE"

// refusals are what a file system does not do, each with the error that says so.
type refusals struct {
	mode, times, link, dirSync, dirRename, noReplace syscall.Errno

	folds bool // it keeps names in lower case
	// before, unless nil, hears of each call that changes something, and of each
	// that makes something durable.
	before func(ctx context.Context, call string)
	// looks, unless nil, hears of each call that looks at a file or a directory.
	looks func(ctx context.Context)
}

// mount is a folder on a file system with these refusals, and the directory
// beneath it, for as long as the test goes on.
func mount(t testing.TB, r *refusals) (folder, beneath string) {
	t.Helper()
	if os.Getenv(fuseEnv) == "" {
		t.Skipf("needs FUSE: run make test, or set %s=1", fuseEnv) //nolint:forbidigo // like StartDovecot of mailtest
	}
	folder, beneath = rig.MountPoint(t), t.TempDir()
	var stat syscall.Stat_t
	if err := syscall.Stat(beneath, &stat); err != nil {
		t.Fatal(err)
	}
	root := &node{fs.LoopbackNode{RootData: &fs.LoopbackRoot{Path: beneath, Dev: stat.Dev}}, r}
	root.RootData.RootNode = root
	server, err := fs.Mount(folder, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "refusing"}})
	if err != nil {
		t.Fatalf("mount %s through FUSE: %v", folder, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", folder, err)
		}
		server.Wait()
	})
	return folder, beneath
}

// node is a file or a directory.
type node struct {
	fs.LoopbackNode
	*refusals
}

// WrapChild implements fs.NodeWrapChilder.
func (n *node) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{fs.LoopbackNode{RootData: n.RootData}, n.refusals}
}

func (n *node) looked(ctx context.Context) {
	if n.looks != nil {
		n.looks(ctx)
	}
}

func (n *node) hears(ctx context.Context, call string) {
	if n.before != nil {
		n.before(ctx, call)
	}
}

func (n *node) name(name string) string {
	if n.folds {
		return strings.ToLower(name)
	}
	return name
}

// path is where a file of folded names lies: the kernel asks for it by another one.
func (n *node) path() string {
	return filepath.Join(n.RootData.Path, strings.ToLower(n.Path(n.Root())))
}

func (n *node) Getattr(ctx context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.looked(ctx)
	if !n.folds || f != nil {
		return n.LoopbackNode.Getattr(ctx, f, out)
	}
	var stat syscall.Stat_t
	if err := syscall.Lstat(n.path(), &stat); err != nil {
		return fs.ToErrno(err)
	}
	out.FromStat(&stat)
	return fs.OK
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if !n.folds {
		return n.LoopbackNode.Open(ctx, flags)
	}
	file, err := syscall.Open(n.path(), int(flags), 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	return fs.NewLoopbackFile(file), 0, fs.OK
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.looked(ctx)
	return n.LoopbackNode.Lookup(ctx, n.name(name), out)
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n.hears(ctx, "create")
	return n.LoopbackNode.Create(ctx, n.name(name), flags, mode, out)
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.hears(ctx, "mkdir")
	return n.LoopbackNode.Mkdir(ctx, n.name(name), mode, out)
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	n.hears(ctx, "unlink")
	return n.LoopbackNode.Unlink(ctx, n.name(name))
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	n.hears(ctx, "rmdir")
	return n.LoopbackNode.Rmdir(ctx, n.name(name))
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.hears(ctx, "link")
	if n.link != 0 {
		return nil, n.link
	}
	if n.folds {
		if err := syscall.Link(target.(*node).path(), filepath.Join(n.path(), n.name(name))); err != nil {
			return nil, fs.ToErrno(err)
		}
		return n.Lookup(ctx, name, out)
	}
	return n.LoopbackNode.Link(ctx, target, name, out)
}

func (n *node) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	n.hears(ctx, "rename")
	if flags != 0 && n.noReplace != 0 {
		return n.noReplace
	}
	if child := n.GetChild(name); n.dirRename != 0 && child != nil && child.IsDir() {
		return n.dirRename
	}
	return n.LoopbackNode.Rename(ctx, n.name(name), parent, n.name(newName), flags)
}

func (n *node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.hears(ctx, "setattr")
	if _, ok := in.GetMode(); ok && n.mode != 0 {
		return n.mode
	}
	if _, ok := in.GetMTime(); ok && n.times != 0 {
		return n.times
	}
	return n.LoopbackNode.Setattr(ctx, f, in, out)
}

func (n *node) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	n.hears(ctx, "fsync")
	return f.(fs.FileFsyncer).Fsync(ctx, flags)
}

func (n *node) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.hears(ctx, "write")
	return f.(fs.FileWriter).Write(ctx, data, off)
}

// directory is an open one.
type directory struct {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	fs.FileFsyncdirer
	n *node
}

func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	n.looked(ctx)
	h, f, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return &directory{h.(fs.FileReaddirenter), h.(fs.FileSeekdirer), h.(fs.FileReleasedirer), h.(fs.FileFsyncdirer), n}, f, 0
}

// Fsyncdir implements fs.FileFsyncdirer.
func (d *directory) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	d.n.hears(ctx, "fsyncdir")
	if d.n.dirSync != 0 {
		return d.n.dirSync
	}
	return d.FileFsyncdirer.Fsyncdir(ctx, flags)
}

// killer stops a process dead at its n-th call.
type killer struct {
	left atomic.Int64
	pid  atomic.Int64
}

func (k *killer) before(context.Context, string) {
	if pid := k.pid.Load(); pid != 0 && k.left.Add(-1) == 0 {
		_ = syscall.Kill(int(pid), syscall.SIGKILL) // it may have ended by itself
	}
}
