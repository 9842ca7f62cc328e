//go:build bench

// Package bench measures the real binary against a real Dovecot. make bench
// runs it and prints its tables.
package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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

// site is a configuration of one connection.
type site struct{ config, folder string }

func newSite(t *testing.T, c map[string]any) site {
	t.Helper()
	dir := t.TempDir()
	s := site{filepath.Join(dir, "poller.yaml"), filepath.Join(dir, "in")}
	c["name"], c["folder"] = "bench", s.folder
	text, err := json.Marshal(map[string]any{"listen": "", "state_dir": filepath.Join(dir, "state"), "connections": []any{c}})
	if err = errors.Join(err, os.Mkdir(s.folder, 0o750), os.WriteFile(s.config, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return s
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

// print writes a table as a whole.
func print(title string, header string, rows []string) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%s\n%s\t\n", title, header)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t\n", r)
	}
	w.Flush()
}

// TestLargeMessage: a message of 200 MiB passes octet for octet through a
// process of less than 64 MiB.
func TestLargeMessage(t *testing.T) {
	const size, limit = 200 << 20, 64 << 20
	line := []byte(strings.Repeat("0123456789abcdef", 4) + "\r\n.dot\r\n..\r\n")
	message := append([]byte("Subject: large\r\n\r\n"), bytes.Repeat(line, size/len(line))...)
	want := sha256.Sum256(message)
	d := mailtest.StartDovecot(t)
	var rows []string
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		user := d.NewUser(t)
		d.Deliver(t, user, message)
		c := settings(d, t, user, store, mail.SSLTLS)
		c["disposition"] = "DELETE"
		m := newSite(t, c).poll(t)
		if m.messages != 1 {
			t.Fatalf("%+v", m)
		}
		sum := sha256.New()
		f, err := os.Open(m.files[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(sum, f); err != nil || !bytes.Equal(sum.Sum(nil), want[:]) {
			t.Errorf("%s: the message was altered (%v)", store, err)
		}
		f.Close()
		if m.peak >= limit {
			t.Errorf("%s: %d MiB resident", store, m.peak>>20)
		}
		rows = append(rows, fmt.Sprintf("%s\t%.1f\t%.0f\t%.1f", store, m.seconds, float64(len(message))/m.seconds/(1<<20), float64(m.peak)/(1<<20)))
	}
	print("one message of 200 MiB, SSL_TLS, DELETE", "store\tseconds\tMiB/s\tpeak MiB resident", rows)
}

// counter is a proxy that counts octets and round trips: the times when the
// client speaks after the server did.
type counter struct {
	up, down, turns atomic.Int64
	port            int
}

func newCounter(t *testing.T, port int) *counter {
	t.Helper()
	l, err := net.Listen("tcp", mailtest.Host+":0")
	if err != nil {
		t.Fatal(err)
	}
	p := &counter{port: l.Addr().(*net.TCPAddr).Port}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { p.serve(client, port) })
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
	return p
}

func (p *counter) serve(client net.Conn, port int) {
	server, err := net.Dial("tcp", net.JoinHostPort(mailtest.Host, strconv.Itoa(port)))
	if err != nil {
		client.Close()
		return
	}
	var answered atomic.Bool
	copyAll := func(to, from net.Conn, each func(n int)) {
		defer to.Close()
		b := make([]byte, 64<<10)
		for {
			n, err := from.Read(b)
			if n > 0 {
				each(n)
				if _, err := to.Write(b[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		copyAll(client, server, func(n int) { p.down.Add(int64(n)); answered.Store(true) })
	})
	copyAll(server, client, func(n int) {
		p.up.Add(int64(n))
		if answered.Swap(false) {
			p.turns.Add(1)
		}
	})
	wait.Wait()
}

// TestPick50000: what it costs to take one message out of 50,000, and to find
// that there is nothing new.
func TestPick50000(t *testing.T) {
	const count, unread = 50_000, 10
	messages := make([][]byte, count)
	for i := range messages {
		messages[i] = fmt.Appendf(nil, "Subject: %d\r\n\r\nmessage %d\r\n", i+1, i+1)
	}
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	half := (count - unread) / 2
	d.DeliverFlagged(t, user, []string{`\Seen`}, messages[:half]...)
	d.Deliver(t, user, messages[half:half+unread]...) // in the middle, so that neither end helps
	d.DeliverFlagged(t, user, []string{`\Seen`}, messages[half+unread:]...)
	var rows []string
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		c := settings(d, t, user, store, mail.NoTLS)
		c["disposition"] = "KEEP"
		newSite(t, c).poll(t) // Dovecot makes its index
		for _, pull := range disposition.Pulls() {
			p := newCounter(t, c["port"].(int))
			counted := settings(d, t, user, store, mail.NoTLS)
			counted["port"], counted["disposition"], counted["pull_disposition"] = p.port, "KEEP", pull.String()
			s := newSite(t, counted)
			for n := range 2 {
				p.up.Store(0)
				p.down.Store(0)
				p.turns.Store(0)
				m := s.poll(t)
				if n == 0 && m.messages != 1 {
					t.Fatalf("%s %s: %+v", store, pull, m)
				}
				if store == mail.IMAP && p.down.Load() > 64<<10 {
					t.Errorf("%s %s: %d octets from the server", store, pull, p.down.Load())
				}
				rows = append(rows, fmt.Sprintf("%s\t%s\t%d\t%s\t%d\t%d\t%d\t%.2f", store, pull, n+1, m.outcome, p.up.Load(), p.down.Load(), p.turns.Load(), m.seconds))
			}
		}
	}
	print("one message out of 50,000 (ten in the middle unread), NONE, KEEP", "store\tpull\tpoll\toutcome\toctets sent\treceived\tround trips\tseconds", rows)
}
