package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// cell is one combination of store type, pull and disposition, and what it
// promises for a mailbox of three messages, of which the first is read on the
// server where the store knows such a thing.
type cell struct {
	store    mail.StoreType
	pull     disposition.Pull
	dispose  disposition.Disposition
	first    int    // the message that the first poll takes
	left     []int  // what is left on the server after it
	seen     []int  // and marked as read
	outcome2 string // of the second poll
	second   int    // the message that it takes; 0 for none
}

func cells() []cell {
	var all []cell
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for _, pull := range disposition.Pulls() {
			for _, dispose := range disposition.Dispositions() {
				all = append(all, promise(store, pull, dispose))
			}
		}
	}
	return all
}

// promise says what is promised of a cell.
func promise(store mail.StoreType, pull disposition.Pull, dispose disposition.Disposition) cell {
	c := cell{store: store, pull: pull, dispose: dispose, outcome2: "saved"}
	order := []int{1, 2, 3}
	if pull.Newest {
		order = []int{3, 2, 1}
	}
	if pull.Unread && store == mail.IMAP { // message 1 is read
		order = slices.DeleteFunc(order, func(n int) bool { return n == 1 })
	}
	c.first, c.left, c.second = order[0], []int{1, 2, 3}, order[1]
	if store == mail.IMAP {
		c.seen = []int{1}
	}
	switch {
	case dispose == disposition.Delete:
		c.left = slices.DeleteFunc(c.left, func(n int) bool { return n == c.first })
		c.seen = slices.DeleteFunc(c.seen, func(n int) bool { return n == c.first })
	case dispose == disposition.Seen && store == mail.IMAP && c.first != 1:
		c.seen = append(c.seen, c.first)
	}
	if dispose != disposition.Delete && !pull.Unread {
		c.outcome2, c.second = "unchanged", 0
	}
	return c
}

func (c cell) name() string { return fmt.Sprintf("%s/%s/%s", c.store, c.pull, c.dispose) }

func TestMatrix(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, security := range []mail.Security{mail.NoTLS, mail.StartTLS, mail.SSLTLS} {
		t.Run(string(security), func(t *testing.T) {
			t.Parallel()
			messages := rig.Numbered(3)
			var connections []rig.Settings
			var names, users []string
			for _, c := range cells() {
				user := d.NewUser(t)
				flags := []string{`\Seen`}
				if c.store == mail.POP3 {
					flags = nil
				}
				d.DeliverFlagged(t, user, flags, messages[0])
				d.Deliver(t, user, messages[1:]...)
				names, users = append(names, c.name()), append(users, user)
				connections = append(connections, rig.Connect(t, d, c.name(), user, c.store, security).With(rig.Settings{
					"pull_disposition": c.pull.String(), "disposition": c.dispose,
				}))
			}
			s := rig.New(t, connections...)
			first := s.Poll(names...)
			for i, c := range cells() {
				t.Run(c.name(), func(t *testing.T) {
					folder := connections[i]["folder"].(string)
					if v := first[i]; v.State != "SUCCEEDED" || v.Outcome != "saved" || v.Messages != 1 || len(v.Files) != 1 || v.Error != nil || v.Attempts != 1 {
						t.Fatalf("first poll: %+v", v)
					}
					wantFiles(t, folder, messages, c.first)
					wantServer(t, d, users[i], c, messages)
				})
			}
			second := s.Poll(names...)
			for i, c := range cells() {
				t.Run(c.name()+" again", func(t *testing.T) {
					if v := second[i]; v.State != "SUCCEEDED" || v.Outcome != c.outcome2 {
						t.Fatalf("second poll: %+v", v)
					}
					taken := []int{c.first}
					if c.second != 0 {
						taken = append(taken, c.second)
					}
					wantFiles(t, connections[i]["folder"].(string), messages, taken...)
				})
			}
		})
	}
}

// wantFiles asserts that a folder holds exactly these messages.
func wantFiles(t *testing.T, folder string, messages [][]byte, numbers ...int) {
	t.Helper()
	found := rig.Files(t, folder)
	if len(found) != len(numbers) {
		t.Errorf("%d files, not %d", len(found), len(numbers))
	}
	for _, n := range numbers {
		if !slices.ContainsFunc(values(found), func(f []byte) bool { return bytes.Equal(f, messages[n-1]) }) {
			t.Errorf("message %d is not there, octet for octet", n)
		}
	}
}

// wantServer asserts what the first poll left on the server.
func wantServer(t *testing.T, d *mailtest.Dovecot, user string, c cell, messages [][]byte) {
	t.Helper()
	left := d.Messages(t, user)
	var numbers, seen []int
	for _, m := range left {
		n := 1 + slices.IndexFunc(messages, func(b []byte) bool { return bytes.Equal(b, m.Body) })
		numbers = append(numbers, n)
		if slices.Contains(m.Flags, `\Seen`) {
			seen = append(seen, n)
		}
		if c.store == mail.IMAP && c.dispose == disposition.Keep && n != 1 && (!m.Recent || len(m.Flags) > 0) {
			t.Errorf("KEEP left a trace on message %d: flags %v, recent %v", n, m.Flags, m.Recent)
		}
	}
	if !slices.Equal(numbers, c.left) {
		t.Errorf("messages %v are left on the server, not %v", numbers, c.left)
	}
	if c.store == mail.IMAP && !slices.Equal(seen, c.seen) {
		t.Errorf("messages %v are marked as read, not %v", seen, c.seen)
	}
}

func values(m map[string][]byte) [][]byte {
	var all [][]byte
	for _, v := range m {
		all = append(all, v)
	}
	return all
}
