package torture

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
	size     int                       // messages between two faults
	format   *formatted                // unless nil: what there is beside the octets
}

// crashRow is an experiment.
type crashRow struct {
	store       mail.StoreType
	disposition string
	batched     bool
	consumer    bool
	format      mail.Format // with all that there is for one; empty for plain files
}

func (r crashRow) String() string {
	name := fmt.Sprintf("%s %s single", r.store, r.disposition)
	if r.batched {
		name = fmt.Sprintf("%s %s batched", r.store, r.disposition)
	}
	if r.format != "" {
		name += ", " + string(r.format)
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
	c.site = rig.New(t)
	settings := rig.Settings{"disposition": row.disposition, "max_messages": batch, "schedule": "@every 1s", "timeout": "10s"}
	if row.disposition == move {
		settings["disposition"], settings["move_to"] = "KEEP", archive
	}
	if row.format != "" {
		c.format = newFormatted(t, c.site, row)
		settings = settings.With(c.format.settings)
	}
	c.site.Configure(rig.Connect(t, d, "crash", c.user, row.store, mail.NoTLS).With(settings))
	c.size = 3
	if row.batched && rig.Torture(t) > 0 {
		c.size = 10
	}
	c.folder = filepath.Join(c.site.Dir, "crash")
	c.taken = c.site.Mkdir("taken")
	return c
}

// deliver gives the server new messages, one of them in many pieces.
func (c *crashTrial) deliver(count int) {
	c.Helper()
	for range count {
		n := len(c.messages) + 1
		body := bytes.Repeat(fmt.Appendf(nil, "line of message %d\r\n", n), 1+3000*(n%3/2))
		m := fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", n, body)
		if c.format != nil {
			m = c.format.compose(body)
		}
		c.messages[sha256.Sum256(m)] = 0
		c.server.Deliver(c, c.user, m)
		c.present++
	}
}

// stopAt runs a poll and stops it dead after the n-th step. It returns false
// when the poll ended before.
func (c *crashTrial) stopAt(is step, n int) bool {
	c.Helper()
	reached, peak, err := stopAfter(exec.Command(rig.Binary, "poll", "--json", "crash", "--config", c.site.Config), is, n)
	if err != nil {
		c.Fatal(err)
	}
	c.Used(peak)
	if reached {
		c.Faults++
		c.partial()
	}
	return reached
}

// sweep stops polls dead after a step, each after a later one than the one
// before, until a poll comes to its end. If it is to, it stops the next one
// too, which repairs what the first has left.
func (c *crashTrial) sweep(is step, every int, again bool) {
	c.Helper()
	for n, more := 1+rand.IntN(every), true; more && !c.Failed(); n += every {
		c.deliver(c.size)
		stop := c.consume()
		if more = c.stopAt(is, n); more && again {
			c.stopAt(is, 1+rand.IntN(n))
		}
		c.recover(stop)
	}
}

// stopAround runs the daemon for some time and then stops it dead.
func (c *crashTrial) stopAround(moment time.Duration) {
	c.Helper()
	p := c.site.Start()
	select {
	case <-time.After(moment):
	case <-p.Done:
		c.Fatal("the daemon ended by itself")
	}
	c.Used(resident(p.Cmd.Process.Pid))
	p.Kill()
	c.Faults++
	c.partial()
}

// partial looks for a part of a message, right after a crash. A consumer looks
// for itself.
func (c *crashTrial) partial() {
	c.Helper()
	if c.consumer {
		return
	}
	c.delivered(c.folder)
}

// delivery is a message that is visible.
type delivery struct {
	name  string
	paths []string // all that was made of it
	sum   [sha256.Size]byte
}

// delivered is the messages that are visible in a directory. Each is whole.
func (c *crashTrial) delivered(dir string) []delivery {
	c.Helper()
	if c.format != nil {
		return c.format.delivered(c, dir)
	}
	var all []delivery
	for name, data := range rig.Files(c, dir) {
		if c.whole(name, data) {
			all = append(all, delivery{name, []string{filepath.Join(dir, name)}, sha256.Sum256(data)})
		}
	}
	return all
}

// whole fails the test when a file is not a message that was delivered.
func (c *crashTrial) whole(name string, data []byte) bool {
	_, ok := c.messages[sha256.Sum256(data)]
	if !ok {
		c.Errorf("after crash %d, %s holds no message: %s", c.Faults, name, rig.Describe(data))
	}
	return ok
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
		flags := m.Flags
		if c.store == mail.POP3 { // a server may note that a message was retrieved
			flags = slices.DeleteFunc(flags, func(f string) bool { return f == `\Seen` })
		}
		switch promised := c.store == mail.IMAP && c.disposition == "SEEN"; {
		case c.removes():
			c.Errorf("after crash %d, message %d is still on the server", c.Faults, m.UID)
		case promised && !slices.Equal(flags, []string{`\Seen`}), !promised && len(flags) > 0,
			c.store == mail.IMAP && c.disposition == "KEEP" && !m.Recent:
			c.Errorf("after crash %d, message %d has the flags %q, recent: %v", c.Faults, m.UID, m.Flags, m.Recent)
		}
	}
	if !c.removes() && len(left) != c.present {
		c.Errorf("after crash %d, the server has %d messages of %d", c.Faults, len(left), c.present)
	}
	if c.disposition == move {
		c.moved()
	}
	if len(left) > 50 { // somebody tidies up
		c.server.Remove(c, left...)
		c.present = 0
	}
	if c.format != nil {
		c.format.tidy(c)
		return
	}
	hidden, err := os.ReadDir(c.folder)
	if err != nil || len(hidden) > 0 {
		c.Errorf("after crash %d, left in the folder: %v, %v", c.Faults, hidden, err)
	}
}

// move stands for the disposition where messages are moved to the archive.
const move, archive = "MOVE", "Archive"

// withArchive are the settings of a server that has it.
const withArchive = "namespace inbox {\n inbox = yes\n mailbox " + archive + " {\n auto = create\n }\n}"

// removes reports whether a message that was saved is gone from the mailbox.
func (c *crashTrial) removes() bool { return c.disposition == "DELETE" || c.disposition == move }

// moved holds that each message is in the archive, once.
func (c *crashTrial) moved() {
	c.Helper()
	there := make(map[[sha256.Size]byte]int)
	for _, m := range c.server.Messages(c, c.user+"/."+archive) {
		body := bytes.ReplaceAll(m.Body, []byte("\r\n"), []byte("\n")) // as the server keeps what it has moved
		there[sha256.Sum256(bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n")))]++
	}
	for sum := range c.messages {
		if there[sum] != 1 {
			c.Errorf("after crash %d, message %x is %d times in the archive", c.Faults, sum[:4], there[sum])
		}
	}
}

// collect counts what was delivered, and empties the folder as its consumer
// does in the end.
func (c *crashTrial) collect() {
	c.Helper()
	for _, dir := range []string{c.folder, c.taken} {
		for _, d := range c.delivered(dir) {
			if c.messages[d.sum]++; c.messages[d.sum] > 1 {
				c.Errorf("after crash %d, %s comes again", c.Faults, d.name)
			}
			for _, path := range d.paths {
				if err := os.RemoveAll(path); err != nil {
					c.Fatal(err)
				}
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
	dirs := []string{c.folder}
	if c.format != nil {
		dirs = c.format.dirs(c.folder)
	}
	for _, dir := range dirs {
		if err == nil {
			_, err = syscall.InotifyAddWatch(watch, dir, syscall.IN_MOVED_TO)
		}
	}
	if err != nil {
		c.Fatal(err)
	}
	events := os.NewFile(uintptr(watch), "inotify") // its Read ends when it is closed
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for buffer := make([]byte, 64<<10); ; {
			c.take()
			if _, err := events.Read(buffer); err != nil {
				return
			}
		}
	}()
	stop = sync.OnceFunc(func() { events.Close(); <-stopped })
	c.Cleanup(stop) // the test may have failed
	return stop
}

// take moves what is visible out of the folder, and looks at it at once: it has
// to be whole then, and not some time later.
func (c *crashTrial) take() {
	if c.format != nil {
		c.format.take(c)
		return
	}
	entries, err := os.ReadDir(c.folder)
	if err != nil {
		c.Error(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		taken := filepath.Join(c.taken, fmt.Sprintf("%d-%s", time.Now().UnixNano(), e.Name()))
		err := os.Rename(filepath.Join(c.folder, e.Name()), taken)
		if err != nil {
			c.Error(err)
			continue
		}
		data, err := os.ReadFile(taken)
		if err != nil {
			c.Error(err)
		}
		c.whole(e.Name(), data)
	}
}

// verdict counts how often each message was delivered.
func (c *crashTrial) verdict() {
	c.Helper()
	for _, n := range c.messages {
		c.Count(n)
	}
	c.Verdict(c)
}

// crashRows are all experiments for a long run, and a few for a short one: the
// same plain ones each time, and others of the formats, as chance will have it.
func crashRows(t *testing.T) []crashRow {
	t.Helper()
	var plain, formats []crashRow
	for i, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for j, disposition := range []string{"DELETE", "KEEP", "SEEN", move} {
			if store == mail.POP3 && disposition == move {
				continue
			}
			for _, consumer := range []bool{false, true} {
				for _, batched := range []bool{false, true} {
					plain = append(plain, crashRow{store, disposition, batched, consumer, ""})
				}
				for k, format := range []mail.Format{mail.EML, mail.Maildir, mail.Attachments} {
					formats = append(formats, crashRow{store, disposition, (i+j+k)%2 == 0, consumer, format})
				}
			}
		}
	}
	if rig.Torture(t) > 0 {
		return append(plain, formats...)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	rows := []crashRow{
		{mail.IMAP, "DELETE", true, true, ""},
		{mail.POP3, "DELETE", true, true, ""},
		{mail.IMAP, "SEEN", true, false, ""},
		{mail.POP3, "KEEP", false, true, ""},
	}
	for _, i := range rnd.Perm(len(formats))[:2] {
		rows = append(rows, formats[i])
	}
	return rows
}

// TestStoppedDeadAtEachStep stops polls after each call that makes something
// durable or visible, and in a long run after each that is said to the disk or
// to the server, also when they repair what an earlier one has left.
func TestStoppedDeadAtEachStep(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t, withArchive)
	for _, row := range crashRows(t) {
		t.Run(row.String(), func(t *testing.T) {
			t.Parallel()
			c := newCrashTrial(t, "stopped dead at each step", d, row)
			syncs, every := 1, 1
			if rig.Torture(t) == 0 { // a sample
				if every = 7; row.format != "" { // has more of them
					syncs, every = 3, 13
				}
			}
			for began, round := time.Now(), 0; ; round++ {
				c.sweep(durable, syncs, round%2 == 1)
				c.sweep(lasting, every, every > 1 || round%2 == 1)
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
	d := mailtest.StartDovecot(t, withArchive)
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
					c.stopAround(time.Duration(rnd.IntN(1500)) * time.Millisecond)
				}
				c.recover(stop)
			}
			c.verdict()
		})
	}
}
