package mailbox

import (
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// TestNothingButTheUpgradeGoesOverTheWireBeforeTLS: whatever a server does
// instead of starting TLS, it learns neither user name nor password.
func TestNothingButTheUpgradeGoesOverTheWireBeforeTLS(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	for _, c := range []struct {
		name   string
		store  mail.StoreType
		script func(*mailtest.Conn)
		says   string
		sent   string // all that the client said in clear text
	}{
		{
			"IMAP, not known", mail.IMAP,
			func(c *mailtest.Conn) { c.Send("* OK hi\r\n"); c.Expect("STARTTLS"); c.Send("{tag} BAD unknown\r\n") },
			"does not offer STARTTLS", "S STARTTLS\r\n",
		},
		{
			"IMAP, refused", mail.IMAP,
			func(c *mailtest.Conn) {
				c.Send("* OK [CAPABILITY IMAP4rev1 STARTTLS] hi\r\n")
				c.Expect("STARTTLS")
				c.Send("{tag} NO not now\r\n")
			},
			"does not offer STARTTLS: server refused: not now", "S STARTTLS\r\n",
		},
		{
			"IMAP, octets injected ahead of TLS", mail.IMAP,
			func(c *mailtest.Conn) {
				c.Send("* OK hi\r\n")
				c.Expect("STARTTLS")
				c.Send("{tag} OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n")
				c.TLS(ca.ServerTLS(t, mailtest.Host))
			},
			"in clear text ahead of the handshake", "S STARTTLS\r\n",
		},
		{
			"IMAP, PREAUTH", mail.IMAP,
			func(c *mailtest.Conn) { c.Send("* PREAUTH come in\r\n"); c.Stall() },
			"PREAUTH", "",
		},
		{
			"IMAP, another tag", mail.IMAP,
			func(c *mailtest.Conn) { c.Send("* OK hi\r\n"); c.Expect("STARTTLS"); c.Send("x OK go\r\n") },
			"unexpected answer to STARTTLS", "S STARTTLS\r\n",
		},
		{
			"POP3, refused", mail.POP3,
			func(c *mailtest.Conn) { c.Send("+OK hi\r\n"); c.Expect("STLS"); c.Send("-ERR unknown\r\n") },
			"does not offer STARTTLS: server refused: unknown", "STLS\r\n",
		},
		{
			"POP3, octets injected ahead of TLS", mail.POP3,
			func(c *mailtest.Conn) {
				c.Send("+OK hi\r\n")
				c.Expect("STLS")
				c.Send("+OK go\r\n+OK 1 20\r\n")
				c.TLS(ca.ServerTLS(t, mailtest.Host))
			},
			"in clear text ahead of the handshake", "STLS\r\n",
		},
		{
			"POP3, hangs up", mail.POP3,
			func(c *mailtest.Conn) { c.Send("+OK hi\r\n"); c.Expect("STLS") },
			"closed the connection", "STLS\r\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Script(t, c.script)
			connection := mailtest.Connection(t, ca, c.store, mail.StartTLS, server.Port, "somebody", "canary")
			connection.Timeout = 5 * time.Second
			_, err := opener().Open(t.Context(), connection)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if e := mail.AsError(err, "", ""); e != nil && e.Hint == "" {
				t.Error("no hint")
			}
			if sent := server.Clear(); sent != c.sent {
				t.Errorf("sent %q in clear text", sent)
			}
		})
	}
}

// TestAServerThatMisbehavesCostsBoundedTime: one row for each way to keep a
// client waiting or busy before it is logged in.
func TestAServerThatMisbehavesCostsBoundedTime(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	for _, c := range []struct {
		name     string
		store    mail.StoreType
		script   func(*mailtest.Conn)
		op       string
		kind     mail.Kind
		contains string
	}{
		{"IMAP, no greeting", mail.IMAP, func(c *mailtest.Conn) { c.Stall() }, mail.OpGreeting, mail.KindTimeout, "silent for 200ms"},
		{"IMAP, BYE", mail.IMAP, func(c *mailtest.Conn) { c.Send("* BYE overloaded\r\n") }, mail.OpGreeting, mail.KindServer, "overloaded"},
		{"IMAP, something else", mail.IMAP, func(c *mailtest.Conn) { c.Send("SSH-2.0-x\r\n") }, mail.OpGreeting, mail.KindProtocol, "no IMAP server"},
		{"IMAP, a greeting without end", mail.IMAP, func(c *mailtest.Conn) { c.Flood([]byte("AAAAAAAAAAAAAAAA")) }, mail.OpGreeting, mail.KindProtocol, "more than an answer may hold"},
		{"IMAP, no answer to LOGIN", mail.IMAP, func(c *mailtest.Conn) {
			c.Send("* OK [CAPABILITY IMAP4rev1] hi\r\n")
			c.Expect("LOGIN")
			c.Stall()
		}, mail.OpAuthenticate, mail.KindTimeout, "silent for 200ms"},
		{"IMAP, the password echoed", mail.IMAP, func(c *mailtest.Conn) {
			c.Send("* OK [CAPABILITY IMAP4rev1] hi\r\n")
			c.Expect("LOGIN")
			c.Send("{tag} NO [AUTHENTICATIONFAILED] LOGIN somebody canary is wrong \x1b[31m\r\n")
		}, mail.OpAuthenticate, mail.KindAuth, "LOGIN somebody *** is wrong"},
		{"IMAP, LOGINDISABLED", mail.IMAP, func(c *mailtest.Conn) {
			c.Send("* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hi\r\n")
			c.Stall()
		}, mail.OpAuthenticate, mail.KindAuth, "offers no way to log in"},
		{"POP3, no greeting", mail.POP3, func(c *mailtest.Conn) { c.Stall() }, mail.OpGreeting, mail.KindTimeout, "silent for 200ms"},
		{"POP3, -ERR", mail.POP3, func(c *mailtest.Conn) { c.Send("-ERR [SYS/TEMP] overloaded\r\n") }, mail.OpGreeting, mail.KindServer, "overloaded"},
		{"POP3, a greeting without end", mail.POP3, func(c *mailtest.Conn) { c.Flood([]byte("AAAAAAAAAAAAAAAA")) }, mail.OpGreeting, mail.KindProtocol, "more than an answer may hold"},
		{"POP3, an empty line for an answer", mail.POP3, func(c *mailtest.Conn) {
			c.Send("+OK hi\r\n")
			c.Expect("CAPA")
			c.Send("\r\n")
		}, mail.OpAuthenticate, mail.KindProtocol, "no answer of a POP3 server"},
		{"POP3, the password echoed", mail.POP3, func(c *mailtest.Conn) {
			c.Send("+OK hi\r\n")
			c.Expect("CAPA")
			c.Send("-ERR\r\n")
			c.Expect("USER")
			c.Send("+OK\r\n")
			c.Expect("PASS")
			c.Send("-ERR [AUTH] canary is wrong\r\n")
		}, mail.OpAuthenticate, mail.KindAuth, "[AUTH] *** is wrong"},
		{"POP3, mailbox in use", mail.POP3, func(c *mailtest.Conn) {
			c.Send("+OK hi\r\n")
			c.Expect("CAPA")
			c.Send("-ERR\r\n")
			c.Expect("USER")
			c.Send("+OK\r\n")
			c.Expect("PASS")
			c.Send("-ERR [IN-USE] locked\r\n")
		}, mail.OpAuthenticate, mail.KindServer, "[IN-USE] locked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Script(t, c.script)
			connection := mailtest.Connection(t, ca, c.store, mail.NoTLS, server.Port, "somebody", "canary")
			connection.Timeout = 200 * time.Millisecond
			_, err := opener().Open(t.Context(), connection)
			e := mail.AsError(err, "", "")
			if e == nil || e.Op != c.op || e.Kind != c.kind || !strings.Contains(e.Error(), c.contains) || e.Hint == "" {
				t.Fatalf("%v (%+v)", err, e)
			}
			if strings.Contains(e.Error(), "canary") || strings.ContainsAny(e.Error(), "\x1b\r\n") {
				t.Errorf("shows %q", e.Error())
			}
		})
	}
}
