package mailbox

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// packet is what fits into one, in bytes.
const packet = 1400

// TestALargeClientHelloIsNotAnswered: the hint says how to make it smaller, and a
// connection test finds out which way helps.
func TestALargeClientHelloIsNotAnswered(t *testing.T) {
	t.Parallel()
	const (
		tls12   = "ssl_authentication_protocol: [TLSv1_2]"
		noMLKEM = "Environment=GODEBUG=tlsmlkem=0 in the unit"
	)
	ca := mailtest.NewCA(t)
	both := ca.ServerTLS(t, mailtest.Host)
	newest := ca.ServerTLS(t, mailtest.Host)
	newest.MinVersion = tls.VersionTLS13
	for name, deed := range map[string]struct {
		kind  mail.Kind
		drop  func(*mailtest.Conn)
		cause string
	}{
		"says nothing": {mail.KindTimeout, (*mailtest.Conn).Stall, "server is silent for 1s"},
		"resets":       {mail.KindNetwork, (*mailtest.Conn).Cut, "connection reset"},
		"hangs up":     {mail.KindNetwork, func(*mailtest.Conn) {}, "server closed the connection in the handshake: EOF"},
	} {
		for _, server := range []struct {
			name   string
			config *tls.Config // nil where no handshake comes to anything
			hint   string
		}{
			{"answers any smaller one", both, "set " + tls12 + ", or " + noMLKEM + ": the server does not answer a ClientHello of "},
			{"speaks TLS 1.3 alone", newest, "set " + noMLKEM + ": the server does not answer a ClientHello of "},
			{"answers none", nil, "a smaller ClientHello is not answered either: "},
		} {
			for _, route := range []struct {
				store    mail.StoreType
				security mail.Security
			}{{mail.IMAP, mail.SSLTLS}, {mail.IMAP, mail.StartTLS}, {mail.POP3, mail.StartTLS}} {
				t.Run(fmt.Sprintf("%s, %s, %s %s", name, server.name, route.store, route.security), func(t *testing.T) {
					t.Parallel()
					s := mailtest.Script(t, func(c *mailtest.Conn) {
						switch {
						case route.security == mail.SSLTLS:
						case route.store == mail.IMAP:
							c.Send("* OK hi\r\n")
							c.Expect("STARTTLS")
							c.Send("{tag} OK go on\r\n")
						default:
							c.Send("+OK hi\r\n")
							c.Expect("STLS")
							c.Send("+OK go on\r\n")
						}
						if c.Hello() > packet || server.config == nil {
							deed.drop(c)
							return
						}
						c.TLS(server.config)
						c.Stall()
					})
					connection := mailtest.Connection(t, ca, route.store, route.security, s.Port, "user", "in-process-canary")
					connection.Timeout = time.Second
					_, e := outcome(t, opener(), connection)
					if e.Op != mail.OpTLS || e.Kind != deed.kind || !strings.Contains(e.Error(), deed.cause) || s.Connections() != 1 {
						t.Errorf("%s, %v, on %d connections", e.Kind, e, s.Connections())
					}
					for _, want := range []string{"run `poller test user`", tls12, noMLKEM} {
						if !strings.Contains(e.Hint, want) {
							t.Errorf("no %q in the hint: %s", want, e.Hint)
						}
					}
					connection.Diagnose = true
					_, e = outcome(t, opener(), connection)
					if e.Op != mail.OpTLS || e.Kind != deed.kind || !strings.HasPrefix(e.Hint, server.hint) || s.Connections() != 4 {
						t.Errorf("%v, hint %s, on %d connections", e, e.Hint, s.Connections())
					}
					if said := strings.Join(s.Lines(), " "); strings.Contains(said, "LOGIN") || strings.Contains(said, "USER") || strings.Contains(said, "CAPA") {
						t.Errorf("a trial goes on behind the handshake: %s", said)
					}
				})
			}
		}
	}
}

// TestASmallClientHelloIsNotAnswered: its size is not the reason then.
func TestASmallClientHelloIsNotAnswered(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	s := mailtest.Script(t, func(c *mailtest.Conn) {
		if n := c.Hello(); n > 300 {
			t.Errorf("it has %d bytes", n)
		}
		c.Stall()
	})
	connection := mailtest.Connection(t, ca, mail.IMAP, mail.SSLTLS, s.Port, "user", "in-process-canary")
	connection.Timeout, connection.Diagnose = 100*time.Millisecond, true
	connection.TLS.Versions = []uint16{tls.VersionTLS12}
	if _, e := outcome(t, opener(), connection); e.Kind != mail.KindTimeout || strings.Contains(e.Hint, "ClientHello") || s.Connections() != 1 {
		t.Errorf("%v, hint %s, on %d connections", e, e.Hint, s.Connections())
	}
}
