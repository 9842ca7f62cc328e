package mailtest_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mailpoller/internal/mailtest"
)

// dial connects to a scripted server.
func dial(t *testing.T, s *mailtest.Scripted) (net.Conn, *bufio.Reader) {
	t.Helper()
	return dialPort(t, s.Port)
}

func dialPort(t *testing.T, port int) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort(mailtest.Host, strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, bufio.NewReader(c)
}

func say(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if got, err := r.ReadString('\n'); got != want {
		t.Fatalf("server says %q, %v; want %q", got, err, want)
	}
}

func TestScriptRepeatsTheTagOfACommand(t *testing.T) {
	t.Parallel()
	s := mailtest.Script(t, func(c *mailtest.Conn) {
		c.Expect(`AUTHENTICATE PLAIN$`)
		c.Send("+ \r\n")
		c.Expect(`^[a-z0-9=]+$`)
		c.Send("{tag} OK\r\n")
	})
	c, r := dial(t, s)
	say(t, c, "x7 authenticate plain\r\n")
	hear(t, r, "+ \r\n")
	say(t, c, "AGEAYg==\r\n")
	hear(t, r, "x7 OK\r\n")
}

func TestScriptAnswersByTheFirstRuleThatMatches(t *testing.T) {
	t.Parallel()
	s := mailtest.Script(t, func(c *mailtest.Conn) {
		c.Answer(
			mailtest.Rule{Line: `^DELE 1$`, Reply: "-ERR no\r\n"},
			mailtest.Rule{Line: `^DELE`, Reply: "+OK\r\n"},
			mailtest.Rule{Line: `^QUIT$`, Then: (*mailtest.Conn).Cut},
		)
	})
	c, r := dial(t, s)
	for _, turn := range []struct{ say, hear string }{
		{"DELE 2\r\n", "+OK\r\n"}, {"dele 1\r\n", "-ERR no\r\n"}, {"DELE 3\r\n", "+OK\r\n"},
	} {
		say(t, c, turn.say)
		hear(t, r, turn.hear)
	}
	say(t, c, "QUIT\r\n")
	if _, err := r.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the cut: %v; want a reset", err)
	}
	if diff := cmp.Diff([]string{"DELE 2", "dele 1", "DELE 3", "QUIT"}, s.Lines()); diff != "" {
		t.Error(diff)
	}
}

func TestScriptTellsClearTextFromTLS(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	config := ca.ServerTLS(t, "mail.example.com")
	s := mailtest.Script(t, func(c *mailtest.Conn) {
		c.Expect(`STARTTLS`)
		c.Send("{tag} OK\r\n")
		c.TLS(config)
		c.Expect(`LOGIN`)
		c.Send("{tag} OK\r\n")
	})
	c, r := dial(t, s)
	say(t, c, "a STARTTLS\r\n")
	hear(t, r, "a OK\r\n")
	secure := tls.Client(c, &tls.Config{RootCAs: ca.Pool(), ServerName: "mail.example.com"})
	say(t, secure, "b LOGIN me canary\r\n")
	hear(t, bufio.NewReader(secure), "b OK\r\n")
	if clear := s.Clear(); !strings.HasPrefix(clear, "a STARTTLS\r\n") || strings.Contains(clear, "canary") {
		t.Errorf("in clear text: %q", clear)
	}
	if diff := cmp.Diff([]string{"a STARTTLS", "b LOGIN me canary"}, s.Lines()); diff != "" {
		t.Error(diff)
	}
}

func TestScriptServesConnectionAfterConnection(t *testing.T) {
	t.Parallel()
	s := mailtest.Script(t, func(c *mailtest.Conn) {
		c.Send(fmt.Sprintf("+OK %d\r\n", c.Number))
		c.Stall()
	})
	for _, want := range []string{"+OK 1\r\n", "+OK 2\r\n"} {
		_, r := dial(t, s)
		hear(t, r, want)
	}
	if got := s.Connections(); got != 2 {
		t.Errorf("%d connections; want 2", got)
	}
}

func TestScriptEndsWithTheTest(t *testing.T) {
	t.Parallel()
	t.Run("stalling", func(t *testing.T) {
		s := mailtest.Script(t, (*mailtest.Conn).Stall)
		dial(t, s)
	})
	t.Run("flooding", func(t *testing.T) {
		s := mailtest.Script(t, func(c *mailtest.Conn) { c.Flood([]byte("* OK\r\n")) })
		dial(t, s)
	})
}
