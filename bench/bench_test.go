//go:build bench

// Package bench measures the real binary against a real Dovecot. make bench
// runs it and prints its tables.
package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "poller-bench")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "poller")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "mailpoller/cmd/poller")
	build.Env, build.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	code := 1
	if err := build.Run(); err == nil {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// measured is one `poller poll`.
type measured struct {
	seconds  float64
	peak     int64 // octets of resident memory
	outcome  string
	messages int
	files    []string
}

// site is a configuration of one connection, with its state and its folder.
type site struct{ dir, config string }

func newSite(t *testing.T, c map[string]any) site {
	t.Helper()
	dir := t.TempDir()
	s := site{dir, filepath.Join(dir, "poller.yaml")}
	c["name"], c["folder"] = "bench", filepath.Join(dir, "in")
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o750); err != nil {
		t.Fatal(err)
	}
	s.configure(t, c)
	return s
}

// configure writes the configuration. JSON is YAML.
func (s site) configure(t *testing.T, c map[string]any) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"listen": "", "state_dir": filepath.Join(s.dir, "state"), "connections": []any{c}})
	if err = errors.Join(err, os.WriteFile(s.config, text, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func (s site) poll(t *testing.T) measured {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, "poll", "--json", "bench", "--config", s.config)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var peak int64
	var watch sync.WaitGroup
	watch.Go(func() { peak = watchPeak(cmd.Process.Pid, done) })
	err := cmd.Wait()
	m := measured{seconds: time.Since(start).Seconds()}
	close(done)
	watch.Wait()
	m.peak = peak
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	var view struct {
		Outcome  string
		Messages int
		Files    []string
	}
	if err := json.Unmarshal(out.Bytes(), &view); err != nil {
		t.Fatal(err)
	}
	m.outcome, m.messages, m.files = view.Outcome, view.Messages, view.Files
	return m
}

// watchPeak is the most memory that a process had resident (VmHWM, proc(5)), as
// of the last look before it ended. What the system counts for a child that
// has ended (ru_maxrss) begins with what its parent had.
func watchPeak(pid int, done <-chan struct{}) (peak int64) {
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // gone when the process is
		for line := range strings.Lines(string(status)) {
			var kib int64
			if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
				peak = kib << 10
			}
		}
		select {
		case <-done:
			return peak
		case <-look.C:
		}
	}
}

func settings(d *mailtest.Dovecot, t *testing.T, user string, store mail.StoreType, security mail.Security) map[string]any {
	return map[string]any{
		"host": mailtest.Host, "port": d.Port(store, security), "username": user, "password": d.Password,
		"store_type": store, "connection_security": security, "ca_file": d.CA.PEMFile(t),
	}
}

// printTable writes a table as a whole; the cells of a row end in tabs.
func printTable(t *testing.T, title, header string, rows []string) {
	t.Helper()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%s\n%s\t\n", title, header)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t\n", r)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// TestLargeMessage: a message of 200 MiB passes octet for octet through a
// process of less than 64 MiB, and is deleted.
func TestLargeMessage(t *testing.T) {
	const size, limit = 200 << 20, 64 << 20
	message, want := largeMessage(size)
	d := mailtest.StartDovecot(t)
	var rows []string
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		user := d.NewUser(t)
		d.Deliver(t, user, message)
		c := settings(d, t, user, store, mail.SSLTLS)
		c["disposition"] = "DELETE"
		m := newSite(t, c).poll(t)
		if m.messages != 1 || len(m.files) != 1 {
			t.Fatalf("%s: %+v", store, m)
		}
		if got := digest(t, m.files[0]); got != want {
			t.Errorf("%s: the message was altered", store)
		}
		if left := d.Messages(t, user); len(left) != 0 {
			t.Errorf("%s: %d messages left on the server", store, len(left))
		}
		if m.peak == 0 || m.peak >= limit {
			t.Errorf("%s: %d MiB resident", store, m.peak>>20)
		}
		rows = append(rows, fmt.Sprintf("%s\t%.1f\t%.0f\t%.1f", store, m.seconds, float64(len(message))/m.seconds/(1<<20), float64(m.peak)/(1<<20)))
	}
	printTable(t, "one message of 200 MiB, SSL_TLS, DELETE", "store\tseconds\tMiB/s\tpeak MiB resident", rows)
}

// largeMessage is a message of about size octets, and their digest: lines of
// base64, all different, and after each mebibyte of them lines of dots, and one
// of 100 kB.
func largeMessage(size int) ([]byte, [sha256.Size]byte) {
	b := make([]byte, 0, size+1<<20)
	b = append(b, "Subject: large\r\n\r\n"...)
	random := rand.NewChaCha8([sha256.Size]byte{})
	var part [57]byte // 76 characters, the longest line of RFC 2045, section 6.8
	for mebibytes := 1; len(b) < size; {
		_, _ = random.Read(part[:]) // never fails
		b = base64.StdEncoding.AppendEncode(b, part[:])
		b = append(b, "\r\n"...)
		if len(b)>>20 >= mebibytes {
			mebibytes++
			b = append(b, ".\r\n..\r\n.dot\r\n"...)
			b = append(b, bytes.Repeat([]byte("."), 100_000)...)
			b = append(b, "\r\n"...)
		}
	}
	return b, sha256.Sum256(b)
}

func digest(t *testing.T, path string) (sum [sha256.Size]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	h.Sum(sum[:0])
	return sum
}

// traffic is what went over one connection. A round trip is a time when the
// client speaks after the server did.
type traffic struct{ sent, received, turns int64 }

// proxy passes connections on to a server, and hands out what each came to
// once both ends of it are closed.
type proxy struct {
	port    int
	traffic chan traffic
}

func newProxy(t *testing.T, port int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp4", mailtest.Host+":0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{port: l.Addr().(*net.TCPAddr).Port, traffic: make(chan traffic, 16)}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { p.serve(t, client, port) })
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
	return p
}

func (p *proxy) serve(t *testing.T, client net.Conn, port int) {
	defer client.Close()
	server, err := net.Dial("tcp4", net.JoinHostPort(mailtest.Host, strconv.Itoa(port)))
	if err != nil {
		t.Error(err)
		return
	}
	defer server.Close()
	var seen traffic
	var answered atomic.Bool
	var wait sync.WaitGroup
	wait.Go(func() {
		pass(client, server, func(n int) { seen.received += int64(n); answered.Store(true) })
	})
	pass(server, client, func(n int) {
		seen.sent += int64(n)
		if answered.Swap(false) {
			seen.turns++
		}
	})
	wait.Wait()
	p.traffic <- seen
}

// pass passes on what is read until there is no more. The count comes ahead of
// the octets: nobody can answer what was not counted yet.
func pass(to, from net.Conn, count func(n int)) {
	defer to.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			count(n)
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// TestPick50000: what it costs to take one message out of 50,000, the next one,
// all the others, and to find that there is nothing new. KEEP leaves the
// messages where they are, so the journal alone says what is new.
func TestPick50000(t *testing.T) {
	const count, unread, most = 50_000, 10, 64 << 10
	d := mailtest.StartDovecot(t)
	user := deliverMany(t, d, count, unread)
	var rows []string
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		all := map[mail.StoreType]int{mail.IMAP: unread, mail.POP3: count}[store] // POP3 has no \Seen
		c := settings(d, t, user, store, mail.NoTLS)
		c["disposition"] = "KEEP"
		newSite(t, c).poll(t) // Dovecot makes its index
		p := newProxy(t, c["port"].(int))
		c["port"] = p.port
		for _, pull := range disposition.Pulls() {
			c["pull_disposition"], c["max_messages"] = pull.String(), 1
			s := newSite(t, c)
			// How many messages each poll may take, and how many it takes.
			polls := []struct{ most, takes int }{{1, 1}, {1, 0}}
			if pull.Unread {
				polls = []struct{ most, takes int }{{1, 1}, {1, 1}, {0, all - 2}, {1, 0}}
			}
			for _, poll := range polls {
				c["max_messages"] = poll.most
				s.configure(t, c)
				m := s.poll(t)
				wire := <-p.traffic
				if m.messages != poll.takes {
					t.Fatalf("%s %s: %d messages, not %d; %s", store, pull, m.messages, poll.takes, m.outcome)
				}
				if store == mail.IMAP && wire.received >= most {
					t.Errorf("%s %s: %d octets from the server", store, pull, wire.received)
				}
				rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%d\t%d\t%d\t%.2f\t%.1f", store, pull, m.messages, wire.sent, wire.received, wire.turns, m.seconds, float64(m.peak)/(1<<20)))
			}
		}
	}
	printTable(t, "polls of 50,000 messages (ten in the middle unread), NONE, KEEP",
		"store\tpull\tmessages\toctets sent\treceived\tround trips\tseconds\tpeak MiB resident", rows)
}

// deliverMany fills a mailbox: messages that were read, but for some in the
// middle, so that a search from neither end is short.
func deliverMany(t *testing.T, d *mailtest.Dovecot, count, unread int) (user string) {
	t.Helper()
	messages := make([][]byte, count)
	for i := range messages {
		messages[i] = fmt.Appendf(nil, "Subject: %d\r\n\r\nmessage %d\r\n", i+1, i+1)
	}
	user = d.NewUser(t)
	from := (count - unread) / 2
	d.DeliverFlagged(t, user, []string{`\Seen`}, messages[:from]...)
	d.Deliver(t, user, messages[from:from+unread]...)
	d.DeliverFlagged(t, user, []string{`\Seen`}, messages[from+unread:]...)
	return user
}
