//go:build bench

package bench

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// cheap is a mail server that costs as little as it can: it answers what
// poller asks, by rote, whoever logs in. One poll in so many finds a message.
type cheap struct {
	imap, pop3 int // ports
	ca         string
	every      int64         // 0: no poll finds a message
	held       chan struct{} // unless nil, a message ends when it is closed

	polls, messages atomic.Int64
}

func newCheap(t *testing.T, every int64) *cheap {
	t.Helper()
	ca := mailtest.NewCA(t)
	s := &cheap{every: every, ca: ca.PEMFile(t)}
	config := &tls.Config{Certificates: []tls.Certificate{ca.Server(t, mailtest.Host)}}
	s.imap = s.listen(t, config, s.serveIMAP)
	s.pop3 = s.listen(t, config, s.servePOP3)
	return s
}

func (s *cheap) listen(t *testing.T, config *tls.Config, serve func(r *bufio.Scanner, say func(string, ...any))) int {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				// What fails ends the session, and the other side says so.
				serve(bufio.NewScanner(c), func(format string, args ...any) { fmt.Fprintf(c, format, args...) })
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

const cheapMessage = "From: a@example.com\r\nSubject: cheap\r\n\r\nA message.\r\n"

// wait counts a message, which then may be sent.
func (s *cheap) wait() {
	s.messages.Add(1)
	if s.held != nil {
		<-s.held
	}
}

// serveIMAP is one session. Its UIDs are those of all polls.
func (s *cheap) serveIMAP(lines *bufio.Scanner, say func(string, ...any)) {
	say("* OK [CAPABILITY IMAP4rev1 ESEARCH UIDPLUS] ready\r\n")
	uid := s.polls.Add(1)
	for lines.Scan() {
		tag, command, _ := strings.Cut(lines.Text(), " ")
		word, rest, _ := strings.Cut(command, " ")
		if word == "UID" {
			word, _, _ = strings.Cut(rest, " ")
		}
		switch word {
		case "LOGIN":
			say("%s OK [CAPABILITY IMAP4rev1 ESEARCH UIDPLUS] in\r\n", tag)
			continue
		case "SELECT", "EXAMINE":
			say("* %d EXISTS\r\n* OK [UIDVALIDITY 1] fixed\r\n", uid)
		case "SEARCH":
			if s.every > 0 && uid%s.every == 0 {
				say("* ESEARCH (TAG %q) UID MIN %d\r\n", tag, uid)
			} else {
				say("* ESEARCH (TAG %q) UID\r\n", tag)
			}
		case "FETCH":
			say("* 1 FETCH (UID %d RFC822.SIZE %d BODY[] {%[2]d}\r\n", uid, len(cheapMessage))
			s.wait()
			say("%s)\r\n", cheapMessage)
		case "STATUS":
			say("* STATUS INBOX (UIDVALIDITY 1)\r\n")
		case "EXPUNGE":
			say("* 1 EXPUNGE\r\n")
		case "LOGOUT":
			say("* BYE\r\n")
		}
		say("%s OK done\r\n", tag)
		if word == "LOGOUT" {
			return
		}
	}
}

// servePOP3 is one session.
func (s *cheap) servePOP3(lines *bufio.Scanner, say func(string, ...any)) {
	say("+OK ready\r\n")
	id, count := s.polls.Add(1), 0
	if s.every > 0 && id%s.every == 0 {
		count = 1
	}
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch {
		case word == "CAPA":
			say("+OK\r\nUSER\r\nUIDL\r\nPIPELINING\r\n.\r\n")
		case word == "STAT":
			say("+OK %d %d\r\n", count, count*len(cheapMessage))
		case word == "UIDL" && rest == "":
			say("+OK\r\n1 id-%d\r\n.\r\n", id)
		case word == "LIST":
			say("+OK 1 %d\r\n", len(cheapMessage))
		case word == "RETR":
			say("+OK\r\n")
			s.wait()
			say("%s.\r\n", cheapMessage)
		default:
			say("+OK\r\n")
		}
		if word == "QUIT" {
			return
		}
	}
}

// connections are the settings of so many accounts, half of them of each
// protocol.
func (s *cheap) connections(n int, schedule, folder string) []map[string]any {
	all := make([]map[string]any, n)
	for i := range all {
		store, port := mail.IMAP, s.imap
		if i%2 == 1 {
			store, port = mail.POP3, s.pop3
		}
		all[i] = map[string]any{
			"name": fmt.Sprintf("account-%05d", i), "host": mailtest.Host, "port": port, "username": fmt.Sprintf("user%d", i),
			"password": "secret", "store_type": store, "folder": folder, "disposition": "DELETE", "schedule": schedule,
		}
	}
	return all
}
