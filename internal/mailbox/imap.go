package mailbox

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/lenient"
	"mailpoller/internal/mailbox/login"
)

// imapSession is a mailbox opened over IMAP.
type imapSession struct {
	*wire
	client   *imapclient.Client
	in       *lenient.Reader
	out      *writer
	caps     imap.CapSet
	box      mail.Box
	selected *imapclient.SelectCommand // nil until it is sent
	messages int                       // in the mailbox when it was opened
	applied  map[disposition.Disposition]imap.UIDSet
	facts    map[uint32]facts // of the messages that are being fetched, by UID
	buffer   []byte           // what a message passes through; nil until there was one
	broken   bool             // a literal was left unread: the client cannot go on
}

// openIMAP speaks IMAP up to an open mailbox. The greeting and the upgrade to
// TLS are done here, on the bare wire: the library would ask for capabilities
// in clear text, and take octets injected ahead of TLS for the server's.
func (w *wire) openIMAP(ctx context.Context) (Session, error) {
	line, err := w.greeting(imapGreeting)
	if err != nil {
		return nil, err
	}
	if w.c.Security == mail.StartTLS {
		if err := w.imapSTARTTLS(ctx, line); err != nil {
			return nil, err
		}
		line = "* OK" // what was said in clear text counts for nothing now
	}
	s := &imapSession{wire: w, applied: make(map[disposition.Disposition]imap.UIDSet), out: &writer{Conn: w.top}}
	s.in = lenient.NewReader(bufio.NewReaderSize(io.MultiReader(strings.NewReader(line+"\r\n"), w.r), readBuffer))
	s.said = s.in.Texts
	s.client = imapclient.New(&replay{s.out, s.in}, nil)
	err = w.step(mail.OpAuthenticate, s.authenticate)
	if err == nil {
		err = w.step(mail.OpOpenMailbox, s.open)
	}
	if err != nil {
		s.abort()
		return nil, err
	}
	return s, nil
}

// replay is the wire as the library has it: what the server says, as it reads it,
// and what it says to the server.
type replay struct {
	*writer
	r *lenient.Reader
}

func (c *replay) Read(p []byte) (int, error) { return c.r.Read(p) }

// writer says in other words what the library cannot say.
type writer struct {
	net.Conn
	id string // of the client; what "ID NIL" stands for
}

// Write implements io.Writer. An answer to a challenge that says nothing is an
// empty line (RFC 9051, section 6.2.2). The library sends what stands for an
// empty initial response.
func (c *writer) Write(p []byte) (int, error) {
	said := p
	switch {
	case string(p) == "=\r\n":
		said = p[1:]
	case c.id != "" && bytes.HasSuffix(p, []byte(" ID NIL\r\n")):
		said = append(bytes.TrimSuffix(bytes.Clone(p), []byte("NIL\r\n")), c.id+"\r\n"...)
	}
	if _, err := c.Conn.Write(said); err != nil {
		return 0, err
	}
	return len(p), nil
}

// imapGreeting checks the first line of a server (RFC 9051, 7.1).
func imapGreeting(line string) error {
	switch first := strings.ToUpper(line); {
	case strings.HasPrefix(first, "* OK"), strings.HasPrefix(first, "* PREAUTH"):
		return nil
	case strings.HasPrefix(first, "* BYE"):
		return &refusal{text: strings.TrimSpace(line[len("* BYE"):])}
	}
	return fmt.Errorf("this is no IMAP server: it says %q", line)
}

// imapSTARTTLS upgrades the wire. Nothing else is sent before TLS.
func (w *wire) imapSTARTTLS(ctx context.Context, greeting string) error {
	if strings.HasPrefix(strings.ToUpper(greeting), "* PREAUTH") {
		return &mail.Error{
			Op: mail.OpTLS, Kind: mail.KindTLS, Err: errors.New("server greets with PREAUTH, after which TLS cannot be started"),
			Hint: "use connection_security: SSL_TLS with the port for TLS; nothing was sent in clear text",
		}
	}
	if _, err := io.WriteString(w.top, "S STARTTLS\r\n"); err != nil {
		return w.failure(mail.OpTLS, err)
	}
	for {
		line, err := w.line()
		if err != nil {
			return w.failure(mail.OpTLS, err)
		}
		tag, rest, _ := strings.Cut(line, " ")
		status, text, _ := strings.Cut(rest, " ")
		switch {
		case tag == "*":
			continue // untagged data; bounded by the budget of the call
		case tag != "S":
			return w.failure(mail.OpTLS, fmt.Errorf("unexpected answer to STARTTLS: %q", line))
		case !strings.EqualFold(status, "OK"):
			return w.cleaned(noSTARTTLS(&refusal{text: text}))
		}
		return w.startTLS(ctx)
	}
}

// authenticate logs in with what the server offers and the configuration
// allows.
func (s *imapSession) authenticate() (string, error) {
	err := s.client.WaitGreeting()
	if err == nil {
		err = s.capable(0)
	}
	if err != nil {
		return "", s.fail(mail.OpAuthenticate, err)
	}
	if s.client.State() == imap.ConnStateAuthenticated {
		return "PREAUTH", nil
	}
	way, err := s.chooseWay(s.offered())
	if err != nil {
		return "", err
	}
	_, said := s.in.Caps()
	s.in.LoggingIn()
	if way == login.LoginCommand {
		command := s.client.Login(s.c.Username, s.secret.Reveal())
		if !s.manners.stepwise.Load() { // whatever comes of the login, there is nothing else to ask
			s.introduce()
			s.sendSelect()
			s.ahead = true
		}
		if err = command.Wait(); s.ahead {
			s.conn.wait(min(s.c.Timeout, patience))
		}
	} else {
		err = s.sasl(way, s.offered(), func(c sasl.Client) error { return imapRefusal(s.client.Authenticate(c)) })
	}
	if err != nil {
		return "", s.loginFailure(s.fail, err)
	}
	if err := s.capable(said); err != nil { // they may be others by now
		return "", s.fail(mail.OpAuthenticate, err)
	}
	caps, _ := s.in.Caps()
	return loggedIn(s.c, way, caps), nil
}

// patience is how long a server may be silent behind the login before it is taken to
// have lost the commands that were sent with it, as perdition and Courier do.
const patience = 3 * time.Second

// capable asks what the server is capable of, unless it has said so since.
func (s *imapSession) capable(since int) error {
	names, said := s.in.Caps()
	if said == since {
		if _, err := s.client.Capability().Wait(); err != nil {
			return err
		}
		names, _ = s.in.Caps()
	}
	if len(names) == 0 {
		return errNoCaps
	}
	s.caps = make(imap.CapSet, len(names))
	for _, name := range names {
		s.caps[imap.Cap(name)] = struct{}{}
	}
	return nil
}

var errNoCaps = errors.New("server does not say what it is capable of")

// offered is how the server lets clients log in.
func (s *imapSession) offered() []login.Way {
	var ways []login.Way
	for name := range s.caps {
		if mechanism, ok := strings.CutPrefix(string(name), "AUTH="); ok {
			ways = append(ways, login.Way(mechanism))
		}
	}
	if !s.caps.Has(imap.CapLoginDisabled) {
		ways = append(ways, login.LoginCommand)
	}
	return ways
}

// introduce says which program this is (RFC 2971), once, where the server may want
// to know, and does not wait: whatever it answers, there is nothing to do about it.
func (s *imapSession) introduce() (said bool) {
	if s.c.ClientID.Disabled || !s.caps.Has(imap.CapID) || s.out.id != "" {
		return false
	}
	s.out.id = clientID(s.opener.Version, s.c.ClientID.Fields)
	s.client.ID(nil)
	return true
}

// clientID is what the client says of itself, in the words of IMAP.
func clientID(version string, more [][2]string) string {
	fields := append([][2]string{{"name", "poller"}, {"version", cmp.Or(version, "devel")}}, more...)
	var words []string
	for _, f := range fields {
		for _, word := range f {
			words = append(words, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(word)+`"`)
		}
	}
	return "(" + strings.Join(words, " ") + ")"
}

// open opens the mailbox: with EXAMINE where nothing is to change on the
// server, so that nothing does, not even \Recent.
func (s *imapSession) open() (string, error) {
	if s.selected == nil {
		s.introduce()
		s.sendSelect()
		s.slow()
	}
	_, err := s.selected.Wait()
	if err = s.fail(mail.OpOpenMailbox, err); isRefusal(err) && s.introduce() { // it has ID behind the login alone
		s.sendSelect()
		_, err = s.selected.Wait()
		err = s.fail(mail.OpOpenMailbox, err)
	}
	if err != nil {
		return "", s.notOpened(err)
	}
	s.ahead = false
	s.slow()
	box := s.in.Mailbox()
	if box.Validity == 0 {
		if box, err = s.validity(); err != nil {
			return "", err
		}
	}
	s.box = mail.Box{Account: s.c.Account(), Validity: box.Validity}
	s.messages = int(box.Exists)
	said := fmt.Sprintf("%s: %d messages, UIDVALIDITY %d", s.c.Mailbox, box.Exists, box.Validity)
	if s.c.ReadOnly && s.c.MoveTo != "" { // a poll finds out when it moves
		if _, err := s.client.Status(s.c.MoveTo, &imap.StatusOptions{NumMessages: true}).Wait(); err != nil {
			return "", s.notMoved(s.fail(mail.OpOpenMailbox, err), "")
		}
		said += fmt.Sprintf("; %s is there", s.c.MoveTo)
	}
	for _, text := range s.in.Texts() {
		said += "; the server says: " + text
		s.opener.heard.say(s.log, s.c.Name, s.clean("the server says: "+text))
	}
	return said, nil
}

// slow lets the server work on a command for as long as command_timeout allows.
func (w *wire) slow() { w.conn.wait(max(w.c.Timeout, w.c.CommandTimeout)) }

// sendSelect asks for the mailbox, and does not wait.
func (s *imapSession) sendSelect() {
	s.in.Opening()
	s.selected = s.client.Select(s.c.Mailbox, &imap.SelectOptions{ReadOnly: !s.c.Ending().ChangesServer()})
}

// validity finds out the UIDVALIDITY of a mailbox that was opened without one:
// Xeams says it in answer to SELECT and STATUS alone.
func (s *imapSession) validity() (lenient.Mailbox, error) {
	box := s.in.Mailbox()
	s.in.Await(lenient.Want{})
	_, err := s.client.Status(s.c.Mailbox, &imap.StatusOptions{UIDValidity: true}).Wait()
	if err = s.fail(mail.OpOpenMailbox, err); err != nil && !isRefusal(err) {
		return box, err
	}
	if v, ok := s.in.Status("UIDVALIDITY"); ok {
		box.Validity = v
		return box, nil
	}
	if !s.c.Ending().ChangesServer() {
		s.in.Opening()
		_, err := s.client.Select(s.c.Mailbox, nil).Wait()
		if err = s.fail(mail.OpOpenMailbox, err); err != nil && !isRefusal(err) {
			return box, err
		}
		if now := s.in.Mailbox(); err == nil && now.Validity != 0 {
			s.opener.heard.say(s.log, s.c.Name, "the server says UIDVALIDITY to SELECT alone, so that the mailbox is opened by it: what is new is no longer \\Recent afterwards")
			return now, nil
		}
	}
	e := mail.Errorf(mail.OpOpenMailbox, mail.KindProtocol, "server gives no UIDVALIDITY, so its UIDs mean nothing beyond one session")
	e.Hint = "read the mailbox with store_type: POP3, where the server has it"
	return box, e
}

// notOpened adds to the failure to open a mailbox which ones there are.
func (s *imapSession) notOpened(failed error) error {
	var e *mail.Error
	if !isRefusal(failed) || !errors.As(failed, &e) || e.Kind != mail.KindConfig {
		return failed
	}
	s.in.Await(lenient.Want{Names: true})
	if err := s.client.List("", "*", nil).Close(); err != nil {
		return failed // what went wrong first is what counts
	}
	names := s.in.Names()
	if slices.ContainsFunc(names, func(name string) bool {
		return name == s.c.Mailbox || strings.EqualFold(name, "INBOX") && strings.EqualFold(s.c.Mailbox, "INBOX")
	}) {
		e.Kind, e.Hint = mail.KindProtocol, "the server has this mailbox, and says why it does not open it; its log may say more"
		return e
	}
	slices.Sort(names)
	if len(names) > maxNames {
		names = append(names[:maxNames:maxNames], "...")
	}
	if len(names) > 0 {
		e.Hint += "; there are: " + s.clean(strings.Join(names, ", "))
	}
	return e
}

// maxNames is how many of the mailboxes that exist are named.
const maxNames = 20

// Box implements poll.Session.
func (s *imapSession) Box() (mail.Box, int) { return s.box, s.messages }

// imapRefusal is err, as a refusal if it is one.
func imapRefusal(err error) error {
	var status *imap.Error
	if errors.As(err, &status) {
		text := strings.TrimSpace(status.Text)
		if text == "-" { // what stands for none
			text = ""
		}
		return &refusal{code: strings.ToUpper(string(status.Code)), text: text, bad: status.Type == imap.StatusResponseTypeBad}
	}
	return err
}

// fail makes an Error out of what the library says. Nil stays nil.
func (s *imapSession) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	err = imapRefusal(err)
	if read := s.in.Err(); read != nil && !isRefusal(err) {
		err = read
	}
	if errors.Is(err, net.ErrClosed) { // by the library, which knows what for
		if cause := s.client.Close(); cause != nil {
			err = cause
		}
	}
	return s.failure(op, err)
}

// Close implements poll.Session. LOGOUT leaves the mailbox without removing
// anything from it, as CLOSE would. Nothing hangs on its answer, and it is not
// waited for.
func (s *imapSession) Close() error {
	if !s.broken && s.conn.err() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		defer s.conn.begin(ctx, replyBudget)()
		s.client.Logout()
	}
	s.abort()
	return nil
}

// abort drops the connection and waits for the library's goroutine. The wire
// goes first: the library would wait for a literal that nobody reads.
func (s *imapSession) abort() {
	s.close()
	_ = s.client.Close() // reports what broke the wire, which is known
}
