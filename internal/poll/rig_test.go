package poll

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mailpoller/internal/disposition"
	"mailpoller/internal/folder"
	"mailpoller/internal/mail"
	"mailpoller/internal/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a poller with a real journal and a real folder, on a server in
// memory.
type rig struct {
	*server
	c     *mail.Connection
	dir   string // of the state
	store *state.Store
	Poller
	logs     *observer.ObservedLogs
	saves    []int                  // how many messages each Save recorded
	consumer func(text string) bool // takes a file the moment it appears, or leaves it
	taken    map[string]int
	grace    time.Duration
	earlier  bool // the journal records digests as earlier versions did
}

func newRig(t *testing.T, store mail.StoreType, dispose disposition.Disposition) *rig {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	r := &rig{
		server: &server{t: t, store: store, validity: 1, fetched: make(map[string]int), at: func(string) error { return nil }},
		c: &mail.Connection{
			Name: "a", Host: "mail.example.com", Username: "u", Store: store, Mailbox: "INBOX", Dispose: dispose,
			Folder: t.TempDir(), FileMode: 0o600, PollTimeout: time.Hour,
		},
		dir:      t.TempDir(),
		logs:     logs,
		consumer: func(string) bool { return false },
		taken:    make(map[string]int),
		grace:    time.Minute,
	}
	r.start(zap.New(core))
	t.Cleanup(func() {
		r.ok(r.store.Close())
		if r.opened != r.closed {
			t.Errorf("%d sessions were opened, and %d closed", r.opened, r.closed)
		}
	})
	return r
}

func (r *rig) ok(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// start does what the program does at its start.
func (r *rig) start(log *zap.Logger) {
	r.t.Helper()
	var err error
	r.store, err = state.Open(context.Background(), r.dir)
	r.ok(err)
	files := folder.Bound(folder.New(r.store.Instance()))
	files.Left = r.store.LeaveUnclean
	if r.store.Unclean() {
		temps, err := r.store.Temps(context.Background())
		r.ok(err)
		keep := make(map[string]bool)
		for _, path := range temps {
			keep[filepath.Base(path)] = true
		}
		_, err = files.Clean(context.Background(), r.c.Folder, keep)
		r.ok(err)
	}
	removals := &Removals{}
	removals.saw(r.c)         // else another session looks whether what was removed is gone
	removals.names(r.c, true) // else what is pending is fetched once more
	r.Poller = Poller{
		Removals: removals,
		Opener:   r.server,
		Folder:   &publisher{files, r},
		Journal:  &journal{r.store, r},
		Grace:    func() time.Duration { return r.grace },
		Log:      log,
	}
}

// restart stops the program, in whatever state it is, and starts it again.
func (r *rig) restart() {
	r.t.Helper()
	r.ok(r.store.Close())
	r.start(r.Log)
}

// poll runs a job that has to come to this outcome.
func (r *rig) poll(want mail.Outcome) mail.Result {
	r.t.Helper()
	result := r.Poll(r.t.Context(), r.c)
	if result.Outcome != want {
		r.t.Fatalf("the poll came to %s (%v), not %s", result.Outcome, result.Err, want)
	}
	return result
}

// fails runs a job that has to fail with this kind.
func (r *rig) fails(want mail.Kind) mail.Result {
	r.t.Helper()
	result := r.poll(mail.OutcomeFailed)
	if result.Err == nil || result.Err.Kind != want {
		r.t.Fatalf("the poll failed with %v, not %s", result.Err, want)
	}
	return result
}

// text is what a file holds, or a list of files, in their order.
func (r *rig) text(paths ...string) string {
	r.t.Helper()
	texts := make([]string, len(paths))
	for i, path := range paths {
		data, err := os.ReadFile(path)
		r.ok(err)
		texts[i] = string(data)
	}
	return strings.Join(texts, " ")
}

// names are the files in the target folder, visible or hidden.
func (r *rig) names(hidden bool) []string {
	r.t.Helper()
	all, err := os.ReadDir(r.c.Folder)
	r.ok(err)
	var names []string
	for _, e := range all {
		if strings.HasPrefix(e.Name(), ".") == hidden {
			names = append(names, e.Name())
		}
	}
	return names
}

// appeared lets the consumer look at what is visible.
func (r *rig) appeared() {
	r.t.Helper()
	for _, name := range r.names(false) {
		path := filepath.Join(r.c.Folder, name)
		if text := r.text(path); r.consumer(text) {
			r.taken[text]++
			r.ok(os.Remove(path))
		}
	}
}

// delivered checks that exactly these texts became visible, each as often as
// it is named, and that nothing else is in the folder.
func (r *rig) delivered(texts ...string) {
	r.t.Helper()
	got, want := make(map[string]int), make(map[string]int)
	for _, text := range texts {
		want[text]++
	}
	for text, n := range r.taken {
		got[text] += n
	}
	for _, name := range r.names(false) {
		got[r.text(filepath.Join(r.c.Folder, name))]++
	}
	r.same("delivered", want, got)
	if hidden := r.names(true); len(hidden) > 0 {
		r.t.Errorf("hidden files stayed behind: %v", hidden)
	}
}

// left checks which messages are on the server, in the order of the mailbox.
// One that is read has a +, one that is marked as deleted a !.
func (r *rig) left(want ...string) {
	r.t.Helper()
	var got []string
	for _, l := range r.letters {
		text := l.text
		if l.seen {
			text += "+"
		}
		if l.marked {
			text += "!"
		}
		got = append(got, text)
	}
	r.same("on the server", want, got)
}

func (r *rig) same(what string, want, got any) {
	r.t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		r.t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// fetches checks how often each message was fetched since the test began.
func (r *rig) fetches(want map[string]int) {
	r.t.Helper()
	r.same("fetched", want, r.fetched)
}

// ledger is what the journal holds of the present mailbox.
func (r *rig) ledger() mail.Ledger {
	r.t.Helper()
	box, _ := (&session{server: r.server, c: r.c}).Box()
	l, err := r.store.Load(r.t.Context(), r.c.Name, box)
	r.ok(err)
	return l
}

// faults is what the journal says is wrong with messages: in how many jobs
// each failed, and -1 when it is too large. A message is named by its UID, over
// POP3 too.
func (r *rig) faults(want map[string]int) {
	r.t.Helper()
	got := make(map[string]int)
	for _, f := range r.ledger().Unsaved {
		id := strings.TrimPrefix(f.ID(), "id-")
		if got[id] = f.Jobs; f.Oversized {
			got[id] = -1
		}
	}
	r.same("faults", want, got)
}

// once is an interference at the first passage of a point.
func once(point string, err error) func(string) error {
	return func(at string) error {
		if at != point || err == nil {
			return nil
		}
		failed := err
		err = nil
		return failed
	}
}

// always is an interference at a point.
func always(point string, err error) func(string) error {
	return func(at string) error {
		if at == point {
			return err
		}
		return nil
	}
}

var (
	errDisk = &mail.Error{Op: mail.OpSave, Kind: mail.KindStorage, Err: errors.New("disk full")}
	errWire = &mail.Error{Op: mail.OpFetch, Kind: mail.KindNetwork, Err: errors.New("connection reset")}
	errNo   = &mail.Error{Op: mail.OpFetch, Kind: mail.KindProtocol, Err: errors.New("server refused: no")}
	errBusy = &mail.Error{Op: mail.OpRecord, Kind: mail.KindState, Err: errors.New("database is busy")}
)

// journal is the real one, with points to interfere at.
type journal struct {
	*state.Store
	r *rig
}

// around does a call between two points. An error at the second one leaves
// done what the call did, as a crash there would.
func (r *rig) around(before string, call func() error, after string) error {
	if err := r.comeBy(before); err != nil {
		return err
	}
	if err := call(); err != nil {
		return err
	}
	return r.comeBy(after)
}

func (j *journal) Load(ctx context.Context, connection string, box mail.Box) (l mail.Ledger, err error) {
	err = j.r.around("load", func() error {
		l, err = j.Store.Load(ctx, connection, box)
		return err
	}, "loaded")
	return l, err
}

func (j *journal) Save(ctx context.Context, connection string, box mail.Box, entries []mail.Entry) error {
	return j.r.around("save", func() error {
		for i := range entries {
			if j.r.earlier {
				entries[i].Digest = entries[i].SHA256
			}
		}
		err := j.Store.Save(ctx, connection, box, entries)
		if err == nil {
			j.r.saves = append(j.r.saves, len(entries))
		}
		return err
	}, "saved")
}

func (j *journal) Dispose(ctx context.Context, connection string, box mail.Box, refs []mail.Ref, d disposition.Disposition) error {
	return j.r.around("dispose", func() error { return j.Store.Dispose(ctx, connection, box, refs, d) }, "disposed")
}

func (j *journal) Ask(ctx context.Context, connection string, box mail.Box, refs []mail.Ref, stage mail.Stage) error {
	if len(refs) == 0 {
		return nil
	}
	return j.r.around("ask", func() error { return j.Store.Ask(ctx, connection, box, refs, stage) }, "asked")
}

func (j *journal) Settle(ctx context.Context, connection string, orphans []mail.Entry) error {
	return j.r.around("settle", func() error { return j.Store.Settle(ctx, connection, orphans) }, "settled")
}

func (j *journal) Keep(ctx context.Context, connection string, box mail.Box, held mail.Set) error {
	return j.r.around("keep", func() error { return j.Store.Keep(ctx, connection, box, held) }, "kept")
}

// publisher is the real folder, with points to interfere at, and the consumer.
type publisher struct {
	*folder.Bounded
	r *rig
}

func (f *publisher) Write(ctx context.Context, c *mail.Connection, box mail.Box, m mail.Message) (e mail.Entry, err error) {
	err = f.r.around("write", func() error {
		e, err = f.Bounded.Write(ctx, c, box, m)
		return err
	}, "written")
	return e, err
}

func (f *publisher) Sync(ctx context.Context, folder string, entries []mail.Entry) (synced []mail.Entry, err error) {
	err = f.r.around("sync", func() error {
		synced, err = f.Bounded.Sync(ctx, folder, entries)
		return err
	}, "synced")
	return synced, err
}

// Publish publishes one entry after the other, so that there are points in
// between.
func (f *publisher) Publish(ctx context.Context, entries []mail.Entry, renamed func(mail.Entry) error) (published, vanished []mail.Entry, err error) {
	for _, e := range entries {
		err := f.r.around("publish", func() error {
			p, v, err := f.Bounded.Publish(ctx, []mail.Entry{e}, renamed)
			published, vanished = append(published, p...), append(vanished, v...)
			f.r.appeared()
			return err
		}, "published")
		if err != nil {
			return published, vanished, err
		}
	}
	return published, vanished, nil
}
