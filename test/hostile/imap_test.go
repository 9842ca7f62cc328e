package hostile

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// Lines of an IMAP client.
const (
	login   = ` LOGIN `
	selects = ` SELECT `
	search  = ` UID SEARCH `
	fetch1  = ` UID FETCH 1 .*PEEK`
	fetch2  = ` UID FETCH 2 .*PEEK`
	store   = ` UID STORE `
	expunge = ` UID EXPUNGE `
	changes = store + "|EXPUNGE|CLOSE"
)

// answer is the answer to a FETCH of message 1.
func answer(items string, args ...any) string {
	return "* 1 FETCH (" + fmt.Sprintf(items, args...) + ")\r\n{tag} OK done\r\n"
}

// whole is the body of a message as a literal.
func whole(body string) string { return fmt.Sprintf("{%d}\r\n%s", len(body), body) }

// refusals is a row for each response code that a server may refuse a login
// with.
func refusals() []row {
	var rows []row
	for _, c := range []struct {
		code string
		kind mail.Kind
		hint string
	}{
		{"AUTHENTICATIONFAILED", mail.KindAuth, "check username:"},
		{"AUTHORIZATIONFAILED", mail.KindAuth, "check username:"},
		{"EXPIRED", mail.KindAuth, "check username:"},
		{"UNAVAILABLE", mail.KindServer, "problem of its own"},
		{"SERVERBUG", mail.KindServer, "problem of its own"},
		{"INUSE", mail.KindServer, "another program"},
		{"LIMIT", mail.KindServer, "poll less often"},
		{"OVERQUOTA", mail.KindServer, "poll less often"},
	} {
		rows = append(rows, row{
			name: "NO " + c.code + " to LOGIN", odd: on(login, "{tag} NO ["+c.code+"] not today\r\n"),
			op: mail.OpAuthenticate, kind: c.kind, says: "[" + c.code + "] not today", hint: c.hint, never: search,
		})
	}
	return rows
}

// echoes is a row for each spelling in which a server may say the password,
// and each place where it may do so.
func echoes() []row {
	var rows []row
	for i, secret := range []string{
		canary, base64.StdEncoding.EncodeToString([]byte(canary)),
		base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + canary)),
	} {
		name := []string{"plain", "base64", "SASL PLAIN"}[i]
		rows = append(rows,
			row{
				name: "password echoed by NO, " + name, odd: on(login, "{tag} NO wrong: "+secret+"\r\n"),
				op: mail.OpAuthenticate, kind: mail.KindAuth, says: "wrong: ***",
			},
			row{
				name: "password for a response code, " + name, odd: on(login, "{tag} NO ["+secret+"] wrong\r\n"),
				op: mail.OpAuthenticate, kind: mail.KindAuth, says: "wrong",
			},
			row{
				name: "password echoed by BAD, " + name, odd: on(fetch1, "{tag} BAD what is "+secret+"\r\n"),
				op: mail.OpFetch, kind: mail.KindProtocol, says: "what is ***", saved: 2,
			},
			row{
				name: "password for an answer, " + name, odd: on(search, secret+" "+secret+"\r\n"),
				op: mail.OpPick, kind: mail.KindProtocol, never: changes,
			},
			row{
				name: "password for a capability, " + name,
				odd:  on(login, "{tag} OK [CAPABILITY IMAP4rev1 UIDPLUS "+secret+"] in\r\n"), saved: 3,
			},
			row{
				name: "password for a mailbox, " + name,
				odd:  all(on(selects, "{tag} NO there is no "+secret+"\r\n"), on(` LIST `, "* LIST () \"/\" \""+secret+"\"\r\n{tag} OK\r\n")),
				op:   mail.OpOpenMailbox, kind: mail.KindConfig, says: "there is no ***", hint: "there are: ***",
			},
		)
	}
	return rows
}

func imapRows() []row {
	esearch := func(b *box) { b.caps = "UIDPLUS ESEARCH" }
	return []row{
		// Time.
		{
			name: "a greeting that drips", odd: on("^$", "", drip), with: func(c *mail.Connection) { c.PollTimeout = time.Second },
			op: mail.OpGreeting, kind: mail.KindTimeout, says: "poll_timeout of 1s is over", never: ".",
		},
		{
			name: "a reply that drips", odd: on(search, "", drip), with: func(c *mail.Connection) { c.PollTimeout = time.Second },
			op: mail.OpPick, kind: mail.KindTimeout, says: "poll_timeout of 1s is over", never: changes,
		},
		{name: "no answer to SELECT", odd: on(selects, "", stall), op: mail.OpOpenMailbox, kind: mail.KindTimeout, says: "silent for 400ms", never: changes},
		{name: "no answer to SEARCH", odd: on(search, "", stall), op: mail.OpPick, kind: mail.KindTimeout, says: "silent for 400ms", never: changes},
		{name: "no answer to STORE", odd: on(store, "", stall), op: mail.OpDispose, kind: mail.KindTimeout, says: "silent for 400ms", saved: 3, never: expunge},
		{name: "no answer to EXPUNGE", odd: on(expunge, "", stall), op: mail.OpDispose, kind: mail.KindTimeout, says: "silent for 400ms", saved: 3},
		{name: "no answer to LOGOUT", odd: on(` LOGOUT`, "", stall), saved: 3},

		// Memory.
		{name: "a line without end", odd: on(selects, "* OK ", flood("A")), flood: true, op: mail.OpOpenMailbox, kind: mail.KindProtocol, says: "more than an answer may hold", never: changes},
		{name: "replies without end", odd: on(search, "", flood("* 3 EXISTS\r\n")), flood: true, op: mail.OpPick, kind: mail.KindProtocol, says: "more than an answer may hold", never: changes},
		{name: "SEARCH without end", odd: on(search, "* SEARCH", flood(" 1 3")), flood: true, op: mail.OpPick, kind: mail.KindProtocol, says: "more than", never: changes},
		{name: "ESEARCH without end", prepare: esearch, odd: on(search, "* ESEARCH (TAG \"{tag}\") UID ALL 1", flood(",1,3")), flood: true, op: mail.OpPick, kind: mail.KindProtocol, says: "more than", never: changes},
		{name: "capabilities without end", odd: on(login, "* CAPABILITY", flood(" X=Y")), flood: true, op: mail.OpAuthenticate, kind: mail.KindProtocol, says: "more than", never: selects},
		{
			name: "a literal of 5 GiB that is sent for a while", flood: true,
			odd: on(fetch1, "* 1 FETCH (UID 1 BODY[] {5368709120}\r\n", func(c *mailtest.Conn) {
				chunk := make([]byte, 1<<20)
				for range 40 {
					c.Write(chunk)
				}
			}, cut),
			op: mail.OpFetch, kind: mail.KindNetwork, saved: 2,
		},
		{
			name: "a literal of 5 GiB where a FETCH has no literal", flood: true,
			odd: on(search, "* 1 FETCH (UID 1 X {5368709120}\r\n", flood("A")),
			op:  mail.OpPick, kind: mail.KindProtocol, never: changes,
		},
		{
			name: "a literal of 5 GiB for a mailbox name", flood: true,
			odd: all(on(selects, "{tag} NO [NONEXISTENT] none\r\n"), on(` LIST `, "* LIST () \"/\" {5368709120}\r\n", flood("A"))),
			op:  mail.OpOpenMailbox, kind: mail.KindConfig, says: "none",
		},
		{
			name: "every UID there can be", prepare: esearch,
			odd:   all(on(`SEARCH .*`, "* ESEARCH (TAG \"{tag}\") UID MIN 4 MAX 4294967295 ALL 4:4294967295 COUNT 3\r\n{tag} OK\r\n")),
			never: changes,
		},

		// The message.
		{name: "a literal that ends short", odd: on(fetch1, answer("UID 1 BODY[] {%d}\r\n%s", len(bodies[0])+100, bodies[0])), op: mail.OpFetch, kind: mail.KindTimeout, says: "silent", saved: 2},
		{name: "a literal that goes on", odd: on(fetch1, answer("UID 1 BODY[] {%d}\r\n%s", len(bodies[0])-5, bodies[0])), op: mail.OpFetch, kind: mail.KindProtocol, saved: 2},
		{name: "a disconnect inside a literal", odd: on(fetch2, "* 2 FETCH (UID 2 BODY[] {18}\r\nSubj", cut), op: mail.OpFetch, kind: mail.KindNetwork, saved: 2},
		{name: "a disconnect behind a literal", odd: on(fetch2, "* 2 FETCH (UID 2 BODY[] "+whole(bodies[1]), cut), op: mail.OpFetch, kind: mail.KindNetwork, saved: 2},
		{name: "FETCH answers nothing", odd: on(fetch1, "{tag} OK done\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "OK without the message", saved: 2},
		{name: "FETCH answers another message", odd: on(fetch1, "* 2 FETCH (UID 2 BODY[] "+whole(bodies[1])+")\r\n{tag} OK done\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "OK without the message", saved: 2},
		{name: "FETCH answers another message, its UID last", odd: on(fetch1, "* 2 FETCH (BODY[] "+whole(bodies[1])+" UID 2)\r\n{tag} OK done\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "message 1 with message 2", saved: 2},
		{name: "FETCH answers a message without a UID", odd: on(fetch1, "* 2 FETCH (BODY[] "+whole(bodies[1])+")\r\n{tag} OK done\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "does not say which message", saved: 2},
		{name: "FETCH answers a message, its UID last", odd: on(fetch1, answer("BODY[] %s UID 1", whole(bodies[0]))), saved: 3},
		{name: "FETCH answers an empty literal", odd: on(fetch1, answer("UID 1 RFC822.SIZE 14 BODY[] {0}\r\n")), op: mail.OpFetch, kind: mail.KindProtocol, says: "an empty message; it says that it has 14 bytes", saved: 2},
		{name: "FETCH answers an empty string", odd: on(fetch1, answer(`UID 1 BODY[] ""`)), op: mail.OpFetch, kind: mail.KindProtocol, says: "an empty message", saved: 2},
		{name: "FETCH answers NIL", odd: on(fetch1, answer("UID 1 BODY[] NIL")), op: mail.OpFetch, kind: mail.KindProtocol, says: "an empty message", saved: 2},
		{name: "FETCH answers twice", odd: on(fetch1, "* 1 FETCH (UID 1 BODY[] "+whole(bodies[0])+")\r\n"+answer("UID 1 BODY[] %s", whole(bodies[1]))), saved: 3},
		{name: "FETCH hands over a message and says NO", odd: on(fetch1, "* 1 FETCH (UID 1 BODY[] "+whole(bodies[0][:9])+")\r\n{tag} NO disk error\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "disk error", saved: 2},
		{name: "FETCH says NO", odd: on(fetch1, "{tag} NO no such thing\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, says: "no such thing", saved: 2},
		{name: "FETCH says NO for trouble of the server", odd: on(fetch1, "{tag} NO [SERVERBUG] disk error\r\n"), op: mail.OpFetch, kind: mail.KindServer, says: "[SERVERBUG] disk error", saved: 2},
		{name: "FETCH says NO to all for trouble of the server", odd: on(`PEEK`, "{tag} NO try again in 90 seconds\r\n"), op: mail.OpFetch, kind: mail.KindServer, says: "again in 90 seconds", never: changes},
		{name: "a message vanishes between SEARCH and FETCH", odd: before(fetch2, func(b *box) { b.remove(2) }), saved: 2, gone: 1},
		{name: "all messages vanish between SEARCH and FETCH", odd: before(fetch1, func(b *box) { b.messages = nil }), gone: 3},
		{name: "another client expunges in between", odd: all(before(fetch1, func(b *box) { b.remove(2) }), on(fetch1, "* 2 EXPUNGE\r\n"+answer("UID 1 BODY[] %s", whole(bodies[0])))), saved: 2, gone: 1},
		{name: "flags are set although PEEK was asked", odd: all(before(fetch1, func(b *box) { b.messages[0].seen = true }), on(fetch1, answer(`FLAGS (\Seen) UID 1 BODY[] %s`, whole(bodies[0])))), saved: 3},
		{name: "octets of every kind", prepare: func(b *box) { b.messages[0].body = "a\x00b\r\n\xff\x80\rc\nd\r\n\r\r\n.\n" }, saved: 3},

		// What it says in between.
		{name: "garbage ahead of a reply", odd: on(search, "garbage\r\n"), op: mail.OpPick, kind: mail.KindProtocol, never: changes},
		{name: "octets that are no text", odd: on(search, "\x00\xff\x1b[31m\r\n"), op: mail.OpPick, kind: mail.KindProtocol, never: changes},
		{name: "an answer to what was not asked", odd: on(fetch1, "ZZ9 OK done\r\n"), op: mail.OpFetch, kind: mail.KindProtocol, saved: 2},
		// Nothing in order follows message 1, so that it does not count yet.
		{name: "BYE in the middle", odd: on(fetch2, "* BYE shutting down\r\n", cut), op: mail.OpFetch, kind: mail.KindNetwork, saved: 2},
		{name: "no UIDVALIDITY", odd: all(on(selects, "* 3 EXISTS\r\n{tag} OK done\r\n"), on(` STATUS `, "{tag} NO what\r\n")), op: mail.OpOpenMailbox, kind: mail.KindProtocol, says: "UIDVALIDITY", never: search},
		{name: "NO to STORE", odd: on(store, "{tag} NO [OVERQUOTA] full\r\n"), op: mail.OpDispose, kind: mail.KindServer, says: "[OVERQUOTA] full", saved: 3, never: expunge},
		{name: "NO to EXPUNGE", odd: on(expunge, "{tag} NO [INUSE] somebody reads\r\n"), op: mail.OpDispose, kind: mail.KindServer, says: "[INUSE] somebody reads", saved: 3},
		{name: "NO to SEARCH", odd: on(search, "{tag} NO [UNAVAILABLE] index is broken\r\n"), op: mail.OpPick, kind: mail.KindServer, says: "index is broken", never: changes},
		// What is not needed.
		{name: "an untagged response that nobody knows", odd: ahead(`.`, "* XYZZY (1 2 {3}\r\nabc\r\n* 1 EXPUNGED\r\n* FLAGS (\\Seen a]b)\r\n\r\n"), saved: 3},
		{name: "a mailbox that holds 4294967295 messages, and a literal of 1 GiB", flood: true, odd: all(on(selects, "* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n{tag} OK done\r\n"), on(search, "* 1 FETCH (ENVELOPE ({1073741824}\r\n", flood("A"))), op: mail.OpPick, kind: mail.KindProtocol, says: "more than an answer may hold", never: changes},
		{name: "a mailbox that holds 4294967295 messages, and nested parentheses", flood: true, odd: all(on(selects, "* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n{tag} OK done\r\n"), on(search, "* 1 FETCH (BODYSTRUCTURE ", flood("("))), op: mail.OpPick, kind: mail.KindProtocol, never: changes},
		{name: "a million parentheses", flood: true, odd: ahead(search, "* 1 FETCH (BODYSTRUCTURE "+strings.Repeat("(", 500_000)+strings.Repeat(")", 500_000)+")\r\n"), saved: 3},
		{name: "a count of 4294967295 messages, and numbers without end", prepare: esearch, flood: true, odd: all(on(`RETURN \(MIN`, "* ESEARCH (TAG \"{tag}\") UID MIN 1 MAX 4294967295 COUNT 4294967295\r\n{tag} OK\r\n"), on(selects, "* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n{tag} OK done\r\n"), on(`RETURN \(ALL`, "* ESEARCH (TAG \"{tag}\") UID ALL 1", flood(",1,3"))), op: mail.OpPick, kind: mail.KindProtocol, says: "more than", never: changes},
		{name: "literals without end that nobody asked for", flood: true, odd: on(search, "", flood("* XYZZY {3}\r\n((\" {1}\r\n)\r\n")), op: mail.OpPick, kind: mail.KindProtocol, says: "more than an answer may hold", never: changes},
		{name: "parentheses of other responses", flood: true, odd: ahead(search, nested("* LIST (")+nested("* STATUS x (")+nested("* NAMESPACE (")+nested("* ESEARCH (TAG \"x\") UID X (")+nested("* OK [X (")), saved: 3},
		{name: "parentheses in a body structure that was asked for", flood: true, with: attached, prepare: filed(strings.Repeat("(", 150_000) + strings.Repeat(")", 150_000)), saved: 3},
		{name: "a quoted string without an end", flood: true, odd: on(search, "* 1 FETCH (ENVELOPE (\"", flood("a\\\"(")), op: mail.OpPick, kind: mail.KindProtocol, never: changes},
		{name: "removals without end", flood: true, odd: on(expunge, "", flood("* 1 EXPUNGE\r\n")), op: mail.OpDispose, kind: mail.KindProtocol, says: "more than an answer may hold", saved: 3},
		{name: "numbers in the worst order", flood: true, odd: on(search, "* SEARCH"+worst()+"\r\n{tag} OK\r\n")},
	}
}

// nested is a response with parentheses in parentheses.
func nested(begin string) string {
	return begin + strings.Repeat("(", 50_000) + strings.Repeat(")", 50_000) + "\r\n"
}

// worst is as many numbers as an answer may hold, every second one, downwards.
func worst() string {
	var b strings.Builder
	for n := 150_000; n > 10; n -= 2 {
		fmt.Fprintf(&b, " %d", n)
	}
	return b.String()
}

func TestIMAP(t *testing.T) {
	playAll(t, mail.IMAP, append(append(imapRows(), refusals()...), echoes()...))
}

// TestKEEPOfAHostileServer: with KEEP nothing is changed, whatever happens.
func TestKEEPOfAHostileServer(t *testing.T) {
	t.Parallel()
	for _, row := range imapRows() {
		if row.flood || row.op == mail.OpDispose || strings.Contains(row.name, "SELECT") || row.gone > 0 {
			continue
		}
		row.with = and(row.with, func(c *mail.Connection) { c.Dispose = disposition.Keep })
		if row.name == "no UIDVALIDITY" {
			row.odd = all(on(` (EXAMINE|SELECT) `, "* 3 EXISTS\r\n{tag} OK done\r\n"), on(` STATUS `, "{tag} NO what\r\n"))
		}
		row.never = changes
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			play(t, mail.IMAP, row)
		})
	}
}

func and(first, then func(*mail.Connection)) func(*mail.Connection) {
	return func(c *mail.Connection) {
		if first != nil {
			first(c)
		}
		then(c)
	}
}
