package state

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// store is what every database behind this package has to do.
type store interface {
	Load(ctx context.Context, connection string, box mail.Box) (mail.Ledger, error)
	Save(ctx context.Context, connection string, box mail.Box, entries []mail.Entry) error
	Dispose(ctx context.Context, connection string, box mail.Box, refs []mail.Ref, d disposition.Disposition) error
	Ask(ctx context.Context, connection string, box mail.Box, refs []mail.Ref, stage mail.Stage) error
	Settle(ctx context.Context, connection string, orphans []mail.Entry) error
	Discard(ctx context.Context, connection string, entries []mail.Entry) error
	Recognise(ctx context.Context, connection string, d mail.Digest) (bool, error)
	SetUnsaved(ctx context.Context, connection string, box mail.Box, faults []mail.Unsaved) error
	Keep(ctx context.Context, connection string, box mail.Box, held mail.Set) error
	Void(ctx context.Context, connection string) error
	Renamed(ctx context.Context, connection string, e mail.Entry) error
	Notices(ctx context.Context, connection string, most int) ([]mail.Notice, error)
	Noticed(ctx context.Context, connection string, ids ...int64) error
	NoticeFailed(ctx context.Context, connection string, id int64) error
	Hooks(ctx context.Context, connection string) (map[string]mail.Hooks, error)

	Forget(ctx context.Context, connection string) (int, error)
	Retry(ctx context.Context, connection string) (int, error)
	Unsaved(ctx context.Context) (map[string][]mail.Unsaved, error)
	Temps(ctx context.Context) ([]string, error)

	RecordJob(ctx context.Context, r mail.Result) error
	Jobs(ctx context.Context, filter JobFilter) ([]mail.Result, error)

	Close() error
}

// suite is the behaviour of a store. open opens the same one again once the
// store that it returned before is closed.
func suite(t *testing.T, open func(t *testing.T) (again func(context.Context) (store, error))) {
	run := func(name string, test func(f *fixture)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fixture{t: t, open: open(t)}
			s, err := f.open(f.t.Context())
			f.ok(err)
			f.store = s
			t.Cleanup(func() { f.ok(f.Close()) })
			test(f)
		})
	}
	for name, k := range kinds {
		both := []mail.Entry{entry(k.a, 1), entry(k.b, 2)}
		refs := []mail.Ref{k.a, k.b}
		onMailbox := func(title string, test func(ctx context.Context, f *fixture)) {
			run(name+"/"+title, func(f *fixture) { test(f.t.Context(), f) })
		}

		onMailbox("nothing is recorded at first", func(_ context.Context, f *fixture) {
			f.want(f.ledger(k.box), mail.Ledger{})
		})
		onMailbox("a saved message is pending", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a, k.b), Pending: both})
		})
		onMailbox("a message that is kept is saved and no longer pending", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs[:1], disposition.Keep))
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a, k.b), Pending: both[1:]})
		})
		onMailbox("a message that is seen says so", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, []mail.Ref{k.a, k.c}, disposition.Seen))
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a, k.b), Seen: set(k.a), Pending: both[1:]})
		})
		onMailbox("a message that is deleted is forgotten, seen or not", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs[:1], disposition.Seen))
			f.ok(f.Dispose(ctx, "c", k.box, append(refs, k.c), disposition.Delete))
			f.want(f.ledger(k.box), mail.Ledger{})
		})
		onMailbox("no disposition applies to another mailbox", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.rebuilt, refs, disposition.Delete))
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a, k.b), Pending: both})
		})
		onMailbox("an unknown disposition changes nothing", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			if err := f.Dispose(ctx, "c", k.box, refs, "SHRED"); err == nil {
				f.t.Fatal("accepted")
			}
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a, k.b), Pending: both})
		})
		onMailbox("saving again replaces what was recorded", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs, disposition.Seen))
			again := entry(k.a, 9)
			again.Temp = "another"
			f.ok(f.Save(ctx, "c", k.box, []mail.Entry{again}))
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a, k.b), Seen: set(k.b), Pending: []mail.Entry{again}})
		})
		onMailbox("connections know nothing of each other", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "another", k.box, both))
			f.want(f.ledger(k.box), mail.Ledger{})
			f.ok(f.Void(ctx, "c"))
			f.want(f.ledger(k.box), mail.Ledger{})
		})
		onMailbox("a rebuilt mailbox starts anew and knows the messages of the old one", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs[:1], disposition.Seen))
			fresh := mail.Ledger{Rebuilt: true, Orphans: both[1:]}
			f.want(f.ledger(k.rebuilt), fresh)
			f.want(f.recognises(1), true)
			f.want(f.recognises(2), false) // its file is still to be published
			f.ok(f.Settle(ctx, "c", both[1:]))
			f.want(f.ledger(k.rebuilt), mail.Ledger{Rebuilt: true})
			f.want(f.recognises(2), true)
			f.want(f.recognises(3), false)
		})
		onMailbox("a look at another mailbox changes nothing", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs, disposition.Seen))
			f.ledger(k.rebuilt)
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a, k.b), Seen: set(k.a, k.b)})
			f.want(f.recognises(1), false)
		})
		onMailbox("the first message of another mailbox makes the old one void for good", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs[:1], disposition.Keep))
			f.ok(f.SetUnsaved(ctx, "c", k.box, []mail.Unsaved{{Ref: k.c, Jobs: 1}}))
			f.ok(f.Save(ctx, "c", k.rebuilt, []mail.Entry{entry(k.a, 3)}))
			f.want(f.ledger(k.rebuilt), mail.Ledger{Saved: set(k.a), Pending: []mail.Entry{entry(k.a, 3)}, Orphans: both[1:], Rebuilt: true})
			f.want(f.ledger(k.box), mail.Ledger{Orphans: []mail.Entry{both[1], entry(k.a, 3)}, Rebuilt: true})
		})
		onMailbox("one record answers for one message", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, []mail.Entry{entry(k.a, 1), entry(k.b, 1)}))
			f.ok(f.Dispose(ctx, "c", k.box, refs, disposition.Keep))
			f.ok(f.Save(ctx, "c", k.rebuilt, []mail.Entry{recognised(k.a, 1)}))
			f.want(f.recognises(1), true)
			f.ok(f.Save(ctx, "c", k.rebuilt, []mail.Entry{recognised(k.a, 1)})) // a repeated Save uses up no more
			f.want(f.recognises(1), true)
			f.ok(f.Save(ctx, "c", k.rebuilt, []mail.Entry{recognised(k.b, 1)}))
			f.want(f.recognises(1), false)
			want := mail.Ledger{Saved: set(k.a, k.b), Pending: []mail.Entry{recognised(k.a, 1), recognised(k.b, 1)}}
			f.want(f.ledger(k.rebuilt), want)
			// With nothing left to answer for it, a message is not taken for delivered.
			if err := f.Save(ctx, "c", k.rebuilt, []mail.Entry{entry(k.a, 4), recognised(k.c, 1)}); err == nil {
				f.t.Fatal("a message was recorded as delivered that is not")
			}
			f.want(f.ledger(k.rebuilt), want)
		})
		onMailbox("what is discarded was never saved", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Discard(ctx, "c", both[:1]))
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.b), Pending: both[1:]})
		})
		onMailbox("an orphan is discarded or settled, not its namesake", func(ctx context.Context, f *fixture) {
			orphans := []mail.Entry{entry(k.a, 1), entry(k.b, 2)}
			orphans[0].Temp, orphans[1].Temp = "old-1", "old-2"
			f.ok(f.Save(ctx, "c", k.box, orphans))
			f.ok(f.Save(ctx, "c", k.rebuilt, both))
			f.ok(f.Discard(ctx, "c", orphans[:1]))
			f.ok(f.Settle(ctx, "c", orphans[1:]))
			f.want(f.ledger(k.rebuilt), mail.Ledger{Saved: set(k.a, k.b), Pending: both, Rebuilt: true})
			f.want(f.recognises(1), false)
			f.want(f.recognises(2), true)
		})
		onMailbox("what is not pending is not discarded", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs, disposition.Keep))
			f.ok(f.Discard(ctx, "c", both))
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a, k.b)})
		})
		onMailbox("a fault is as it was recorded last, and gone when the message is saved", func(ctx context.Context, f *fixture) {
			ref := k.a
			ref.Size = 99
			large := mail.Unsaved{Ref: k.b, Oversized: true, Reason: "too \xff large"}
			f.ok(f.SetUnsaved(ctx, "c", k.box, []mail.Unsaved{{Ref: ref, Jobs: 1, Reason: "cut off"}, large, {Ref: k.c, Jobs: 3}}))
			f.ok(f.SetUnsaved(ctx, "c", k.box, []mail.Unsaved{{Ref: ref, Jobs: 2, Reason: "cut off again"}, {Ref: k.c}}))
			large.Reason = "too \uFFFD large"
			f.want(f.ledger(k.box).Unsaved, []mail.Unsaved{{Ref: ref, Jobs: 2, Reason: "cut off again"}, large})
			f.ok(f.Save(ctx, "c", k.box, both[:1]))
			f.want(f.ledger(k.box).Unsaved, []mail.Unsaved{large})
			f.want(durable(f, func() (map[string][]mail.Unsaved, error) { return f.Unsaved(ctx) }), map[string][]mail.Unsaved{"c": {large}})
		})
		onMailbox("faults go with their mailbox, or on request", func(ctx context.Context, f *fixture) {
			faults := []mail.Unsaved{{Ref: k.a, Jobs: 3}, {Ref: k.b, Oversized: true}}
			f.ok(f.SetUnsaved(ctx, "c", k.box, faults))
			f.want(f.ledger(k.rebuilt), mail.Ledger{})
			f.ok(f.SetUnsaved(ctx, "c", k.rebuilt, faults))
			f.want(f.ledger(k.box), mail.Ledger{})
			f.ok(f.SetUnsaved(ctx, "another", k.box, faults[:1]))
			n, err := f.Retry(ctx, "c")
			f.ok(err)
			f.want(n, 1) // what is too large stays so
			f.want(f.ledger(k.rebuilt), mail.Ledger{Unsaved: faults[1:]})
			f.want(durable(f, func() (map[string][]mail.Unsaved, error) { return f.Unsaved(ctx) }), map[string][]mail.Unsaved{"another": faults[:1], "c": faults[1:]})
		})
		onMailbox("who sent a message, and that it was interrupted, is on record", func(ctx context.Context, f *fixture) {
			faults := []mail.Unsaved{
				{Ref: k.a, Jobs: 3, From: "Ann <ann@example.com>", Subject: "Grüße", Date: time.Date(2026, 1, 31, 8, 30, 0, 0, time.UTC)},
				{Ref: k.b, Interrupted: true, Reason: "cut off"},
			}
			f.ok(f.SetUnsaved(ctx, "c", k.box, faults))
			f.want(f.ledger(k.box).Unsaved, faults)
			n, err := f.Retry(ctx, "c")
			f.ok(err)
			f.want(n, 1)
			f.want(f.ledger(k.box).Unsaved, faults[1:])
			f.ok(f.Save(ctx, "c", k.box, both))
			f.want(f.ledger(k.box).Unsaved, []mail.Unsaved(nil))
		})
		onMailbox("what the server only said it did stays pending, and is visible", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Ask(ctx, "c", k.box, refs[:1], mail.Asked))
			f.ok(f.Ask(ctx, "c", k.box, refs[1:], mail.Copied))
			f.ok(f.Ask(ctx, "c", k.box, refs[1:], mail.Asked)) // to remove it: it is not to be copied again
			asked := slices.Clone(both)
			for i, stage := range []mail.Stage{mail.Asked, mail.Copied} {
				e := asked[i]
				asked[i] = mail.Entry{Ref: e.Ref, Octets: e.Octets, Digest: e.Digest, Stage: stage}
			}
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a, k.b), Pending: asked})
			f.ok(f.Dispose(ctx, "c", k.box, refs[:1], disposition.Delete))
			f.ok(f.Dispose(ctx, "c", k.box, refs[1:], disposition.Keep))
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.b)})
		})
		onMailbox("a message whose disposition was in force can be asked for again", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs, disposition.Keep))
			f.ok(f.Ask(ctx, "c", k.box, refs[:1], mail.Asked))
			f.want(len(f.ledger(k.box).Pending), 1)
		})
		onMailbox("a reason is bounded", func(ctx context.Context, f *fixture) {
			f.ok(f.SetUnsaved(ctx, "c", k.box, []mail.Unsaved{{Ref: k.a, Jobs: 1, Reason: strings.Repeat("x", 1<<20)}}))
			f.want(len(f.ledger(k.box).Unsaved[0].Reason), textLength)
		})
		onMailbox("what the server no longer holds is dropped, unless it is pending", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, append(both, entry(k.c, 3))))
			f.ok(f.Dispose(ctx, "c", k.box, refs, disposition.Seen))
			f.ok(f.SetUnsaved(ctx, "c", k.box, []mail.Unsaved{{Ref: k.a, Jobs: 1}, {Ref: k.b, Jobs: 1}}))
			f.ok(f.Keep(ctx, "c", k.rebuilt, mail.Set{})) // of another mailbox: means nothing
			f.ok(f.Keep(ctx, "c", k.box, set(k.b)))
			f.want(f.ledger(k.box), mail.Ledger{
				Saved: set(k.b, k.c), Seen: set(k.b), Pending: []mail.Entry{entry(k.c, 3)}, Unsaved: []mail.Unsaved{{Ref: k.b, Jobs: 1}},
			})
			f.ok(f.Void(ctx, "c"))
			f.want(f.ledger(k.box), mail.Ledger{Orphans: []mail.Entry{entry(k.c, 3)}, Rebuilt: true})
			f.want(f.recognises(1), false)
			f.want(f.recognises(2), true)
		})
		onMailbox("a mailbox can be declared void by force", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs, disposition.Keep))
			f.ok(f.Void(ctx, "c"))
			f.want(f.ledger(k.box), mail.Ledger{Rebuilt: true})
			f.ok(f.Save(ctx, "c", k.box, []mail.Entry{recognised(k.c, 2)}))
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.c), Pending: []mail.Entry{recognised(k.c, 2)}, Rebuilt: true})
		})
		onMailbox("a forgotten connection is new", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Dispose(ctx, "c", k.box, refs[:1], disposition.Keep))
			f.ok(f.Save(ctx, "c", k.rebuilt, both[:1]))
			f.ok(f.SetUnsaved(ctx, "c", k.rebuilt, []mail.Unsaved{{Ref: k.c, Jobs: 1}}))
			f.ok(f.Save(ctx, "another", k.box, both))
			n, err := f.Forget(ctx, "c")
			f.ok(err)
			f.want(n, 3)
			f.want(f.ledger(k.rebuilt), mail.Ledger{})
			others, err := f.Load(ctx, "another", k.box)
			f.ok(err)
			f.want(others, mail.Ledger{Saved: set(k.a, k.b), Pending: both})
		})
		onMailbox("temporary files are known until they are published", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both))
			f.ok(f.Save(ctx, "c", k.rebuilt, []mail.Entry{entry(k.c, 3)}))
			temps := func() ([]string, error) { return f.Temps(ctx) }
			path := func(r mail.Ref) string { return filepath.Join("/srv/in", ".temp-"+r.ID()) }
			f.want(durable(f, temps), []string{path(k.a), path(k.b), path(k.c)})
			f.ok(f.Settle(ctx, "c", both[:1]))
			f.ok(f.Discard(ctx, "c", both[1:]))
			f.ok(f.Dispose(ctx, "c", k.rebuilt, []mail.Ref{k.c}, disposition.Keep))
			f.want(durable(f, temps), []string{})
		})
		notices(onMailbox, k.box, both)
		onMailbox("nothing is recorded once the context has ended", func(ctx context.Context, f *fixture) {
			f.ok(f.Save(ctx, "c", k.box, both[:1]))
			ended, cancel := context.WithCancelCause(ctx)
			cancel(errStopped)
			for name, call := range map[string]func() error{
				"Save":       func() error { return f.Save(ended, "c", k.box, both) },
				"Dispose":    func() error { return f.Dispose(ended, "c", k.box, refs, disposition.Delete) },
				"Settle":     func() error { return f.Settle(ended, "c", both) },
				"Discard":    func() error { return f.Discard(ended, "c", both) },
				"SetUnsaved": func() error { return f.SetUnsaved(ended, "c", k.box, []mail.Unsaved{{Ref: k.a, Jobs: 1}}) },
				"Keep":       func() error { return f.Keep(ended, "c", k.box, mail.Set{}) },
				"Void":       func() error { return f.Void(ended, "c") },
				"Load":       func() error { _, err := f.Load(ended, "c", k.box); return err },
				"Recognise":  func() error { _, err := f.Recognise(ended, "c", digest(1)); return err },
				"Forget":     func() error { _, err := f.Forget(ended, "c"); return err },
				"Retry":      func() error { _, err := f.Retry(ended, "c"); return err },
				"Faults":     func() error { _, err := f.Unsaved(ended); return err },
				"Temps":      func() error { _, err := f.Temps(ended); return err },
				"RecordJob":  func() error { return f.RecordJob(ended, mail.Result{Connection: "c"}) },
				"Jobs":       func() error { _, err := f.Jobs(ended, JobFilter{}); return err },
			} {
				e := mail.AsError(call(), "", "")
				if e == nil || e.Kind != mail.KindCanceled || e.Op != mail.OpRecord || !strings.Contains(e.Error(), errStopped.Error()) {
					f.t.Errorf("%s: %#v", name, e)
				}
			}
			late, cancelLate := context.WithTimeout(ctx, 0)
			defer cancelLate()
			f.want(mail.AsError(f.Save(late, "c", k.box, both), "", "").Kind, mail.KindTimeout)
			f.want(f.ledger(k.box), mail.Ledger{Saved: set(k.a), Pending: both[:1]})
		})
	}

	t.Run("a void mailbox is remembered for thirty days, and longer while a message of it is unpublished", func(t *testing.T) {
		t.Parallel()
		k := kinds["imap"]
		again := open(t)
		synctest.Test(t, func(t *testing.T) {
			f := &fixture{t: t, open: again}
			s, err := f.open(f.t.Context())
			f.ok(err)
			f.store = s
			ctx := t.Context()
			f.ok(f.Save(ctx, "c", k.box, []mail.Entry{entry(k.a, 1)}))
			f.ok(f.Save(ctx, "other", k.box, []mail.Entry{entry(k.a, 1)}))
			f.ok(f.Dispose(ctx, "c", k.box, []mail.Ref{k.a}, disposition.Keep))
			f.ok(f.Void(ctx, "c"))
			f.ok(f.Void(ctx, "other"))
			<-time.After(remembered - time.Hour)
			f.want(f.ledger(k.box), mail.Ledger{Rebuilt: true})
			<-time.After(2 * time.Hour)
			f.ok(f.Save(ctx, "a third", k.box, []mail.Entry{entry(k.a, 1)}))
			f.want(f.recognises(1), false)
			f.want(f.ledger(k.box), mail.Ledger{})
			other, err := f.Load(ctx, "other", k.box)
			f.ok(err)
			f.want(other, mail.Ledger{Orphans: []mail.Entry{entry(k.a, 1)}})
			f.ok(f.Close())
		})
	})

	run("many connections are recorded at once", func(f *fixture) {
		k := kinds["imap"]
		const connections, messages = 8, 10
		var wg sync.WaitGroup
		for c := range connections {
			wg.Go(func() {
				name := fmt.Sprintf("connection %d", c)
				for m := range messages {
					ref := uid(uint32(m) + 1)
					err := f.Save(f.t.Context(), name, k.box, []mail.Entry{entry(ref, 1)})
					if err == nil {
						err = f.Dispose(f.t.Context(), name, k.box, []mail.Ref{ref}, disposition.Keep)
					}
					if _, failed := f.Load(f.t.Context(), name, k.box); err != nil || failed != nil {
						f.t.Error(err, failed)
					}
				}
			})
		}
		wg.Wait()
		for c := range connections {
			l, err := f.Load(f.t.Context(), fmt.Sprintf("connection %d", c), k.box)
			f.ok(err)
			f.want(l.Saved.UIDs.String(), "1:10")
		}
	})
	run("messages of one connection may be saved at once", func(f *fixture) {
		k := kinds["imap"]
		var wg sync.WaitGroup
		for m := range 20 {
			wg.Go(func() {
				if err := f.Save(f.t.Context(), "c", k.box, []mail.Entry{entry(uid(uint32(m)+1), 1)}); err != nil {
					f.t.Error(err)
				}
			})
		}
		wg.Wait()
		f.want(f.ledger(k.box).Saved.UIDs.String(), "1:20")
	})

	historySuite(run)
}
