package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/test/rig"
)

// cuts are where a session is cut off between saving and disposing: by the command of
// the program that comes last.
var cuts = []struct {
	store   mail.StoreType
	dispose disposition.Disposition
	at      string // a pattern
	behind  bool   // it is said, and the answer is lost
}{
	{mail.IMAP, disposition.Seen, ` STORE `, false},
	{mail.IMAP, disposition.Seen, ` STORE `, true},
	{mail.IMAP, disposition.Delete, ` STORE `, false},
	{mail.IMAP, disposition.Delete, ` STORE `, true},
	{mail.IMAP, disposition.Delete, ` EXPUNGE`, false},
	{mail.IMAP, disposition.Delete, ` EXPUNGE`, true},
	{mail.IMAP, disposition.Move, ` (MOVE|COPY) `, false},
	{mail.POP3, disposition.Delete, `^DELE `, false},
	{mail.POP3, disposition.Delete, `^DELE `, true},
	{mail.POP3, disposition.Delete, `^QUIT`, false},
	{mail.POP3, disposition.Delete, `^QUIT`, true},
}

var notWord = regexp.MustCompile(`\W`)

// checkCuts: whatever a server makes of a session that is cut off, each message is
// delivered once, with a consumer that takes the files, and its disposition is in
// force in the end.
func (s *site) checkCuts(t *testing.T) {
	type cutOff struct {
		cell
		*relay
		user   string
		folder string
	}
	var all []*cutOff
	var connections []rig.Settings
	var names []string
	for _, row := range cuts {
		c := cell{store: row.store, dispose: row.dispose}
		one := &cutOff{cell: c, user: s.fill(t, c.store, c.marked)}
		if c.dispose == disposition.Move {
			s.makeArchive(t, one.user)
		}
		one.relay = startRelay(t, s.front.Port(c.store, mail.NoTLS), row.at, row.behind)
		name := fmt.Sprintf("%s/%s/%s-%v", c.store, c.dispose, notWord.ReplaceAllString(row.at, ""), row.behind)
		settings := s.connection(t, c, one.user, mail.NoTLS).With(rig.Settings{"name": name, "port": one.port, "max_messages": 0})
		all, connections, names = append(all, one), append(connections, settings), append(names, name)
	}
	poller := rig.New(t, connections...)
	taken := make([][]string, len(all)) // by the consumer
	for job := range 3 {
		for i, v := range poller.Poll(names...) {
			all[i].folder = connections[i]["folder"].(string)
			for file, raw := range rig.Files(t, all[i].folder) {
				taken[i] = append(taken[i], nameOf(raw))
				if err := os.Remove(filepath.Join(all[i].folder, file)); err != nil {
					t.Error(err)
				}
			}
			if wants := map[bool]string{true: "SUCCEEDED", false: "FAILED"}[job > 0]; v.State != wants {
				t.Errorf("%s: job %d: %s, %+v", v.Connection, job+1, v.State, v.Error)
			}
		}
	}
	before := s.mailboxes(t)
	for i, one := range all {
		was := before[cell{store: one.store, marked: one.marked}]
		t.Run(names[i], func(t *testing.T) {
			if !one.cut.Load() {
				t.Error("nothing was cut off")
			}
			slices.Sort(taken[i])
			if want := slices.Sorted(slices.Values(one.saves())); !slices.Equal(taken[i], want) {
				t.Errorf("delivered were %v, not %v", taken[i], want)
			}
			tr := &trial{cell: one.cell, user: one.user}
			tr.checkServer(t, s, "all jobs", s.look(t, one.store, one.user), one.leaves(&s.server, was, one.saves()))
			if one.dispose == disposition.Move {
				tr.moved = s.lookAtArchive(t, one.user)
			}
			tr.checkArchive(t, s, one.moves(was, one.saves()))
			s.tell(t, one.user)
		})
	}
}
