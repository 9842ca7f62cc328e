// Package crash stops a poll dead at each row of the crash table in docs/flow.md:
// the real poller, folder and journal, with a mailbox in memory.
package crash

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"mailpoller/internal/disposition"
	"mailpoller/internal/folder"
	"mailpoller/internal/mail"
	"mailpoller/internal/poll"
	"mailpoller/internal/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is an IMAP mailbox in memory.
type server struct {
	messages map[uint32]string
	seen     map[uint32]bool
	fetched  int
	crash    *crash
}

// session is poll.Session on it.
type session struct {
	poll.Session // what a poll has no use for
	*server
	applied map[uint32]disposition.Disposition
}

var box = mail.Box{Account: "imap://u@h/INBOX", Validity: 7}

func (s *session) Notes() (int, []string) { return 0, nil }

func (s *session) Box() (mail.Box, int) { return box, len(s.messages) }

func (s *session) Pick(_ context.Context, q mail.Query) ([]mail.Ref, error) {
	var refs []mail.Ref
	for uid := uint32(1); uid < 100; uid++ {
		body, there := s.messages[uid]
		ref := mail.Ref{UID: uid, Size: int64(len(body))}
		switch {
		case !there, q.Only != nil && !q.Only.Has(ref), q.After != nil && uid <= q.After.UID,
			q.Only == nil && q.Pull.Unread && s.seen[uid],
			slices.ContainsFunc(q.Exclude, func(set mail.Set) bool { return set.Has(ref) }):
			continue
		}
		if refs = append(refs, ref); len(refs) == q.Limit {
			break
		}
	}
	return refs, nil
}

func (s *session) Fetch(_ context.Context, refs []mail.Ref, each func(mail.Message) error) error {
	for _, ref := range refs {
		s.fetched++
		if err := each(mail.Message{Ref: ref, Body: strings.NewReader(s.messages[ref.UID])}); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) Apply(refs []mail.Ref, d disposition.Disposition) {
	for _, ref := range refs {
		s.applied[ref.UID] = d
	}
}

func (s *session) Commit(context.Context) (mail.Commitment, error) {
	if err := s.crash.at("before 9"); err != nil {
		return mail.Commitment{}, err
	}
	for uid, d := range s.applied {
		if d.Removes() {
			delete(s.messages, uid)
		} else {
			s.seen[uid] = true
		}
		if err := s.crash.at("in the middle of 9"); err != nil {
			return mail.Commitment{}, err
		}
	}
	clear(s.applied)
	return mail.Commitment{}, s.crash.at("after 9")
}

func (s *session) Close() error { return nil }

// crash stops a process dead at one point: nothing that it calls from then on
// has an effect.
type crash struct {
	point string
	dead  bool
}

var errDead = errors.New("stopped dead")

func (c *crash) at(point string) error {
	c.dead = c.dead || c.point == point
	if c.dead {
		return errDead
	}
	return nil
}

// mortal is the folder of a process that may be dead.
type mortal struct {
	*folder.Bounded
	crash *crash
}

func (m mortal) Write(ctx context.Context, c *mail.Connection, b mail.Box, msg mail.Message) (mail.Entry, error) {
	if err := m.crash.at("before 6"); err != nil {
		return mail.Entry{}, err
	}
	return m.Bounded.Write(ctx, c, b, msg)
}

func (m mortal) Sync(ctx context.Context, dir string, entries []mail.Entry) ([]mail.Entry, error) {
	if err := m.crash.at("in the middle of 6"); err != nil {
		return nil, err
	}
	return m.Bounded.Sync(ctx, dir, entries)
}

func (m mortal) Publish(ctx context.Context, entries []mail.Entry, renamed func(mail.Entry) error) (p, v []mail.Entry, err error) {
	if err := m.crash.at("after 7"); err != nil {
		return nil, nil, err
	}
	if m.crash.point == "in the middle of 8" && len(entries) > 1 {
		m.crash.dead = true
		_, _, err := m.Bounded.Publish(ctx, entries[:1], renamed)
		return nil, nil, errors.Join(errDead, err)
	}
	if p, v, err = m.Bounded.Publish(ctx, entries, renamed); err == nil {
		err = m.crash.at("after 8")
	}
	return p, v, err
}

func (m mortal) Discard(ctx context.Context, e mail.Entry) error {
	if m.crash.dead {
		return errDead
	}
	return m.Bounded.Discard(ctx, e)
}

// journal is the journal of a process that may be dead.
type journal struct {
	poll.Journal
	crash *crash
}

func (j journal) Load(ctx context.Context, connection string, b mail.Box) (mail.Ledger, error) {
	if j.crash.dead {
		return mail.Ledger{}, errDead
	}
	return j.Journal.Load(ctx, connection, b)
}

func (j journal) Save(ctx context.Context, connection string, b mail.Box, entries []mail.Entry) error {
	if err := j.crash.at("after 6"); err != nil {
		return err
	}
	return j.Journal.Save(ctx, connection, b, entries)
}

func (j journal) Dispose(ctx context.Context, connection string, b mail.Box, refs []mail.Ref, d disposition.Disposition) error {
	if err := j.crash.at("before 10"); err != nil {
		return err
	}
	return j.Journal.Dispose(ctx, connection, b, refs, d)
}

func (j journal) SetUnsaved(ctx context.Context, connection string, b mail.Box, faults []mail.Unsaved) error {
	if j.crash.dead {
		return errDead
	}
	return j.Journal.SetUnsaved(ctx, connection, b, faults)
}

func (j journal) Renamed(ctx context.Context, connection string, e mail.Entry) error {
	if j.crash.dead {
		return errDead
	}
	return j.Journal.Renamed(ctx, connection, e)
}

func (j journal) Notices(ctx context.Context, connection string, most int) ([]mail.Notice, error) {
	if err := j.crash.at("before the command"); err != nil {
		return nil, err
	}
	return j.Journal.Notices(ctx, connection, most)
}

func (j journal) Noticed(ctx context.Context, connection string, ids ...int64) error {
	if err := j.crash.at("after the command"); err != nil {
		return err
	}
	return j.Journal.Noticed(ctx, connection, ids...)
}

// points are those at which a poll is stopped.
var points = []string{
	"before 6", "in the middle of 6", "after 6", "after 7", "in the middle of 8", "after 8",
	"before 9", "in the middle of 9", "after 9", "before 10",
}

// TestCrashTable stops a poll dead at each step of docs/flow.md and starts
// anew, with and without a consumer that takes files as soon as they appear:
// each message is delivered once, and the server ends as promised.
func TestCrashTable(t *testing.T) {
	t.Parallel()
	for _, dispose := range disposition.Dispositions() {
		for _, consumer := range []bool{false, true} {
			for _, point := range points {
				name := string(dispose) + " " + point
				if consumer {
					name += ", with a consumer"
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					crashAndRestart(t, point, dispose, consumer)
				})
			}
		}
	}
}

func crashAndRestart(t *testing.T, point string, dispose disposition.Disposition, consumer bool) {
	t.Helper()
	dir, stateDir := t.TempDir(), t.TempDir()
	s := &server{messages: map[uint32]string{1: "one\r\n", 2: "two\r\n", 3: "three\r\n"}, seen: map[uint32]bool{}}
	want := []string{"one\r\n", "three\r\n", "two\r\n"}
	c := &mail.Connection{
		Name: "a", Store: mail.IMAP, Mailbox: "INBOX", Folder: dir, FileMode: 0o640, Dispose: dispose,
		Pull: disposition.Pull{Unread: true}, PollTimeout: time.Minute,
	}
	var delivered []string
	consume := func() {
		paths, err := filepath.Glob(filepath.Join(dir, "*.eml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if data, err := os.ReadFile(path); err != nil {
				t.Fatal(path, err)
			} else {
				delivered = append(delivered, string(data))
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	fetched := 0
	for run, at := range []string{point, "", ""} {
		r := s.process(t, c, stateDir, at, nil)
		if run > 0 && r.State != mail.Succeeded {
			t.Errorf("run %d: %+v", run, r.Err)
		}
		if run == 0 {
			fetched = s.fetched
		}
		if consumer {
			consume()
		}
	}
	consume()
	slices.Sort(delivered)
	if !slices.Equal(delivered, want) {
		t.Errorf("delivered: %q", delivered)
	}
	if saved := slices.Index([]string{"before 6", "in the middle of 6", "after 6"}, point) < 0; saved && s.fetched != fetched {
		t.Errorf("%d messages fetched again", s.fetched-fetched)
	}
	left, read := 3, 0
	switch dispose {
	case disposition.Delete:
		left = 0
	case disposition.Seen:
		read = 3
	}
	if len(s.messages) != left || len(s.seen) != read {
		t.Errorf("%d messages are left, %d read", len(s.messages), len(s.seen))
	}
	if rest, err := os.ReadDir(dir); err != nil || len(rest) != 0 {
		t.Errorf("left in the folder: %v, %v", rest, err)
	}
}

// command is what a poll runs for a message.
type command func(ctx context.Context, c *mail.Connection, n mail.Notice) error

// process is a process from its start to its end, with one poll. It is stopped
// dead at a point, unless that is empty.
func (s *server) process(t *testing.T, c *mail.Connection, stateDir, point string, tell command) mail.Result {
	t.Helper()
	s.crash = &crash{point: point}
	store, err := state.Open(t.Context(), stateDir)
	if err != nil {
		t.Fatal(err)
	}
	files := folder.Bound(folder.New(store.Instance()))
	temps, err := store.Temps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keep := map[string]bool{}
	for _, path := range temps {
		keep[filepath.Base(path)] = true
	}
	if _, err := files.Clean(t.Context(), c.Folder, keep); err != nil {
		t.Fatal(err)
	}
	p := &poll.Poller{
		Opener: poll.OpenFunc(func(context.Context, *mail.Connection) (poll.Session, error) {
			if err := s.crash.at("before 3"); err != nil {
				return nil, err
			}
			return &session{server: s, applied: map[uint32]disposition.Disposition{}}, nil
		}),
		Folder: mortal{files, s.crash}, Journal: journal{store, s.crash}, Notify: tell,
		Grace: func() time.Duration { return 0 }, Log: zap.NewNop(),
	}
	r := p.Poll(t.Context(), c)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}
