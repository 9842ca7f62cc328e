package mailserver

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"mailpoller/internal/mail"
)

// pop3Session is one client, from its greeting to its end. It belongs to one
// goroutine.
type pop3Session struct {
	server   *POP3
	conn     net.Conn
	r        *bufio.Reader
	w        *bufio.Writer
	canTLS   bool // STLS is offered
	secret   bool // passwords may be said
	failures int  // wrong passwords
	done     bool

	name     string    // as USER said it
	drop     *maildrop // nil before the log-in
	messages []*pop3Message
	gone     map[*pop3Message]bool // marked for deletion
}

const (
	// maxCommand bounds a line of a client, in octets: RFC 5034 (section 4)
	// asks for this much in an AUTH exchange.
	maxCommand = 12288
	// autologout is how long a client may be silent (RFC 1939, section 3).
	autologout = 10 * time.Minute
	// maxFailures is how many wrong passwords a client may try.
	maxFailures = 3
)

func newPOP3Session(server *POP3, c net.Conn, security mail.Security) *pop3Session {
	return &pop3Session{
		server: server,
		conn:   c,
		r:      bufio.NewReaderSize(c, maxCommand),
		w:      bufio.NewWriter(c),
		canTLS: security == mail.StartTLS,
		secret: security != mail.StartTLS,
		gone:   make(map[*pop3Message]bool),
	}
}

// serve talks to the client until one of the two has had enough.
func (s *pop3Session) serve() {
	defer func() { s.conn.Close() }() // the connection of then: STLS replaces it
	s.ok("ready")
	for !s.done {
		line, err := s.readLine()
		if err != nil {
			return
		}
		s.execute(line)
	}
	_ = s.w.Flush()
}

// readLine sends what is to be sent and reads a line without its end.
func (s *pop3Session) readLine() (string, error) {
	_ = s.conn.SetDeadline(time.Now().Add(autologout))
	if err := s.w.Flush(); err != nil {
		return "", err
	}
	line, err := s.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return string(bytes.TrimRight(line, "\r\n")), nil
}

// send writes a line into the buffer, which remembers its error until it is
// flushed.
func (s *pop3Session) send(line string) { _, _ = s.w.WriteString(line + "\r\n") }

func (s *pop3Session) ok(text ...string) { s.send(strings.Join(append([]string{"+OK"}, text...), " ")) }
func (s *pop3Session) err(text string)   { s.send("-ERR " + text) }

// phase is the state of a session, in the words of RFC 1939.
type phase int

const (
	authorization phase = 1 << iota
	transaction
)

// pop3Command is how a command is carried out: in which states, with how many
// arguments.
type pop3Command struct {
	in       phase
	min, max int
	run      func(s *pop3Session, args []string)
}

// pop3Commands is the whole protocol.
var pop3Commands = map[string]pop3Command{
	"CAPA": {authorization | transaction, 0, 0, (*pop3Session).capa},
	"QUIT": {authorization | transaction, 0, 0, (*pop3Session).quit},
	"STLS": {authorization, 0, 0, (*pop3Session).stls},
	"USER": {authorization, 1, 1, (*pop3Session).user},
	"PASS": {authorization, 1, 99, (*pop3Session).pass},
	"AUTH": {authorization, 1, 2, (*pop3Session).auth},
	"STAT": {transaction, 0, 0, (*pop3Session).stat},
	"LIST": {transaction, 0, 1, (*pop3Session).list},
	"UIDL": {transaction, 0, 1, (*pop3Session).uidl},
	"RETR": {transaction, 1, 1, (*pop3Session).retr},
	"TOP":  {transaction, 2, 2, (*pop3Session).top},
	"DELE": {transaction, 1, 1, (*pop3Session).dele},
	"RSET": {transaction, 0, 0, func(s *pop3Session, _ []string) { clear(s.gone); s.ok() }},
	"NOOP": {transaction, 0, 0, func(s *pop3Session, _ []string) { s.ok() }},
}

func (s *pop3Session) execute(line string) {
	// A password may hold blanks, also doubled ones: split at each.
	words := strings.Split(line, " ")
	name, args := strings.ToUpper(words[0]), words[1:]
	now := authorization
	if s.drop != nil {
		now = transaction
	}
	command, known := pop3Commands[name]
	switch {
	case !known || !s.server.knows(name):
		s.err("unknown command")
	case command.in&now == 0:
		s.err("not now")
	case len(args) < command.min || len(args) > command.max:
		s.err("wrong number of arguments")
	default:
		command.run(s, args)
	}
}

func (s *pop3Session) capa([]string) {
	s.ok()
	for _, c := range []struct {
		line string
		has  bool
	}{
		{"TOP", s.server.knows("TOP")},
		{"UIDL", s.server.knows("UIDL")},
		{"USER", s.secret},
		{"SASL PLAIN", s.secret && s.server.knows("AUTH")},
		{"STLS", s.canTLS},
		{"PIPELINING", true},
		{"RESP-CODES", true},
		{"AUTH-RESP-CODE", true},
	} {
		if c.has {
			s.send(c.line)
		}
	}
	s.send(".")
}

// stls upgrades the connection. What the client has sent ahead of the
// handshake was perhaps not sent by the client: the session ends.
func (s *pop3Session) stls([]string) {
	if !s.canTLS {
		s.err("no TLS here")
		return
	}
	if s.done = s.r.Buffered() > 0; s.done {
		s.err("commands ahead of the handshake")
		return
	}
	s.ok("begin")
	_ = s.w.Flush()
	s.conn = tls.Server(s.conn, s.server.tls)
	s.r.Reset(s.conn)
	s.w.Reset(s.conn)
	s.canTLS, s.secret, s.name = false, true, ""
}

func (s *pop3Session) user(args []string) {
	if !s.secret {
		s.err("not in clear text: say STLS first")
		return
	}
	s.name = args[0]
	s.ok()
}

func (s *pop3Session) pass(args []string) {
	if s.name == "" {
		s.err("say USER first")
		return
	}
	s.login(s.name, strings.Join(args, " "))
}

// auth is RFC 5034 with the one mechanism PLAIN (RFC 4616).
func (s *pop3Session) auth(args []string) {
	if !s.secret || !strings.EqualFold(args[0], "PLAIN") {
		s.err("mechanism not offered")
		return
	}
	if len(args) == 1 {
		s.send("+ ")
		line, err := s.readLine()
		if err != nil {
			s.done = true
			return
		}
		args = append(args, line)
	}
	response, err := base64.StdEncoding.DecodeString(args[1])
	fields := strings.Split(string(response), "\x00")
	if err != nil || len(fields) != 3 {
		s.err("that is no response to PLAIN")
		return
	}
	s.login(fields[1], fields[2])
}

func (s *pop3Session) login(name, password string) {
	if s.drop, s.messages = s.server.login(name, password); s.drop == nil {
		s.failures++
		s.done = s.failures == maxFailures
		s.name = ""
		s.err("[AUTH] wrong name or password")
		return
	}
	s.ok(fmt.Sprintf("%d messages", len(s.messages)))
}

// quit is the only way to delete: a session that ends otherwise leaves the
// maildrop as it was (RFC 1939, section 6).
func (s *pop3Session) quit([]string) {
	if s.drop != nil {
		s.server.remove(s.drop, s.gone)
	}
	s.done = true
	s.ok("bye")
}

// message is the message that an argument names, unless the client got told
// that there is none.
func (s *pop3Session) message(arg string) *pop3Message {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 || n > len(s.messages) || s.gone[s.messages[n-1]] {
		s.err("no such message")
		return nil
	}
	return s.messages[n-1]
}

func (s *pop3Session) stat([]string) {
	count, octets := 0, 0
	for _, m := range s.messages {
		if !s.gone[m] {
			count++
			octets += len(m.raw)
		}
	}
	s.ok(fmt.Sprintf("%d %d", count, octets))
}

func (s *pop3Session) list(args []string) {
	s.listing(args, func(m *pop3Message) string { return strconv.Itoa(len(m.raw)) })
}

func (s *pop3Session) uidl(args []string) {
	s.listing(args, func(m *pop3Message) string { return m.uidl })
}

func (s *pop3Session) listing(args []string, value func(*pop3Message) string) {
	if len(args) == 1 {
		if m := s.message(args[0]); m != nil {
			s.ok(args[0] + " " + value(m))
		}
		return
	}
	s.ok()
	for i, m := range s.messages {
		if !s.gone[m] {
			s.send(strconv.Itoa(i+1) + " " + value(m))
		}
	}
	s.send(".")
}

func (s *pop3Session) retr(args []string) {
	if m := s.message(args[0]); m != nil {
		s.ok(fmt.Sprintf("%d octets", len(m.raw)))
		s.body(m.raw)
	}
}

// top sends the header, the empty line behind it and some lines of the body.
func (s *pop3Session) top(args []string) {
	m := s.message(args[0])
	if m == nil {
		return
	}
	lines, err := strconv.Atoi(args[1])
	if err != nil || lines < 0 {
		s.err("no number of lines")
		return
	}
	var part []byte
	inBody := false
	for line := range bytes.SplitAfterSeq(m.raw, crlf) {
		if inBody {
			if lines == 0 {
				break
			}
			lines--
		}
		part = append(part, line...)
		inBody = inBody || len(line) == len(crlf)
	}
	s.ok()
	s.body(part)
}

func (s *pop3Session) dele(args []string) {
	if m := s.message(args[0]); m != nil {
		s.gone[m] = true
		s.ok()
	}
}

// body sends lines, which all end in CRLF, with a dot ahead of those that
// begin with one. A bare LF ends no line.
func (s *pop3Session) body(raw []byte) {
	for line := range bytes.SplitAfterSeq(raw, crlf) {
		if len(line) > 0 && line[0] == '.' {
			_ = s.w.WriteByte('.')
		}
		_, _ = s.w.Write(line)
	}
	s.send(".")
}
