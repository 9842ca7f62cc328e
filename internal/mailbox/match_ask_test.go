package mailbox

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailpoller/internal/demo/mailserver"
	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/internal/match"
)

// tap is what goes out over connections.
type tap struct {
	mu   sync.Mutex
	sent bytes.Buffer
}

func (p *tap) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &tapped{Conn: c, mu: &p.mu, sent: &p.sent}, err
}

// asked is how often a word was sent since the last time.
func (p *tap) asked(word string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.sent.Reset()
	return strings.Count(p.sent.String(), word)
}

// once picks in a session of its own.
func once(t *testing.T, o *Opener, c *mail.Connection, q mail.Query) (refs []mail.Ref, notMatching int) {
	t.Helper()
	s, err := o.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	refs = pick(t, s, q)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	notMatching, _ = s.Notes()
	return refs, notMatching
}

func mixed(subject string) []byte {
	return fmt.Appendf(nil, "Subject: %s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n--b--\r\n", subject)
}

// TestNoMessageIsLookedAtTwice: neither in the session that looked at it, nor in
// a later one.
func TestNoMessageIsLookedAtTwice(t *testing.T) {
	t.Parallel()
	pop3 := mailtest.NewPOP3(t)
	dovecot := mailtest.StartDovecot(t)
	for _, c := range []struct {
		store mail.StoreType
		word  string
		first int // how often the word is sent for six messages
	}{{mail.POP3, "TOP ", 6}, {mail.IMAP, "BODYSTRUCTURE", 1}} {
		t.Run(string(c.store), func(t *testing.T) {
			t.Parallel()
			messages := append(numbered(5), mixed("6"))
			var connection *mail.Connection
			var deliver func(...[]byte)
			if c.store == mail.POP3 {
				user := pop3.NewUser(t)
				deliver = func(m ...[]byte) { pop3.Deliver(t, user, m...) }
				connection = pop3.Connection(t, user, mail.NoTLS)
			} else {
				user := dovecot.NewUser(t)
				deliver = func(m ...[]byte) { dovecot.Deliver(t, user, m...) }
				connection = dovecot.Connection(t, user, mail.IMAP, mail.NoTLS)
			}
			deliver(messages...)
			connection.Match = &match.Filter{HasAttachment: new(true)}
			wire := &tap{}
			o := opener()
			o.Dial = wire.dial
			for i, want := range []struct{ asked, found, others int }{{c.first, 1, 5}, {0, 1, 0}, {1, 2, 1}} {
				if i == 2 {
					deliver(numbered(1)[0], mixed("8"))
					want.asked = c.first/6*2 + c.first%6
				}
				refs, others := once(t, o, connection, mail.Query{})
				if c.store == mail.POP3 {
					want.others = 5 + i/2 // what is remembered is counted: the server cannot leave it out
				}
				if asked := wire.asked(c.word); asked != want.asked || len(refs) != want.found || others != want.others {
					t.Errorf("session %d: asked %d times, found %d, %d others; not %+v", i+1, asked, len(refs), others, want)
				}
			}
		})
	}
}

// TestAPollGoesOnWhereTheLastOneStopped: where there is only time for a few
// looks, several polls find what lies behind many messages that do not match.
func TestAPollGoesOnWhereTheLastOneStopped(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	d.Deliver(t, user, append(numbered(40), mixed("last"))...)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			c := d.Connection(t, user, store, mail.NoTLS)
			c.Match = &match.Filter{HasAttachment: new(true)}
			c.PollTimeout = time.Nanosecond // the session has no use for it but this
			o := opener()
			for polls := 1; ; polls++ {
				refs, _ := once(t, o, c, mail.Query{Limit: 1})
				if len(refs) == 1 {
					if polls == 1 {
						t.Error("there was time for all of them: this test shows nothing")
					}
					return
				}
				if polls > 41 {
					t.Fatal("what lies behind is never found")
				}
			}
		})
	}
}

func TestAServerWithoutTOPIsSaidPlainly(t *testing.T) {
	t.Parallel()
	server := mailtest.NewPOP3(t, func(s *mailserver.POP3) { s.Without = []string{"TOP"} })
	user := server.NewUser(t)
	server.Deliver(t, user, numbered(3)...)
	c := server.Connection(t, user, mail.NoTLS)
	c.Match = &match.Filter{Subject: []string{"2"}}
	s := open(t, c)
	_, err := s.Pick(t.Context(), mail.Query{Limit: 1})
	e := mail.AsError(err, "", "")
	if e == nil || e.Op != mail.OpPick || e.Kind != mail.KindConfig || !strings.Contains(e.Error(), "no TOP") || e.Hint == "" {
		t.Errorf("%v", err)
	}
	c.Match = &match.Filter{Larger: 1, Smaller: 1 << 20}
	if refs, _ := once(t, opener(), c, mail.Query{}); len(refs) != 3 {
		t.Errorf("sizes need no TOP: %v", refs)
	}
	c.Match = &match.Filter{Larger: 1 << 20, Subject: []string{"2"}}
	if refs, others := once(t, opener(), c, mail.Query{}); len(refs) != 0 || others != 3 {
		t.Errorf("what is too small need not be looked at: %v, %d others", refs, others)
	}
}

// TestAMessageWithoutAHeaderDoesNotStandInTheWay: a server that refuses TOP for one
// message alone. Whether it has TOP it shows by answering one, or says so: then also
// the first that is asked for may be refused.
func TestAMessageWithoutAHeaderDoesNotStandInTheWay(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ capa, refused string }{
		"a server that answered one": {"-ERR no\r\n", "TOP 2 0"},
		"a server that says so":      {"+OK\r\nUSER\r\nTOP\r\nUIDL\r\n.\r\n", "TOP 1 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Script(t, func(c *mailtest.Conn) {
				c.Send("+OK hi\r\n")
				for {
					switch line := c.Line(); line {
					case "CAPA":
						c.Send(row.capa)
					case "STAT":
						c.Send("+OK 3 30\r\n")
					case "UIDL":
						c.Send("+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n")
					case "LIST 3":
						c.Send("+OK 3 10\r\n")
					case row.refused:
						c.Send("-ERR message is damaged\r\n")
					case "TOP 1 0", "TOP 2 0":
						c.Send("+OK\r\nSubject: x\r\n\r\n.\r\n")
					case "TOP 3 0":
						c.Send("+OK\r\nSubject: wanted\r\n\r\n.\r\n")
					case "QUIT":
						c.Send("+OK\r\n")
						return
					default:
						c.Send("+OK\r\n")
					}
				}
			})
			c := mailtest.Connection(t, mailtest.NewCA(t), mail.POP3, mail.NoTLS, server.Port, "user", "canary")
			c.Match = &match.Filter{Subject: []string{"WANTED"}}
			if refs, _ := once(t, opener(), c, mail.Query{Limit: 1}); len(refs) != 1 || refs[0].Num != 3 {
				t.Errorf("picked %v", refs)
			}
		})
	}
}

// TestAServerThatSearchesForASCIIAlone says so, and the operator learns it.
func TestAServerThatSearchesForASCIIAlone(t *testing.T) {
	t.Parallel()
	server := mailtest.Script(t, func(c *mailtest.Conn) {
		c.Send("* OK [CAPABILITY IMAP4rev1 LITERAL+] hi\r\n")
		for {
			line := c.Line()
			tag, command, _ := strings.Cut(line, " ")
			switch {
			case command == "CAPABILITY":
				c.Send("* CAPABILITY IMAP4rev1 LITERAL+\r\n" + tag + " OK done\r\n")
			case strings.HasPrefix(command, "SELECT"), strings.HasPrefix(command, "EXAMINE"):
				c.Send("* 1 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n" + tag + " OK done\r\n")
			case strings.HasPrefix(command, "UID SEARCH CHARSET UTF-8"):
				c.Line() // the literal
				c.Send(tag + " NO [BADCHARSET (US-ASCII)] cannot\r\n")
			case strings.HasPrefix(command, "LOGOUT"):
				return
			default:
				c.Send(tag + " OK done\r\n")
			}
		}
	})
	c := mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "user", "canary")
	c.Match = &match.Filter{Subject: []string{"Zürich"}}
	_, err := open(t, c).Pick(t.Context(), mail.Query{Limit: 1})
	e := mail.AsError(err, "", "")
	if e == nil || e.Kind != mail.KindConfig || !strings.Contains(e.Hint, "ASCII") {
		t.Errorf("%v", err)
	}
}

// TestAttachmentsOnIMAP are told by the structure of a message, not by its kind.
func TestAttachmentsOnIMAP(t *testing.T) {
	t.Parallel()
	part := func(fields string) []byte {
		return []byte("Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\n" + fields + "\r\nx\r\n--b--\r\n")
	}
	messages := [][]byte{
		part("Content-Disposition: attachment\r\n"),
		part("Content-Type: application/pdf; name=a.pdf\r\n"),
		part("Content-Type: image/png; name=a.png\r\nContent-Disposition: inline; filename=a.png\r\n"),
		part("Content-Type: image/png\r\n"),
		[]byte("Content-Type: application/pdf; name=\"a.pdf\"\r\n\r\nx\r\n"),
		slices.Concat([]byte("Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c\r\n"), part("Content-Disposition: ATTACHMENT\r\n"), []byte("\r\n--c--\r\n")),
		[]byte("Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c\r\n\r\nx\r\n--c--\r\n"),
	}
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	d.Deliver(t, user, messages...)
	c := d.Connection(t, user, mail.IMAP, mail.NoTLS)
	c.Dispose = disposition.Keep
	c.Match = &match.Filter{HasAttachment: new(true)}
	refs, _ := once(t, opener(), c, mail.Query{})
	var got []uint32
	for _, ref := range refs {
		got = append(got, ref.UID)
	}
	if want := []uint32{1, 2, 5, 6}; !slices.Equal(got, want) {
		t.Errorf("attachments in %v, not %v", got, want)
	}
}

// A memory that is full is emptied, and fills again.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	t.Parallel()
	var v verdicts
	for i := range maxVerdicts + 2 {
		v.note(fmt.Sprint(i%3), "box", fmt.Sprint(i), true)
	}
	if _, ok := v.verdict("0", "box", "0"); ok || v.held > 2 {
		t.Errorf("%d are held", v.held)
	}
	if matches, ok := v.verdict(fmt.Sprint((maxVerdicts+1)%3), "box", fmt.Sprint(maxVerdicts+1)); !ok || !matches {
		t.Error("the last one is not held")
	}
	if _, ok := v.verdict("0", "another filter", "0"); ok {
		t.Error("a verdict is another filter's")
	}
}

// TestTheStrictestOfSeveralCounts, and a formula that holds for nothing is one that
// a server understands.
func TestTheStrictestOfSeveralCounts(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	d.Deliver(t, user, bytes.Repeat([]byte("x\r\n"), 50), bytes.Repeat([]byte("x\r\n"), 100), bytes.Repeat([]byte("x\r\n"), 150))
	for _, c := range []struct {
		name string
		f    match.Filter
		want int
	}{
		{"smaller, outside", match.Filter{Smaller: 200, Any: []match.Filter{{Smaller: 400}}}, 1},
		{"smaller, inside", match.Filter{Smaller: 400, Any: []match.Filter{{Smaller: 200}}}, 1},
		{"larger, outside", match.Filter{Larger: 400, Any: []match.Filter{{Larger: 200}}}, 1},
		{"larger, inside", match.Filter{Larger: 200, Any: []match.Filter{{Larger: 400}}}, 1},
		{"since", match.Filter{Since: match.Since{Ago: time.Hour}, Any: []match.Filter{{Since: match.Since{Day: time.Now().AddDate(1, 0, 0)}}}}, 0},
		{"both ways", match.Filter{Larger: 200, Not: &match.Filter{Larger: 200}}, 0},
		{"one of many", match.Filter{Any: []match.Filter{{Larger: 400}, {Smaller: 200}, {From: []string{"a", "b", "c"}}}}, 2},
	} {
		connection := d.Connection(t, user, mail.IMAP, mail.NoTLS)
		connection.Match = &c.f
		if refs, _ := once(t, opener(), connection, mail.Query{}); len(refs) != c.want {
			t.Errorf("%s: %d messages, not %d", c.name, len(refs), c.want)
		}
	}
}

// TestAStructureThatCannotBeReadFailsNothing: the message itself is looked into, as
// far as it can be had.
func TestAStructureThatCannotBeReadFailsNothing(t *testing.T) {
	t.Parallel()
	const (
		plain = `("TEXT" "PLAIN" NIL NIL NIL "7BIT" 1 1 NIL NIL NIL NIL)`
		text  = "Subject: x\r\n\r\nx\r\n"
		file  = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n--b--\r\n"
	)
	structures := map[string]string{"1": plain, "2": `(((what))`, "3": `NIL`, "4": `("TEXT")`, "5": strings.Repeat("(", 40) + plain + strings.Repeat(` "MIXED")`, 40)}
	bodies := map[string]string{"2": file, "3": text, "4": "", "5": file}
	server := mailtest.Script(t, func(c *mailtest.Conn) {
		c.Send("* OK hi\r\n")
		for {
			line := c.Line()
			tag, command, _ := strings.Cut(line, " ")
			ok := tag + " OK done\r\n"
			switch {
			case command == "CAPABILITY":
				c.Send("* CAPABILITY IMAP4rev1 ESEARCH\r\n")
			case strings.HasPrefix(command, "SELECT"), strings.HasPrefix(command, "EXAMINE"):
				c.Send("* 5 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n")
			case strings.HasPrefix(command, "UID SEARCH"):
				c.Send("* ESEARCH (TAG \"" + tag + "\") UID ALL 1:5\r\n")
			case strings.Contains(command, "BODYSTRUCTURE"):
				for _, uid := range slices.Sorted(maps.Keys(structures)) {
					c.Send("* " + uid + " FETCH (UID " + uid + " BODYSTRUCTURE " + structures[uid] + ")\r\n")
				}
			case strings.HasPrefix(command, "UID FETCH"):
				uid := strings.Fields(command)[2]
				if bodies[uid] == "" {
					ok = tag + " NO it cannot be read\r\n"
					break
				}
				c.Send(fmt.Sprintf("* %s FETCH (UID %s BODY[] {%d}\r\n%s)\r\n", uid, uid, len(bodies[uid]), bodies[uid]))
			case strings.HasPrefix(command, "LOGOUT"):
				return
			}
			c.Send(ok)
		}
	})
	c := mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "user", "canary")
	c.Match = &match.Filter{HasAttachment: new(true)}
	refs, others := once(t, opener(), c, mail.Query{})
	var got []uint32
	for _, ref := range refs {
		got = append(got, ref.UID)
	}
	if !slices.Equal(got, []uint32{2, 4, 5}) || others != 2 {
		t.Errorf("the poll takes %v, and not %d others", got, others)
	}
}
