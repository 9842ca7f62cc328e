package servers

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience bounds a session of a plain client.
const patience = 60 * time.Second

// plain is a client that does one thing after the other, in clear text, and
// shares no code with the program under test: what it reads is what a server
// really has.
type plain struct {
	t *testing.T
	c net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, number int) *plain {
	t.Helper()
	c, err := net.DialTimeout("tcp", address(number), patience)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	p := &plain{t, c, bufio.NewReader(c)}
	p.line()
	return p
}

// line is the next line, without its end.
func (p *plain) line() string {
	p.t.Helper()
	line, err := p.r.ReadString('\n')
	if err != nil {
		p.t.Fatalf("plain client: %v behind %q", err, line)
	}
	return strings.TrimRight(line, "\r\n")
}

func (p *plain) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.c, text); err != nil {
		p.t.Fatal(err)
	}
}

// held is a message as a server holds it.
type held struct {
	uid   uint32   // IMAP
	flags []string // IMAP, sorted
	raw   []byte
}

// name is which message of the samples it is.
func (m held) name() string { return nameOf(m.raw) }

// mailbox is what a mailbox holds.
type mailbox struct {
	validity uint32 // IMAP
	messages []held
}

// imap is a plain client that has logged in over IMAP.
type imap struct{ *plain }

func loginIMAP(t *testing.T, number int, user, password string) imap {
	t.Helper()
	c := imap{dial(t, number)}
	c.do("LOGIN %s %s", user, password)
	return c
}

// response is one response of a server, with its literal where it has one.
type response struct {
	text    string
	literal []byte
}

// do says a command, which must succeed, and returns what came before the end of
// it.
func (c imap) do(format string, a ...any) []response {
	c.t.Helper()
	c.send(fmt.Sprintf("x "+format+"\r\n", a...))
	return c.until("x ", fmt.Sprintf(format, a...))
}

var literal = regexp.MustCompile(`\{(\d+)\}$`)

func (c imap) until(tag, command string) []response {
	c.t.Helper()
	var all []response
	for {
		r := response{text: c.line()}
		for m := literal.FindStringSubmatch(r.text); m != nil; m = literal.FindStringSubmatch(r.text) {
			size, err := strconv.Atoi(m[1])
			if err != nil {
				c.t.Fatal(err)
			}
			r.literal = make([]byte, size)
			if _, err := io.ReadFull(c.r, r.literal); err != nil {
				c.t.Fatal(err)
			}
			r.text = strings.TrimSuffix(r.text, m[0]) + c.line()
		}
		if !strings.HasPrefix(r.text, tag) {
			all = append(all, r)
			continue
		}
		if !strings.HasPrefix(r.text, tag+"OK") {
			c.t.Fatalf("plain client: %s is answered %s", command, r.text)
		}
		return append(all, r)
	}
}

// append puts a message into the mailbox.
func (c imap) append(flags string, raw []byte) {
	c.t.Helper()
	c.send(fmt.Sprintf("x APPEND INBOX (%s) {%d}\r\n", flags, len(raw)))
	if r := c.line(); !strings.HasPrefix(r, "+") {
		c.t.Fatalf("plain client: APPEND is answered %s", r)
	}
	c.send(string(raw) + "\r\n")
	c.until("x ", "APPEND")
}

var (
	uidOf      = regexp.MustCompile(`\bUID (\d+)`)
	flagsOf    = regexp.MustCompile(`\bFLAGS \(([^)]*)\)`)
	validityOf = regexp.MustCompile(`\[UIDVALIDITY (\d+)\]`)
	existsOf   = regexp.MustCompile(`^\* (\d+) EXISTS`)
)

// look is what a mailbox holds. Looking changes nothing, but what a server itself
// changes on EXAMINE and BODY.PEEK[].
func (c imap) look(name string) mailbox {
	c.t.Helper()
	var box mailbox
	exists := 0
	for _, r := range c.do("EXAMINE %s", name) {
		if m := validityOf.FindStringSubmatch(r.text); m != nil {
			box.validity = number(c.t, m[1])
		}
		if m := existsOf.FindStringSubmatch(r.text); m != nil {
			exists = int(number(c.t, m[1]))
		}
	}
	for n := range exists {
		for _, r := range c.do("FETCH %d (UID FLAGS BODY.PEEK[])", n+1) {
			if r.literal == nil {
				continue
			}
			id, flags := uidOf.FindStringSubmatch(r.text), flagsOf.FindStringSubmatch(r.text)
			if id == nil || flags == nil {
				c.t.Fatalf("plain client: no UID or flags in %s", r.text)
			}
			m := held{uid: number(c.t, id[1]), flags: strings.Fields(flags[1]), raw: r.literal}
			slices.Sort(m.flags)
			box.messages = append(box.messages, m)
		}
	}
	if len(box.messages) != exists {
		c.t.Fatalf("plain client: %d of %d messages", len(box.messages), exists)
	}
	c.do("LOGOUT")
	c.c.Close()
	return box
}

func number(t *testing.T, text string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// lookPOP3 is what a maildrop holds; nothing is deleted.
func lookPOP3(t *testing.T, number int, user, password string) mailbox {
	t.Helper()
	c := dial(t, number)
	c.ask("USER %s", user)
	c.ask("PASS %s", password)
	c.ask("UIDL")
	var box mailbox
	for n := range bytes.Count(c.lines(), []byte("\n")) {
		c.ask("RETR %d", n+1)
		box.messages = append(box.messages, held{raw: c.lines()})
	}
	c.ask("QUIT")
	c.c.Close()
	return box
}

// ask says a command of POP3, which must succeed.
func (p *plain) ask(format string, a ...any) {
	p.t.Helper()
	p.send(fmt.Sprintf(format+"\r\n", a...))
	if r := p.line(); !strings.HasPrefix(r, "+OK") {
		p.t.Fatalf("plain client: %s is answered %s", fmt.Sprintf(format, a...), r)
	}
}

// lines is an answer of several lines, up to the dot, with the dots undone.
func (p *plain) lines() []byte {
	p.t.Helper()
	var all []byte
	for {
		line, err := p.r.ReadBytes('\n')
		for err == nil && !bytes.HasSuffix(line, []byte("\r\n")) {
			var more []byte
			more, err = p.r.ReadBytes('\n')
			line = append(line, more...)
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if string(line) == ".\r\n" {
			return all
		}
		all = append(all, bytes.TrimPrefix(line, []byte("."))...)
	}
}
