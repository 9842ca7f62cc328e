package mailserver_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/knadh/go-pop3"
	"go.uber.org/goleak"

	"mailpoller/internal/demo/mailserver"
	"mailpoller/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certified is what a server and a client need to speak TLS.
func certified(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	ca, err := mailserver.NewCA("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueFor("127.0.0.1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM())
	return &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

const alice, secret = "alice", "correct horse"

var messages = [][]byte{
	[]byte("Subject: one\r\n\r\n1\r\n2\r\n3\r\n"),
	[]byte("Subject: dots\r\n\r\n.\r\n..\r\nbare\n.\nend"),
	[]byte("Subject: three\r\n\r\n"),
}

// maildrop is a server with a user and the messages, listening.
func maildrop(t *testing.T, security mail.Security, config *tls.Config) (*mailserver.POP3, net.Conn) {
	t.Helper()
	s := mailserver.NewPOP3(config)
	t.Cleanup(s.Close)
	s.UIDL = func(m []byte) string { return "id" + strconv.Itoa(len(m)) }
	s.AddUser(alice, secret)
	if err := s.Deliver(alice, messages...); err != nil {
		t.Fatal(err)
	}
	return s, dial(t, listen(t, s, security))
}

func listen(t *testing.T, s interface {
	Listen(mail.Security) (int, error)
}, security mail.Security,
) int {
	t.Helper()
	port, err := s.Listen(security)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func dial(t *testing.T, port int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// converse sends what begins with "C: " and expects what begins with "S: ",
// line by line. Each line ends in CRLF on the wire; a blank ahead of that is
// not shown.
func converse(t *testing.T, c io.Writer, r *bufio.Reader, lines string) {
	t.Helper()
	for line := range strings.SplitSeq(lines, "\n") {
		who, text, _ := strings.Cut(strings.TrimSpace(line), ":")
		text = strings.TrimSpace(text) + "\r\n"
		switch who {
		case "C":
			say(t, c, text)
		case "S":
			if got, err := r.ReadString('\n'); strings.Replace(got, " \r\n", "\r\n", 1) != text {
				t.Fatalf("server says %q, %v; want %q", got, err, text)
			}
		}
	}
}

func say(t *testing.T, c io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func TestPOP3Conversations(t *testing.T) {
	t.Parallel()
	const loggedIn = `
		C: USER alice
		S: +OK
		C: PASS correct horse
		S: +OK 3 messages
	`
	for name, lines := range map[string]string{
		"capabilities": `
			C: CAPA
			S: +OK
			S: TOP
			S: UIDL
			S: USER
			S: SASL PLAIN
			S: PIPELINING
			S: RESP-CODES
			S: AUTH-RESP-CODE
			S: .`,
		"commands of the other state": `
			C: STAT
			S: -ERR not now` + loggedIn + `C: USER alice
			S: -ERR not now`,
		"wrong commands": `
			C: XTND
			S: -ERR unknown command
			C: USER
			S: -ERR wrong number of arguments
			C: PASS before user
			S: -ERR say USER first
			C:
			S: -ERR unknown command`,
		"wrong password": `
			C: USER alice
			S: +OK
			C: PASS wrong
			S: -ERR [AUTH] wrong name or password
			C: USER nobody
			S: +OK
			C: PASS correct horse
			S: -ERR [AUTH] wrong name or password`,
		"AUTH PLAIN at once": `
			C: AUTH PLAIN AGFsaWNlAGNvcnJlY3QgaG9yc2U=
			S: +OK 3 messages`,
		"AUTH PLAIN when asked": `
			C: AUTH PLAIN
			S: +
			C: AGFsaWNlAGNvcnJlY3QgaG9yc2U=
			S: +OK 3 messages`,
		"AUTH given up": `
			C: AUTH PLAIN
			S: +
			C: *
			S: -ERR that is no response to PLAIN
			C: AUTH LOGIN
			S: -ERR mechanism not offered`,
		"listings": loggedIn + `
			C: STAT
			S: +OK 3 79
			C: LIST
			S: +OK
			S: 1 25
			S: 2 36
			S: 3 18
			S: .
			C: LIST 2
			S: +OK 2 36
			C: UIDL
			S: +OK
			S: 1 id25
			S: 2 id36
			S: 3 id18
			S: .
			C: UIDL 3
			S: +OK 3 id18`,
		"messages that are not there": loggedIn + `
			C: RETR 0
			S: -ERR no such message
			C: RETR 4
			S: -ERR no such message
			C: DELE x
			S: -ERR no such message
			C: DELE 1
			S: +OK
			C: RETR 1
			S: -ERR no such message
			C: STAT
			S: +OK 2 54
			C: RSET
			S: +OK
			C: STAT
			S: +OK 3 79`,
		"the top of a message": loggedIn + `
			C: TOP 1 0
			S: +OK
			S: Subject: one
			S:
			S: .
			C: TOP 1 2
			S: +OK
			S: Subject: one
			S:
			S: 1
			S: 2
			S: .
			C: TOP 1 9
			S: +OK
			S: Subject: one
			S:
			S: 1
			S: 2
			S: 3
			S: .
			C: TOP 1 -1
			S: -ERR no number of lines`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c := maildrop(t, mail.NoTLS, nil)
			converse(t, c, bufio.NewReader(c), "S: +OK ready\n"+lines)
		})
	}
}

func TestPOP3PutsADotAheadOfLinesThatBeginWithOne(t *testing.T) {
	t.Parallel()
	_, c := maildrop(t, mail.NoTLS, nil)
	say(t, c, "USER alice\r\nPASS correct horse\r\nRETR 2\r\nQUIT\r\n") // all at once: PIPELINING
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	want := "+OK ready\r\n+OK\r\n+OK 3 messages\r\n+OK 36 octets\r\n" +
		"Subject: dots\r\n\r\n..\r\n...\r\nbare\n.\nend\r\n.\r\n" +
		"+OK bye\r\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestPOP3DeletesAtQuitAlone(t *testing.T) {
	t.Parallel()
	const mark = "S: +OK ready\nC: AUTH PLAIN AGFsaWNlAGNvcnJlY3QgaG9yc2U=\nS: +OK 3 messages\nC: DELE 1\nS: +OK\nC: DELE 3\nS: +OK\n"
	for name, row := range map[string]struct {
		lines string
		want  int
	}{
		"QUIT":             {mark + "C: QUIT\nS: +OK bye", 1},
		"a lost client":    {mark, 3},
		"RSET, and QUIT":   {mark + "C: RSET\nS: +OK\nC: QUIT\nS: +OK bye", 3},
		"QUIT, logged out": {"S: +OK ready\nC: QUIT\nS: +OK bye", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := maildrop(t, mail.NoTLS, nil)
			converse(t, c, bufio.NewReader(c), row.lines)
			c.Close()
			s.Close()
			if got := s.Messages(alice); len(got) != row.want {
				t.Errorf("%d messages are left; want %d", len(got), row.want)
			}
		})
	}
}

func TestPOP3AsksForTLSBeforeAPassword(t *testing.T) {
	t.Parallel()
	server, client := certified(t)
	_, c := maildrop(t, mail.StartTLS, server)
	converse(t, c, bufio.NewReader(c), `
		S: +OK ready
		C: USER alice
		S: -ERR not in clear text: say STLS first
		C: AUTH PLAIN AGFsaWNlAGNvcnJlY3QgaG9yc2U=
		S: -ERR mechanism not offered
		C: CAPA
		S: +OK
		S: TOP
		S: UIDL
		S: STLS
		S: PIPELINING
		S: RESP-CODES
		S: AUTH-RESP-CODE
		S: .
		C: STLS
		S: +OK begin`)
	secure := tls.Client(c, client)
	converse(t, secure, bufio.NewReader(secure), `
		C: STLS
		S: -ERR no TLS here
		C: USER alice
		S: +OK
		C: PASS correct horse
		S: +OK 3 messages`)
}

func TestPOP3RefusesCommandsAheadOfTheHandshake(t *testing.T) {
	t.Parallel()
	server, _ := certified(t)
	_, c := maildrop(t, mail.StartTLS, server)
	say(t, c, "STLS\r\nUSER mallory\r\n")
	got, err := io.ReadAll(c)
	if want := "+OK ready\r\n-ERR commands ahead of the handshake\r\n"; string(got) != want {
		t.Errorf("server says %q, %v; want %q", got, err, want)
	}
}

func TestPOP3BoundsWhatAClientMaySay(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ say, want string }{
		"a line without end": {strings.Repeat("A", 1<<16), "+OK ready\r\n"},
		"many passwords": {
			strings.Repeat("USER alice\r\nPASS guess\r\n", 3),
			"+OK ready\r\n" + strings.Repeat("+OK\r\n-ERR [AUTH] wrong name or password\r\n", 3),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c := maildrop(t, mail.NoTLS, nil)
			_, _ = io.WriteString(c, row.say) // the server may be gone before all of it is written
			got, _ := io.ReadAll(c)           // with a reset, where it left something unread
			if string(got) != row.want {
				t.Errorf("server says %q; want %q", got, row.want)
			}
		})
	}
}

func TestPOP3WithoutItsOptionalCommands(t *testing.T) {
	t.Parallel()
	s := mailserver.NewPOP3(nil)
	t.Cleanup(s.Close)
	s.Without = []string{"CAPA", "UIDL"}
	s.AddUser(alice, secret)
	c := dial(t, listen(t, s, mail.NoTLS))
	converse(t, c, bufio.NewReader(c), `
		S: +OK ready
		C: CAPA
		S: -ERR unknown command
		C: AUTH PLAIN AGFsaWNlAGNvcnJlY3QgaG9yc2U=
		S: +OK 0 messages
		C: UIDL
		S: -ERR unknown command
		C: LIST
		S: +OK
		S: .`)
}

func TestPOP3GivesEachMessageAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	ids := make(map[string]bool)
	for range 2 { // the same messages on a server that was started again
		s := mailserver.NewPOP3(nil)
		t.Cleanup(s.Close)
		s.AddUser(alice, secret)
		if err := s.Deliver(alice, messages[0], messages[0]); err != nil {
			t.Fatal(err)
		}
		for _, m := range listed(t, listen(t, s, mail.NoTLS)) {
			ids[m.UID] = true
		}
	}
	if len(ids) != 4 {
		t.Errorf("4 messages have the ids %v", ids)
	}
}

// listed is what another client, the library's, learns of the maildrop.
func listed(t *testing.T, port int) []pop3.MessageID {
	t.Helper()
	c, err := pop3.New(pop3.Opt{Host: "127.0.0.1", Port: port}).NewConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Auth(alice, secret); err != nil {
		t.Fatal(err)
	}
	ids, err := c.Uidl(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Quit(); err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestPOP3OverTLSFromTheStart(t *testing.T) {
	t.Parallel()
	server, client := certified(t)
	_, c := maildrop(t, mail.SSLTLS, server)
	secure := tls.Client(c, client)
	converse(t, secure, bufio.NewReader(secure), `
		S: +OK ready
		C: AUTH PLAIN AGFsaWNlAGNvcnJlY3QgaG9yc2U=
		S: +OK 3 messages`)
}

func TestCloseEndsConnectionsThatAreIdle(t *testing.T) {
	t.Parallel()
	s, c := maildrop(t, mail.NoTLS, nil)
	r := bufio.NewReader(c)
	converse(t, c, r, "S: +OK ready")
	s.Close()
	if _, err := r.ReadByte(); err == nil {
		t.Error("the connection is still open")
	}
	if _, err := s.Listen(mail.NoTLS); err == nil {
		t.Error("a closed server listens again")
	}
}

func TestTLSNeedsACertificate(t *testing.T) {
	t.Parallel()
	s := mailserver.NewPOP3(nil)
	t.Cleanup(s.Close)
	if port, err := s.Listen(mail.StartTLS); err == nil {
		t.Errorf("listens on port %d without a certificate", port)
	}
}
