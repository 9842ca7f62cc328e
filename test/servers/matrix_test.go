package servers

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/test/rig"
)

// site is a server of the table that runs.
type site struct {
	server
	front *instance // what the program under test speaks to
	back  *instance // where the mail is; the same, but for a proxy

	once   sync.Mutex
	before map[cell]mailbox // see mailboxes
}

// startServer starts a server, and what is behind it.
func startServer(t *testing.T, s server) *site {
	t.Helper()
	if s.behind == "" {
		one := start(t, s.program, nil)
		return &site{server: s, front: one, back: one}
	}
	back := start(t, s.behind, nil)
	front := start(t, s.program, map[string]any{"Backend": map[string]int{
		"IMAP": back.Port(mail.IMAP, mail.NoTLS), "POP3": back.Port(mail.POP3, mail.NoTLS),
	}})
	front.Password = back.Password
	return &site{server: s, front: front, back: back}
}

// fill makes a user with the samples in the mailbox.
func (s *site) fill(t *testing.T, store mail.StoreType, marked bool) (user string) {
	t.Helper()
	user = s.account(t, s.back)
	s.deliver(t, s.back, user, store, samples(store, marked))
	return user
}

// look is what a plain client finds in a mailbox.
func (s *site) look(t *testing.T, store mail.StoreType, user string) mailbox {
	t.Helper()
	number := s.back.Port(store, mail.NoTLS)
	if store == mail.POP3 {
		return lookPOP3(t, number, user, s.back.Password)
	}
	return loginIMAP(t, number, user, s.back.Password).look("INBOX")
}

// lookAtArchive is what a plain client finds where messages were moved to.
func (s *site) lookAtArchive(t *testing.T, user string) mailbox {
	t.Helper()
	return loginIMAP(t, s.back.Port(mail.IMAP, mail.NoTLS), user, s.back.Password).look(s.archive)
}

// makeArchive makes the mailbox that messages are moved to.
func (s *site) makeArchive(t *testing.T, user string) {
	t.Helper()
	c := loginIMAP(t, s.back.Port(mail.IMAP, mail.NoTLS), user, s.back.Password)
	c.do("CREATE %s", s.archive)
	c.do("LOGOUT")
	c.c.Close()
}

// untouched is what a plain client finds in a mailbox that was looked at once
// before, by another plain client: what looking itself changes is not held
// against the program under test.
func (s *site) untouched(t *testing.T, store mail.StoreType, marked bool) mailbox {
	t.Helper()
	user := s.fill(t, store, marked)
	s.look(t, store, user)
	return s.look(t, store, user)
}

// connection is the settings for a cell.
func (s *site) connection(t *testing.T, c cell, user string, security mail.Security) rig.Settings {
	settings := rig.Settings{
		"name": c.name(), "host": "127.0.0.1", "port": s.front.Port(c.store, security), "username": user, "password": s.front.Password,
		"store_type": c.store, "connection_security": security, "ca_file": s.front.CA.PEMFile(t),
		"pull_disposition": c.pull.String(), "max_messages": few, "timeout": "15s",
	}
	if c.dispose == disposition.Move {
		settings["move_to"] = s.archive
	} else {
		settings["disposition"] = c.dispose
	}
	if e, ok := s.auth[security]; ok {
		settings["auth"] = e.value
	}
	return settings
}

// trial is what came of a cell.
type trial struct {
	cell
	user   string
	folder string
	jobs   []rig.PollView
	left   []mailbox // after the first job, and after the last
	moved  mailbox   // after the last, where messages are moved to
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, row := range servers {
		t.Run(row.program, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, row)
			for _, security := range []mail.Security{mail.NoTLS, mail.StartTLS, mail.SSLTLS} {
				t.Run(string(security), func(t *testing.T) {
					t.Parallel()
					s.checkCells(t, security)
				})
			}
			for security := range row.auth {
				t.Run("AUTO over "+string(security), func(t *testing.T) {
					t.Parallel()
					s.keepsThePassword(t, security)
				})
			}
			t.Run("cut off", func(t *testing.T) {
				t.Parallel()
				s.checkCuts(t)
			})
		})
	}
}

// checkCells tries every cell of a server.
func (s *site) checkCells(t *testing.T, security mail.Security) {
	trials := s.try(t, security)
	before := s.mailboxes(t)
	for _, tr := range trials {
		held := t.Run(tr.name(), func(t *testing.T) {
			tr.check(t, s, before[cell{store: tr.store, marked: tr.marked}])
			s.tell(t, tr.user)
		})
		tally.count(s.program, tr, security, held)
	}
}

// mailboxes are what plain clients find in mailboxes that nobody else looked at, by
// store and by whether a message is marked.
func (s *site) mailboxes(t *testing.T) map[cell]mailbox {
	t.Helper()
	s.once.Lock()
	defer s.once.Unlock()
	if s.before == nil {
		s.before = make(map[cell]mailbox)
		for _, c := range []cell{{store: mail.IMAP, marked: true}, {store: mail.IMAP}, {store: mail.POP3}} {
			s.before[c] = s.untouched(t, c.store, c.marked)
		}
	}
	return s.before
}

// tell prints what the server said of a user, when the test failed.
func (s *site) tell(t *testing.T, user string) {
	t.Helper()
	if t.Failed() {
		t.Logf("%s said of %s:\n%s", s.program, user, s.front.said.about(user))
	}
}

// try runs three jobs of each cell: one of a few messages, one of all that are
// left, and one that finds nothing.
func (s *site) try(t *testing.T, security mail.Security) []*trial {
	t.Helper()
	var trials []*trial
	var connections []rig.Settings
	var names []string
	for _, c := range s.cells() {
		tr := &trial{cell: c, user: s.fill(t, c.store, c.marked)}
		if c.dispose == disposition.Move {
			s.makeArchive(t, tr.user)
		}
		trials, names = append(trials, tr), append(names, c.name())
		connections = append(connections, s.connection(t, c, tr.user, security))
	}
	poller := rig.New(t, connections...)
	poll := func() {
		for i, view := range poller.Poll(names...) {
			trials[i].jobs = append(trials[i].jobs, view)
		}
	}
	look := func() {
		for _, tr := range trials {
			tr.left = append(tr.left, s.look(t, tr.store, tr.user))
		}
	}
	poll()
	look()
	for i, c := range connections {
		c["max_messages"] = 0
		trials[i].folder = c["folder"].(string)
	}
	poller.Configure(connections...)
	poll()
	poll()
	look()
	for _, tr := range trials {
		if tr.dispose == disposition.Move {
			tr.moved = s.lookAtArchive(t, tr.user)
		}
	}
	return trials
}

// check holds a trial against what is promised of its cell.
func (tr *trial) check(t *testing.T, s *site, before mailbox) {
	names := tr.saves()
	for i, want := range []struct {
		outcome string
		saved   []string
	}{{"saved", names[:few]}, {"saved", names[few:]}, {tr.idle(), nil}} {
		v := tr.jobs[i]
		if v.State != "SUCCEEDED" || v.Outcome != want.outcome || v.Error != nil {
			t.Errorf("job %d: %s, %s, want %s; error %+v", i+1, v.State, v.Outcome, want.outcome, v.Error)
			continue
		}
		if got := tr.saved(t, v.Files); !slices.Equal(got, want.saved) {
			t.Errorf("job %d saved %v, not %v", i+1, got, want.saved)
		}
		warned := slices.ContainsFunc(v.Warnings, func(w string) bool { return strings.Contains(w, "UIDPLUS") })
		if warned != tr.warns(s) {
			t.Errorf("job %d: warnings %q", i+1, v.Warnings)
		}
	}
	tr.checkFiles(t, s, before, names)
	tr.checkServer(t, s, "the first job", tr.left[0], tr.leaves(&s.server, before, names[:few]))
	tr.checkServer(t, s, "all jobs", tr.left[1], tr.leaves(&s.server, before, names))
	tr.checkArchive(t, s, tr.moves(before, names))
}

// warns reports whether each job has to say that messages stay on the server: it tries
// again to remove them.
func (tr *trial) warns(s *site) bool {
	return tr.marked && tr.dispose.Removes() && s.noUIDPLUS.why != ""
}

// saved are the messages in files, by name, in the order of the files.
func (tr *trial) saved(t *testing.T, files []string) []string {
	t.Helper()
	all := rig.Files(t, tr.folder)
	var names []string
	for _, f := range files {
		names = append(names, nameOf(all[filepath.Base(f)]))
	}
	return names
}

// identity is the end of the name of a file.
var identity = regexp.MustCompile(`-(\d+)-(\d+)\.eml$`)

// checkFiles asserts that the folder holds exactly these messages, each once,
// whole, and under the UID that the server knows it by.
func (tr *trial) checkFiles(t *testing.T, s *site, before mailbox, names []string) {
	t.Helper()
	var found []string
	for file, raw := range rig.Files(t, tr.folder) {
		name := nameOf(raw)
		found = append(found, name)
		i := slices.IndexFunc(before.messages, func(m held) bool { return m.name() == name })
		if i < 0 {
			t.Errorf("%s is no message of the mailbox", file)
			continue
		}
		m := before.messages[i]
		if !s.same(tr.store, raw, m.raw) {
			t.Errorf("%s is not as the server serves it:\n%.600q\nand the server:\n%.600q", name, raw, m.raw)
		}
		if tr.store != mail.IMAP {
			continue
		}
		id := identity.FindStringSubmatch(file)
		if id == nil || number(t, id[2]) != m.uid {
			t.Errorf("%s, of UID %d, is in %s", name, m.uid, file)
		} else if v := tr.left[0].validity; number(t, id[1]) != v && len(tr.left[0].messages) > 0 && !tr.fleeting(s) {
			t.Errorf("%s, of UIDVALIDITY %d, is in %s", name, v, file)
		}
	}
	slices.Sort(found)
	if want := slices.Sorted(slices.Values(names)); !slices.Equal(found, want) {
		t.Errorf("the folder holds %v, not %v", found, want)
	}
}

// checkServer asserts what is left on the server.
func (tr *trial) checkServer(t *testing.T, s *site, after string, box mailbox, want []held) {
	t.Helper()
	if got, want := namesOf(box.messages), namesOf(want); !slices.Equal(got, want) {
		t.Errorf("after %s, the server holds %v, not %v", after, got, want)
		return
	}
	for i, m := range box.messages {
		if !s.same(tr.store, m.raw, want[i].raw) {
			t.Errorf("after %s, %s is another on the server:\n%.600q\nand before:\n%.600q", after, m.name(), m.raw, want[i].raw)
		}
		if m.uid != want[i].uid {
			t.Errorf("after %s, %s has UID %d, not %d", after, m.name(), m.uid, want[i].uid)
		}
		got, flags := m.flags, want[i].flags
		if tr.dispose != disposition.Keep { // SELECT makes what was recent known
			got, flags = unrecent(got), unrecent(flags)
		}
		if !slices.Equal(got, flags) {
			t.Errorf("after %s, %s has the flags %v, not %v", after, m.name(), got, flags)
		}
	}
}

// checkArchive asserts that what was moved is where it was moved to, each message
// once and with its flags.
func (tr *trial) checkArchive(t *testing.T, s *site, want []held) {
	t.Helper()
	byName := func(a, b held) int { return cmp.Compare(a.name(), b.name()) }
	got := slices.SortedFunc(slices.Values(tr.moved.messages), byName)
	want = slices.SortedFunc(slices.Values(want), byName)
	if !slices.Equal(namesOf(got), namesOf(want)) {
		t.Errorf("moved were %v, not %v", namesOf(got), namesOf(want))
		return
	}
	for i, m := range got {
		flags := unrecent(want[i].flags)
		if s.bareCopies.why != "" {
			flags = nil
		}
		if !s.same(tr.store, m.raw, want[i].raw) || !slices.Equal(unrecent(m.flags), flags) {
			t.Errorf("%s is another where it was moved to: %v\n%.600q\nand before: %v\n%.600q", m.name(), m.flags, m.raw, flags, want[i].raw)
		}
	}
}

// fleeting reports whether the UIDVALIDITY of the mailbox lasts for one session.
func (tr *trial) fleeting(s *site) bool {
	return tr.dispose == disposition.Keep && s.fleeting.why != ""
}

func namesOf(messages []held) []string {
	var names []string
	for _, m := range messages {
		names = append(names, m.name())
	}
	return names
}

func unrecent(flags []string) []string {
	return slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f == `\Recent` })
}
