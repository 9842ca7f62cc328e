package hostile

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/retry"
)

// many fills a mailbox.
func many(n int) func(*box) {
	return func(b *box) {
		for i := range n {
			b.add(fmt.Sprintf("Subject: of many\r\n\r\n%d\r\n", i))
		}
	}
}

// TestABadDayCountsAgainstNoMessage: a server that hands over nothing, in whatever
// way, for as many jobs as would put a message into quarantine and one more, fails
// the jobs, and everything is delivered as soon as it is well again.
func TestABadDayCountsAgainstNoMessage(t *testing.T) {
	t.Parallel()
	const no, err = "{tag} NO ", "-ERR "
	retr := `^RETR`
	for _, s := range []season{
		{name: "unavailable", store: mail.IMAP, prepare: many(22), odd: on(either, no+"[UNAVAILABLE] UID FETCH Service is temporarily not available\r\n"), kind: mail.KindServer, says: "temporarily not available"},
		{name: "over quota", store: mail.IMAP, odd: on(either, no+"[OVERQUOTA] full\r\n"), kind: mail.KindServer, says: "[OVERQUOTA] full"},
		{name: "limited", store: mail.IMAP, odd: on(either, no+"[LIMIT] enough\r\n"), kind: mail.KindServer, says: "[LIMIT] enough"},
		{name: "in use", store: mail.IMAP, odd: on(either, no+"[INUSE] somebody reads\r\n"), kind: mail.KindServer, says: "[INUSE]"},
		{name: "a bug", store: mail.IMAP, odd: on(either, no+"[SERVERBUG] oh\r\n"), kind: mail.KindServer, says: "[SERVERBUG]"},
		{name: "the administrator has to be told", store: mail.IMAP, odd: on(either, no+"[CONTACTADMIN] disk error 5\r\n"), kind: mail.KindServer, says: "disk error 5"},
		{name: "throttled", store: mail.IMAP, odd: on(either, "{tag} BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds\r\n"), kind: mail.KindServer, says: "throttled", wait: 92415 * time.Millisecond},
		{name: "throttled, with an unknown code", store: mail.IMAP, odd: on(either, no+"[XTHROTTLED] Too many commands, try again in 2 minutes\r\n"), kind: mail.KindServer, says: "try again", wait: 2 * time.Minute},
		{name: "no reason", store: mail.IMAP, prepare: many(22), odd: on(either, no+"UID FETCH failed\r\n"), kind: mail.KindProtocol, says: "UID FETCH failed"},
		{name: "BAD without a reason", store: mail.IMAP, odd: on(either, "{tag} BAD UID FETCH failed\r\n"), kind: mail.KindProtocol, says: "UID FETCH failed"},
		{name: "OK without any", store: mail.IMAP, odd: on(either, "{tag} OK done\r\n"), kind: mail.KindProtocol, says: "OK without the message"},
		{name: "empty literals", store: mail.IMAP, odd: altered(either, func(string) string {
			return "* 1 FETCH (UID 1 BODY[] {0}\r\n)\r\n* 2 FETCH (UID 2 BODY[] {0}\r\n)\r\n* 3 FETCH (UID 3 BODY[] {0}\r\n)\r\n"
		}), kind: mail.KindProtocol, says: "an empty message"},
		{name: "a disconnect in front of each", store: mail.IMAP, prepare: many(22), odd: on(either, "", cut), kind: mail.KindNetwork, says: "closed the connection"},
		{name: "a disconnect within each", store: mail.IMAP, odd: on(either, "* 1 FETCH (UID 1 BODY[] {21}\r\nSubj", hangUp), kind: mail.KindNetwork, says: "closed the connection"},
		{name: "silence", store: mail.IMAP, odd: on(either, "", stall), kind: mail.KindTimeout, says: "silent"},
		{name: "the account", store: mail.IMAP, odd: on(either, notConnected), kind: mail.KindAuth, says: "not connected"},

		{name: "unavailable", store: mail.POP3, prepare: many(22), odd: on(retr, err+"[SYS/TEMP] disk error\r\n"), kind: mail.KindServer, says: "disk error"},
		{name: "unavailable for good", store: mail.POP3, odd: on(retr, err+"[SYS/PERM] corrupt\r\n"), kind: mail.KindServer, says: "corrupt"},
		{name: "in use", store: mail.POP3, odd: on(retr, err+"[IN-USE] locked\r\n"), kind: mail.KindServer, says: "locked"},
		{name: "throttled", store: mail.POP3, odd: on(retr, err+"Server busy, temporarily, retry after 30 seconds\r\n"), kind: mail.KindServer, says: "busy", wait: 30 * time.Second},
		{name: "no reason", store: mail.POP3, prepare: many(22), odd: on(retr, err+"no\r\n"), kind: mail.KindProtocol, says: "no"},
		{name: "empty messages", store: mail.POP3, odd: on(retr, "+OK\r\n.\r\n"), kind: mail.KindProtocol, says: "an empty message"},
		{name: "a disconnect within each", store: mail.POP3, prepare: many(22), odd: on(retr, "+OK\r\nSubj", hangUp), kind: mail.KindNetwork, says: "closed the connection"},
		{name: "a disconnect behind each", store: mail.POP3, odd: on(retr, "+OK\r\nSubj\r\n.\r\n", hangUp), kind: mail.KindProtocol, says: "and then"},
		{name: "logins that are too close together", store: mail.POP3, prepare: has("USER, UIDL, LOGIN-DELAY 60"), odd: on(`^PASS`, err+"[LOGIN-DELAY] minimum time between logins\r\n"), op: mail.OpAuthenticate, kind: mail.KindServer, says: "LOGIN-DELAY", wait: time.Minute},
	} {
		if s.op == "" {
			s.op = mail.OpFetch
		}
		t.Run(fmt.Sprint(s.store, " ", s.name), func(t *testing.T) {
			t.Parallel()
			s.play(t, func(c *mail.Connection) {
				c.PollTimeout = tooLong
				if s.wait > 0 {
					c.Retry = retry.Policy{Max: 3, Interval: time.Millisecond}
				}
			})
		})
	}
}

// TestAServerThatWantsTimeBetweenLogins is visited once in a job: whether it has
// removed what it said it did is for the next job to see.
func TestAServerThatWantsTimeBetweenLogins(t *testing.T) {
	t.Parallel()
	b := newBox(mail.POP3, bodies...)
	b.caps = "USER, UIDL, LOGIN-DELAY 60"
	r := newBench(t, b)
	r.once(r.poll(), bodies...)
	if n := r.server.Connections(); n != 1 {
		t.Errorf("%d connections in one job", n)
	}
	b.mu.Lock()
	b.add("Subject: 4\r\n\r\nanother\r\n")
	b.mu.Unlock()
	r.once(r.poll(), append(slices.Clone(bodies), "Subject: 4\r\n\r\nanother\r\n")...)
}
