package mailtest_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// TestCorpusIsServedByDovecot holds what Corpus says of a real server against
// one.
func TestCorpusIsServedByDovecot(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, s := range mailtest.Corpus() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			user := d.NewUser(t)
			d.Deliver(t, user, s.Raw)
			if got := fetchIMAP(t, d.Connection(t, user, mail.IMAP, mail.NoTLS)); !bytes.Equal(got, s.IMAP) {
				t.Errorf("IMAP serves %.200q; want %.200q", got, s.IMAP)
			}
			if s.POP3 == nil {
				return
			}
			if got := fetchPOP3(t, d.Connection(t, user, mail.POP3, mail.NoTLS)); !bytes.Equal(got, s.POP3) {
				t.Errorf("POP3 serves %.200q; want %.200q", got, s.POP3)
			}
		})
	}
}

// fetchIMAP fetches the first message.
func fetchIMAP(t *testing.T, c *mail.Connection) []byte {
	t.Helper()
	client := login(t, c)
	if _, err := client.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	whole := &imap.FetchItemBodySection{Peek: true}
	got, err := client.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{
		BodySection: []*imap.FetchItemBodySection{whole},
	}).Collect()
	if err != nil || len(got) != 1 {
		t.Fatalf("FETCH: %d messages, %v", len(got), err)
	}
	return got[0].FindBodySection(whole)
}

// fetchPOP3 fetches the first message and takes away the dots that the
// protocol adds. No library does this octet for octet.
func fetchPOP3(t *testing.T, c *mail.Connection) []byte {
	t.Helper()
	conn, r := dialPort(t, c.Port)
	say(t, conn, "USER "+c.Username+"\r\nPASS "+c.Password.Literal.Reveal()+"\r\nRETR 1\r\n")
	for range 4 { // the greeting is the first
		if reply, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(reply, "+OK") {
			t.Fatalf("server says %q, %v", reply, err)
		}
	}
	var body []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if string(line) == ".\r\n" {
			return body
		}
		body = append(body, bytes.TrimPrefix(line, []byte("."))...)
	}
}
