//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// breakdown is what one run of a program came to.
type breakdown struct {
	traffic
	syncs, calls int // system calls: those that sync, and all
}

// TestBreakdown counts what the time of a poll goes into: round trips, syncs
// and system calls, ours beside those of the floor. A round trip is a time
// when the client speaks after the server did; the first one is the answer to
// the connection. They are the fewest of three runs: when a server says
// something in two pieces, a client may come in between.
func TestBreakdown(t *testing.T) {
	var rows [][]string
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for _, e := range []example{
			{title: "nothing new among 1000", mode: check, count: 1000},
			{title: "one message", mode: deleteAll, count: 1, size: 4 << 10},
			{title: fmt.Sprintf("%d messages of 4 KiB", scaled(5000)), mode: deleteAll, count: scaled(5000), size: 4 << 10},
		} {
			e.users = 1
			t.Run(fmt.Sprintf("%s/%d", store, e.count), func(t *testing.T) {
				f := newField(t, e, store)
				for _, security := range []mail.Security{mail.SSLTLS, mail.StartTLS, mail.NoTLS} {
					for _, p := range []program{theFloor("floor", 1), ours()} {
						if security == mail.StartTLS && p.name == "floor" {
							continue
						}
						b := f.breakdown(t, p, security)
						rows = append(rows, []string{
							fmt.Sprintf("%s, %s, %s", store, security, e.title), p.name, fmt.Sprint(b.turns),
							fmt.Sprint(b.sent), fmt.Sprint(b.received), fmt.Sprint(b.syncs), fmt.Sprint(b.calls),
						})
					}
				}
			})
		}
	}
	printTable("What a poll goes into", []string{"poll", "program", "round trips", "octets sent", "received", "syncs", "system calls"}, rows)
}

// breakdown runs a program three times through a counting proxy, and once
// under strace.
func (f *field) breakdown(t *testing.T, p program, security mail.Security) (b breakdown) {
	t.Helper()
	port := newProxy(t, f.d.Port(f.store, security), 0)
	j := f.newJob(port.port)
	j.t, j.security = t, security
	if security == mail.NoTLS {
		j.ca = ""
	}
	var all []traffic
	run := p.prepare(j)
	if f.mode == check { // and what is there is not new from here on
		run()
		<-port.traffic
	}
	for range 3 {
		f.refill(j)
		run()
		all = append(all, <-port.traffic)
	}
	b.traffic = slices.MinFunc(all, func(a, b traffic) int { return int(a.turns - b.turns) })
	f.refill(j)
	j.count = filepath.Join(j.dir, "calls")
	p.prepare(j)()
	<-port.traffic
	b.syncs, b.calls = callsOf(t, j.count)
	return b
}

// refill delivers the messages of a case that takes them, and clears the
// folder.
func (f *field) refill(j *job) {
	if f.mode != deleteAll {
		return
	}
	for _, file := range saved(j.t, j.out()) {
		if err := os.Remove(file); err != nil {
			j.t.Fatal(err)
		}
	}
	f.deliver()
}

// callsOf reads what strace -c has counted.
func callsOf(t *testing.T, path string) (syncs, all int) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		// % time, seconds, usecs/call, calls, errors (or nothing), syscall
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[len(fields)-1] == "total" {
			continue
		}
		n, err := strconv.Atoi(fields[3])
		if err != nil {
			continue
		}
		all += n
		if name := fields[len(fields)-1]; strings.HasSuffix(name, "sync") || name == "syncfs" {
			syncs += n
		}
	}
	if all == 0 {
		t.Fatalf("strace counted nothing:\n%s", text)
	}
	return syncs, all
}

// TestFixedCost takes a poll that finds nothing apart: what a process costs
// before it has said a word to the server, and what TLS adds.
func TestFixedCost(t *testing.T) {
	const runs = 21
	d := mailtest.StartDovecot(t)
	var rows [][]string
	for _, step := range []struct {
		title string
		store mail.StoreType
		ca    string
		argv  []string
	}{
		{"process (`poller version`)", mail.IMAP, "", []string{"version"}},
		{"and configuration (`poller check`)", mail.IMAP, "", []string{"check"}},
		{"and state (`poller jobs`)", mail.IMAP, "", []string{"jobs"}},
		{"and a poll of an empty mailbox, IMAP, NONE", mail.IMAP, "", nil},
		{"the same, IMAP, SSL_TLS", mail.IMAP, d.CA.PEMFile(t), nil},
		{"the same, POP3, NONE", mail.POP3, "", nil},
		{"the same, POP3, SSL_TLS", mail.POP3, d.CA.PEMFile(t), nil},
	} {
		security := mail.NoTLS
		if step.ca != "" {
			security = mail.SSLTLS
		}
		j := &job{
			t: t, dir: t.TempDir(), store: step.store, security: security, port: d.Port(step.store, security), ca: step.ca,
			password: d.Password, users: []string{d.NewUser(t)}, mode: check,
		}
		s := j.configure()
		if step.argv == nil {
			step.argv = []string{"poll", j.users[0]}
		}
		argv := append([]string{binary, "--config", s.config}, step.argv...)
		var costs []cost
		for range runs {
			c, _ := execute(t, nil, argv...)
			costs = append(costs, c)
		}
		c := medians(costs)
		rows = append(rows, []string{step.title, fmt.Sprintf("%.1f", 1000*c.seconds), fmt.Sprintf("%.0f", 1000*c.cpu), mebibytes(c.peak)})
	}
	printTable("The fixed cost of a process", []string{"what", "ms", "CPU ms", "peak MiB"}, rows)
}
