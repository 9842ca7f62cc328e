package hostile

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// box is a mailbox and a server for it, over IMAP or POP3, that works but for
// what odd does.
type box struct {
	store mail.StoreType
	caps  string // what the server has beside IMAP4rev1; a POP3 server without any does not know CAPA

	mu       sync.Mutex
	validity uint32
	last     uint32 // UID that was given
	messages []*message
	touched  []string // messages that the client marked or removed
	copied   []string // messages that the client copied or moved to another mailbox
	odd      odd      // nil once the server is mended
}

// message is one message of a box.
type message struct {
	uid           uint32
	uidl          string
	body          string
	said          int // the size that the server says; 0: the true one
	structure     string
	seen, deleted bool
	stays         bool // it is not removed, until the server is mended
}

func (m *message) size() int { return cmp.Or(m.said, len(m.body)) }

// newBox is a mailbox with these messages.
func newBox(store mail.StoreType, bodies ...string) *box {
	b := &box{store: store, validity: 7}
	if store == mail.IMAP {
		b.caps = "UIDPLUS"
	}
	for _, body := range bodies {
		b.add(body)
	}
	return b
}

func (b *box) add(body string) {
	b.last++
	for _, m := range b.messages {
		b.last = max(b.last, m.uid+1)
	}
	b.messages = append(b.messages, &message{uid: b.last, uidl: fmt.Sprintf("id%d", b.last), body: body})
}

// remove is what another client does.
func (b *box) remove(uid uint32) {
	b.messages = slices.DeleteFunc(b.messages, func(m *message) bool { return m.uid == uid })
}

// mend makes the server a good one.
func (b *box) mend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.odd = nil
	for _, m := range b.messages {
		m.stays = false
	}
}

// bodies are the messages that the server holds, and those that the client
// marked or removed.
func (b *box) bodies() (held, touched []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.messages {
		held = append(held, m.body)
	}
	return held, slices.Clone(b.touched)
}

func (b *box) isOdd(c *mailtest.Conn, line string) bool {
	b.mu.Lock()
	o := b.odd
	b.mu.Unlock()
	return o != nil && o(b, c, line)
}

// serve is the script of the server.
func (b *box) serve(c *mailtest.Conn) {
	if b.store == mail.POP3 {
		b.pop3(c)
	} else {
		b.imap(c)
	}
}

var uidSet = regexp.MustCompile(`UID(?: FETCH| STORE| EXPUNGE| COPY| MOVE)? ([0-9:,]+)`)

// within reports whether a UID is in the set that a command names; in any case
// where it names none.
func within(line string, uid uint32) bool {
	m := uidSet.FindStringSubmatch(line)
	if m == nil {
		return true
	}
	for _, r := range strings.Split(m[1], ",") {
		lo, hi, isRange := strings.Cut(r, ":")
		if !isRange {
			hi = lo
		}
		from, _ := strconv.ParseUint(lo, 10, 32)
		to, _ := strconv.ParseUint(hi, 10, 32)
		if uint64(uid) >= from && uint64(uid) <= to {
			return true
		}
	}
	return false
}

// imap speaks as much IMAP as the client does.
func (b *box) imap(c *mailtest.Conn) {
	caps := "CAPABILITY IMAP4rev1 " + b.caps
	if !b.isOdd(c, "") {
		c.Send("* OK [" + caps + "] ready\r\n")
	}
	for {
		line := c.Line()
		if b.isOdd(c, line) {
			continue
		}
		_, command, _ := strings.Cut(line, " ")
		switch word, _, _ := strings.Cut(command, " "); {
		case word == "LOGIN":
			c.Send("{tag} OK [" + caps + "] in\r\n")
		case word == "CAPABILITY":
			c.Send("* " + caps + "\r\n{tag} OK done\r\n")
		case word == "LOGOUT":
			c.Send("* BYE\r\n{tag} OK done\r\n")
			return
		case strings.HasPrefix(command, "UID FETCH") && strings.Contains(command, "PEEK"):
			if !b.each(c, line) {
				c.Send("{tag} OK done\r\n")
			}
		default:
			c.Send(b.answer(command))
			c.Send("{tag} OK done\r\n")
		}
	}
}

// answer does what a command asks for, and is what comes ahead of the OK.
func (b *box) answer(command string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch word, _, _ := strings.Cut(command, " "); {
	case word == "SELECT", word == "EXAMINE":
		return fmt.Sprintf("* %d EXISTS\r\n* OK [UIDVALIDITY %d] ok\r\n", len(b.messages), b.validity)
	case word == "STATUS":
		return fmt.Sprintf("* STATUS INBOX (UIDVALIDITY %d)\r\n", b.validity)
	case word == "EXPUNGE", strings.HasPrefix(command, "UID EXPUNGE"):
		return b.expunge(command)
	case strings.HasPrefix(command, "UID SEARCH"):
		return b.search(command)
	case strings.HasPrefix(command, "UID FETCH"):
		return b.fetch(command)
	case strings.HasPrefix(command, "UID STORE"):
		b.flag(command)
	case strings.HasPrefix(command, "UID COPY"):
		b.copy(command)
	case strings.HasPrefix(command, "UID MOVE"):
		b.copy(command)
		b.flag(command + ` \Deleted`)
		return b.expunge(command)
	}
	return ""
}

// each answers a FETCH of messages one by one, as if each had been asked for
// by itself: odd may answer for one of them, and so end the command, which it
// reports.
func (b *box) each(c *mailtest.Conn, line string) (ended bool) {
	b.mu.Lock()
	asked := slices.Clone(b.messages)
	b.mu.Unlock()
	set := uidSet.FindStringSubmatch(line)[1]
	for _, m := range asked {
		if !within(line, m.uid) {
			continue
		}
		alone := strings.Replace(line, " "+set+" ", fmt.Sprintf(" %d ", m.uid), 1)
		if alone != line && b.isOdd(c, alone) {
			return true
		}
		c.Send(b.answer(alone[strings.Index(alone, "UID FETCH"):]))
	}
	return false
}

func (b *box) search(command string) string {
	reply := "* SEARCH"
	// Those that are unread, or are among some.
	command, or, _ := strings.Cut(command, " OR (UNSEEN) (")
	for _, m := range b.messages {
		switch {
		case !within(command, m.uid), m.seen && strings.Contains(command, "UNSEEN"),
			or != "" && m.seen && !within(or, m.uid),
			m.deleted && strings.Contains(command, "UNDELETED"),
			!m.deleted && strings.Contains(command, " DELETED"):
			continue
		}
		reply += fmt.Sprintf(" %d", m.uid)
	}
	return reply + "\r\n"
}

func (b *box) fetch(command string) string {
	reply := ""
	for i, m := range b.messages {
		if !within(command, m.uid) {
			continue
		}
		reply += fmt.Sprintf("* %d FETCH (UID %d RFC822.SIZE %d", i+1, m.uid, m.size())
		if strings.Contains(command, "INTERNALDATE") {
			reply += ` INTERNALDATE "31-Jan-2026 08:30:00 +0000" FLAGS (\Recent)`
		}
		if strings.Contains(command, "BODYSTRUCTURE") {
			reply += " BODYSTRUCTURE " + m.structure
		} else if strings.Contains(command, "BODY") {
			reply += fmt.Sprintf(" BODY[] {%d}\r\n%s", len(m.body), m.body)
		}
		reply += ")\r\n"
	}
	return reply
}

func (b *box) flag(command string) {
	for _, m := range b.messages {
		if within(command, m.uid) {
			m.seen = m.seen || strings.Contains(command, `\Seen`)
			m.deleted = m.deleted || strings.Contains(command, `\Deleted`)
			b.touched = append(b.touched, m.body)
		}
	}
}

func (b *box) copy(command string) {
	for _, m := range b.messages {
		if within(command, m.uid) {
			b.copied = append(b.copied, m.body)
		}
	}
}

func (b *box) expunge(command string) string {
	reply := ""
	b.messages = slices.DeleteFunc(b.messages, func(m *message) bool {
		gone := m.deleted && !m.stays && within(command, m.uid)
		if gone {
			reply += "* 1 EXPUNGE\r\n"
		}
		return gone
	})
	return reply
}

// pop3 speaks as much POP3 as the client does. The mailbox is as it was when
// the client came, until QUIT.
func (b *box) pop3(c *mailtest.Conn) {
	if !b.isOdd(c, "") {
		c.Send("+OK ready\r\n")
	}
	b.mu.Lock()
	held := slices.Clone(b.messages)
	b.mu.Unlock()
	deleted := make(map[*message]bool)
	for {
		line := c.Line()
		if b.isOdd(c, line) {
			continue
		}
		word, arg, single := strings.Cut(line, " ")
		num, _ := strconv.Atoi(strings.Fields(arg + " 0")[0])
		var one *message
		if num >= 1 && num <= len(held) {
			one = held[num-1]
		}
		switch {
		case word == "CAPA" && b.caps == "":
			c.Send("-ERR unknown\r\n")
		case word == "CAPA":
			c.Send("+OK\r\n" + strings.ReplaceAll(b.caps, ", ", "\r\n") + "\r\n.\r\n")
		case word == "STAT":
			c.Send(fmt.Sprintf("+OK %d 0\r\n", len(held)))
		case word == "UIDL" && single:
			c.Send(fmt.Sprintf("+OK %d %s\r\n", num, one.uidl))
		case word == "LIST" && single:
			c.Send(fmt.Sprintf("+OK %d %d\r\n", num, one.size()))
		case word == "UIDL", word == "LIST":
			c.Send("+OK\r\n" + listing(word, held) + ".\r\n")
		case word == "RETR", word == "TOP":
			c.Send("+OK\r\n" + stuffed(one.body) + ".\r\n")
		case word == "DELE":
			deleted[one] = true
			c.Send("+OK\r\n")
		case word == "QUIT":
			b.removed(deleted)
			c.Send("+OK\r\n")
			return
		default:
			c.Send("+OK\r\n")
		}
	}
}

func listing(word string, messages []*message) string {
	text := ""
	for i, m := range messages {
		if word == "UIDL" {
			text += fmt.Sprintf("%d %s\r\n", i+1, m.uidl)
		} else {
			text += fmt.Sprintf("%d %d\r\n", i+1, m.size())
		}
	}
	return text
}

// stuffed is a message as POP3 transmits it.
func stuffed(body string) string {
	body = strings.ReplaceAll("\r\n"+body, "\r\n.", "\r\n..")
	return strings.TrimPrefix(body, "\r\n")
}

// removed removes what a session that came to its end had marked.
func (b *box) removed(deleted map[*message]bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for m := range deleted {
		b.touched = append(b.touched, m.body)
	}
	b.messages = slices.DeleteFunc(b.messages, func(m *message) bool { return deleted[m] && !m.stays })
}
