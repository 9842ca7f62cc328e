package state

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mailpoller/internal/mail"
)

// fixture is a store under test. What it reads, it reads twice: from the
// store that has written it, and from one that was opened after.
type fixture struct {
	store
	t    *testing.T
	open func(context.Context) (store, error)
}

func (f *fixture) ok(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) reopen() {
	f.t.Helper()
	f.ok(f.Close())
	s, err := f.open(f.t.Context())
	f.ok(err)
	f.store = s
}

// durable is what read returns, before and after a restart.
func durable[T any](f *fixture, read func() (T, error)) T {
	f.t.Helper()
	before, err := read()
	f.ok(err)
	f.reopen()
	after, err := read()
	f.ok(err)
	if diff := cmp.Diff(before, after, compare...); diff != "" {
		f.t.Fatalf("a restart changes what is recorded (-before +after):\n%s", diff)
	}
	return after
}

var errStopped = errors.New("stopped by the operator")

var compare = cmp.Options{
	cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b *mail.Error) bool {
		if a == nil || b == nil {
			return a == b
		}
		return a.Op == b.Op && a.Kind == b.Kind && a.Hint == b.Hint && a.Error() == b.Error()
	}),
}

func (f *fixture) ledger(box mail.Box) mail.Ledger {
	f.t.Helper()
	return durable(f, func() (mail.Ledger, error) { return f.Load(f.t.Context(), "c", box) })
}

func (f *fixture) recognises(digit byte) bool {
	f.t.Helper()
	known, err := f.Recognise(f.t.Context(), "c", digest(digit))
	f.ok(err)
	return known
}

func (f *fixture) want(got, want any) {
	f.t.Helper()
	if diff := cmp.Diff(want, got, compare...); diff != "" {
		f.t.Fatalf("(-want +got):\n%s", diff)
	}
}

func digest(digit byte) mail.Digest { return mail.Digest{digit} }

func uid(n uint32) mail.Ref     { return mail.Ref{UID: n} }
func uidl(name string) mail.Ref { return mail.Ref{UIDL: name} }

func set(refs ...mail.Ref) (s mail.Set) {
	for _, r := range refs {
		s.Add(r)
	}
	return s
}

// entry is a message whose digest is digit.
func entry(ref mail.Ref, digit byte) mail.Entry {
	ref.Size = 120
	return mail.Entry{
		Ref: ref, Octets: 123, Digest: digest(digit),
		Dir: "/srv/in", Inode: 1<<64 - 1, Temp: ".temp-" + ref.ID(), Name: ref.ID() + ".eml",
	}
}

// recognised is a message that was delivered before.
func recognised(ref mail.Ref, digit byte) mail.Entry {
	return mail.Entry{Ref: ref, Octets: 123, Digest: digest(digit)}
}

// kinds are the two sorts of mailboxes, with three messages each.
var kinds = map[string]struct {
	box, rebuilt mail.Box
	a, b, c      mail.Ref
}{
	"imap": {mail.Box{Account: "imap://u@h/INBOX", Validity: 1<<32 - 1}, mail.Box{Account: "imap://u@h/INBOX", Validity: 2}, uid(1), uid(2), uid(1<<32 - 1)},
	"pop3": {mail.Box{Account: "pop3://u@h"}, mail.Box{Account: "pop3://other@h"}, uidl("1"), uidl("it's; --\"\\\xff"), uidl("ü")},
}
