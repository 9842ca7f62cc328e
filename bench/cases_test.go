//go:build bench

package bench

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// example is one of the cases that all programs go through.
type example struct {
	name  string // what -run finds it by
	title string
	mode  mode
	count int           // of messages, in each mailbox
	size  int           // of a message, in octets
	users int           // accounts
	delay time.Duration // each way
}

func examples() []example {
	return []example{
		{"5000", "%[1]d messages of 4 KiB, deleted", deleteAll, scaled(5000), 4 << 10, 1, 0},
		{"large", "%[1]d messages of 25 MiB, deleted", deleteAll, scaled(20), 25 << 20, 1, 0},
		{"nothing", "nothing new among %[1]d messages", check, scaled(20_000), 100, 1, 0},
		{"accounts", "%[2]d accounts with one new message each, deleted", deleteAll, 1, 4 << 10, scaled(200), 0},
		{"oldest", "the oldest unread message out of %[1]d, kept", oldest, scaled(50_000), 100, 1, 0},
		{"newest", "the newest unread message out of %[1]d, kept", newest, scaled(50_000), 100, 1, 0},
		{"far", "%[1]d messages of 4 KiB at an added round trip of 20 ms, deleted", deleteAll, scaled(500), 4 << 10, 1, 10 * time.Millisecond},
	}
}

// TestCases runs each case over all programs in turn, A B A B, and prints a
// table of it.
func TestCases(t *testing.T) {
	fmt.Fprintln(os.Stdout, "\nThe settings of each program; everything over SSL_TLS to Dovecot on this machine, each result verified (all messages here by their digests, none left there):")
	for _, p := range programs() {
		fmt.Fprintf(os.Stdout, "\n* %s: %s", p.name, p.settings)
	}
	fmt.Fprintln(os.Stdout)
	known := make(facts)
	for _, e := range examples() {
		for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
			t.Run(e.name+"/"+string(store), func(t *testing.T) { newField(t, e, store).race(known) })
		}
	}
}

// field is where the programs race: a server with the mailboxes of one case.
type field struct {
	example
	*testing.T
	store    mail.StoreType
	d        *mailtest.Dovecot
	ca       string
	users    []string
	messages []string                   // files
	want     map[[sha256.Size]byte]bool // the digests of their bodies
	lo, hi   int                        // the oldest and newest unread message, where one of them is taken
	jobs     map[string]*job            // by program, where the mailbox stays as it is
	runs     map[string]func() cost     // likewise
	costs    map[string][]cost
}

func newField(t *testing.T, e example, store mail.StoreType) *field {
	t.Helper()
	f := &field{
		example: e, T: t, store: store, d: mailtest.StartDovecot(t), want: make(map[[sha256.Size]byte]bool),
		jobs: make(map[string]*job), runs: make(map[string]func() cost), costs: make(map[string][]cost),
	}
	f.ca = f.d.CA.PEMFile(t)
	for range e.users {
		f.users = append(f.users, f.d.NewUser(t))
	}
	switch e.mode {
	case deleteAll:
		f.makeMessages()
	case check:
		f.fill(0)
	default:
		f.fill(unread)
	}
	return f
}

// unread is how many messages in the middle of a mailbox are, where one is
// taken.
const unread = 20

// fill fills the mailbox once, for all runs. POP3 has no unread messages but
// those that are not known yet: at first, all.
func (f *field) fill(unread int) {
	messages := make([][]byte, f.count)
	for i := range messages {
		messages[i] = fmt.Appendf(nil, "From: a@example.com\r\nTo: b@example.com\r\nSubject: %d\r\n\r\nmessage %[1]d\r\n", i+1)
	}
	unread = min(unread, f.count)
	from := (f.count - unread) / 2
	f.d.DeliverFlagged(f.T, f.users[0], []string{`\Seen`}, messages[:from]...)
	f.d.Deliver(f.T, f.users[0], messages[from:from+unread]...)
	f.d.DeliverFlagged(f.T, f.users[0], []string{`\Seen`}, messages[from+unread:]...)
	if f.lo, f.hi = 1, f.count; f.store == mail.IMAP {
		f.lo, f.hi = from+1, from+unread
	}
	f.warm()
}

// makeMessages writes the messages that are delivered anew for each run.
func (f *field) makeMessages() {
	dir := public(f.T, f.TempDir())
	line := strings.Repeat("0123456789", 7) + "abcdef\r\n"
	filler := strings.Repeat(line, f.size/len(line))
	for i := range f.count * len(f.users) {
		path := filepath.Join(dir, fmt.Sprint(i))
		text := fmt.Sprintf("From: a@example.com\r\nTo: b@example.com\r\nSubject: %d\r\nMessage-ID: <%[1]d@example.com>\r\n\r\nmessage %[1]d\r\n%s", i, filler)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			f.Fatal(err)
		}
		f.messages = append(f.messages, path)
		f.want[f.digestOf(path)] = true
	}
}

// public makes a test's directory one that others may read in: Dovecot, and
// peers that deliver as somebody else.
func public(t *testing.T, dir string) string {
	t.Helper()
	for d := dir; d != filepath.Clean(os.TempDir()) && len(d) > 1; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// deliver fills the mailboxes anew.
func (f *field) deliver() {
	for i, user := range f.users {
		f.d.DeliverFiles(f.T, user, f.messages[i*f.count:(i+1)*f.count]...)
	}
	f.warm()
}

// warm has Dovecot look at the mailboxes, which is the business of whoever
// delivers, and has everything written that is on its way to the disk.
func (f *field) warm() {
	argv := []string{floorBinary, "-port", fmt.Sprint(f.d.Port(mail.IMAP, mail.NoTLS)), "-password", f.d.Password, "-mode", "check", "-parallel", "8"}
	execute(f.T, nil, append(argv, f.users...)...)
	syscall.Sync()
}

// newJob is a job of this case for one program.
func (f *field) newJob(port int) *job {
	dir, err := os.MkdirTemp(f.TempDir(), "")
	if err != nil {
		f.Fatal(err)
	}
	return &job{t: f.T, dir: public(f.T, dir), store: f.store, security: mail.SSLTLS, port: port, ca: f.ca, password: f.d.Password, users: f.users, mode: f.mode}
}

// longRun is the seconds that a program may take to be run in each round: in what
// takes longer, noise is no part that counts.
const longRun = 10

// A round over all programs that is over so soon is run so many times as often:
// of milliseconds, three are no median.
const (
	shortRound = 10 * time.Second
	moreRounds = 5
)

// race runs the programs in turn and prints what it took them.
func (f *field) race(known facts) {
	port := f.d.Port(f.store, mail.SSLTLS)
	if f.delay > 0 {
		port = newProxy(f.T, port, f.delay).port
	}
	var racers []program
	for _, p := range programs() {
		if p.can(f.newJob(port)) {
			racers = append(racers, p)
		}
	}
	if f.mode == check {
		f.prime(racers, port)
	}
	start := time.Now()
	wanted := *rounds
	for round := 0; round < wanted; round++ {
		if round == 1 && time.Since(start) < shortRound {
			wanted *= moreRounds
		}
		for _, p := range racers {
			if runs := f.costs[p.name]; len(runs) > 0 && runs[0].seconds > longRun {
				continue
			}
			f.Run(p.name, func(t *testing.T) {
				if f.costs[p.name] == nil {
					f.costs[p.name] = []cost{} // it ran
				}
				switch f.mode {
				case deleteAll:
					f.emptied(t, p, port)
				case check:
					f.unchanged(t, p)
				default:
					f.picked(t, p, port)
				}
			})
		}
	}
	f.print(racers, known)
	fmt.Fprintf(os.Stdout, "\nRounds: %d, in %v.\n", wanted, time.Since(start).Round(time.Second))
}

// emptied is a run after which all messages are here and none on the server.
func (f *field) emptied(t *testing.T, p program, port int) {
	f.deliver()
	j := f.newJob(port)
	j.t = t
	c := p.prepare(j)()
	left := 0
	for _, user := range f.users {
		held, _ := f.d.Count(t, user)
		left += held
	}
	got := make(map[[sha256.Size]byte]bool)
	files := saved(t, j.out())
	for _, file := range files {
		got[f.digestOf(file)] = true
	}
	if left > 0 || len(files) != len(f.want) || !maps.Equal(got, f.want) {
		p.fails(t, "%s: %d messages left on the server, %d files, %d different ones, of %d messages", p.name, left, len(files), len(got), len(f.want))
		f.empty()
	} else {
		f.costs[p.name] = append(f.costs[p.name], c)
	}
	if err := os.RemoveAll(j.dir); err != nil {
		t.Error(err)
	}
}

// empty takes away what a program has left on the server.
func (f *field) empty() {
	for _, user := range f.users {
		f.d.Remove(f.T, f.d.Messages(f.T, user)...)
	}
}

// prime sets the programs up and runs each once, so that what is there is not
// new to them any more.
func (f *field) prime(racers []program, port int) {
	for _, p := range racers {
		j := f.newJob(port)
		f.jobs[p.name], f.runs[p.name] = j, p.prepare(j)
		f.runs[p.name]()
	}
	syscall.Sync()
}

// unchanged is a run that finds nothing new.
func (f *field) unchanged(t *testing.T, p program) {
	before := len(saved(t, f.jobs[p.name].out()))
	c := f.runs[p.name]()
	held, _ := f.d.Count(t, f.users[0])
	if after := len(saved(t, f.jobs[p.name].out())); after != before || held != f.count {
		p.fails(t, "%s: %d messages after %d, and %d on the server", p.name, after, before, held)
		return
	}
	f.costs[p.name] = append(f.costs[p.name], c)
}

// picked is a run that takes one certain message and leaves it on the server. A
// peer that marks it as read takes it out of the runs that follow.
func (f *field) picked(t *testing.T, p program, port int) {
	want, next := &f.lo, 1
	if f.mode == newest {
		want, next = &f.hi, -1
	}
	j := f.newJob(port)
	j.t = t
	_, before := f.d.Count(t, f.users[0])
	syscall.Sync()
	c := p.prepare(j)()
	held, after := f.d.Count(t, f.users[0])
	files := saved(t, j.out())
	if len(files) != 1 || held != f.count {
		p.fails(t, "%s: %d files, and %d messages on the server, of %d", p.name, len(files), held, f.count)
		return
	}
	text, err := os.ReadFile(files[0])
	if err != nil || !strings.Contains(strings.ReplaceAll(string(text), "\r", ""), fmt.Sprintf("message %d\n", *want)) {
		p.fails(t, "%s: it took another message than %d: %v\n%s", p.name, *want, err, text)
		return
	}
	if f.store == mail.IMAP {
		*want += next * (before - after)
	}
	f.costs[p.name] = append(f.costs[p.name], c)
}

// fails reports that a program did not do what it was to do.
func (p program) fails(t *testing.T, format string, args ...any) {
	t.Helper()
	if p.peer {
		t.Logf(format, args...)
		return
	}
	t.Errorf(format, args...)
}

// saved is the files of messages below a folder.
func saved(t *testing.T, folder string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			files = append(files, path)
		}
		if errors.Is(err, fs.ErrNotExist) && path == folder {
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// digestOf is the digest of a message's body: peers add headers, and change
// the ends of lines.
func (f *field) digestOf(path string) [sha256.Size]byte {
	text, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	_, body, _ := bytes.Cut(text, []byte("\n\n"))
	return sha256.Sum256(bytes.TrimRight(body, "\n"))
}

// print prints the table.
func (f *field) print(racers []program, known facts) {
	header := []string{string(f.store), "seconds", "CPU s", "peak MiB", "to ours", "to the floor"}
	if f.mode == deleteAll {
		header = append(header, "messages/s", "synced before it is deleted")
	}
	if len(f.costs["floor"]) == 0 || len(f.costs["poller poll"]) == 0 {
		return // one of them failed, or was left out by -run
	}
	floor, ours := medians(f.costs["floor"]), medians(f.costs["poller poll"])
	var rows [][]string
	for _, p := range racers {
		costs, ran := f.costs[p.name]
		if !ran {
			continue // left out by -run
		}
		if len(costs) == 0 {
			rows = append(rows, append([]string{p.name, "failed"}, make([]string, len(header)-2)...))
			continue
		}
		c := medians(costs)
		row := []string{
			p.name, fmt.Sprintf("%.3f", c.seconds), fmt.Sprintf("%.2f", c.cpu), mebibytes(c.peak),
			fmt.Sprintf("%.2f", c.seconds/ours.seconds), fmt.Sprintf("%.2f", c.seconds/floor.seconds),
		}
		if f.mode == deleteAll {
			row = append(row, fmt.Sprintf("%.0f", float64(f.count*len(f.users))/c.seconds), known.of(f.T, p, f.store))
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		title := fmt.Sprintf(f.title, f.count, len(f.users))
		printTable(fmt.Sprintf("%s: %s%s", f.store, strings.ToUpper(title[:1]), title[1:]), header, rows)
	}
}
