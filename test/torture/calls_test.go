package torture

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
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
			c.withoutLinks()
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

// withoutLinks polls into a folder on a file system without hard links:
// descriptions are shown all the same.
func (c *crashTrial) withoutLinks() {
	c.Helper()
	for _, as := range []string{"EPERM", "EOPNOTSUPP"} {
		c.deliver(c.size)
		v := c.without("linkat", as, 0)
		if got := len(c.delivered(c.folder)); v.State != "SUCCEEDED" || got != c.size {
			c.Errorf("%s: %d messages of %d, %+v, %+v", as, got, c.size, v, v.Error)
		}
		c.recover(c.consume())
	}
}
