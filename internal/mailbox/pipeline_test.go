package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// pop3Lines speaks POP3 with these capabilities, and hands every RETR, DELE and
// QUIT to answer.
func pop3Lines(capabilities string, answer func(c *mailtest.Conn, line string)) func(*mailtest.Conn) {
	return func(c *mailtest.Conn) {
		c.Send("+OK hi\r\n")
		for {
			switch line := c.Line(); {
			case line == "CAPA":
				c.Send("+OK\r\nUSER\r\n" + capabilities + ".\r\n")
			case line == "STAT":
				c.Send("+OK 9 90\r\n")
			case line == "UIDL":
				text := "+OK\r\n"
				for n := range 9 {
					text += fmt.Sprintf("%d id%d\r\n", n+1, n+1)
				}
				c.Send(text + ".\r\n")
			case strings.HasPrefix(line, "UIDL "):
				_, num, _ := strings.Cut(line, " ")
				c.Send("+OK " + num + " id" + num + "\r\n")
			case strings.HasPrefix(line, "RETR"), strings.HasPrefix(line, "DELE"):
				answer(c, line)
			case line == "QUIT":
				c.Send("+OK bye\r\n")
				return
			default:
				c.Send("+OK\r\n")
			}
		}
	}
}

func refs(n int, size int64) []mail.Ref {
	all := make([]mail.Ref, n)
	for i := range all {
		all[i] = mail.Ref{UIDL: fmt.Sprint("id", i+1), Num: i + 1, Size: size}
	}
	return all
}

// read takes the octets of a message.
func read(m mail.Message) (string, error) {
	if m.Err != nil {
		return "", m.Err
	}
	var b bytes.Buffer
	_, err := m.Body.WriteTo(&b)
	return b.String(), err
}

// TestPOP3AsksAhead where the server allows it, of small messages alone, and
// only as far as can be thrown away.
func TestPOP3AsksAhead(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name         string
		capabilities string
		size         int64
		ahead        int // commands that come before the first is answered
	}{
		{"PIPELINING", "PIPELINING\r\n", 10, 5},
		{"without it", "", 10, 1},
		{"large messages", "PIPELINING\r\n", pipelinedOctets/2 + 1, 1},
		{"sizes that nobody knows", "PIPELINING\r\n", 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var waiting []string
			body := strings.Repeat("x", int(max(row.size, 10))-2) + "\r\n"
			flush := func(c *mailtest.Conn) {
				for _, line := range waiting {
					if strings.HasPrefix(line, "RETR") {
						c.Send("+OK\r\n" + body + ".\r\n")
					} else {
						c.Send("+OK\r\n")
					}
				}
				waiting = nil
			}
			server := mailtest.Script(t, pop3Lines(row.capabilities, func(c *mailtest.Conn, line string) {
				// Nothing is answered before all that may come has come.
				if waiting = append(waiting, line); len(waiting) == row.ahead || strings.HasPrefix(line, "DELE") && row.capabilities == "" {
					flush(c)
				}
			}))
			s := open(t, mailtest.Connection(t, mailtest.NewCA(t), mail.POP3, mail.NoTLS, server.Port, "user", "canary"))
			all := refs(5, row.size)
			n := 0
			err := s.Fetch(t.Context(), all, func(m mail.Message) error {
				n++
				text, err := read(m)
				if text != body {
					t.Errorf("message %d of %d octets", n, len(text))
				}
				return err
			})
			if err != nil || n != len(all) {
				t.Fatalf("%d messages, %v", n, err)
			}
			if row.ahead == 1 && row.capabilities != "" {
				return // the script counts RETR alone
			}
			s.Apply(all, disposition.Delete)
			if _, err := s.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestPOP3StopsInTheMiddle: what was asked for ahead is dropped, and the
// session can still delete what was taken.
func TestPOP3StopsInTheMiddle(t *testing.T) {
	t.Parallel()
	var deleted []string
	server := mailtest.Script(t, pop3Lines("PIPELINING\r\n", func(c *mailtest.Conn, line string) {
		word, num, _ := strings.Cut(line, " ")
		switch {
		case word == "DELE":
			deleted = append(deleted, num)
			c.Send("+OK\r\n")
		case num == "3":
			c.Send("-ERR no such message\r\n")
		default:
			c.Send("+OK\r\nmessage " + num + "\r\n.\r\n")
		}
	}))
	s := open(t, mailtest.Connection(t, mailtest.NewCA(t), mail.POP3, mail.NoTLS, server.Port, "user", "canary"))
	all := refs(5, 11)
	enough := errors.New("enough")
	var got []string
	err := s.Fetch(t.Context(), all, func(m mail.Message) error {
		text, err := read(m)
		if err != nil {
			return err
		}
		got = append(got, text)
		return enough
	})
	if !errors.Is(err, enough) || !slices.Equal(got, []string{"message 1\r\n"}) {
		t.Fatalf("%q, %v", got, err)
	}
	s.Apply(all[:1], disposition.Delete)
	if _, err := s.Commit(t.Context()); err != nil || !slices.Equal(deleted, []string{"1"}) {
		t.Errorf("deleted %q, %v", deleted, err)
	}
}

// TestPOP3RefusesOneOfMany: the others come all the same.
func TestPOP3RefusesOneOfMany(t *testing.T) {
	t.Parallel()
	server := mailtest.Script(t, pop3Lines("PIPELINING\r\n", func(c *mailtest.Conn, line string) {
		if line == "RETR 2" {
			c.Send("-ERR no such message\r\n")
			return
		}
		c.Send("+OK\r\nmessage " + line[5:] + "\r\n.\r\n")
	}))
	s := open(t, mailtest.Connection(t, mailtest.NewCA(t), mail.POP3, mail.NoTLS, server.Port, "user", "canary"))
	var got []string
	err := s.Fetch(t.Context(), refs(3, 11), func(m mail.Message) error {
		text, err := read(m)
		if err != nil {
			text = err.Error()
		}
		got = append(got, m.UIDL+" "+text)
		return nil
	})
	want := []string{"id1 message 1\r\n", "id2 fetch: server refused: no such message", "id3 message 3\r\n"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestIMAPFetchesManyAtOnce with one command; what does not come with it is
// asked for alone, so that each message has a verdict of its own.
func TestIMAPFetchesManyAtOnce(t *testing.T) {
	t.Parallel()
	send := func(c *mailtest.Conn, uids ...int) {
		for _, uid := range uids {
			c.Send(fmt.Sprintf("* %d FETCH (UID %d RFC822.SIZE 3 BODY[] {3}\r\nm%02d)\r\n", uid, uid, uid))
		}
	}
	for _, row := range []struct {
		name     string
		answer   func(c *mailtest.Conn, set string)
		got      []string
		commands []string
	}{
		{"all of them", func(c *mailtest.Conn, _ string) { send(c, 1, 2, 3); c.Send("{tag} OK\r\n") }, []string{"1 m01", "2 m02", "3 m03"}, []string{"1:3"}},
		{"in another order", func(c *mailtest.Conn, _ string) { send(c, 3, 1, 2); c.Send("{tag} OK\r\n") }, []string{"3 m03", "1 m01", "2 m02"}, []string{"1:3"}},
		{"one is gone", func(c *mailtest.Conn, set string) {
			if set == "1:3" {
				send(c, 1, 3)
			}
			c.Send("{tag} OK\r\n")
		}, []string{"1 m01", "3 m03", "2 fetch: server answers OK without the message: it may be gone"}, []string{"1:3", "2"}},
		{"one cannot be read, and stands in the way of the others", func(c *mailtest.Conn, set string) {
			switch set {
			case "1:3":
				send(c, 1)
				c.Send("{tag} NO [SERVERBUG] internal error\r\n")
			case "2":
				c.Send("{tag} NO [SERVERBUG] internal error\r\n")
			default:
				uid, _ := strconv.Atoi(set)
				send(c, uid)
				c.Send("{tag} OK\r\n")
			}
		}, []string{"1 m01", "1 taken back", "1 m01", "2 fetch: server refused: [SERVERBUG] internal error", "3 m03"}, []string{"1:3", "1", "2", "3"}},
		{"flags of others in between", func(c *mailtest.Conn, _ string) {
			c.Send("* 9 FETCH (UID 9 FLAGS (\\Seen))\r\n")
			send(c, 1, 2)
			c.Send("* 2 FETCH (FLAGS (\\Seen))\r\n")
			send(c, 3)
			c.Send("{tag} OK\r\n")
		}, []string{"1 m01", "2 m02", "3 m03"}, []string{"1:3"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var commands []string
			server := mailtest.Script(t, imapUpTo(func(c *mailtest.Conn, set string) {
				commands = append(commands, set)
				row.answer(c, set)
			}))
			s := open(t, mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "user", "canary"))
			var got []string
			err := s.Fetch(t.Context(), []mail.Ref{{UID: 1}, {UID: 2}, {UID: 3}}, func(m mail.Message) error {
				if m.Retracted {
					got = append(got, fmt.Sprint(m.UID, " taken back"))
					return nil
				}
				text, err := read(m)
				if err != nil {
					text = err.Error()
				}
				got = append(got, fmt.Sprint(m.UID, " ", text))
				return nil
			})
			if err != nil || !slices.Equal(got, row.got) || !slices.Equal(commands, row.commands) {
				t.Errorf("%q by %q, %v", got, commands, err)
			}
		})
	}
}

// TestIMAPIsDroppedInTheMiddle of a command: a folder that fails at one message
// ends the session, whatever the server has sent behind it.
func TestIMAPIsDroppedInTheMiddle(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk is gone")
	for _, size := range []int{10, readBuffer / 2, 3 * readBuffer} {
		body := strings.Repeat("x", size)
		server := mailtest.Script(t, imapUpTo(func(c *mailtest.Conn, _ string) {
			reply := ""
			for uid := 1; uid <= 3; uid++ {
				reply += fmt.Sprintf("* %d FETCH (UID %d RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\n", uid, uid, len(body), len(body), body)
			}
			c.Send(reply + "{tag} OK\r\n") // in one piece, so that all of it may be in the client's buffer
		}))
		s := open(t, mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "user", "canary"))
		ended := make(chan error, 1)
		go func() {
			err := s.Fetch(context.Background(), []mail.Ref{{UID: 1}, {UID: 2}, {UID: 3}}, func(m mail.Message) error {
				_, err := m.Body.WriteTo(&failing{0, broken})
				return err
			})
			_ = s.Close()
			ended <- err
		}()
		select {
		case err := <-ended:
			if !errors.Is(err, broken) {
				t.Errorf("%v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the session does not end")
		}
	}
}

// failing takes some pieces and then fails.
type failing struct {
	left int64
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// TestIMAPStopsInTheMiddle: the rest of the messages is read past, and the
// session goes on.
func TestIMAPStopsInTheMiddle(t *testing.T) {
	t.Parallel()
	server := mailtest.Script(t, imapUpTo(func(c *mailtest.Conn, _ string) {
		for uid := 1; uid <= 3; uid++ {
			c.Send(fmt.Sprintf("* %d FETCH (UID %d RFC822.SIZE 3 BODY[] {3}\r\nm%02d)\r\n", uid, uid, uid))
		}
		c.Send("{tag} OK\r\n")
	}))
	s := open(t, mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "user", "canary"))
	enough := errors.New("enough")
	n := 0
	err := s.Fetch(t.Context(), []mail.Ref{{UID: 1}, {UID: 2}, {UID: 3}}, func(m mail.Message) error {
		n++
		_, err := m.Body.WriteTo(io.Discard)
		return errors.Join(err, enough)
	})
	if !errors.Is(err, enough) || n != 1 {
		t.Fatalf("%d messages, %v", n, err)
	}
	s.Apply([]mail.Ref{{UID: 1}}, disposition.Seen)
	if _, err := s.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestIMAPTakesBackWhatEndsWithNO, also when the second round breaks off, and
// when nobody wants more.
func TestIMAPTakesBackWhatEndsWithNO(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	for name, stop := range map[string]error{"the second round breaks off": nil, "stopped": enough} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Script(t, imapUpTo(func(c *mailtest.Conn, set string) {
				if set != "1:3" {
					c.Cut()
					return
				}
				for uid := 1; uid <= 3; uid++ {
					c.Send(fmt.Sprintf("* %d FETCH (UID %d RFC822.SIZE 3 BODY[] {3}\r\nm%02d)\r\n", uid, uid, uid))
				}
				c.Send("{tag} NO [SERVERBUG] disk error\r\n")
			}))
			s := open(t, mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "user", "canary"))
			counts := make(map[uint32]bool)
			err := s.Fetch(t.Context(), []mail.Ref{{UID: 1}, {UID: 2}, {UID: 3}}, func(m mail.Message) error {
				counts[m.UID] = false
				if m.Retracted {
					return nil
				}
				_, err := read(m)
				counts[m.UID] = err == nil
				return errors.Join(err, stop)
			})
			for uid, whole := range counts {
				if whole {
					t.Errorf("message %d counts", uid)
				}
			}
			if len(counts) == 0 || err == nil || stop != nil && !errors.Is(err, stop) {
				t.Errorf("%v, %v", counts, err)
			}
		})
	}
}

// TestIMAPIsToldOfOthersExpunges in the answer to STORE: more than anybody
// waits for.
func TestIMAPIsToldOfOthersExpunges(t *testing.T) {
	t.Parallel()
	server := mailtest.Script(t, func(c *mailtest.Conn) {
		c.Send("* OK [CAPABILITY IMAP4rev1 UIDPLUS] hi\r\n")
		for {
			switch line := c.Line(); {
			case strings.Contains(line, "LOGIN"):
				c.Send("{tag} OK [CAPABILITY IMAP4rev1 UIDPLUS] in\r\n")
			case strings.Contains(line, "SELECT"):
				c.Send("* 900 EXISTS\r\n* OK [UIDVALIDITY 1] ok\r\n{tag} OK done\r\n")
			case strings.Contains(line, "STORE"):
				c.Send(strings.Repeat("* 1 EXPUNGE\r\n", 500) + "{tag} OK done\r\n")
			case strings.Contains(line, "LOGOUT"):
				c.Send("* BYE\r\n{tag} OK bye\r\n")
				return
			default:
				c.Send("{tag} OK done\r\n")
			}
		}
	})
	connection := mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "user", "canary")
	connection.Dispose = disposition.Delete
	s := open(t, connection)
	s.Apply([]mail.Ref{{UID: 1}}, disposition.Delete)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Commit(context.Background())
		ended <- err
	}()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the commit does not end")
	}
}

// TestAPanicDoesNotHoldTheSession: it can be closed, and the panic goes on.
func TestAPanicDoesNotHoldTheSession(t *testing.T) {
	t.Parallel()
	server := mailtest.Script(t, imapUpTo(func(c *mailtest.Conn, _ string) {
		c.Send("* 1 FETCH (UID 1 RFC822.SIZE 3 BODY[] {3}\r\nm01)\r\n{tag} OK\r\n")
	}))
	s := open(t, mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "user", "canary"))
	ended := make(chan any, 1)
	go func() {
		defer func() {
			fault := recover()
			_ = s.Close()
			ended <- fault
		}()
		_ = s.Fetch(context.Background(), []mail.Ref{{UID: 1}}, func(mail.Message) error { panic("oh") })
	}()
	select {
	case fault := <-ended:
		if fault != "oh" {
			t.Errorf("%v", fault)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the session does not end")
	}
}
