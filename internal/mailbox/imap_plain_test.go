package mailbox

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// TestPickWithAndWithoutESEARCH compares what is picked out of a large, mixed
// mailbox with what the rules say.
func TestPickWithAndWithoutESEARCH(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{
		"ESEARCH":    nil,
		"no ESEARCH": {"imap_capability = IMAP4rev1 LITERAL+ IDLE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const count = 3000
			d := mailtest.StartDovecot(t, settings...)
			user := d.NewUser(t)
			rnd := rand.New(rand.NewPCG(1, 2))
			unread, present := []uint32{}, []uint32{}
			for i := range numbered(count) {
				uid := uint32(i + 1)
				var flags []string
				if i%2 == 0 {
					flags = append(flags, `\Seen`)
				}
				if rnd.IntN(10) == 0 {
					flags = append(flags, `\Deleted`)
				} else {
					present = append(present, uid)
					if i%2 != 0 {
						unread = append(unread, uid)
					}
				}
				d.DeliverFlagged(t, user, flags, []byte("Subject: x\r\n\r\nx\r\n"))
			}
			c := d.Connection(t, user, mail.IMAP, mail.NoTLS)
			s := open(t, c)
			fragmented := mail.Set{}
			for uid := uint32(1); uid < count; uid += 3 { // more ranges than one command takes
				fragmented.Add(mail.Ref{UID: uid})
			}
			for _, pull := range disposition.Pulls() {
				for _, limit := range []int{1, 2, 64} {
					for _, excluded := range []mail.Set{{}, fragmented} {
						for _, after := range []uint32{0, 1, 7, 1500, count} {
							q := mail.Query{Pull: pull, Limit: limit, Exclude: []mail.Set{excluded}}
							want := slices.Clone(present)
							if pull.Unread {
								want = slices.Clone(unread)
							}
							if pull.Newest {
								slices.Reverse(want)
							}
							if after != 0 {
								q.After = &mail.Ref{UID: after}
							}
							want = slices.DeleteFunc(want, func(uid uint32) bool {
								return excluded.UIDs.Contains(uid) || after != 0 && (uid == after || uid > after == pull.Newest)
							})
							want = want[:min(limit, len(want))]
							var got []uint32
							for _, ref := range pick(t, s, q) {
								got = append(got, ref.UID)
							}
							if !slices.Equal(got, want) && len(got)+len(want) > 0 {
								t.Errorf("%s, limit %d, after %d, %d excluded: %v, not %v", pull, limit, after, excluded.Len(), got, want)
							}
						}
					}
				}
			}
		})
	}
}

// TestDeletingWithoutUIDPLUS: a plain EXPUNGE would remove whatever is marked.
func TestDeletingWithoutUIDPLUS(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t, "imap_capability = IMAP4rev1 LITERAL+ IDLE")
	for _, c := range []struct {
		name   string
		marked bool // another client has marked a message
		left   []uint32
	}{
		{"nobody else has marked a message", false, []uint32{1, 3}},
		{"another client has", true, []uint32{1, 2, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			user := d.NewUser(t)
			var flags []string
			if c.marked {
				flags = []string{`\Deleted`}
			}
			d.DeliverFlagged(t, user, flags, numbered(1)...)
			d.Deliver(t, user, numbered(2)...)
			connection := d.Connection(t, user, mail.IMAP, mail.NoTLS)
			connection.Dispose = disposition.Delete
			s := open(t, connection)
			s.Apply([]mail.Ref{{UID: 2}}, disposition.Delete)
			did, err := s.Commit(t.Context())
			if said := strings.Join(did.Warnings, ""); err != nil || (said != "") != c.marked || c.marked && !strings.Contains(said, "no UIDPLUS, and 1 other messages") {
				t.Errorf("%+v, %v", did, err)
			}
			if want := map[bool]int{true: 1}[c.marked]; len(did.Asked) != want {
				t.Errorf("what is not in force: %+v", did)
			}
			var left []uint32
			for _, m := range d.Messages(t, user) {
				left = append(left, m.UID)
			}
			if !slices.Equal(left, c.left) {
				t.Errorf("left: %v, not %v", left, c.left)
			}
		})
	}
}
