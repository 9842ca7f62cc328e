package torture

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// powerTrial polls a mailbox onto a disk whose power is cut over and over.
type powerTrial struct {
	testing.TB
	*rig.Tally
	server      *mailtest.Dovecot
	user        string
	disposition string
	disk        *powerDisk
	site        *rig.Site
	folder      string
	rnd         *rand.Rand

	messages  map[[sha256.Size]byte]int // that were delivered to the server, and how often they came out of the folder
	usual     time.Duration             // how long a poll takes when nothing is wrong
	consuming bool                      // files are taken while polls go on
	survives  bool                      // a program lives on without its disk until it ends by itself
	unsure    map[string]bool           // names of files that were taken when the power was cut
}

func newPowerTrial(t testing.TB, d *mailtest.Dovecot, kind string, store mail.StoreType, disposition string) *powerTrial {
	t.Helper()
	p := &powerTrial{
		TB: t, Tally: &rig.Tally{Experiment: fmt.Sprintf("power cut on %s, %s %s", kind, store, disposition)},
		server: d, user: d.NewUser(t), disposition: disposition,
		disk: newPowerDisk(t, kind), site: rig.New(t),
		rnd: rand.New(rand.NewPCG(1, uint64(time.Now().UnixNano()))), messages: make(map[[sha256.Size]byte]int), usual: time.Second,
		unsure: make(map[string]bool),
	}
	p.folder = filepath.Join(p.disk.dir, "in")
	if err := os.Mkdir(p.folder, 0o750); err != nil {
		t.Fatal(err)
	}
	p.disk.sync(t)
	p.configure(store, filepath.Join(p.disk.dir, "state"))
	return p
}

func (p *powerTrial) configure(store mail.StoreType, state string) {
	p.Helper()
	p.site.Write(map[string]any{
		"listen": "", "state_dir": state, "log": map[string]any{"level": "error"},
		"connections": []rig.Settings{rig.Connect(p, p.server, "power", p.user, store, mail.NoTLS).With(rig.Settings{
			"folder": p.folder, "disposition": p.disposition, "max_messages": 0,
		})},
	})
}

// deliver gives the server three new messages, or enough to be synced together
// and not one by one; some are large enough to be written in many pieces.
func (p *powerTrial) deliver() {
	p.Helper()
	for i := range 3 + 6*p.rnd.IntN(2) {
		n := len(p.messages) + 1
		m := fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", n, bytes.Repeat(fmt.Appendf(nil, "line of message %d\r\n", n), 1+4000*(i%2)))
		p.messages[sha256.Sum256(m)] = 0
		p.server.Deliver(p, p.user, m)
	}
}

// poll is a poll in progress.
type powerPoll struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan struct{}
}

// start begins a poll, under a tracer if there is one.
func (p *powerTrial) start(trace *os.File, tracer ...string) *powerPoll {
	p.Helper()
	args := slices.Concat(tracer, []string{rig.Binary, "poll", "--json", "--config", p.site.Config, "power"})
	poll := &powerPoll{cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	poll.cmd.Stdout, poll.cmd.Stderr = &poll.output, &poll.output
	// A tracer is told of each signal by which Go interrupts its own threads.
	poll.cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	poll.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if trace != nil {
		poll.cmd.ExtraFiles = []*os.File{trace}
	}
	if err := poll.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	go func() {
		_ = poll.cmd.Wait() // until nobody holds its output; how it ended is in ProcessState
		close(poll.done)
	}()
	return poll
}

// kill stops the poll dead, and returns when it is gone.
func (q *powerPoll) kill() {
	_ = syscall.Kill(-q.cmd.Process.Pid, syscall.SIGKILL) // it may be gone already
	<-q.done
}

// cutAfter cuts the power some time after a poll was begun. One in three
// programs survives it.
func (p *powerTrial) cutAfter(moment time.Duration) {
	p.Helper()
	stop := p.consumer()
	poll := p.start(nil)
	select {
	case <-time.After(moment):
	case <-poll.done:
	}
	p.cut(poll, stop, p.survives || p.rnd.IntN(3) == 0)
}

// The calls that make durable what is on the disk, or visible, and those that
// change it. Each is held up for a moment after it was done, in which the power
// is cut.
const (
	syncCalls  = "fsync,fdatasync,syncfs,renameat2"
	writeCalls = "pwrite64,unlinkat" // among them what is said to the server
	heldUp     = "8000"              // microseconds
)

// cutAt cuts the power right after the n-th of these calls. It returns false
// when the poll made fewer.
func (p *powerTrial) cutAt(calls string, n int) bool {
	p.Helper()
	stop := p.consumer()
	made, trace, err := os.Pipe()
	if err != nil {
		p.Fatal(err)
	}
	defer made.Close()
	poll := p.start(trace, "strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/fd/3", "-e", "signal=none",
		"-e", "trace="+calls, "-e", "inject="+calls+":delay_exit="+heldUp)
	trace.Close()
	seen := 0
	for lines := bufio.NewScanner(made); seen < n && lines.Scan(); {
		seen++
	}
	p.cut(poll, stop, p.survives)
	return seen == n
}

// cut cuts the power during a poll, and looks at what is there then: nothing
// partial.
func (p *powerTrial) cut(poll *powerPoll, stop func(), survives bool) {
	p.Helper()
	p.disk.cut(p, func() {
		if survives && p.disk.kind != "ext2" {
			select {
			case <-poll.done:
			case <-time.After(rig.Patience):
				p.Error("a poll does not end when its disk is gone")
			}
		}
		poll.kill()
		stop()
	})
	p.Faults++
	for name, data := range rig.Files(p, p.folder) {
		if _, ok := p.messages[sha256.Sum256(data)]; !ok {
			p.Fatalf("after cut %d, %s holds no message: %s", p.Faults, name, rig.Describe(data))
		}
	}
}

// recover polls until there is nothing new, and looks at the server.
func (p *powerTrial) recover() {
	p.Helper()
	for range 3 {
		began := time.Now()
		poll := p.start(nil)
		<-poll.done
		p.Took(time.Since(began))
		p.usual = (p.usual + time.Since(began)) / 2
		p.Used(poll.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10)
		var v rig.PollView
		if err := json.Unmarshal(poll.output.Bytes(), &v); err != nil || v.State != "SUCCEEDED" {
			p.Fatalf("after cut %d: %v, %s", p.Faults, err, &poll.output)
		}
		if v.Outcome == "empty" {
			break
		}
	}
	left := p.server.Messages(p, p.user)
	for _, m := range left {
		if p.disposition == "DELETE" || !slices.Contains(m.Flags, `\Seen`) {
			p.Errorf("after cut %d, the server has message %d, flags %q", p.Faults, m.UID, m.Flags)
		}
	}
	p.server.Remove(p, left...)
	if p.disk.kind == "ext2" {
		// Without a journal, a block of a file that was removed may belong to
		// two files after a power cut, and what was synced into the one is in
		// the other: not even a database survives that. So what a trial begins
		// with is durable as a whole.
		p.disk.sync(p)
	}
}

// collect takes all messages out of the folder and counts them.
func (p *powerTrial) collect() {
	p.Helper()
	if err := p.take(); err != nil {
		p.Fatal(err)
	}
	clear(p.unsure)
	left, err := os.ReadDir(p.folder)
	if err != nil || len(left) > 0 {
		p.Errorf("after cut %d, left in the folder: %v, %v", p.Faults, left, err)
	}
}

// verdict counts how often each message was delivered.
func (p *powerTrial) verdict() {
	p.Helper()
	p.collect()
	for n := range maps.Values(p.messages) {
		p.Count(n)
	}
	p.Logf("%+v", *p.Tally)
	p.Verdict(p)
}

// powerRow is an experiment of the tests below.
type powerRow struct {
	disk        string
	store       mail.StoreType
	disposition string
}

// powerRows are all experiments for a long run, and a few for a short one.
func powerRows(t *testing.T) []powerRow {
	t.Helper()
	if rig.Torture(t) == 0 {
		return []powerRow{{"ext2", mail.IMAP, "DELETE"}, {"ext4", mail.POP3, "DELETE"}, {"ext4", mail.IMAP, "SEEN"}}
	}
	var rows []powerRow
	for _, disk := range powerDiskKinds() {
		rows = append(rows, powerRow{disk, mail.IMAP, "DELETE"}, powerRow{disk, mail.POP3, "DELETE"}, powerRow{disk, mail.IMAP, "SEEN"})
	}
	return rows
}

// TestThePowerIsCut cuts it at each call that concerns the disk, at moments
// spread over a poll, and right after its end.
func TestThePowerIsCut(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, row := range powerRows(t) {
		t.Run(fmt.Sprintf("%s %s on %s", row.store, row.disposition, row.disk), func(t *testing.T) {
			t.Parallel()
			p := newPowerTrial(t, d, row.disk, row.store, row.disposition)
			for began := time.Now(); ; {
				if row.disposition == "DELETE" || rig.Torture(t) > 0 {
					p.atEach(syncCalls)
				}
				if rig.Torture(t) > 0 {
					p.atEach(syncCalls + writeCalls)
				}
				p.atMoments(5)
				if t.Failed() || time.Since(began) >= rig.Torture(t) {
					break
				}
			}
			p.verdict()
		})
	}
}

func (p *powerTrial) atEach(calls string) {
	p.Helper()
	for n, more := 1, true; more && !p.Failed(); n++ {
		p.deliver()
		more = p.cutAt(calls, n)
		p.recover()
		if n%8 == 0 {
			p.collect()
		}
	}
}

func (p *powerTrial) atMoments(n int) {
	p.Helper()
	for i := range n {
		p.deliver()
		p.cutAfter(p.usual * time.Duration(i+1) / time.Duration(n-1)) // the last when it is over
		if p.rnd.IntN(2) == 0 {
			p.cutAfter(time.Duration(p.rnd.Int64N(int64(p.usual)))) // and again, in what mends it
		}
		p.recover()
	}
	p.collect()
}
