package mailbox

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/knadh/go-pop3"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/login"
)

// pop3Session is a mailbox opened over POP3. The server holds it locked and
// unchanged until QUIT.
type pop3Session struct {
	*wire
	pop     *pop3.Conn
	replies *statusConn
	// timestamp is what APOP signs; empty where the server does not offer it.
	timestamp string
	caps      map[string]string // by upper-case name; nil when the server has no CAPA
	count     int               // messages
	ids       []string          // by message number less one; nil until listed; empty where the server lists none
	sizes     []int64           // likewise
	applied   []int             // message numbers to delete
	headed    bool              // the server answered a TOP
	done      bool              // QUIT was sent, or must not be
}

// maxMessages bounds how many messages a mailbox may say it holds.
const maxMessages = 10_000_000

// listBudget is how many octets a line of a listing may fill.
const listBudget = 128

// dialed is a Dialer that hands out a connection that exists already.
type dialed struct{ net.Conn }

func (d dialed) Dial(string, string) (net.Conn, error) { return d.Conn, nil }

// openPOP3 speaks POP3 up to an open mailbox.
func (w *wire) openPOP3(ctx context.Context) (Session, error) {
	line, err := w.greeting(pop3Greeting)
	if err != nil {
		return nil, err
	}
	s := &pop3Session{wire: w, timestamp: login.Timestamp(line), replies: &statusConn{wire: w, rest: strings.TrimSpace("+OK "+line[len("+OK"):]) + "\r\n"}}
	if s.pop, err = pop3.New(pop3.Opt{Dialer: dialed{&pop3Conn{w.conn, s.replies}}}).NewConn(); err != nil {
		return nil, s.fail(mail.OpGreeting, err)
	}
	if w.c.Security == mail.StartTLS {
		if err := s.stls(ctx); err != nil {
			return nil, err
		}
	}
	if err := w.step(mail.OpAuthenticate, s.authenticate); err != nil {
		return nil, err
	}
	if err := w.step(mail.OpOpenMailbox, s.open); err != nil {
		return nil, err
	}
	return s, nil
}

// pop3Conn is the connection in go-pop3's hands: it reads status lines and
// writes to whatever the wire is by then.
type pop3Conn struct {
	net.Conn
	replies *statusConn
}

func (c *pop3Conn) Read(p []byte) (int, error)  { return c.replies.Read(p) }
func (c *pop3Conn) Write(p []byte) (int, error) { return c.replies.top.Write(p) }

// pop3Greeting checks the first line of a server (RFC 1939, section 4).
func pop3Greeting(line string) error {
	switch first := strings.ToUpper(line); {
	case first == "+OK", strings.HasPrefix(first, "+OK "):
		return nil
	case strings.HasPrefix(first, "-ERR"):
		return pop3Refusal(strings.TrimSpace(line[len("-ERR"):]))
	}
	return fmt.Errorf("this is no POP3 server: it says %q", line)
}

// stls upgrades the wire (RFC 2595, section 4). Nothing else is sent before
// TLS.
func (s *pop3Session) stls(ctx context.Context) error {
	if _, err := s.do("STLS"); err != nil {
		if isRefusal(err) {
			return s.cleaned(noSTARTTLS(err))
		}
		return s.fail(mail.OpTLS, err)
	}
	return s.startTLS(ctx)
}

// do sends a command that is answered by a status line and returns its text. A
// -ERR is a *refusal.
func (s *pop3Session) do(command string, args ...any) (string, error) {
	if n := s.r.Buffered(); n > 0 {
		return "", fmt.Errorf("server sent %d octets that it was not asked for", n)
	}
	text, err := s.pop.Cmd(command, false, args...)
	if err != nil {
		if s.replies.err == nil && s.conn.err() == nil {
			return "", pop3Refusal(err.Error())
		}
		return "", errors.Join(s.replies.err, err)
	}
	return text.String(), nil
}

// fail makes an Error out of what went wrong.
func (s *pop3Session) fail(op string, err error) error {
	if s.replies.err != nil {
		err = s.replies.err
	}
	return s.failure(op, err)
}

// authenticate logs in with what the server offers and the configuration
// allows.
func (s *pop3Session) authenticate() (string, error) {
	if err := s.capa(); err != nil {
		return "", s.fail(mail.OpAuthenticate, err)
	}
	user, secret := s.c.Username, s.secret.Reveal()
	if strings.ContainsAny(user+secret, "\r\n\x00") {
		return "", &mail.Error{
			Op: mail.OpAuthenticate, Kind: mail.KindConfig, Err: errors.New("user name or password holds a line break or a NUL"),
			Hint: "POP3 cannot transmit it",
		}
	}
	way, err := s.way(s.offered())
	if err != nil {
		return "", err
	}
	switch way {
	case login.APOP:
		_, err = s.do("APOP", user, login.Digest(s.timestamp, secret))
	case login.UserPass:
		if _, err = s.do("USER", user); err == nil {
			_, err = s.do("PASS", secret)
		}
	default:
		err = s.sasl(way, s.offered(), s.auth)
	}
	if err != nil {
		return "", s.fail(mail.OpAuthenticate, err)
	}
	return loggedIn(s.c, way, slices.Collect(maps.Keys(s.caps))), nil
}

// offered is how the server lets clients log in. One without CAPA knows USER
// and PASS; and one that has CAPA may still not name them.
func (s *pop3Session) offered() []login.Way {
	var ways []login.Way
	for name := range strings.FieldsSeq(strings.ToUpper(s.caps["SASL"])) {
		ways = append(ways, login.Way(name))
	}
	if _, named := s.caps["USER"]; named || len(ways) == 0 {
		ways = append(ways, login.UserPass)
	}
	if s.timestamp != "" {
		ways = append(ways, login.APOP)
	}
	return ways
}

// capa asks what the server is capable of (RFC 2449). A server that does not
// know the command has no capabilities.
func (s *pop3Session) capa() error {
	if _, err := s.do("CAPA"); err != nil {
		if isRefusal(err) {
			return nil
		}
		return err
	}
	s.caps = make(map[string]string)
	return s.lines(func(line string) error {
		name, args, _ := strings.Cut(line, " ")
		s.caps[strings.ToUpper(name)] = args
		return nil
	})
}

// maxAuth is how long AUTH may be with its initial response, in octets (RFC
// 5034, section 4). A longer response is given when it is asked for.
const maxAuth = 255

// auth runs AUTH (RFC 5034).
func (s *pop3Session) auth(client sasl.Client) error {
	name, response, err := client.Start()
	if err != nil {
		return err
	}
	line := "AUTH " + name
	if with := line + " " + base64.StdEncoding.EncodeToString(response); len(response) > 0 && len(with)+len("\r\n") <= maxAuth {
		line, response = with, nil
	}
	for {
		if err := s.pop.Send(line); err != nil {
			return err
		}
		answer, err := s.line()
		if err != nil {
			return err
		}
		word, text, _ := strings.Cut(answer, " ")
		switch strings.ToUpper(word) {
		case "+OK":
			return nil
		case "-ERR":
			return pop3Refusal(text)
		case "+":
		default:
			return fmt.Errorf("this is no answer of a POP3 server: %q", answer)
		}
		if response == nil { // the initial response was given, or there is none
			challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
			if err != nil {
				return fmt.Errorf("decode challenge: %w", err)
			}
			if response, err = client.Next(challenge); err != nil {
				return err
			}
		}
		line, response = base64.StdEncoding.EncodeToString(response), nil
	}
}

// open asks how many messages there are.
func (s *pop3Session) open() (string, error) {
	text, err := s.do("STAT")
	if err != nil {
		return "", s.fail(mail.OpOpenMailbox, err)
	}
	fields := strings.Fields(text)
	if len(fields) > 0 {
		s.count, err = strconv.Atoi(fields[0])
	}
	if len(fields) == 0 || err != nil || s.count < 0 || s.count > maxMessages {
		return "", s.fail(mail.OpOpenMailbox, fmt.Errorf("server gives no number of messages: %q", text))
	}
	return fmt.Sprintf("%d messages", s.count), nil
}

// Box implements poll.Session.
func (s *pop3Session) Box() (mail.Box, int) { return mail.Box{Account: s.c.Account()}, s.count }

// What may be asked for ahead of the message at hand. It is little enough to be
// read to its end when a poll stops in the middle, and for the commands to fit
// into the server's buffers while it writes.
const (
	pipelined          = 64
	pipelinedOctets    = 512 << 10
	pipelinedDeletions = 512
)

// Fetch implements poll.Session. Where the server has PIPELINING (RFC 2449,
// section 6.6), small messages are asked for ahead.
func (s *pop3Session) Fetch(ctx context.Context, refs []mail.Ref, each func(mail.Message) error) error {
	defer s.conn.begin(ctx, replyBudget)()
	_, ahead := s.caps["PIPELINING"]
	asked, octets := 0, int64(0) // of refs; what of them was not read yet
	for i, ref := range refs {
		if n := s.r.Buffered(); n > 0 && asked == i {
			return s.fail(mail.OpFetch, fmt.Errorf("server sent %d octets that it was not asked for", n))
		}
		var commands []byte
		for asked < len(refs) && (asked == i || ahead && asked-i < pipelined && octets+refs[asked].Size <= pipelinedOctets && refs[asked].Size > 0) {
			commands = fmt.Appendf(commands, "RETR %d\r\n", refs[asked].Num)
			octets += refs[asked].Size
			asked++
		}
		if err := s.send(commands); err != nil {
			return s.fail(mail.OpFetch, err)
		}
		if err := s.retrieve(ref, each); err != nil {
			return s.settle(refs[i+1:asked], err)
		}
		octets -= ref.Size
	}
	return nil
}

// retrieve reads the answer to a RETR.
func (s *pop3Session) retrieve(ref mail.Ref, each func(mail.Message) error) error {
	s.conn.allow(replyBudget / 16)
	m := mail.Message{Ref: ref}
	b := &retrieved{s: s, size: ref.Size}
	switch err := s.ok(); {
	case isRefusal(err):
		m.Err = s.fail(mail.OpFetch, err)
	case err != nil:
		s.done = true
		return s.fail(mail.OpFetch, err)
	default:
		m.Body = b
	}
	err := each(m)
	if m.Body != nil && !b.whole {
		s.done = true // out of step: no QUIT
		if err == nil {
			err = s.fail(mail.OpFetch, io.ErrUnexpectedEOF)
		}
	}
	return err
}

// settle brings the session back into step after err of a caller that will
// have no more: what was asked for ahead is read and dropped.
func (s *pop3Session) settle(ahead []mail.Ref, err error) error {
	for _, ref := range ahead {
		if s.done {
			break
		}
		drop := func(m mail.Message) (err error) {
			if m.Body != nil {
				_, err = m.Body.WriteTo(io.Discard)
			}
			return err
		}
		if failed := s.retrieve(ref, drop); failed != nil {
			s.done = true
		}
	}
	return err
}

// send writes commands, of which none may be waiting for its answer, unless
// the server has PIPELINING.
func (s *pop3Session) send(commands []byte) error {
	if len(commands) == 0 {
		return nil
	}
	_, err := s.wire.top.Write(commands)
	return err
}

// ok reads a status line. A -ERR is a *refusal.
func (s *pop3Session) ok() error {
	line, err := s.status()
	if err != nil {
		return err
	}
	if text, refused := strings.CutPrefix(line, "-ERR"); refused {
		return pop3Refusal(strings.TrimSpace(text))
	}
	return nil
}

// retrieved is the body of a message on its way from the server.
type retrieved struct {
	s     *pop3Session
	size  int64 // as LIST announced it
	whole bool  // read to its end, as announced: the session is in step
}

// WriteTo implements io.WriterTo.
func (b *retrieved) WriteTo(w io.Writer) (int64, error) {
	// Dots that were added, and line ends that the size may not count.
	b.s.conn.allow(2 * b.size)
	n, err := b.s.body(w)
	switch {
	case err != nil && b.s.conn.err() == nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return n, err // the writer's
	case err != nil:
		return n, b.s.fail(mail.OpFetch, err)
	}
	if n < b.size {
		// What ended the message may have been part of it, and the rest of it
		// would be read as the server's answers: Dovecot 2.3 does not add a dot
		// to one that begins a message. The session ends here.
		return n, &mail.Error{
			Op: mail.OpFetch, Kind: mail.KindProtocol,
			Err:  fmt.Errorf("server announced %d octets and sent %d", b.size, n),
			Hint: "the message stays on the server; if this server counts octets in another way, read the mailbox over IMAP",
		}
	}
	b.whole = true
	return n, nil
}

// Apply implements poll.Session. Only DELETE means something to POP3.
func (s *pop3Session) Apply(refs []mail.Ref, d disposition.Disposition) {
	if d == disposition.Delete {
		for _, ref := range refs {
			s.applied = append(s.applied, ref.Num)
		}
	}
}

// Commit implements poll.Session. A deletion counts only when QUIT was
// answered +OK (RFC 1939, section 6).
func (s *pop3Session) Commit(ctx context.Context) (warning string, err error) {
	if s.done {
		return "", s.fail(mail.OpDispose, errors.New("the session is out of step with the server: nothing was deleted, the next one does it"))
	}
	defer s.conn.begin(ctx, replyBudget)()
	s.done = true
	window := 1
	if _, ahead := s.caps["PIPELINING"]; ahead {
		window = pipelinedDeletions
	}
	for chunk := range slices.Chunk(s.applied, window) {
		var commands []byte
		for _, num := range chunk {
			s.conn.allow(maxLine)
			commands = fmt.Appendf(commands, "DELE %d\r\n", num)
		}
		err := s.send(commands)
		for range chunk {
			if err == nil {
				err = s.ok()
			}
		}
		if err != nil {
			return "", s.fail(mail.OpDispose, err)
		}
	}
	if _, err := s.do("QUIT"); err != nil {
		return "", s.fail(mail.OpDispose, err)
	}
	s.applied = nil
	return "", nil
}

// Close implements poll.Session. A session in which messages were marked for
// deletion, but not committed, is dropped: the server then keeps them.
func (s *pop3Session) Close() error {
	defer s.close()
	if s.done || s.conn.err() != nil || s.replies.err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	defer s.conn.begin(ctx, replyBudget)()
	if _, err := s.do("QUIT"); err != nil {
		return s.fail(mail.OpClose, err)
	}
	return nil
}
