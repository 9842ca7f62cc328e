package hostile

import (
	"fmt"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// copying says OK to MOVE, and only copies.
func copying(b *box, c *mailtest.Conn, line string) bool {
	if !strings.Contains(line, " UID MOVE ") {
		return false
	}
	b.mu.Lock()
	b.copy(line)
	b.mu.Unlock()
	c.Send("* OK [COPYUID 9 1:3 4:6] done\r\n{tag} OK done\r\n")
	return true
}

// TestOKIsNotProof: what the server says it did, and did not, is tried again with
// a warning, and delivers no message again.
func TestOKIsNotProof(t *testing.T) {
	t.Parallel()
	const ok, fine = "{tag} OK done\r\n", "+OK done\r\n"
	for _, s := range []season{
		{name: "STORE and EXPUNGE", store: mail.IMAP, odd: on(store+"|"+expunge, ok), says: "said OK to removing 3 messages", saved: 3},
		{name: "EXPUNGE", store: mail.IMAP, odd: on(expunge, ok), says: "said OK to removing 3 messages", saved: 3},
		{name: "EXPUNGE without UIDPLUS", store: mail.IMAP, prepare: has("X"), odd: on(` EXPUNGE`, ok), says: "said OK to removing 3 messages", saved: 3},
		{name: "EXPUNGE of one of three", store: mail.IMAP, prepare: stubborn(2), says: "said OK to removing 1 messages", saved: 3},
		{name: "EXPUNGE that announces removals", store: mail.IMAP, odd: on(expunge, "* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n"+ok), says: "said OK to removing 3 messages", saved: 3},
		{name: "MOVE", store: mail.IMAP, prepare: has("UIDPLUS MOVE"), with: moves, odd: on(` UID MOVE `, ok), says: "said OK to moving 3 messages", saved: 3},
		{name: "MOVE that copies", store: mail.IMAP, prepare: has("UIDPLUS MOVE"), with: moves, odd: copying, says: "said OK to moving 3 messages", saved: 3},
		{name: `\Seen`, store: mail.IMAP, with: marks, odd: on(store, ok), says: "said OK to marking 3 messages", saved: 3},
		{name: "DELE", store: mail.POP3, odd: on(`^DELE`, fine), says: "said OK to removing 3 messages", saved: 3},
		{name: "QUIT", store: mail.POP3, odd: on(`^QUIT`, fine, hangUp), says: "said OK to removing 3 messages", saved: 3},
		{name: "QUIT, for one of three", store: mail.POP3, prepare: stubborn(2), says: "said OK to removing", saved: 3},
	} {
		s.pulls(t)
	}
}

// stubborn keeps one message, whatever is said to the server, until it is mended.
func stubborn(uid uint32) func(*box) {
	return func(b *box) {
		for _, m := range b.messages {
			m.stays = m.uid == uid
		}
	}
}

// TestARefusedDispositionStopsNoDelivery: every message is saved, once, the job
// fails with what the server says, and the dispositions are tried again.
func TestARefusedDispositionStopsNoDelivery(t *testing.T) {
	t.Parallel()
	readOnly := func(b *box, c *mailtest.Conn, line string) bool {
		if strings.Contains(line, selects) {
			c.Send(b.answer(line[strings.Index(line, "SELECT"):]) + "{tag} OK [READ-ONLY] done\r\n")
			return true
		}
		return on(store+"|"+expunge, "{tag} NO it is read-only\r\n")(b, c, line)
	}
	for _, s := range []season{
		{name: "NO to STORE", store: mail.IMAP, odd: on(store, "{tag} NO Permission denied\r\n"), kind: mail.KindProtocol, says: "Permission denied"},
		{name: "BAD to STORE", store: mail.IMAP, with: marks, odd: on(store, "{tag} BAD no such flag\r\n"), kind: mail.KindProtocol, says: "no such flag"},
		{name: "NO to EXPUNGE", store: mail.IMAP, odd: on(expunge, "{tag} NO Permission denied\r\n"), kind: mail.KindProtocol, says: "Permission denied"},
		{name: "a read-only mailbox", store: mail.IMAP, odd: readOnly, kind: mail.KindProtocol, says: "READ-ONLY"},
		{name: "a read-only mailbox, moving", store: mail.IMAP, prepare: has("UIDPLUS MOVE"), with: moves, odd: readOnly, kind: mail.KindProtocol, says: "READ-ONLY"},
		{name: "NO to MOVE", store: mail.IMAP, prepare: has("UIDPLUS MOVE"), with: moves, odd: on(` UID MOVE `, "{tag} NO [TRYCREATE] no such mailbox\r\n"), kind: mail.KindConfig, says: `move to "Done": server refused: [TRYCREATE] no such mailbox`},
		{name: "NO to COPY", store: mail.IMAP, with: moves, odd: on(` UID COPY `, "{tag} NO over quota\r\n"), kind: mail.KindServer, says: `move to "Done": server refused: over quota`},
		{name: "NO to EXPUNGE behind COPY", store: mail.IMAP, with: moves, odd: on(expunge, "{tag} NO Permission denied\r\n"), kind: mail.KindProtocol, says: "Permission denied"},
		{name: "-ERR to DELE", store: mail.POP3, odd: on(`^DELE`, "-ERR locked for you\r\n"), kind: mail.KindProtocol, says: "locked for you"},
	} {
		s.op, s.saved = mail.OpDispose, 3
		for _, most := range []int{0, 1} {
			t.Run(fmt.Sprint(s.name, ", ", most), func(t *testing.T) {
				t.Parallel()
				s.play(t, func(c *mail.Connection) { c.MaxMessages = most })
			})
		}
	}
}

// TestMovedOnce: without MOVE a message is copied once, whatever the server says
// about the copies and however often its removal fails.
func TestMovedOnce(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]odd{
		"COPYUID without sets":        on(` UID COPY `, "{tag} OK [COPYUID 14  ] done\r\n"),
		"COPYUID of other messages":   on(` UID COPY `, "{tag} OK [COPYUID 7 9:12 x] done\r\n"),
		"a code without a bracket":    on(` UID COPY `, "{tag} OK [APPENDUID 3 done\r\n"),
		"EXPUNGE is refused":          on(expunge, "{tag} NO not today\r\n"),
		"EXPUNGE says OK":             on(expunge, "{tag} OK done\r\n"),
		"STORE is refused":            on(store, "{tag} NO not today\r\n"),
		"MOVE with an untagged code":  instead(` UID MOVE `, "* 1 EXPUNGE\r\n", "* OK [COPYUID 14  ] x\r\n* 1 EXPUNGE\r\n"),
		"MOVE with a code of no sets": instead(` UID MOVE `, "* 1 EXPUNGE\r\n", "* 1 EXPUNGE\r\n* NO [COPYUID] x\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBox(mail.IMAP, bodies...)
			if strings.HasPrefix(name, "MOVE") {
				b.caps = "UIDPLUS MOVE"
			}
			copies := 0
			b.odd = all(func(b *box, _ *mailtest.Conn, line string) bool {
				b.mu.Lock()
				defer b.mu.Unlock()
				if strings.Contains(line, " UID COPY ") || strings.Contains(line, " UID MOVE ") {
					copies++
				}
				return false
			}, o)
			r := newBench(t, b)
			moves(r.c)
			for range jobs {
				r.poll()
				r.take()
			}
			b.mend()
			r.once(r.poll(), bodies...)
			if held, _ := b.bodies(); len(held) > 0 || copies != 1 {
				t.Errorf("%d commands to copy, and %q are left", copies, held)
			}
		})
	}
}

// TestAChangedSizeIsNotAnotherMessage: the session ends between saving and
// disposing, and the next one hears of other sizes.
func TestAChangedSizeIsNotAnotherMessage(t *testing.T) {
	t.Parallel()
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for name, more := range map[string]int{"smaller": 200, "larger": -5} {
			t.Run(fmt.Sprint(store, " ", name), func(t *testing.T) {
				t.Parallel()
				b := newBox(store, bodies...)
				for _, m := range b.messages {
					m.said = len(m.body) + more
				}
				b.odd = on(` UID STORE |^QUIT`, "", cut)
				r := newBench(t, b)
				if result := r.poll(); result.Err == nil || result.Messages != 3 {
					t.Errorf("the job that is cut off: %+v", result)
				}
				r.take()
				b.mend()
				b.mu.Lock()
				for _, m := range b.messages {
					m.said = 0
				}
				b.mu.Unlock()
				r.once(r.poll(), bodies...)
				if held, _ := b.bodies(); len(held) > 0 {
					t.Errorf("left on the server: %q", held)
				}
			})
		}
	}
}

// TestEqualMessagesAreAsManyFiles, under whatever ids the server has for them, also
// when one comes while the file of another is still in the folder.
func TestEqualMessagesAreAsManyFiles(t *testing.T) {
	t.Parallel()
	byContent := func(b *box) {
		for _, m := range b.messages {
			m.uidl = fmt.Sprintf("%x", len(m.body))
		}
	}
	for _, c := range []struct {
		name  string
		store mail.StoreType
		ids   func(*box)
		odd   odd
	}{
		{"UIDs", mail.IMAP, func(*box) {}, nil},
		{"unique-ids", mail.POP3, func(*box) {}, nil},
		{"unique-ids that are made of the content", mail.POP3, byContent, nil},
		{"no unique-ids", mail.POP3, func(*box) {}, on(`^UIDL`, "-ERR unknown\r\n")},
	} {
		for _, format := range []mail.Format{mail.EML, mail.Maildir} {
			for _, most := range []int{0, 1} {
				t.Run(fmt.Sprint(c.name, " ", format, " ", most), func(t *testing.T) {
					t.Parallel()
					b := newBox(c.store)
					b.odd = c.odd
					r := newBench(t, b)
					r.c.Format, r.c.MaxMessages = format, most
					want := 0
					for _, n := range []int{3, 1, 2} {
						b.mu.Lock()
						for range n {
							b.add(bodies[0])
							want++
						}
						c.ids(b)
						b.mu.Unlock()
						for range n + 1 {
							if result := r.poll(); result.Err != nil {
								t.Error(result.Err)
							}
						}
						if held, _ := b.bodies(); len(held) > 0 || len(r.delivered()) != want {
							t.Errorf("%d files of %d messages, and %d are left", len(r.delivered()), want, len(held))
						}
					}
				})
			}
		}
	}
}
