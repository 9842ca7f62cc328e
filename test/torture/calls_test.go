package torture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// callFaults are calls that fail, as they do where the disk is full or broken,
// or the folder belongs to somebody else.
var callFaults = []struct{ call, as string }{
	{"write", "ENOSPC"},
	{"write", "EIO"},
	{"pwrite64", "ENOSPC"},
	{"mkdirat", "ENOSPC"},
	{"mkdirat", "EACCES"},
	{"fchmod", "EPERM"},
	{"fchmodat", "EPERM"},
	{"linkat", "ENOSPC"},
	{"linkat", "EACCES"},
	{"renameat2", "EACCES"},
	{"renameat2", "ENOSPC"},
	{"unlinkat", "EACCES"},
	{"newfstatat", "EACCES"},
	{"statx", "EIO"},
	{"fsync", "EIO"},
	{"syncfs", "EIO"},
	{"lseek", "EIO"},
	{"pread64", "EIO"},
	{"openat", "ENOSPC"},
	{"openat", "EMFILE"},
}

// without runs a poll in which a call fails: each thread's n-th, or, for 0, all.
func (c *crashTrial) without(call, as string, n int) rig.PollView {
	c.Helper()
	when := ""
	if n > 0 {
		when = fmt.Sprintf(":when=%d", n)
	}
	cmd := exec.Command("strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "signal=none",
		"-e", "trace="+call, "-e", "inject="+call+":error="+as+when, rig.Binary, "poll", "--json", "--config", c.site.Config, "crash")
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	out, _ := cmd.Output() // it fails, or not
	var v rig.PollView
	_ = json.Unmarshal(out, &v) // where the program did not come as far, there is none
	c.Faults++
	c.partial()
	return v
}

// TestCallsFail in polls of each format, one after the other: whatever could
// not be done is done by a later poll, and nothing twice.
func TestCallsFail(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, format := range []mail.Format{mail.EML, mail.Maildir, mail.Attachments} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			c := newCrashTrial(t, "calls fail", d, crashRow{mail.IMAP, "DELETE", true, false, format})
			c.recoverFromNoLinks()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			for began, round := time.Now(), 0; !t.Failed() && (round < 8 || time.Since(began) < rig.Torture(t)); round++ {
				fault := callFaults[rnd.IntN(len(callFaults))]
				c.deliver(c.size)
				n := 1 + rnd.IntN(12)
				c.without(fault.call, fault.as, n)
				c.recover(c.consume())
				if t.Failed() {
					t.Logf("%s fails with %s, the %d. of a thread", fault.call, fault.as, n)
				}
			}
			c.verdict()
		})
	}
}

// recoverFromNoLinks polls into a folder on a file system without hard links,
// which descriptions need: it says so, and nothing is deleted.
func (c *crashTrial) recoverFromNoLinks() {
	c.Helper()
	c.deliver(c.size)
	for _, as := range []string{"EPERM", "EOPNOTSUPP"} {
		v := c.without("linkat", as, 0)
		if v.State != "FAILED" || v.Error == nil || !strings.Contains(v.Error.Message, "hard links") || !strings.Contains(v.Error.Hint, "leave out metadata:") {
			c.Errorf("%s: %+v, %+v", as, v, v.Error)
		}
		if left := c.server.Messages(c, c.user); len(left) != c.size || len(c.delivered(c.folder)) != 0 {
			c.Errorf("%s: %d messages are left of %d", as, len(left), c.size)
		}
	}
	c.recover(c.consume())
}
