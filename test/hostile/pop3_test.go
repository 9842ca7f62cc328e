package hostile

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// removed is what another client, or the server itself, does.
func removed(b *box) { b.messages = nil }

// pop3Refusals is a row for each response code that a server may refuse a
// login with.
func pop3Refusals() []row {
	var rows []row
	for _, c := range []struct {
		code string
		kind mail.Kind
		hint string
	}{
		{"AUTH", mail.KindAuth, "check username:"},
		{"SYS/TEMP", mail.KindServer, "problem of its own"},
		{"SYS/PERM", mail.KindServer, "problem of its own"},
		{"IN-USE", mail.KindServer, "another program"},
		{"LOGIN-DELAY", mail.KindServer, "poll less often"},
	} {
		rows = append(rows, row{
			name: "-ERR " + c.code + " to PASS", odd: on(`^PASS`, "-ERR ["+c.code+"] not today\r\n"),
			op: mail.OpAuthenticate, kind: c.kind, says: "[" + c.code + "] not today", hint: c.hint, never: "STAT",
		})
	}
	return rows
}

// pop3Echoes is a row for each spelling in which a server may say the
// password, and each place where it may do so.
func pop3Echoes() []row {
	var rows []row
	for i, secret := range spellings {
		name := []string{"plain", "base64", "SASL PLAIN"}[i]
		rows = append(rows,
			row{
				name: "password echoed by -ERR, " + name, odd: on(`^PASS`, "-ERR wrong: "+secret+"\r\n"),
				op: mail.OpAuthenticate, kind: mail.KindAuth, says: "wrong: ***",
			},
			row{
				name: "password for a response code, " + name, odd: on(`^PASS`, "-ERR ["+secret+"] wrong\r\n"),
				op: mail.OpAuthenticate, kind: mail.KindAuth, says: "wrong",
			},
			row{
				name: "password for a message, " + name, odd: on(`^RETR 1`, "-ERR no "+secret+"\r\n"),
				op: mail.OpFetch, kind: mail.KindProtocol, says: "no ***", saved: 2,
			},
			row{
				name: "password for an answer, " + name, odd: on(`^STAT`, secret+"\r\n"),
				op: mail.OpOpenMailbox, kind: mail.KindProtocol, says: "***",
			},
			row{
				name: "password for a number, " + name, odd: on(`^STAT`, "+OK "+secret+"\r\n"),
				op: mail.OpOpenMailbox, kind: mail.KindProtocol, says: "***",
			},
			row{
				name: "password for a unique-id, " + name, prepare: func(b *box) { b.messages[0].uidl = secret },
				odd: on(`^RETR 1`, "-ERR no\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "no", saved: 2,
			},
		)
	}
	return rows
}

// odds is 70 octets that RFC 1939 allows in a unique-id.
func odds(n int) string {
	text := fmt.Sprintf("/../../x%d%%s\\'\"$(id)`;|&*?<>{}[]~!#", n)
	return text + strings.Repeat("/", 70-len(text))
}

func pop3Rows() []row {
	each := func(uidl func(i int) string) func(*box) {
		return func(b *box) {
			for i, m := range b.messages {
				m.uidl = uidl(i)
			}
		}
	}
	no := func(command string) odd { return on("^"+command, "-ERR unknown\r\n") }
	return []row{
		// Time.
		{
			name: "a reply that drips", odd: on(`^STAT`, "+OK ", drip), with: func(c *mail.Connection) { c.PollTimeout = time.Second },
			op: mail.OpOpenMailbox, kind: mail.KindTimeout, says: "poll_timeout of 1s is over", never: "^(RETR|DELE)",
		},
		{name: "no answer to USER", odd: on(`^USER`, "", stall), op: mail.OpAuthenticate, kind: mail.KindTimeout, says: "silent for 400ms", never: "^PASS"},
		{name: "no answer to PASS", odd: on(`^PASS`, "", stall), op: mail.OpAuthenticate, kind: mail.KindTimeout, says: "silent for 400ms", never: "^STAT"},
		{name: "no answer to UIDL", odd: on(`^UIDL`, "", stall), op: mail.OpPick, kind: mail.KindTimeout, says: "silent for 400ms", never: "^(RETR|DELE)"},
		{name: "no answer to DELE", odd: on(`^DELE 2`, "", stall), op: mail.OpDispose, kind: mail.KindTimeout, says: "silent for 400ms", saved: 3, never: "^QUIT"},
		{name: "no answer to QUIT", odd: on(`^QUIT`, "", stall), op: mail.OpDispose, kind: mail.KindTimeout, says: "silent for 400ms", saved: 3},
		{name: "a disconnect at QUIT", odd: on(`^QUIT`, "", cut), op: mail.OpDispose, kind: mail.KindNetwork, saved: 3},
		{name: "-ERR to QUIT, and nothing is removed", odd: on(`^QUIT`, "-ERR some are left\r\n"), op: mail.OpDispose, kind: mail.KindProtocol, says: "some are left", saved: 3},
		{name: "-ERR to QUIT, and all are removed", odd: all(before(`^QUIT`, removed), on(`^QUIT`, "-ERR oh\r\n")), op: mail.OpDispose, kind: mail.KindProtocol, says: "oh", saved: 3},
		{name: "no answer to QUIT, and all are removed", odd: all(before(`^QUIT`, removed), on(`^QUIT`, "", stall)), op: mail.OpDispose, kind: mail.KindTimeout, saved: 3},
		{name: "-ERR to DELE", odd: on(`^DELE 2`, "-ERR [SYS/TEMP] read-only\r\n"), op: mail.OpDispose, kind: mail.KindServer, says: "[SYS/TEMP] read-only", saved: 3},

		// Memory.
		{name: "a line without end", odd: on(`^STAT`, "+OK ", flood("A")), flood: true, op: mail.OpOpenMailbox, kind: mail.KindProtocol, says: "more than an answer may hold"},
		{name: "capabilities without end", odd: on(`^CAPA`, "+OK\r\n", flood("X\r\n")), flood: true, op: mail.OpAuthenticate, kind: mail.KindProtocol, says: "more than an answer may hold", never: "^USER"},
		{name: "UIDL without end", odd: on(`^UIDL`, "+OK\r\n", flood("1 id1\r\n")), flood: true, op: mail.OpPick, kind: mail.KindProtocol, says: "more than an answer may hold", never: "^(RETR|DELE)"},
		{name: "a unique-id without end", odd: on(`^UIDL`, "+OK\r\n1 ", flood("A")), flood: true, op: mail.OpPick, kind: mail.KindProtocol, says: "more than an answer may hold", never: "^(RETR|DELE)"},
		{name: "LIST without end", odd: on(`^LIST`, "+OK ", flood("1 ")), flood: true, op: mail.OpPick, kind: mail.KindProtocol, says: "more than an answer may hold", never: "^(RETR|DELE)"},
		{name: "a message without end", odd: on(`^RETR 1`, "+OK\r\n", flood("A\r\n")), flood: true, op: mail.OpFetch, kind: mail.KindProtocol, says: "more than an answer may hold", saved: 2},
		{
			name: "a message of 5 GiB that is sent for a while", flood: true,
			odd: all(on(`^LIST 1`, "+OK 1 5368709120\r\n"), on(`^RETR 1`, "+OK\r\n", func(c *mailtest.Conn) {
				chunk := []byte(strings.Repeat("A", 1<<20))
				for range 40 {
					c.Write(chunk)
				}
			}, cut)),
			op: mail.OpFetch, kind: mail.KindNetwork, saved: 2, never: "^DELE 1",
		},
		{name: "more messages than there can be", odd: on(`^STAT`, "+OK 4294967295 0\r\n"), flood: true, saved: 3},
		{name: "more messages than there can be, and no unique-ids", odd: all(on(`^STAT`, "+OK 4294967295 0\r\n"), no("UIDL")), flood: true, op: mail.OpPick, kind: mail.KindProtocol, says: "does not list", never: "^(RETR|DELE)"},
		{name: "a message of a number that there cannot be", odd: all(on(`^STAT`, "+OK 4294967295 0\r\n"), on(`^UIDL`, "+OK\r\n1 id1\r\n4000000000 x\r\n.\r\n")), flood: true, saved: 1},

		// The message.
		{name: "a message that a dot of its own ends", odd: on(`^RETR 1`, "+OK\r\nSubj\r\n.\r\nmore\r\n.\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "announced 21 octets and sent 6, and then", saved: 2},
		{name: "a message without octets", odd: on(`^RETR 1`, "+OK\r\n.\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "an empty message", saved: 2},
		{name: "a message that is longer than announced", odd: on(`^LIST 1`, "+OK 1 5\r\n"), saved: 3},
		{name: "a message that is shorter than announced", odd: on(`^LIST 1`, "+OK 1 5000\r\n"), saved: 3},
		{name: "messages that are shorter than announced, and no unique-ids", odd: all(no("UIDL"), on(`^LIST 2`, "+OK 2 5000\r\n")), saved: 3},
		{name: "no LIST", odd: no("LIST"), saved: 3},
		{name: "a disconnect inside RETR", odd: on(`^RETR 2`, "+OK\r\nSubj", cut), op: mail.OpFetch, kind: mail.KindNetwork, saved: 2, never: "^DELE 2"},
		{name: "silence inside RETR", odd: on(`^RETR 2`, "+OK\r\nSubj", stall), op: mail.OpFetch, kind: mail.KindTimeout, saved: 2, never: "^DELE 2"},
		{name: "a message that vanished", odd: all(before(`^RETR 1`, func(b *box) { b.remove(1) }), on(`^RETR 1`, "-ERR gone\r\n")), op: mail.OpFetch, kind: mail.KindProtocol, says: "gone", saved: 2, gone: 1},
		{name: "octets of every kind", prepare: func(b *box) { b.messages[0].body = "a\x00b\r\n\xff\x80\rc\nd\n.\ne\r\n.\r\n..\r\n\r\r\n" }, saved: 3},

		// Unique-ids.
		{name: "no UIDL", odd: no("UIDL"), saved: 3},
		{name: "neither UIDL nor TOP", odd: all(no("UIDL"), no("TOP")), op: mail.OpPick, kind: mail.KindProtocol, says: "neither UIDL nor TOP", never: "^(RETR|DELE)"},
		{name: "one unique-id for all", prepare: each(func(int) string { return "same" }), saved: 3},
		{name: "unique-ids that look like told apart", prepare: each(func(i int) string { return []string{"a", "a", "a#2"}[i] }), saved: 3},
		{name: "unique-ids of 70 odd characters", prepare: each(odds), saved: 3},
		{name: "unique-ids of control characters", prepare: each(func(i int) string { return fmt.Sprintf("\x1b[31m\x00\x7f\xff%d", i) }), saved: 3},
		{name: "unique-ids of 5,000 octets", prepare: each(func(i int) string { return strings.Repeat("x", 5000) + fmt.Sprint(i) }), saved: 3},
		{name: "a unique-id of a message that is not there", odd: on(`^UIDL`, "+OK\r\n99 id99\r\n.\r\n"), op: mail.OpPick, kind: mail.KindProtocol, says: "lists no message", never: "^(RETR|DELE)"},
		{name: "a unique-id without a message", odd: on(`^UIDL`, "+OK\r\nid1\r\n.\r\n"), op: mail.OpPick, kind: mail.KindProtocol, says: "lists no message", never: "^(RETR|DELE)"},
		{name: "a size that is no number", odd: on(`^LIST 1`, "+OK 1 large\r\n"), saved: 3},
		{name: "a size below nothing", odd: on(`^LIST 1`, "+OK 1 -5\r\n"), saved: 3},
		{name: "a listing that begins with an empty line, and has one that names nothing", odd: on(`^UIDL$`, "+OK\r\n\r\n1 id1\r\nx\r\n2  id2 \r\n3\tid3\r\n.\r\n"), saved: 2},
		{name: "a header that is all of the message", odd: no("UIDL"), prepare: func(b *box) { b.messages[0].body += strings.Repeat(strings.Repeat("y", 76)+"\r\n", 20000) }, saved: 3},

		// What it says in between.
		{name: "garbage ahead of a reply", odd: on(`^STAT`, "garbage\r\n"), op: mail.OpOpenMailbox, kind: mail.KindProtocol, says: "no answer of a POP3 server"},
		{name: "octets that are no text", odd: on(`^STAT`, "\x00\xff\x1b[31m\r\n"), op: mail.OpOpenMailbox, kind: mail.KindProtocol, says: "no answer of a POP3 server"},
		{name: "an empty line for an answer", odd: on(`^RETR 1`, "\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "no answer of a POP3 server", saved: 2},
		{name: "an answer too many", odd: on(`^RETR 1`, "+OK\r\n"+bodies[0]+".\r\n+OK\r\n"), op: mail.OpPick, kind: mail.KindProtocol, says: "that it was not asked for", saved: 3},
		{name: "garbage behind a message", odd: on(`^RETR 1`, "+OK\r\n"+bodies[0]+".\r\nmore\r\n"), op: mail.OpPick, kind: mail.KindProtocol, says: "that it was not asked for", saved: 3},
	}
}

func TestPOP3(t *testing.T) {
	playAll(t, mail.POP3, append(append(pop3Rows(), pop3Refusals()...), pop3Echoes()...))
}

// TestKEEPOfAHostilePOP3Server: with KEEP nothing is deleted, whatever happens.
func TestKEEPOfAHostilePOP3Server(t *testing.T) {
	t.Parallel()
	for _, row := range pop3Rows() {
		if row.flood || row.op == mail.OpDispose || row.gone > 0 {
			continue
		}
		row.with = and(row.with, func(c *mail.Connection) { c.Dispose = disposition.Keep })
		row.never = "^DELE"
		if row.op == mail.OpPick && row.saved == len(bodies) { // nothing is picked behind the last
			row.op, row.kind, row.says = "", "", ""
		}
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			play(t, mail.POP3, row)
		})
	}
}
