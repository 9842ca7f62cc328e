package hostile

import (
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"mailpoller/internal/mailtest"
)

// odd is what is wrong with a server. It answers a line of the client in its
// own way, or reports false and leaves it to the server. The line of the
// greeting is empty.
type odd func(b *box, c *mailtest.Conn, line string) bool

// lines are those that match a pattern, in any case.
func lines(pattern string) func(line string) bool {
	return regexp.MustCompile("(?i)" + pattern).MatchString
}

// on answers every line that matches a pattern with a reply, and then does
// what is to be done.
func on(pattern, reply string, then ...func(*mailtest.Conn)) odd {
	matches := lines(pattern)
	return func(_ *box, c *mailtest.Conn, line string) bool {
		if !matches(line) {
			return false
		}
		c.Send(reply)
		for _, do := range then {
			do(c)
		}
		return true
	}
}

// all is odd in several ways; the first that knows an answer gives it.
func all(odds ...odd) odd {
	return func(b *box, c *mailtest.Conn, line string) bool {
		return slices.ContainsFunc(odds, func(o odd) bool { return o(b, c, line) })
	}
}

// before does something to the mailbox ahead of the answer to a line that
// matches a pattern, the first time.
func before(pattern string, do func(b *box)) odd {
	matches := lines(pattern)
	var once sync.Once
	return func(b *box, _ *mailtest.Conn, line string) bool {
		if matches(line) {
			once.Do(func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				do(b)
			})
		}
		return false
	}
}

// altered alters what comes ahead of the OK to an IMAP command that matches a
// pattern.
func altered(pattern string, alter func(answer string) string) odd {
	matches := lines(pattern)
	return func(b *box, c *mailtest.Conn, line string) bool {
		if !matches(line) {
			return false
		}
		_, command, _ := strings.Cut(line, " ")
		c.Send(alter(b.answer(command)) + "{tag} OK done\r\n")
		return true
	}
}

// instead puts one text in the place of another in such an answer.
func instead(pattern, of, text string) odd {
	return altered(pattern, func(answer string) string { return strings.ReplaceAll(answer, of, text) })
}

// ahead says something ahead of the answer to every line that matches a pattern.
func ahead(pattern, text string) odd {
	matches := lines(pattern)
	return func(_ *box, c *mailtest.Conn, line string) bool {
		if line != "" && matches(line) {
			c.Send(text)
		}
		return false
	}
}

// loses loses what the client sends ahead of the answer to a line that matches a
// pattern, as a server does that hands its clients on to another program.
func loses(pattern string) odd {
	matches := lines(pattern)
	return func(_ *box, c *mailtest.Conn, line string) bool {
		if matches(line) {
			c.Lose(silence / 8)
		}
		return false
	}
}

// hangsUp closes the connection to a client that sends something ahead of the
// answer to such a line.
func hangsUp(pattern string) odd {
	matches := lines(pattern)
	return func(_ *box, c *mailtest.Conn, line string) bool {
		if matches(line) && c.Lose(silence/8) > 0 {
			hangUp(c)
		}
		return false
	}
}

// garbles answers such a line with what makes no sense, once something was sent
// ahead of the answer.
func garbles(pattern, reply string) odd {
	matches := lines(pattern)
	return func(_ *box, c *mailtest.Conn, line string) bool {
		if !matches(line) || c.Lose(silence/8) == 0 {
			return false
		}
		c.Send(reply)
		return true
	}
}

// late answers each line that matches a pattern in its own time.
func late(pattern string) odd {
	matches := lines(pattern)
	return func(_ *box, _ *mailtest.Conn, line string) bool {
		if matches(line) {
			<-time.After(silence * 3 / 2)
		}
		return false
	}
}

func stall(c *mailtest.Conn) { c.Stall() }
func cut(c *mailtest.Conn)   { c.Cut() }

// flood sends a chunk until the client has had enough.
func flood(chunk string) func(*mailtest.Conn) {
	big := []byte(strings.Repeat(chunk, 1+64<<10/len(chunk)))
	return func(c *mailtest.Conn) { c.Flood(big) }
}

// drip says one octet at a time, and never for long enough to count as silent.
func drip(c *mailtest.Conn) {
	c.Send("* OK ")
	tick := time.NewTicker(silence / 8)
	defer tick.Stop()
	for {
		c.Send("A")
		<-tick.C
	}
}

// hangUp closes the connection in order.
func hangUp(*mailtest.Conn) { runtime.Goexit() }
