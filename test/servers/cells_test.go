package servers

import (
	"fmt"
	"slices"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// cell is one combination of store type, pull and disposition.
type cell struct {
	store   mail.StoreType
	pull    disposition.Pull
	dispose disposition.Disposition
	marked  bool // another client has marked a message as deleted
}

// dispositions are those that a protocol has.
var dispositions = map[mail.StoreType][]disposition.Disposition{
	mail.IMAP: append(disposition.Dispositions(), disposition.Move),
	mail.POP3: disposition.Dispositions(),
}

// cells are those of a server. Where it has no UIDPLUS, to remove messages is one
// thing with a message that another client has marked, and another thing without.
func (s *server) cells() []cell {
	var all []cell
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for _, pull := range disposition.Pulls() {
			for _, dispose := range dispositions[store] {
				c := cell{store, pull, dispose, store == mail.IMAP}
				all = append(all, c)
				if c.marked && dispose.Removes() && s.noUIDPLUS.why != "" {
					c.marked = false
					all = append(all, c)
				}
			}
		}
	}
	return all
}

func (c cell) name() string {
	name := fmt.Sprintf("%s/%s/%s", c.store, c.pull, c.dispose)
	if c.store == mail.IMAP && !c.marked {
		name += "/alone"
	}
	return name
}

// few is how many messages the first job saves.
const few = 2

// saves are the messages that the jobs save, by name, in their order: the first
// job saves a few, the second all that are left, the third none.
func (c cell) saves() []string {
	var names []string
	for _, m := range samples(c.store, c.marked) {
		gone := m.flags == `\Deleted`
		read := m.flags == `\Seen` && c.store == mail.IMAP && c.pull.Unread
		if !gone && !read {
			names = append(names, m.name)
		}
	}
	if c.pull.Newest {
		slices.Reverse(names)
	}
	return names
}

// idle is the outcome of a job that finds nothing to save.
func (c cell) idle() string {
	if !c.dispose.Removes() && !c.pull.Unread {
		return "unchanged"
	}
	return "empty"
}

// leaves is what is on the server once messages were saved, by name, given what
// was there before.
func (c cell) leaves(s *server, before mailbox, saved []string) []held {
	stay := !c.dispose.Removes() || c.marked && s.noUIDPLUS.why != ""
	var left []held
	for _, m := range before.messages {
		if !slices.Contains(saved, m.name()) {
			left = append(left, m)
			continue
		}
		if !stay {
			continue
		}
		if c.store == mail.IMAP && c.dispose != disposition.Keep {
			flag := `\Deleted`
			if c.dispose == disposition.Seen {
				flag = `\Seen`
			}
			m.flags = append(slices.Clone(m.flags), flag)
			slices.Sort(m.flags)
			m.flags = slices.Compact(m.flags)
		}
		left = append(left, m)
	}
	return left
}

// moves is what is in the mailbox that messages are moved to once they were saved.
func (c cell) moves(before mailbox, saved []string) []held {
	var moved []held
	for _, m := range before.messages {
		if c.dispose == disposition.Move && slices.Contains(saved, m.name()) {
			moved = append(moved, m)
		}
	}
	return moved
}
