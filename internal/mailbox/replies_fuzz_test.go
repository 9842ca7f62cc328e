package mailbox

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// fuzzReplies goes through a whole session with a server that says anything.
// Nothing panics; what fails says so in words that are fit to be shown and
// hold no password; a message has no more octets than the server said. The
// server says one part of the input, up to a bar, ahead of each line that it
// reads, and hangs up at the end.
func fuzzReplies(f *testing.F, store mail.StoreType) {
	const password = "canary-7f3a"
	ca := mailtest.NewCA(f)
	f.Fuzz(func(t *testing.T, replies []byte) {
		server := mailtest.Script(t, func(c *mailtest.Conn) {
			for i, reply := range bytes.Split(replies, []byte("|")) {
				if i > 0 {
					c.Line()
				}
				c.Write(reply)
			}
		})
		c := mailtest.Connection(t, ca, store, mail.NoTLS, server.Port, "somebody", password)
		c.Dispose, c.Timeout = disposition.Delete, 100*time.Millisecond
		check := func(err error) {
			var e *mail.Error
			switch {
			case err == nil:
			case !errors.As(err, &e):
				t.Errorf("no *mail.Error: %v", err)
			case strings.Contains(e.Error()+e.Hint, password), len(e.Error()) > 1000,
				strings.ContainsFunc(e.Error(), func(r rune) bool { return !unicode.IsPrint(r) }):
				t.Errorf("not fit to be shown: %q", e)
			}
		}
		s, err := opener().Open(t.Context(), c)
		if err != nil {
			check(err)
			return
		}
		refs, err := s.Pick(t.Context(), mail.Query{Limit: 64, Sizes: true})
		check(err)
		for _, ref := range refs {
			if id := ref.ID(); id == "" || len(id) > maxID+20 || strings.ContainsFunc(id, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("id %q", id)
			}
		}
		check(s.Fetch(t.Context(), refs, func(m mail.Message) error {
			if check(m.Err); m.Body == nil {
				return nil
			}
			var b bytes.Buffer
			n, err := m.Body.WriteTo(&b)
			if check(err); err == nil && n != int64(b.Len()) || b.Len() > len(replies) {
				t.Errorf("%d octets, %d of them counted", b.Len(), n)
			}
			return err
		}))
		s.Apply(refs, disposition.Delete)
		_, err = s.Commit(t.Context())
		check(err)
		check(s.Close())
	})
}

func FuzzPOP3(f *testing.F) {
	const in = "+OK hi\r\n|-ERR\r\n|+OK\r\n|+OK\r\n|"
	for _, replies := range []string{
		"", "+OK", "-ERR [AUTH] canary-7f3a\r\n", "\x00\xff\r\n", in,
		in + "+OK 1 5\r\n|+OK\r\n1 id\r\n.\r\n|+OK 1 5\r\n|+OK\r\na..b\r\n.\r\n|+OK\r\n|+OK\r\n",
		in + "+OK 2 5\r\n|-ERR\r\n|+OK\r\nA: b\r\n.\r\n|+OK\r\nA: b\r\n.\r\n|+OK 1 5\r\n|+OK 2 5\r\n|-ERR\r\n|+OK\r\n..\r\n.\r\n|+OK\r\n|+OK\r\n|-ERR\r\n",
		in + "+OK 3 5\r\n|+OK\r\n1 /../../x\r\n2 canary-7f3a\r\n3 \x1b[31m\r\n.\r\n|+OK 1 -1\r\n",
		"+OK hi\r\n|+OK\r\nSASL PLAIN\r\n.\r\n|+ \r\n|+OK\r\n|+OK 99999999999999999999 0\r\n",
	} {
		f.Add([]byte(replies))
	}
	fuzzReplies(f, mail.POP3)
}

func FuzzIMAP(f *testing.F) {
	const in = "* OK [CAPABILITY IMAP4rev1 UIDPLUS] hi\r\n|T1 OK [CAPABILITY IMAP4rev1 UIDPLUS] in\r\n|* 1 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\nT2 OK done\r\n|"
	for _, replies := range []string{
		"", "* OK", "* PREAUTH\r\n", "* BYE canary-7f3a\r\n", "\x00\xff\r\n", in,
		in + "* SEARCH 1\r\nT3 OK\r\n|* 1 FETCH (UID 1 RFC822.SIZE 5)\r\nT4 OK\r\n|* 1 FETCH (UID 1 BODY[] {5}\r\na\r\nb\n)\r\nT5 OK\r\n|T6 OK\r\n|T7 OK\r\n|T8 OK\r\n|T9 OK\r\n",
		in + "* SEARCH 1 4294967295 0\r\nT3 NO [SERVERBUG] canary-7f3a\r\n",
		in + "* ESEARCH (TAG \"T3\") UID ALL 1:4294967295\r\nT3 OK\r\n|* 1 FETCH (UID 1 RFC822.SIZE 5)\r\nT4 OK\r\n|* 1 FETCH (UID 1 BODY[] {5368709120}\r\n",
	} {
		f.Add([]byte(replies))
	}
	fuzzReplies(f, mail.IMAP)
}
