package hostile

import (
	"fmt"
	"slices"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/match"
)

func numbers(c *mail.Connection) {
	c.Match = &match.Filter{Subject: []string{"1", "2", "3", "4"}}
}

// TestWhatAServerDoesNotPutUpWithIsRemembered: of what saves time, a session tries
// each once. The job goes on with a session that does without, and the next jobs
// begin with one.
func TestWhatAServerDoesNotPutUpWithIsRemembered(t *testing.T) {
	t.Parallel()
	const ahead = "USER, UIDL, TOP, PIPELINING"
	for _, c := range []struct {
		name  string
		store mail.StoreType
		caps  string
		with  func(*mail.Connection)
		odd   odd
		fails bool // the first job, which tells nothing yet
	}{
		{name: "a command behind LOGIN is lost", store: mail.IMAP, odd: loses(login)},
		{name: "two commands behind LOGIN are lost", store: mail.IMAP, caps: "UIDPLUS ID", odd: loses(login)},
		{name: "a disconnect for a command behind LOGIN", store: mail.IMAP, odd: hangsUp(login), fails: true},
		{name: "confusion about a command behind LOGIN", store: mail.IMAP, odd: garbles(login, "what?\r\n")},
		{name: "a search behind EXPUNGE is lost", store: mail.IMAP, odd: loses(expunge)},
		{name: "a search behind STORE is lost", store: mail.IMAP, with: marks, odd: loses(store)},
		{name: "a search behind MOVE is lost", store: mail.IMAP, caps: "UIDPLUS MOVE", with: moves, odd: loses(` UID MOVE `)},
		{name: "a search behind a search is lost", store: mail.IMAP, caps: "UIDPLUS ESEARCH", with: numbers, odd: loses(`RETURN \(COUNT\)`)},
		{name: "messages behind a message are lost", store: mail.POP3, caps: ahead, odd: loses(`^RETR`)},
		{name: "a disconnect for messages behind a message", store: mail.POP3, caps: ahead, odd: hangsUp(`^RETR`)},
		{name: "removals behind a removal are lost", store: mail.POP3, caps: ahead, odd: loses(`^DELE`)},
		{name: "headers behind a header are lost", store: mail.POP3, caps: ahead, with: numbers, odd: loses(`^TOP`)},
	} {
		t.Run(fmt.Sprint(c.store, " ", c.name), func(t *testing.T) {
			t.Parallel()
			b := newBox(c.store, bodies...)
			if c.caps != "" {
				b.caps = c.caps
			}
			b.odd = c.odd
			r := newBench(t, b)
			r.c.PollTimeout = tooLong
			if c.with != nil {
				c.with(r.c)
			}
			if result := r.poll(); c.fails && result.Err == nil || !c.fails && result.Err != nil {
				t.Errorf("the first job: %+v, %v", result, result.Err)
			}
			r.once(r.poll(), bodies...)
			r.once(r.poll(), bodies...) // a POP3 session sees what the one before has removed
			before := r.server.Connections()
			b.mu.Lock()
			b.add("Subject: 4\r\n\r\nanother\r\n")
			b.mu.Unlock()
			r.once(r.poll(), append(slices.Clone(bodies), "Subject: 4\r\n\r\nanother\r\n")...)
			if n := r.server.Connections() - before; n != 1 {
				t.Errorf("%d connections in a later job", n)
			}
		})
	}
}

// TestALongCommandIsWaitedFor as long as command_timeout allows, and no longer;
// silence within a message is measured by timeout alone.
func TestALongCommandIsWaitedFor(t *testing.T) {
	t.Parallel()
	patient := func(c *mail.Connection) { c.CommandTimeout, c.PollTimeout = 4*silence, tooLong }
	slow := func(name string, o odd, more ...func(*mail.Connection)) row {
		row := row{name: name + " takes its time", with: patient, odd: o, saved: 3}
		for _, set := range more {
			row.with = and(row.with, set)
		}
		return row
	}
	large := on(selects, "* 100000 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n{tag} OK done\r\n")
	moving := slow("MOVE", late(` UID MOVE `), moves)
	moving.prepare = has("UIDPLUS MOVE")
	for store, rows := range map[mail.StoreType][]row{
		mail.IMAP: {
			slow("SELECT", late(selects)), slow("SEARCH", late(search)), slow("STORE", late(store)), slow("EXPUNGE", late(expunge)), moving,
			slow("SEARCH in 100,000 messages, without ESEARCH,", all(large, late(search))),
			{name: "a SEARCH without an end", with: patient, odd: on(search, "", stall), op: mail.OpPick, kind: mail.KindTimeout, says: "silent for 1.6s", never: changes},
			{name: "silence within a message", with: patient, odd: on(fetch1, "* 1 FETCH (UID 1 BODY[] {21}\r\nSubj", stall), op: mail.OpFetch, kind: mail.KindTimeout, says: "silent for 400ms", saved: 2},
		},
		mail.POP3: {
			slow("PASS", late(`^PASS`)), slow("UIDL", late(`^UIDL$`)), slow("DELE", late(`^DELE 2`)), slow("QUIT", late(`^QUIT`)),
			{name: "UIDL without an end", with: patient, odd: on(`^UIDL`, "", stall), op: mail.OpPick, kind: mail.KindTimeout, says: "silent for 1.6s", never: "^(RETR|DELE)"},
			{name: "silence within a message", with: patient, odd: on(`^RETR 1`, "+OK\r\nSubj", stall), op: mail.OpFetch, kind: mail.KindTimeout, says: "silent for 400ms", saved: 2},
		},
	} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			playAll(t, store, rows)
		})
	}
}

// TestReadByTheServer: a server marks messages as read when it begins to send them,
// and the session ends there. They are unread all the same, for who takes the unread.
func TestReadByTheServer(t *testing.T) {
	t.Parallel()
	unread := func(b *box) {
		for _, m := range b.messages {
			m.seen = true
		}
	}
	taking := func(c *mail.Connection) { c.Pull.Unread = true }
	playAll(t, mail.IMAP, []row{
		{name: "within the first", with: taking, odd: all(before(either, unread), on(fetch1, "* 1 FETCH (FLAGS (\\Seen) UID 1 BODY[] {21}\r\nSubj", hangUp)), op: mail.OpFetch, kind: mail.KindNetwork, saved: 2},
		{name: "ahead of all of them", with: taking, odd: all(before(either, unread), on(either, "", cut)), op: mail.OpFetch, kind: mail.KindNetwork},
		{name: "within the second", with: taking, odd: all(before(either, unread), on(fetch2, "* 2 FETCH (UID 2 BODY[] {21}\r\nSubj", hangUp)), op: mail.OpFetch, kind: mail.KindNetwork, saved: 2},
	})
}
