package torture

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// hostTrial is a daemon that moves mail while its host breaks under it.
type hostTrial struct {
	testing.TB
	*rig.Tally
	daemon        *rig.Daemon
	server        *mailtest.Dovecot
	user          string
	folder, state string
	messages      map[[sha256.Size]byte]int // that were on the server, and how often they came out of the folder
}

const hostName = "host" // of the connection

// newHostTrial starts the daemon, with its folder, on a disk of that size, and
// its state directory each on a file system of its own.
func newHostTrial(t testing.TB, d *mailtest.Dovecot, store mail.StoreType, size string, more rig.Settings) *hostTrial {
	t.Helper()
	h := &hostTrial{
		TB: t, Tally: &rig.Tally{}, server: d, user: d.NewUser(t), messages: make(map[[sha256.Size]byte]int),
		folder: filepath.Join(smallDisk(t, size), "in"), state: smallDisk(t, "1m"),
	}
	if err := os.Mkdir(h.folder, 0o750); err != nil {
		t.Fatal(err)
	}
	s := rig.New(t)
	s.Write(map[string]any{
		"listen": "127.0.0.1:0", "state_dir": h.state, "shutdown_grace": "10s",
		"connections": []rig.Settings{rig.Connect(t, d, hostName, h.user, store, mail.NoTLS).With(rig.Settings{
			"folder": h.folder, "disposition": "DELETE", "max_messages": 0, "schedule": "@every 1h", "back_off": "DISABLED",
		}).With(more)},
	})
	h.daemon = s.Start().Ready()
	return h
}

// smallDisk is a file system in memory.
func smallDisk(t testing.TB, size string) string {
	t.Helper()
	dir := rig.MountPoint(t)
	tool(t, "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir)
	return dir
}

// deliver gives the server three messages, of which two fit into 200 KiB.
func (h *hostTrial) deliver() {
	h.Helper()
	for range 3 {
		n := len(h.messages) + 1
		m := fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", n, bytes.Repeat(fmt.Appendf(nil, "line of message %04d\r\n", n), 3500))
		h.messages[sha256.Sum256(m)] = 0
		h.server.Deliver(h, h.user, m)
	}
}

// safe holds that each message is on the server or was delivered, and that
// nothing partial is visible.
func (h *hostTrial) safe() {
	h.Helper()
	there := make(map[[sha256.Size]byte]bool)
	for _, m := range h.server.Messages(h, h.user) {
		there[sha256.Sum256(m.Body)] = true
	}
	entries, err := os.ReadDir(h.folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.Fatal(err)
	}
	if len(entries) > 0 {
		for name, data := range rig.Files(h, h.folder) {
			sum := sha256.Sum256(data)
			if _, ok := h.messages[sum]; !ok {
				h.Errorf("%s holds no message: %s", name, rig.Describe(data))
			}
			there[sum] = true
		}
	}
	for sum, n := range h.messages {
		if n == 0 && !there[sum] {
			h.Errorf("message %x is neither in the folder nor on the server", sum[:4])
		}
	}
}

// take takes the messages out of the folder and counts them.
func (h *hostTrial) take() {
	h.Helper()
	for name, data := range rig.Files(h, h.folder) {
		h.messages[sha256.Sum256(data)]++
		if err := os.Remove(filepath.Join(h.folder, name)); err != nil {
			h.Fatal(err)
		}
	}
}

// drained polls until the server is empty.
func (h *hostTrial) drained() {
	h.Helper()
	for range 5 {
		v := h.daemon.Poll(hostName)[0]
		h.Took(time.Duration(v.Duration * float64(time.Second)))
		if v.State != "SUCCEEDED" && (v.Error == nil || v.Error.Hint == "") {
			h.Fatalf("%+v, %+v", v, v.Error)
		}
		h.take()
		if v.Outcome == "empty" {
			break
		}
	}
	if left := h.server.Messages(h, h.user); len(left) > 0 {
		h.Errorf("%d messages are left on the server", len(left))
	}
	if left, err := os.ReadDir(h.folder); err != nil || len(left) > 0 {
		h.Errorf("left in the folder: %v, %v", left, err)
	}
}

// fails polls, and holds that the operator reads the step, the kind, the
// reason and a hint.
func (h *hostTrial) fails(op, kind, reason, hint string) {
	h.Helper()
	h.Faults++
	v := h.daemon.Poll(hostName)[0]
	if e := v.Error; v.State != "FAILED" || e == nil || e.Op != op || e.Kind != kind || !strings.Contains(e.Message, reason) || !strings.Contains(e.Hint, hint) {
		h.Errorf("%+v, %+v", v, v.Error)
	}
	h.safe()
}

// verdict counts how often each message was delivered.
// count counts how often each message was delivered in the end.
func (h *hostTrial) count() {
	h.Helper()
	h.drained()
	for _, n := range h.messages {
		h.Count(n)
	}
}

// fill writes a file until the file system has no room left.
func fill(t testing.TB, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// hostFaults are what can go wrong with the file systems of a daemon that
// runs, and what the operator reads of it.
var hostFaults = []struct {
	name                   string
	breaks, mends          func(h *hostTrial)
	op, kind, reason, hint string
}{
	{
		"the disk of the folder is full",
		func(h *hostTrial) { fill(h, h.folder+"/../filler") },
		func(h *hostTrial) { remove(h, h.folder+"/../filler") },
		"save", "storage", "no space left on device", "free some space",
	},
	{
		"the disk of the folder is too small for all", func(*hostTrial) {}, (*hostTrial).take,
		"save", "storage", "no space left on device", "free some space",
	},
	{
		"the disk of the state is full",
		func(h *hostTrial) { fill(h, h.state+"/filler") },
		func(h *hostTrial) { remove(h, h.state+"/filler") },
		"record", "state", "full", "make room on the file system of ",
	},
	{
		"the folder is removed",
		func(h *hostTrial) { remove(h, h.folder) },
		func(h *hostTrial) {
			if err := os.Mkdir(h.folder, 0o750); err != nil {
				h.Fatal(err)
			}
		},
		"save", "storage", "no such file or directory", "create ",
	},
	{
		"the folder is read-only",
		func(h *hostTrial) { tool(h, "mount", "-o", "remount,ro", filepath.Dir(h.folder)) },
		func(h *hostTrial) { tool(h, "mount", "-o", "remount,rw", filepath.Dir(h.folder)) },
		"save", "storage", "read-only file system", "mount the file system of ",
	},
}

func remove(t testing.TB, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestTheFileSystemsFail: the poll says why it fails, and goes on when the
// fault is mended, without a restart.
func TestTheFileSystemsFail(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, fault := range hostFaults {
		for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
			t.Run(fmt.Sprintf("%s, %s", fault.name, store), func(t *testing.T) {
				t.Parallel()
				tally := &rig.Tally{Experiment: fmt.Sprintf("%s, %s", fault.name, store)}
				for began, daemons := time.Now(), 0; ; daemons++ {
					t.Run(fmt.Sprint(daemons), func(t *testing.T) { // a new daemon: the log of its database takes room that it keeps
						h := newHostTrial(t, d, store, "200k", nil)
						h.Tally = tally
						h.deliver()
						fault.breaks(h)
						h.fails(fault.op, fault.kind, fault.reason, fault.hint)
						h.fails(fault.op, fault.kind, fault.reason, fault.hint)
						fault.mends(h)
						h.count()
					})
					if t.Failed() || time.Since(began) >= rig.Torture(t) {
						break
					}
				}
				tally.Verdict(t)
			})
		}
	}
}

// TestNoFilesCanBeOpened takes the file descriptors of a daemon away: it fails
// its polls, at whichever step needs the one that is not there, and goes on
// when it has them back.
func TestNoFilesCanBeOpened(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	h := newHostTrial(t, d, mail.IMAP, "1m", rig.Settings{"schedule": "@every 1s"})
	h.Experiment = "no files can be opened"
	pid := h.daemon.Cmd.Process.Pid
	var was unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &was); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for extra := range 4 {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		mark := h.daemon.Mark()
		limit := unix.Rlimit{Cur: uint64(len(open) + extra), Max: was.Max}
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &limit, nil); err != nil {
			t.Fatal(err)
		}
		h.deliver()
		h.Faults++
		m := h.daemon.Await(mark, `"msg":"poll (failed|finished)".*`)
		if m[1] == "failed" {
			failed++
			if !strings.Contains(m[0], syscall.EMFILE.Error()) || !strings.Contains(m[0], "LimitNOFILE=") {
				t.Errorf("%d files more: %s", extra, m[0])
			}
		}
		h.safe()
		if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &was, nil); err != nil {
			t.Fatal(err)
		}
		h.drained()
	}
	if failed == 0 {
		t.Error("no poll failed")
	}
	h.count()
	h.Verdict(h)
}
