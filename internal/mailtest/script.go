package mailtest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Scripted is a server that does what a test tells it to, and nothing else:
// the way to meet servers that are odd, broken or hostile.
type Scripted struct {
	Port int

	t      testing.TB
	wg     sync.WaitGroup
	mu     sync.Mutex
	closed bool
	conns  []net.Conn
	clear  bytes.Buffer
	lines  []string
}

// Conn is one connection to a scripted server, in the hands of its script.
// Its methods must be called by the goroutine of the script.
type Conn struct {
	Number int // 1 for the first connection to the server

	server *Scripted
	net    net.Conn // the bare connection
	top    net.Conn // net, or TLS over it
	r      *bufio.Reader
	tag    string
}

// patience is how long a script waits for the client. Longer means that both
// wait for each other, which is a failure.
const patience = 20 * time.Second

// Script starts a server that runs script for each connection, in a goroutine
// of its own, and stops it when the test ends. When the script returns, the
// connection is closed. When the client goes away, the script ends where it
// stands: what the client did is for the test to judge, by what it returned
// and by Lines and Clear.
//
//	server := mailtest.Script(t, func(c *mailtest.Conn) {
//		c.Send("* OK ready\r\n")
//		c.Expect(`^\S+ LOGIN `)
//		c.Send("{tag} NO [AUTHENTICATIONFAILED] wrong\r\n")
//	})
func Script(t testing.TB, script func(c *Conn)) *Scripted {
	t.Helper()
	l, err := net.Listen("tcp4", net.JoinHostPort(Host, "0")) //nolint:noctx // closed by the cleanup below
	if err != nil {
		t.Fatal(err)
	}
	s := &Scripted{Port: l.Addr().(*net.TCPAddr).Port, t: t}
	s.wg.Go(func() {
		for number := 1; ; number++ {
			c, err := l.Accept()
			if err != nil || !s.add(c) {
				return
			}
			s.wg.Go(func() {
				defer c.Close()
				script(&Conn{Number: number, server: s, net: c, top: c, r: bufio.NewReader(recorder{c, s})})
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.shut()
		s.wg.Wait()
	})
	return s
}

func (s *Scripted) add(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.conns = append(s.conns, c)
	return true
}

func (s *Scripted) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, c := range s.conns {
		c.Close()
	}
}

// recorder notes what a client sends outside TLS.
type recorder struct {
	net.Conn
	s *Scripted
}

func (r recorder) Read(p []byte) (int, error) {
	n, err := r.Conn.Read(p)
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.s.clear.Write(p[:n])
	return n, err
}

// Clear is what clients sent in clear text so far, as far as scripts read it.
func (s *Scripted) Clear() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clear.String()
}

// Lines are the lines that clients sent so far, over TLS or not, as far as
// scripts read them, without their ends.
func (s *Scripted) Lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

// Connections is how many there were so far.
func (s *Scripted) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// TLS does the server's half of a handshake: first thing for SSL_TLS, after
// the answer to STARTTLS or STLS otherwise. Like a server that was attacked,
// it takes what the client sent ahead of the handshake for part of it.
func (c *Conn) TLS(config *tls.Config) tls.ConnectionState {
	_ = c.net.SetDeadline(time.Now().Add(patience))
	t := tls.Server(buffered{c.net, c.r}, config)
	if err := t.Handshake(); err != nil { //nolint:noctx // the deadline bounds it
		c.end(err)
	}
	c.top, c.r = t, bufio.NewReader(t)
	return t.ConnectionState()
}

// Hello is how many bytes the ClientHello has that comes next. It is left for TLS
// to read.
func (c *Conn) Hello() int {
	_ = c.net.SetReadDeadline(time.Now().Add(patience))
	header, err := c.r.Peek(5) // of a record: type, version, length
	if err != nil {
		c.end(err)
	}
	return len(header) + int(binary.BigEndian.Uint16(header[3:]))
}

// buffered is a connection of which a reader has read ahead.
type buffered struct {
	net.Conn
	r io.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// Send sends text. {tag} in it stands for the first word of the last command.
func (c *Conn) Send(text string) { c.Write([]byte(strings.ReplaceAll(text, "{tag}", c.tag))) }

// Write sends octets as they are.
func (c *Conn) Write(p []byte) {
	_ = c.net.SetWriteDeadline(time.Now().Add(patience))
	if _, err := c.top.Write(p); err != nil {
		c.end(err)
	}
}

// Line reads a line and returns it without its end.
func (c *Conn) Line() string {
	_ = c.net.SetReadDeadline(time.Now().Add(patience))
	line, err := c.r.ReadString('\n')
	if err != nil {
		c.end(err)
	}
	line = strings.TrimRight(line, "\r\n")
	// The response to a challenge is one word, and no command.
	if word, _, isCommand := strings.Cut(line, " "); isCommand {
		c.tag = word
	}
	c.server.mu.Lock()
	c.server.lines = append(c.server.lines, line)
	c.server.mu.Unlock()
	return line
}

// Expect reads a line, which must match the regular expression in any case.
// The test fails and the connection is closed when it does not.
func (c *Conn) Expect(pattern string) string {
	line := c.Line()
	if !matches(pattern, line) {
		c.fail("client says %q, which does not match %s", line, pattern)
	}
	return line
}

func matches(pattern, line string) bool {
	return regexp.MustCompile("(?i)" + pattern).MatchString(line)
}

// Rule says what a scripted server does about a line.
type Rule struct {
	Line  string      // a regular expression; matched in any case
	Reply string      // sent, as Send does it
	Then  func(*Conn) // called after that; may be nil
}

// Answer answers each line by the first rule that matches it, until the client
// goes away. The test fails when no rule matches. So a test that is after one
// step puts its rule ahead of those of a server that works.
func (c *Conn) Answer(rules ...Rule) {
	for {
		line := c.Line()
		i := slices.IndexFunc(rules, func(r Rule) bool { return matches(r.Line, line) })
		if i < 0 {
			c.fail("no rule for what the client says: %q", line)
		}
		c.Send(rules[i].Reply)
		if rules[i].Then != nil {
			rules[i].Then(c)
		}
	}
}

// Stall says nothing, and reads what comes, until the client goes away or the
// test ends.
func (c *Conn) Stall() {
	_ = c.net.SetDeadline(time.Time{})
	_, err := io.Copy(io.Discard, c.r)
	c.end(err)
}

// Lose reads what comes within that time, and forgets it. It returns how many
// octets that were.
func (c *Conn) Lose(within time.Duration) int64 {
	_ = c.net.SetReadDeadline(time.Now().Add(within))
	n, err := io.Copy(io.Discard, c.r)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		c.end(err)
	}
	return n
}

// Flood sends chunk again and again until the client goes away or the test
// ends.
func (c *Conn) Flood(chunk []byte) {
	for {
		c.Write(chunk)
	}
}

// Cut drops the connection: the client gets a reset instead of an end.
func (c *Conn) Cut() {
	if tcp, ok := c.net.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	c.net.Close()
	runtime.Goexit()
}

// fail fails the test and ends the script.
func (c *Conn) fail(format string, args ...any) {
	c.server.t.Errorf("scripted server: "+format, args...)
	runtime.Goexit()
}

// end ends the script, because the client or the test did; but a client that
// keeps the script waiting fails the test.
func (c *Conn) end(err error) {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.fail("client keeps it waiting for %v", patience)
	}
	runtime.Goexit()
}
