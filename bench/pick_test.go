//go:build bench

package bench

import (
	"fmt"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// TestPick50000: what it costs to take one message out of 50,000, the next one,
// all the others, and to find that there is nothing new. KEEP leaves the
// messages where they are, so the journal alone says what is new.
func TestPick50000(t *testing.T) {
	const count, unread, most = 50_000, 10, 64 << 10
	d := mailtest.StartDovecot(t)
	user := deliverMany(t, d, count, unread)
	var rows [][]string
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		all := map[mail.StoreType]int{mail.IMAP: unread, mail.POP3: count}[store] // POP3 has no \Seen
		c := settings(d, t, user, store, mail.NoTLS)
		c["disposition"] = "KEEP"
		newSite(t, c).poll(t) // Dovecot makes its index
		p := newProxy(t, c["port"].(int), 0)
		c["port"] = p.port
		for _, pull := range disposition.Pulls() {
			c["pull_disposition"], c["max_messages"] = pull.String(), 1
			s := newSite(t, c)
			// How many messages each poll may take, and how many it takes.
			polls := []struct{ most, takes int }{{1, 1}, {1, 0}}
			if pull.Unread {
				polls = []struct{ most, takes int }{{1, 1}, {1, 1}, {0, all - 2}, {1, 0}}
			}
			for _, poll := range polls {
				c["max_messages"] = poll.most
				s.configure(t, c)
				m := s.poll(t)
				wire := <-p.traffic
				if m.messages != poll.takes {
					t.Fatalf("%s %s: %d messages, not %d; %s", store, pull, m.messages, poll.takes, m.outcome)
				}
				if store == mail.IMAP && wire.received >= most {
					t.Errorf("%s %s: %d octets from the server", store, pull, wire.received)
				}
				rows = append(rows, []string{
					fmt.Sprintf("%s %s", store, pull), fmt.Sprint(m.messages), fmt.Sprint(wire.sent), fmt.Sprint(wire.received),
					fmt.Sprint(wire.turns), fmt.Sprintf("%.2f", m.seconds), mebibytes(m.peak),
				})
			}
		}
	}
	printTable("Polls of 50,000 messages (ten in the middle unread), NONE, KEEP",
		[]string{"poll", "messages", "octets sent", "received", "round trips", "seconds", "peak MiB resident"}, rows)
}

// deliverMany fills a mailbox: messages that were read, but for some in the
// middle, so that a search from neither end is short.
func deliverMany(t *testing.T, d *mailtest.Dovecot, count, unread int) (user string) {
	t.Helper()
	messages := make([][]byte, count)
	for i := range messages {
		messages[i] = fmt.Appendf(nil, "Subject: %d\r\n\r\nmessage %d\r\n", i+1, i+1)
	}
	user = d.NewUser(t)
	from := (count - unread) / 2
	d.DeliverFlagged(t, user, []string{`\Seen`}, messages[:from]...)
	d.Deliver(t, user, messages[from:from+unread]...)
	d.DeliverFlagged(t, user, []string{`\Seen`}, messages[from+unread:]...)
	return user
}
