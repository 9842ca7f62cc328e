package torture

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// crashTrial stops polls of one mailbox dead, over and over.
type crashTrial struct {
	testing.TB
	*rig.Tally
	crashRow
	server *mailtest.Dovecot
	user   string
	site   *rig.Site
	folder string
	taken  string // where the consumer puts what it takes

	messages map[[sha256.Size]byte]int // that were delivered to the server, and how often they came out of the folder
	present  int                       // of them on the server, unless they were deleted
}

// crashRow is an experiment.
type crashRow struct {
	store       mail.StoreType
	disposition string
	batched     bool
	consumer    bool
}

func (r crashRow) String() string {
	name := fmt.Sprintf("%s %s single", r.store, r.disposition)
	if r.batched {
		name = fmt.Sprintf("%s %s batched", r.store, r.disposition)
	}
	if r.consumer {
		name += ", with a consumer"
	}
	return name
}

func newCrashTrial(t testing.TB, what string, d *mailtest.Dovecot, row crashRow) *crashTrial {
	t.Helper()
	c := &crashTrial{
		TB: t, Tally: &rig.Tally{Experiment: what + ", " + row.String()}, crashRow: row, server: d, user: d.NewUser(t),
		messages: make(map[[sha256.Size]byte]int),
	}
	batch := 1
	if row.batched {
		batch = 0
	}
	c.site = rig.New(t, rig.Connect(t, d, "crash", c.user, row.store, mail.NoTLS).With(rig.Settings{
		"disposition": row.disposition, "max_messages": batch, "schedule": "@every 1s", "timeout": "10s",
	}))
	c.folder = filepath.Join(c.site.Dir, "crash")
	c.taken = c.site.Mkdir("taken")
	return c
}

// deliver gives the server new messages, one of them in many pieces.
func (c *crashTrial) deliver(count int) {
	c.Helper()
	for range count {
		n := len(c.messages) + 1
		m := fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", n, bytes.Repeat(fmt.Appendf(nil, "line of message %d\r\n", n), 1+3000*(n%3/2)))
		c.messages[sha256.Sum256(m)] = 0
		c.server.Deliver(c, c.user, m)
		c.present++
	}
}

// The calls between which every step of the crash table lies: what makes
// something durable or visible, and what is said to the disk and to the server.
const (
	stepCalls  = "fsync,fdatasync,renameat2"
	everyCall  = stepCalls + ",write,pwrite64,unlinkat,openat,ftruncate"
	crashDelay = "2000" // microseconds; in which the kill arrives
)

// stopAt runs a poll and stops it dead at the n-th of these calls. It returns
// false when the poll made fewer.
func (c *crashTrial) stopAt(calls string, n int) bool {
	c.Helper()
	made, trace, err := os.Pipe()
	if err != nil {
		c.Fatal(err)
	}
	defer made.Close()
	poll := exec.Command("strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/fd/3", "-e", "signal=none",
		"-e", "trace="+calls, "-e", "inject="+calls+":delay_exit="+crashDelay,
		rig.Binary, "poll", "--json", "crash", "--config", c.site.Config)
	// A tracer is told of each signal by which Go interrupts its own threads.
	poll.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	poll.ExtraFiles = []*os.File{trace}
	poll.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := poll.Start(); err != nil {
		c.Fatal(err)
	}
	trace.Close()
	seen := 0
	for lines := bufio.NewScanner(made); seen < n && lines.Scan(); {
		seen++
	}
	_ = syscall.Kill(-poll.Process.Pid, syscall.SIGKILL) // it may have ended
	_ = poll.Wait()                                      // it was killed
	c.Faults++
	return seen == n
}

// stopAfter runs the daemon for some time and then stops it dead.
func (c *crashTrial) stopAfter(moment time.Duration) {
	c.Helper()
	p := c.site.Start()
	select {
	case <-time.After(moment):
	case <-p.Done:
		c.Fatal("the daemon ended by itself")
	}
	p.Kill()
	c.Faults++
}

// recover polls until there is nothing new, and compares the folder and the
// server with what was promised. stop ends the consumer.
func (c *crashTrial) recover(stop func()) {
	c.Helper()
	for polls := 0; ; polls++ {
		began := time.Now()
		v := c.site.Poll("crash")[0]
		c.Took(time.Since(began))
		if v.State != "SUCCEEDED" || polls > len(c.messages)+3 {
			c.Fatalf("after crash %d: %+v, %+v", c.Faults, v, v.Error)
		}
		if v.Outcome != "saved" {
			break
		}
	}
	stop()
	c.collect()
	left := c.server.Messages(c, c.user)
	for _, m := range left {
		switch {
		case c.disposition == "DELETE":
			c.Errorf("after crash %d, message %d is still on the server", c.Faults, m.UID)
		case c.store == mail.IMAP && slices.Contains(m.Flags, `\Seen`) != (c.disposition == "SEEN"):
			c.Errorf("after crash %d, message %d has the flags %q", c.Faults, m.UID, m.Flags)
		}
	}
	if c.disposition != "DELETE" && len(left) != c.present {
		c.Errorf("after crash %d, the server has %d messages of %d", c.Faults, len(left), c.present)
	}
	if len(left) > 50 { // somebody tidies up
		c.server.Remove(c, left...)
		c.present = 0
	}
	hidden, err := os.ReadDir(c.folder)
	if err != nil || len(hidden) > 0 {
		c.Errorf("after crash %d, left in the folder: %v, %v", c.Faults, hidden, err)
	}
}

// collect counts what was delivered, and empties the folder as its consumer
// does in the end.
func (c *crashTrial) collect() {
	c.Helper()
	for _, dir := range []string{c.folder, c.taken} {
		for name, data := range rig.Files(c, dir) {
			sum := sha256.Sum256(data)
			if _, ok := c.messages[sum]; !ok {
				c.Fatalf("after crash %d, %s holds %d octets that are no message", c.Faults, name, len(data))
			}
			if c.messages[sum]++; c.messages[sum] > 1 {
				c.Errorf("after crash %d, %s comes again", c.Faults, name)
			}
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				c.Fatal(err)
			}
		}
	}
}

// consume takes files out of the folder the moment they appear, until stop is
// called.
func (c *crashTrial) consume() (stop func()) {
	c.Helper()
	if !c.consumer {
		return func() {}
	}
	watch, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err == nil {
		_, err = syscall.InotifyAddWatch(watch, c.folder, syscall.IN_MOVED_TO)
	}
	if err != nil {
		c.Fatal(err)
	}
	events := os.NewFile(uintptr(watch), "inotify") // its Read ends when it is closed
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for buffer := make([]byte, 64<<10); ; {
			entries, _ := os.ReadDir(c.folder)
			for _, e := range entries {
				if !strings.HasPrefix(e.Name(), ".") {
					_ = os.Rename(filepath.Join(c.folder, e.Name()), filepath.Join(c.taken, fmt.Sprintf("%d-%s", time.Now().UnixNano(), e.Name())))
				}
			}
			if _, err := events.Read(buffer); err != nil {
				return
			}
		}
	}()
	return func() { events.Close(); <-stopped }
}

// verdict counts how often each message was delivered, and the memory of a
// poll.
func (c *crashTrial) verdict() {
	c.Helper()
	for _, n := range c.messages {
		c.Count(n)
	}
	poll := exec.Command(rig.Binary, "poll", "crash", "--config", c.site.Config)
	if err := poll.Run(); err != nil {
		c.Error(err)
	}
	c.Used(poll.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10)
	c.Verdict(c)
}

// crashRows are all experiments for a long run, and a few for a short one.
func crashRows(t *testing.T) []crashRow {
	t.Helper()
	if rig.Torture(t) == 0 {
		return []crashRow{
			{mail.IMAP, "DELETE", true, true},
			{mail.POP3, "DELETE", true, true},
			{mail.IMAP, "SEEN", true, false},
			{mail.POP3, "KEEP", false, true},
		}
	}
	var rows []crashRow
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for _, disposition := range []string{"DELETE", "KEEP", "SEEN"} {
			for _, batched := range []bool{false, true} {
				for _, consumer := range []bool{false, true} {
					rows = append(rows, crashRow{store, disposition, batched, consumer})
				}
			}
		}
	}
	return rows
}

// TestStoppedDeadAtEachStep stops polls at each call that makes something
// durable or visible, and in a long run at each that is said to the disk or to
// the server.
func TestStoppedDeadAtEachStep(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, row := range crashRows(t) {
		t.Run(row.String(), func(t *testing.T) {
			t.Parallel()
			c := newCrashTrial(t, "stopped dead at each step", d, row)
			for began := time.Now(); ; {
				calls := stepCalls
				if rig.Torture(t) > 0 {
					calls = everyCall
				}
				for n := 1; ; n++ {
					c.deliver(3)
					stop := c.consume()
					more := c.stopAt(calls, n)
					c.recover(stop)
					if !more || t.Failed() || rig.Torture(t) > 0 && time.Since(began) >= rig.Torture(t) {
						break
					}
				}
				if t.Failed() || time.Since(began) >= rig.Torture(t) {
					break
				}
			}
			c.verdict()
		})
	}
}

// TestStoppedDeadAtAnyMoment stops the daemon at moments that nothing chooses.
func TestStoppedDeadAtAnyMoment(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, row := range crashRows(t) {
		t.Run(row.String(), func(t *testing.T) {
			t.Parallel()
			c := newCrashTrial(t, "stopped dead at any moment", d, row)
			rnd := rand.New(rand.NewPCG(7, uint64(time.Now().UnixNano())))
			rounds := 0
			for began := time.Now(); !t.Failed() && (rounds < 3 || time.Since(began) < rig.Torture(t)); rounds++ {
				c.deliver(10)
				stop := c.consume()
				for range 1 + rnd.IntN(3) {
					c.stopAfter(time.Duration(rnd.IntN(1500)) * time.Millisecond)
				}
				c.recover(stop)
			}
			c.verdict()
		})
	}
}
