package state

import (
	"context"
	"slices"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// notices is the part of the suite about commands that are to be run.
func notices(onMailbox func(title string, test func(ctx context.Context, f *fixture)), box mail.Box, both []mail.Entry) {
	onMailbox("a command is due until it did its work, whatever becomes of the message", func(ctx context.Context, f *fixture) {
		told, quiet := both[0], both[1]
		told.Facts, told.Shared = []byte(`{"schema":1}`), true
		f.ok(f.Save(ctx, "c", box, []mail.Entry{told, quiet}))
		f.ok(f.Save(ctx, "c", box, []mail.Entry{told, quiet})) // again
		f.want(f.ledger(box).Pending, []mail.Entry{{
			Ref: told.Ref, Octets: told.Octets, Digest: told.Digest, Dir: told.Dir, Inode: told.Inode, Temp: told.Temp, Name: told.Name, Shared: true,
		}, quiet})
		renamed := told
		renamed.Name = "other.eml"
		f.ok(f.Renamed(ctx, "c", renamed))
		f.want(f.ledger(box).Pending[0].Name, "other.eml")
		due, err := f.Notices(ctx, "c", 10)
		f.ok(err)
		f.want(len(due) == 1 && due[0].Pending, true)
		f.ok(f.Dispose(ctx, "c", box, []mail.Ref{both[0].Ref, both[1].Ref}, disposition.Delete))
		due, err = f.Notices(ctx, "c", 10)
		f.ok(err)
		if len(due) != 1 || due[0].Pending || due[0].Dir != told.Dir || due[0].Temp != told.Temp || due[0].Name != "other.eml" || string(due[0].Facts) != `{"schema":1}` || due[0].Tries != 0 || due[0].Saved.IsZero() {
			f.t.Fatalf("%+v", due)
		}
		f.ok(f.NoticeFailed(ctx, "c", due[0].ID))
		if due, err = f.Notices(ctx, "c", 10); err != nil || due[0].Tries != 1 {
			f.t.Fatalf("%+v, %v", due, err)
		}
		others, err := f.Notices(ctx, "d", 10)
		f.ok(err)
		f.want(len(others), 0)
		f.ok(f.Noticed(ctx, "c", due[0].ID))
		due, err = f.Notices(ctx, "c", 10)
		f.ok(err)
		f.want(len(due), 0)
	})
	onMailbox("no command is due for what was discarded or forgotten", func(ctx context.Context, f *fixture) {
		told := slices.Clone(both)
		for i := range told {
			told[i].Facts = []byte("{}")
		}
		f.ok(f.Save(ctx, "c", box, told))
		f.ok(f.Discard(ctx, "c", told[:1]))
		due, err := f.Notices(ctx, "c", 10)
		f.ok(err)
		f.want(len(due), 1)
		_, err = f.Forget(ctx, "c")
		f.ok(err)
		due, err = f.Notices(ctx, "c", 10)
		f.ok(err)
		f.want(len(due), 0)
	})
	onMailbox("hooks that are due are counted, and have failed since the first message of which one did", func(ctx context.Context, f *fixture) {
		stands := func(connection string) map[string]mail.Hooks {
			f.t.Helper()
			return durable(f, func() (map[string]mail.Hooks, error) { return f.Hooks(ctx, connection) })
		}
		told := slices.Clone(both)
		for i := range told {
			told[i].Facts = []byte("{}")
		}
		f.want(stands(""), map[string]mail.Hooks{})
		f.ok(f.Save(ctx, "c", box, told))
		f.want(stands(""), map[string]mail.Hooks{"c": {Due: 2}})
		due, err := f.Notices(ctx, "c", 10)
		f.ok(err)
		f.ok(f.NoticeFailed(ctx, "c", due[0].ID))
		f.ok(f.NoticeFailed(ctx, "c", due[0].ID))
		f.want(stands("c"), map[string]mail.Hooks{"c": {Due: 2, Since: due[0].Saved}})
		f.want(stands("d"), map[string]mail.Hooks{})
		f.ok(f.Noticed(ctx, "c", due[0].ID))
		f.want(stands(""), map[string]mail.Hooks{"c": {Due: 1}})
		f.ok(f.Noticed(ctx, "c", due[1].ID))
		f.want(stands(""), map[string]mail.Hooks{})
	})
}
