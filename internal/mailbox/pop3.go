package mailbox

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

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
	count     int               // messages, as the server says
	ids       []string          // by message number less one; nil until listed; empty where the server lists none
	repeats   bool              // some of them have the same unique-id
	sizes     []int64           // likewise
	applied   []mail.Ref        // to delete
	headed    bool              // the server answered a TOP
	done      bool              // QUIT was sent, or must not be
}

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

// fail makes an Error out of what went wrong. Nil stays nil.
func (s *pop3Session) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	if s.replies.err != nil {
		err = s.replies.err
	}
	err = s.failure(op, err)
	var e *mail.Error
	var r *refusal
	if errors.As(err, &e) && errors.As(err, &r) && r.code == "LOGIN-DELAY" && e.Wait == 0 {
		e.Wait = s.loginDelay()
	}
	return err
}

// loginDelay is how far apart the server wants logins to be (RFC 2449, section
// 6.5); 0 when it does not say.
func (s *pop3Session) loginDelay() time.Duration {
	text, _, _ := strings.Cut(s.caps["LOGIN-DELAY"], " ")
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxBackOff)
}

// pipelines reports whether commands may be sent ahead of the answers to others
// (RFC 2449, section 6.6).
func (s *pop3Session) pipelines() bool {
	_, says := s.caps["PIPELINING"]
	return says && !s.manners.stepwise.Load()
}

// authenticate logs in with what the server offers and the configuration
// allows. The server opens the mailbox with it, which may take long.
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
	way, err := s.chooseWay(s.offered())
	if err != nil {
		return "", err
	}
	s.slow()
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
		return "", s.loginFailure(s.fail, err)
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
	if len(fields) == 0 || err != nil || s.count < 0 {
		return "", s.fail(mail.OpOpenMailbox, fmt.Errorf("server gives no number of messages: %q", text))
	}
	return fmt.Sprintf("%d messages", s.count), nil
}

// Box implements poll.Session.
func (s *pop3Session) Box() (mail.Box, int) { return mail.Box{Account: s.c.Account()}, s.count }

// Apply implements poll.Session. Only DELETE means something to POP3.
func (s *pop3Session) Apply(refs []mail.Ref, d disposition.Disposition) {
	if d == disposition.Delete {
		s.applied = append(s.applied, refs...)
	}
}

// Commit implements poll.Session. A deletion counts only when QUIT was
// answered +OK (RFC 1939, section 6), and is seen only by another session. From a
// server that gives several messages one unique-id no session can see it: there
// the +OK has to do.
func (s *pop3Session) Commit(ctx context.Context) (c mail.Commitment, err error) {
	if s.done {
		return c, s.fail(mail.OpDispose, errors.New("the session is out of step with the server: nothing was deleted, the next one does it"))
	}
	defer s.conn.begin(ctx, replyBudget)()
	s.slow()
	if err := s.list(); err != nil {
		return c, s.fail(mail.OpDispose, err)
	}
	s.done = true
	window := 1
	if s.pipelines() {
		window = pipelinedDeletions
	}
	var deleted []mail.Ref
	for chunk := range slices.Chunk(s.applied, window) {
		var commands []byte
		for _, ref := range chunk {
			s.conn.allow(maxLine)
			commands = fmt.Appendf(commands, "DELE %d\r\n", ref.Num)
		}
		s.ahead = len(chunk) > 1
		err := s.send(commands)
		for _, ref := range chunk {
			if err != nil {
				break
			}
			if err = s.ok(); isRefusal(err) {
				if e := new(*mail.Error); c.Err == nil && errors.As(s.fail(mail.OpDispose, err), e) {
					c.Err = *e
				}
				c.Refused = append(c.Refused, ref)
				err = nil
				continue
			}
			deleted = append(deleted, ref)
		}
		if err != nil {
			return mail.Commitment{}, s.fail(mail.OpDispose, err)
		}
	}
	s.ahead = false
	if _, err := s.do("QUIT"); err != nil {
		return mail.Commitment{}, s.fail(mail.OpDispose, err)
	}
	s.applied = nil
	if !s.repeats {
		c.Asked = deleted
	}
	c.Wait = s.loginDelay()
	return c, nil
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
