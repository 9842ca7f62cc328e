package mailbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailbox/login"
)

// imapSession is a mailbox opened over IMAP.
type imapSession struct {
	*wire
	client   *imapclient.Client
	caps     imap.CapSet
	box      mail.Box
	selected *imapclient.SelectCommand // nil until it is sent
	messages uint32                    // in the mailbox when it was opened, less those that were removed since
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
	s := &imapSession{wire: w, applied: make(map[disposition.Disposition]imap.UIDSet)}
	s.client = imapclient.New(&replay{Conn: w.top, r: io.MultiReader(strings.NewReader(line+"\r\n"), w.r)}, nil)
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

// replay is a connection of which some octets have been read already.
type replay struct {
	net.Conn
	r io.Reader
}

func (c *replay) Read(p []byte) (int, error) { return c.r.Read(p) }

// Write implements io.Writer. An answer to a challenge that says nothing is an
// empty line (RFC 9051, section 6.2.2). The library sends what stands for an
// empty initial response.
func (c *replay) Write(p []byte) (int, error) {
	if string(p) != "=\r\n" {
		return c.Conn.Write(p)
	}
	n, err := c.Conn.Write(p[1:])
	return n + 1, err
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
	if s.caps = s.client.Caps(); s.caps == nil {
		return "", s.fail(mail.OpAuthenticate, errNoCaps)
	}
	if s.client.State() == imap.ConnStateAuthenticated {
		return "PREAUTH", nil
	}
	way, err := s.way(s.offered())
	if err != nil {
		return "", err
	}
	if way == login.LoginCommand {
		command := s.client.Login(s.c.Username, s.secret.Reveal())
		s.sendSelect() // whatever comes of the login, there is nothing else to ask
		err = command.Wait()
	} else {
		err = s.sasl(way, s.offered(), func(c sasl.Client) error { return imapRefusal(s.client.Authenticate(c)) })
	}
	if err != nil {
		return "", s.fail(mail.OpAuthenticate, err)
	}
	if s.caps = s.client.Caps(); s.caps == nil { // they may be more by now
		return "", s.fail(mail.OpAuthenticate, errNoCaps)
	}
	return loggedIn(s.c, way, slices.Collect(maps.Keys(s.caps))), nil
}

var errNoCaps = errors.New("server does not say what it is capable of")

// offered is how the server lets clients log in.
func (s *imapSession) offered() []login.Way {
	var ways []login.Way
	for _, name := range s.caps.AuthMechanisms() {
		ways = append(ways, login.Way(strings.ToUpper(name)))
	}
	if !s.caps.Has(imap.CapLoginDisabled) {
		ways = append(ways, login.LoginCommand)
	}
	return ways
}

// open opens the mailbox: with EXAMINE where nothing is to change on the
// server, so that nothing does, not even \Recent.
func (s *imapSession) open() (string, error) {
	if s.selected == nil {
		s.sendSelect()
	}
	data, err := s.selected.Wait()
	if err != nil {
		return "", s.notOpened(s.fail(mail.OpOpenMailbox, err))
	}
	if data.UIDValidity == 0 {
		return "", s.fail(mail.OpOpenMailbox, errors.New("server gives no UIDVALIDITY, so its UIDs mean nothing beyond one session"))
	}
	s.box = mail.Box{Account: s.c.Account(), Validity: data.UIDValidity}
	s.messages = data.NumMessages
	said := fmt.Sprintf("%s: %d messages, UIDVALIDITY %d", s.c.Mailbox, data.NumMessages, data.UIDValidity)
	if s.c.ReadOnly && s.c.MoveTo != "" { // a poll finds out when it moves
		if _, err := s.client.Status(s.c.MoveTo, &imap.StatusOptions{NumMessages: true}).Wait(); err != nil {
			return "", s.notMoved(s.fail(mail.OpOpenMailbox, err), "")
		}
		said += fmt.Sprintf("; %s is there", s.c.MoveTo)
	}
	return said, nil
}

// sendSelect asks for the mailbox, and does not wait.
func (s *imapSession) sendSelect() {
	s.selected = s.client.Select(s.c.Mailbox, &imap.SelectOptions{ReadOnly: !s.c.Ending().ChangesServer()})
}

// notOpened adds to the failure to open a mailbox which ones there are.
func (s *imapSession) notOpened(failed error) error {
	var e *mail.Error
	if !isRefusal(failed) || !errors.As(failed, &e) || e.Kind != mail.KindConfig {
		return failed
	}
	var names []string
	list := s.client.List("", "*", nil)
	for data := list.Next(); data != nil; data = list.Next() {
		if !slices.Contains(data.Attrs, imap.MailboxAttrNoSelect) && len(names) <= maxNames {
			names = append(names, data.Mailbox)
		}
	}
	if err := list.Close(); err != nil || len(names) == 0 {
		return failed // what went wrong first is what counts
	}
	slices.Sort(names)
	if len(names) > maxNames {
		names = append(names[:maxNames], "...")
	}
	e.Hint += "; there are: " + s.clean(strings.Join(names, ", "))
	return e
}

// maxNames is how many of the mailboxes that exist are named.
const maxNames = 20

// Box implements poll.Session.
func (s *imapSession) Box() (mail.Box, int) { return s.box, int(s.messages) }

// imapRefusal is err, as a refusal if it is one.
func imapRefusal(err error) error {
	var status *imap.Error
	if errors.As(err, &status) {
		return &refusal{code: strings.ToUpper(string(status.Code)), text: status.Text}
	}
	return err
}

// fail makes an Error out of what the library says.
func (s *imapSession) fail(op string, err error) error {
	err = imapRefusal(err)
	if errors.Is(err, net.ErrClosed) { // by the library, which knows what for
		if cause := s.client.Close(); cause != nil {
			err = cause
		}
	}
	return s.failure(op, err)
}

// Apply implements poll.Session.
func (s *imapSession) Apply(refs []mail.Ref, d disposition.Disposition) {
	set := s.applied[d]
	for _, ref := range refs {
		set.AddNum(imap.UID(ref.UID))
	}
	s.applied[d] = set
}

// Commit implements poll.Session. Flags are added, never replaced; what is
// removed is exactly the messages that were applied.
func (s *imapSession) Commit(ctx context.Context) (warning string, err error) {
	defer s.conn.begin(ctx, replyBudget+16*int64(s.messages))()
	for _, step := range []struct {
		d   disposition.Disposition
		put func(imap.UIDSet) (warning string, err error)
	}{{disposition.Seen, s.markSeen}, {disposition.Move, s.move}, {disposition.Delete, s.remove}} {
		if len(s.applied[step.d]) == 0 {
			continue
		}
		if step.d.Removes() {
			if err := s.checkValidity(); err != nil {
				return warning, err
			}
		}
		for uids := range slices.Chunk(s.applied[step.d], maxRanges) {
			said, err := step.put(uids)
			if warning = cmp.Or(warning, said); err != nil {
				return warning, s.fail(mail.OpDispose, err)
			}
		}
		delete(s.applied, step.d)
	}
	return warning, nil
}

// checkValidity makes sure that the UIDs still mean what they meant when the
// mailbox was opened. Servers need not answer STATUS for the open mailbox, and
// must not renumber it: only one that says that it did ends the session.
func (s *imapSession) checkValidity() error {
	status, err := s.client.Status(s.c.Mailbox, &imap.StatusOptions{UIDValidity: true}).Wait()
	if err != nil {
		if err = s.fail(mail.OpDispose, err); isRefusal(err) {
			return nil
		}
		return err
	}
	if now := status.UIDValidity; now != 0 && now != s.box.Validity {
		return s.fail(mail.OpDispose, fmt.Errorf("UIDVALIDITY changed from %d to %d during the session, so nothing was deleted", s.box.Validity, now))
	}
	return nil
}

// markSeen marks messages as read.
func (s *imapSession) markSeen(uids imap.UIDSet) (warning string, err error) {
	return "", s.flag(uids, imap.FlagSeen)
}

// remove removes messages. STORE is answered before EXPUNGE is asked for:
// Dovecot 2.3 now and then removes nothing when both come at once, and says OK.
func (s *imapSession) remove(uids imap.UIDSet) (warning string, err error) {
	if err := s.flag(uids, imap.FlagDeleted); err != nil {
		return "", err
	}
	return s.expunge(uids)
}

// move moves messages to another mailbox: in one step where the server has MOVE
// (RFC 6851), else by copying and removing them. Stopped dead between the two it
// copies them again the next time: nothing tells a copy from another message.
func (s *imapSession) move(uids imap.UIDSet) (warning string, err error) {
	if s.c.Dispose == disposition.Seen {
		if err := s.flag(uids, imap.FlagSeen); err != nil {
			return "", err
		}
	}
	if !s.caps.Has(imap.CapMove) { // the library would expunge what others have marked
		if _, err := s.client.Copy(uids, s.c.MoveTo).Wait(); err != nil {
			return "", s.notMoved(s.fail(mail.OpDispose, err), notMovedYet)
		}
		return s.remove(uids)
	}
	if _, err := s.client.Move(uids, s.c.MoveTo).Wait(); err != nil {
		return "", s.notMoved(s.fail(mail.OpDispose, err), notMovedYet)
	}
	for _, r := range uids {
		s.messages -= min(s.messages, uint32(r.Stop-r.Start)+1)
	}
	return "", nil
}

const notMovedYet = "; the messages are saved, and the next poll moves them"

// notMoved says what to do about a mailbox that takes no messages.
func (s *imapSession) notMoved(err error, rest string) error {
	var e *mail.Error
	if isRefusal(err) && errors.As(err, &e) {
		e.Err = fmt.Errorf("move to %q: %w", s.c.MoveTo, e.Err)
		e.Hint = "create the mailbox on the server, or name another one in move_to:" + rest
	}
	return err
}

// flag adds a flag to messages.
func (s *imapSession) flag(uids imap.UIDSet, flag imap.Flag) error {
	store := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}
	return s.client.Store(uids, store, nil).Close()
}

// expunge removes messages that carry \Deleted. A server without UIDPLUS can
// only remove all that carry it: it is asked to only when they are ours.
func (s *imapSession) expunge(uids imap.UIDSet) (warning string, err error) {
	if s.caps.Has(imap.CapUIDPlus) {
		return "", s.removed(s.client.UIDExpunge(uids))
	}
	found, err := s.client.UIDSearch(&imap.SearchCriteria{Flag: []imap.Flag{imap.FlagDeleted}}, nil).Wait()
	if err != nil {
		return "", err
	}
	var ours mail.UIDSet
	for _, r := range uids {
		ours.Add(uint32(r.Start), uint32(r.Stop))
	}
	if others := rangesOf(found).Minus(ours).Len(); others > 0 {
		return fmt.Sprintf("messages stay on the server, marked as deleted: it has no UIDPLUS, and %d other messages that are marked would be removed with them", others), nil
	}
	return "", s.removed(s.client.Expunge())
}

// removed waits for an EXPUNGE and keeps count.
func (s *imapSession) removed(cmd *imapclient.ExpungeCommand) error {
	for cmd.Next() != 0 {
		s.messages -= min(s.messages, 1)
	}
	return cmd.Close()
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
