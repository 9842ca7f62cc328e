package torture

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"mailpoller/test/rig"
)

// A step is a system call between two of which a row of the crash table lies.
// It returns whether a call of a process, with these arguments, is one.
type step func(pid int, call uint64, args [6]uint64) bool

// durable is what makes something durable or visible.
func durable(_ int, call uint64, _ [6]uint64) bool {
	switch call {
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return true
	}
	return false
}

// lasting is what changes anything outside the process: on the disk, on the
// server, and in what it prints.
func lasting(pid int, call uint64, args [6]uint64) bool {
	switch call {
	case unix.SYS_FTRUNCATE, unix.SYS_UNLINKAT:
		return true
	case unix.SYS_OPENAT:
		return args[2]&unix.O_CREAT != 0
	case unix.SYS_WRITE, unix.SYS_PWRITE64:
		file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, args[0]))
		// Not by which its own threads wake each other, nor what SQLite shares
		// between processes and makes anew.
		return err == nil && !strings.HasPrefix(file, "anon_inode:") && !strings.HasSuffix(file, "-shm")
	}
	return durable(pid, call, args)
}

// stopAfter runs a program and stops it dead when it has done the n-th of
// these steps, all its threads taken together, and nothing has come after it
// in that thread. It returns false when the program ended before, and the octets
// of memory that it held at most.
//
// A tracer such as strace counts the calls of each thread by itself, and Go
// moves a poll from one thread to another: a kill at the second sync of a
// thread is one at the third or fourth of the program, or at none.
func stopAfter(program *exec.Cmd, is step, n int) (reached bool, peak int64, err error) {
	// Only the thread that begins a program can trace it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A group of its own, or a wait would take away the children of others.
	program.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true}
	// Each signal by which Go interrupts its own threads would stop them here.
	program.Env = append(program.Environ(), "GODEBUG=asyncpreemptoff=1")
	if err := program.Start(); err != nil {
		return false, 0, err
	}
	pid := program.Process.Pid
	defer func() { _ = program.Process.Release() }() // it was waited for
	within := make(map[int]bool)                     // threads, and whether they are in a step
	traced := false
	for {
		var status unix.WaitStatus
		thread, failed := unix.Wait4(-pid, &status, unix.WALL, nil)
		if failed == unix.EINTR {
			continue
		}
		if failed != nil {
			return reached, peak, fmt.Errorf("wait for %s: %w", program.Path, failed)
		}
		if status.Exited() || status.Signaled() {
			if thread == pid { // the last of them
				return reached, peak, nil
			}
			continue
		}
		if !traced {
			traced = true
			if err := unix.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
				return false, 0, fmt.Errorf("trace %s: %w", program.Path, err)
			}
		}
		signal := 0
		switch stop := status.StopSignal(); stop {
		case unix.SIGTRAP | 0x80: // at the beginning or the end of a call
			if in, ended := within[thread]; ended {
				delete(within, thread)
				if in {
					n--
				}
			} else {
				call, args, err := calling(thread)
				within[thread] = err == nil && is(pid, call, args)
				if err == nil && call == unix.SYS_EXIT_GROUP {
					peak = resident(pid)
				}
			}
			if n == 0 && !reached {
				reached, peak = true, resident(pid)
				_ = unix.Kill(pid, unix.SIGKILL) // it is there, and stands still
			}
		case unix.SIGTRAP, unix.SIGSTOP: // a program or a thread that begins
		default:
			signal = int(stop)
		}
		_ = unix.PtraceSyscall(thread, signal) // unless it was killed
	}
}

// calling is the call that a thread has begun.
func calling(thread int) (call uint64, args [6]uint64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", thread))
	if err == nil {
		_, err = fmt.Sscanf(string(text), "%d %v %v %v %v %v %v", &call, &args[0], &args[1], &args[2], &args[3], &args[4], &args[5])
	}
	return call, args, err
}

// resident is how many octets of memory a process has held at most. The usage
// that a parent is told of would count its own memory too, out of which the
// process was made.
func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, text, _ = bytes.Cut(text, []byte("\nVmHWM:"))
	var kib int64
	_, _ = fmt.Sscan(string(text), &kib) // 0 when it is gone
	return kib << 10
}

// TestStoppedDeadAfterExactlyThatStep stops a program whose steps are known.
func TestStoppedDeadAfterExactlyThatStep(t *testing.T) {
	t.Parallel()
	for n, want := range [][]string{1: {""}, 2: {"1\n"}, 3: {"1\n", ""}, 4: {"1\n", "2\n"}, 5: {"1\n", "2\n"}} {
		if n == 0 {
			continue
		}
		program := exec.Command("sh", "-c", "echo 1 >a; echo 2 >b")
		program.Dir = t.TempDir()
		reached, peak, err := stopAfter(program, lasting, n)
		if err != nil || reached != (n < 5) || peak == 0 {
			t.Errorf("stopped after step %d: %v, %d, %v", n, reached, peak, err)
		}
		var found []string
		for _, data := range rig.Files(t, program.Dir) {
			found = append(found, string(data))
		}
		slices.Sort(found)
		slices.Sort(want)
		if !slices.Equal(found, want) {
			t.Errorf("stopped after step %d, files hold %q, not %q", n, found, want)
		}
	}
}
