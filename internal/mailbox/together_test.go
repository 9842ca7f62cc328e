package mailbox

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// atOnce is how many sessions have to do with a server at the same time.
const atOnce = 4

// together runs something in as many sessions with one server, and returns what
// came of each.
func together(run func(o *Opener) error) []error {
	o := opener()
	results := make([]error, atOnce)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { results[i] = run(o) })
	}
	wg.Wait()
	return results
}

// rendezvous returns a function that waits until all sessions call it.
func rendezvous() func() {
	var all sync.WaitGroup
	all.Add(atOnce)
	return func() {
		all.Done()
		all.Wait()
	}
}

// TestSessionsLearnAtTheSameTime that a server does not put up with commands that are
// sent ahead: not the first of them alone goes on step by step. Of those that are
// hung up on, the first may have been for another reason.
func TestSessionsLearnAtTheSameTime(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		lose  func(*mailtest.Conn)
		fails int
	}{
		{"it is silent", func(c *mailtest.Conn) { c.Stall() }, 0},
		{"it says something else", func(c *mailtest.Conn) { c.Send("+OK what?\r\n"); c.Stall() }, 0},
		{"it hangs up", func(c *mailtest.Conn) { c.Cut() }, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			meet := rendezvous()
			server := mailtest.Script(t, func(c *mailtest.Conn) {
				c.Send("* OK [CAPABILITY IMAP4rev1] hi\r\n")
				tag, _, _ := strings.Cut(c.Expect("LOGIN"), " ")
				if c.Number <= atOnce {
					c.Expect("EXAMINE")
					meet()
					c.Send(tag + " OK [CAPABILITY IMAP4rev1] in\r\n")
					row.lose(c)
				}
				c.Send(tag + " OK [CAPABILITY IMAP4rev1] in\r\n")
				c.Expect("EXAMINE")
				c.Send("* 0 EXISTS\r\n* OK [UIDVALIDITY 1] ok\r\n{tag} OK done\r\n")
				c.Expect("LOGOUT")
			})
			c := mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "user", "canary")
			c.Timeout = time.Second
			fails := 0
			for _, err := range together(func(o *Opener) error {
				s, err := o.Open(t.Context(), c)
				if err != nil {
					return err
				}
				return s.Close()
			}) {
				if err != nil {
					fails++
					t.Log(err)
				}
			}
			if fails != row.fails {
				t.Errorf("%d sessions fail, not %d", fails, row.fails)
			}
		})
	}
}

// TestSessionsFindEstimatesAtTheSameTime: each of those that were asking for messages
// ahead when the first of them found out has to begin anew, and no message is to
// blame.
func TestSessionsFindEstimatesAtTheSameTime(t *testing.T) {
	t.Parallel()
	meet := rendezvous()
	server := mailtest.Script(t, pop3Lines("PIPELINING\r\n", func(c *mailtest.Conn, line string) {
		if line == "RETR 1" {
			c.Expect("RETR 2")
			meet()
			c.Send("+OK\r\nSubject: x\r\n\r\n.\r\n+OK\r\nSubject: y\r\n\r\n.\r\n")
		}
	}))
	c := mailtest.Connection(t, mailtest.NewCA(t), mail.POP3, mail.NoTLS, server.Port, "user", "canary")
	for i, err := range together(func(o *Opener) error {
		s, err := o.Open(t.Context(), c)
		if err != nil {
			return err
		}
		defer s.Close()
		return s.Fetch(t.Context(), refs(2, 12), func(m mail.Message) error {
			_, err := read(m)
			return err
		})
	}) {
		var e *mail.Error
		if !errors.As(err, &e) || !e.Reopen {
			t.Errorf("session %d: %v, which is no reason for another", i+1, err)
		}
	}
}
