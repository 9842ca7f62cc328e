package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// imapUpTo speaks IMAP up to an open mailbox of two messages, and answers
// FETCH with what fetch says for the UID.
func imapUpTo(fetch func(c *mailtest.Conn, uid string)) func(*mailtest.Conn) {
	return func(c *mailtest.Conn) {
		c.Send("* OK [CAPABILITY IMAP4rev1 ESEARCH UIDPLUS] hi\r\n")
		c.Expect("LOGIN")
		c.Send("{tag} OK [CAPABILITY IMAP4rev1 ESEARCH UIDPLUS] in\r\n")
		c.Expect("EXAMINE")
		c.Send("* 2 EXISTS\r\n* OK [UIDVALIDITY 1] ok\r\n{tag} OK done\r\n")
		for {
			line := c.Line()
			switch {
			case strings.Contains(line, "UID FETCH"):
				fetch(c, strings.Fields(line)[3])
			case strings.Contains(line, "LOGOUT"):
				c.Send("* BYE\r\n{tag} OK bye\r\n")
				return
			default:
				c.Send("{tag} OK\r\n")
			}
		}
	}
}

// pop3UpTo speaks POP3 up to an open mailbox of two messages of 20 octets, and
// answers RETR with what retr says.
func pop3UpTo(retr func(c *mailtest.Conn, num string)) func(*mailtest.Conn) {
	return func(c *mailtest.Conn) {
		c.Send("+OK hi\r\n")
		for {
			word, rest, _ := strings.Cut(c.Line(), " ")
			switch word {
			case "CAPA":
				c.Send("-ERR\r\n")
			case "STAT":
				c.Send("+OK 2 40\r\n")
			case "UIDL":
				c.Send("+OK " + rest + " id" + rest + "\r\n")
			case "RETR":
				retr(c, rest)
			case "QUIT":
				c.Send("+OK\r\n")
				return
			default:
				c.Send("+OK\r\n")
			}
		}
	}
}

// TestAMessageIsWholeOrAnError: a server that says that all went well has to
// have sent the message that was asked for, all of it and nothing else.
func TestAMessageIsWholeOrAnError(t *testing.T) {
	t.Parallel()
	const body = "Subject: x\r\n\r\nhello\r\n" // 21 octets
	good := func(c *mailtest.Conn, uid string) {
		c.Send(fmt.Sprintf("* 1 FETCH (UID %s RFC822.SIZE 21 BODY[] {21}\r\n%s)\r\n{tag} OK\r\n", uid, body))
	}
	odd := func(reply string) func(*mailtest.Conn, string) {
		return func(c *mailtest.Conn, uid string) {
			if uid == "2" {
				good(c, uid)
				return
			}
			c.Send(reply)
		}
	}
	pop := func(reply string) func(*mailtest.Conn, string) {
		return func(c *mailtest.Conn, num string) {
			if num == "2" {
				c.Send("+OK\r\n" + body + ".\r\n")
				return
			}
			c.Send(reply)
		}
	}
	for _, c := range []struct {
		name   string
		store  mail.StoreType
		script func(*mailtest.Conn)
		goesOn bool // the second message can be had on the same session
		kind   mail.Kind
		says   string
	}{
		{"IMAP, OK without the message", mail.IMAP, imapUpTo(odd("{tag} OK\r\n")), true, mail.KindProtocol, "OK without the message"},
		{"IMAP, NO", mail.IMAP, imapUpTo(odd("{tag} NO [EXPUNGEISSUED] gone\r\n")), true, mail.KindProtocol, "[EXPUNGEISSUED] gone"},
		{"IMAP, only flags", mail.IMAP, imapUpTo(odd("* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n{tag} OK\r\n")), true, mail.KindProtocol, "OK without the message"},
		{"IMAP, no body", mail.IMAP, imapUpTo(odd("* 1 FETCH (UID 1 BODY[] NIL)\r\n{tag} OK\r\n")), true, mail.KindProtocol, "an empty message"},
		{"IMAP, an empty literal", mail.IMAP, imapUpTo(odd("* 1 FETCH (UID 1 RFC822.SIZE 900 BODY[] {0}\r\n)\r\n{tag} OK\r\n")), true, mail.KindProtocol, "an empty message; it says that it has 900 bytes"},
		{"IMAP, an empty string", mail.IMAP, imapUpTo(odd("* 1 FETCH (UID 1 BODY[] \"\")\r\n{tag} OK\r\n")), true, mail.KindProtocol, "an empty message"},
		{"IMAP, the end of a line alone", mail.IMAP, imapUpTo(odd("* 1 FETCH (UID 1 BODY[] {2}\r\n\r\n)\r\n{tag} OK\r\n")), true, mail.KindProtocol, "an empty message"},
		{"IMAP, another message", mail.IMAP, imapUpTo(odd("* 9 FETCH (UID 9 BODY[] {5}\r\nhello)\r\n{tag} OK\r\n")), true, mail.KindProtocol, "OK without the message"},
		{"IMAP, cut inside the literal", mail.IMAP, imapUpTo(func(c *mailtest.Conn, _ string) {
			c.Send("* 1 FETCH (UID 1 BODY[] {21}\r\nSubj")
			c.Cut()
		}), false, mail.KindNetwork, ""},
		{"IMAP, silence inside the literal", mail.IMAP, imapUpTo(func(c *mailtest.Conn, _ string) {
			c.Send("* 1 FETCH (UID 1 BODY[] {21}\r\nSubj")
			c.Stall()
		}), false, mail.KindTimeout, "silent for 300ms"},
		{"IMAP, 5 GiB announced and not sent", mail.IMAP, imapUpTo(func(c *mailtest.Conn, _ string) {
			c.Send("* 1 FETCH (UID 1 BODY[] {5368709120}\r\nSubj")
			c.Stall()
		}), false, mail.KindTimeout, "silent for 300ms"},
		{"IMAP, garbage behind the literal", mail.IMAP, imapUpTo(odd("* 1 FETCH (UID 1 BODY[] {21}\r\n" + body + "more than announced)\r\n{tag} OK\r\n")), false, mail.KindProtocol, ""},
		{"POP3, -ERR", mail.POP3, pop3UpTo(pop("-ERR gone\r\n")), true, mail.KindProtocol, "gone"},
		{"POP3, nothing", mail.POP3, pop3UpTo(pop("+OK\r\n.\r\n")), true, mail.KindProtocol, "an empty message; it says that it has 20 bytes"},
		{"POP3, the end of a line alone", mail.POP3, pop3UpTo(pop("+OK\r\n\r\n.\r\n")), true, mail.KindProtocol, "an empty message"},
		{"POP3, a dot that was not stuffed", mail.POP3, pop3UpTo(pop("+OK\r\nSubj\r\n.\r\nmore\r\n.\r\n")), false, mail.KindProtocol, "announced 20 octets and sent 6, and then"},
		{"POP3, an answer within a message", mail.POP3, pop3UpTo(pop("+OK\r\nSubj\r\n.\r\n+OK\r\n.\r\n")), false, mail.KindProtocol, "announced 20 octets and sent 6, and then answers UIDL 1 with \"+OK\""},
		{"POP3, cut", mail.POP3, pop3UpTo(func(c *mailtest.Conn, _ string) { c.Send("+OK\r\nSubj"); c.Cut() }), false, mail.KindNetwork, ""},
		{"POP3, silence", mail.POP3, pop3UpTo(func(c *mailtest.Conn, _ string) { c.Send("+OK\r\nSubj"); c.Stall() }), false, mail.KindTimeout, "silent for 300ms"},
		{"POP3, a message without end", mail.POP3, pop3UpTo(func(c *mailtest.Conn, _ string) {
			c.Send("+OK\r\n")
			c.Flood([]byte(strings.Repeat("x\r\n", 20_000)))
		}), false, mail.KindProtocol, "more than an answer may hold"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Script(t, c.script)
			connection := mailtest.Connection(t, mailtest.NewCA(t), c.store, mail.NoTLS, server.Port, "u", "canary")
			connection.Timeout, connection.Dispose = 300*time.Millisecond, disposition.Keep
			s := open(t, connection)
			refs := []mail.Ref{{UID: 1}, {UID: 2}}
			if c.store == mail.POP3 {
				refs = []mail.Ref{{UIDL: "id1", Num: 1, Size: 20}, {UIDL: "id2", Num: 2, Size: 20}}
			}
			var first error
			var bodies []string
			err := s.Fetch(t.Context(), refs, func(m mail.Message) error {
				if first = errors.Join(first, m.Err); m.Body == nil {
					return nil
				}
				var b bytes.Buffer
				_, err := m.Body.WriteTo(&b)
				if err == nil {
					bodies = append(bodies, b.String())
				}
				return err
			})
			if c.goesOn {
				if err != nil || len(bodies) != 1 || bodies[0] != body {
					t.Errorf("the message behind it: %q, %v", bodies, err)
				}
			} else {
				first = err
				if len(bodies) > 0 && c.says != "" {
					t.Errorf("handed over: %q", bodies)
				}
			}
			if e := mail.AsError(first, "", ""); e == nil || e.Op != mail.OpFetch || e.Kind != c.kind || !strings.Contains(e.Error(), c.says) {
				t.Errorf("%v (%+v)", first, e)
			}
			if err := s.Close(); err != nil && c.goesOn {
				t.Error(err)
			}
		})
	}
}

// TestADeletionCountsWhenQUITWasAnswered, and only then.
func TestADeletionCountsWhenQUITWasAnswered(t *testing.T) {
	t.Parallel()
	for name, quit := range map[string]func(*mailtest.Conn){
		"-ERR":    func(c *mailtest.Conn) { c.Send("-ERR some are left\r\n") },
		"nothing": func(c *mailtest.Conn) { c.Cut() },
		"silence": func(c *mailtest.Conn) { c.Stall() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Script(t, func(c *mailtest.Conn) {
				c.Send("+OK hi\r\n")
				for {
					switch c.Line() {
					case "STAT":
						c.Send("+OK 1 20\r\n")
					case "UIDL":
						c.Send("+OK\r\n1 a\r\n.\r\n")
					case "QUIT":
						quit(c)
						return
					case "CAPA":
						c.Send("-ERR\r\n")
					default:
						c.Send("+OK\r\n")
					}
				}
			})
			connection := mailtest.Connection(t, mailtest.NewCA(t), mail.POP3, mail.NoTLS, server.Port, "u", "p")
			connection.Timeout = 300 * time.Millisecond
			s := open(t, connection)
			s.Apply([]mail.Ref{{UIDL: "a", Num: 1}}, disposition.Delete)
			_, err := s.Commit(t.Context())
			if e := mail.AsError(err, "", ""); e == nil || e.Op != mail.OpDispose {
				t.Errorf("%v", err)
			}
			if err := s.Close(); err != nil && !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
}
