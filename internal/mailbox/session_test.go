package mailbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// literal secrets are what they say.
type literalSecrets struct{}

func (literalSecrets) Get(_ context.Context, src mail.SecretSource) (mail.Secret, error) {
	return src.Literal, nil
}
func (literalSecrets) Forget(mail.SecretSource) {}

func open(t *testing.T, c *mail.Connection) Session {
	t.Helper()
	s, err := opener().Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func opener() *Opener { return &Opener{Secrets: literalSecrets{}, Log: zap.NewNop()} }

// eachWay runs a test over both protocols and every security.
func eachWay(t *testing.T, d *mailtest.Dovecot, test func(t *testing.T, connect func(user string) *mail.Connection)) {
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for _, security := range []mail.Security{mail.NoTLS, mail.StartTLS, mail.SSLTLS} {
			t.Run(fmt.Sprintf("%s %s", store, security), func(t *testing.T) {
				t.Parallel()
				test(t, func(user string) *mail.Connection { return d.Connection(t, user, store, security) })
			})
		}
	}
}

func pick(t *testing.T, s Session, q mail.Query) []mail.Ref {
	t.Helper()
	refs, err := s.Pick(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

func fetch(t *testing.T, s Session, refs []mail.Ref) [][]byte {
	t.Helper()
	var bodies [][]byte
	err := s.Fetch(t.Context(), refs, func(m mail.Message) error {
		if m.Err != nil {
			return m.Err
		}
		var b bytes.Buffer
		if _, err := m.Body.WriteTo(&b); err != nil {
			return err
		}
		bodies = append(bodies, b.Bytes())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bodies
}

func numbered(n int) [][]byte {
	messages := make([][]byte, n)
	for i := range messages {
		messages[i] = fmt.Appendf(nil, "Subject: %d\r\n\r\nmessage %d\r\n", i+1, i+1)
	}
	return messages
}

func TestSession(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	eachWay(t, d, func(t *testing.T, connect func(string) *mail.Connection) {
		messages := numbered(5)
		user := d.NewUser(t)
		d.Deliver(t, user, messages...)
		c := connect(user)
		c.Dispose = disposition.Delete
		s := open(t, c)
		if box, n := s.Box(); n != 5 || box.Account != c.Account() || (box.Validity == 0) == (c.Store == mail.IMAP) {
			t.Errorf("box %v with %d messages", box, n)
		}
		oldest := pick(t, s, mail.Query{Pull: disposition.Pull{}, Limit: 1})
		newest := pick(t, s, mail.Query{Pull: disposition.Pull{Newest: true}, Limit: 1})
		two := pick(t, s, mail.Query{Pull: disposition.Pull{Unread: true}, Limit: 2, Sizes: true})
		behind := pick(t, s, mail.Query{Pull: disposition.Pull{Newest: true}, Limit: 2, After: &newest[0]})
		var excluded mail.Set
		excluded.Add(oldest[0])
		excluded.Add(behind[0])
		others := pick(t, s, mail.Query{Pull: disposition.Pull{Unread: true}, Exclude: []mail.Set{excluded}, Limit: 10})
		held := pick(t, s, mail.Query{Only: &excluded})
		if len(held) != 2 {
			t.Errorf("of two messages, the server holds %v", held)
		}
		for _, want := range []struct {
			name string
			refs []mail.Ref
			nums []int
		}{
			{"oldest", oldest, []int{1}},
			{"newest", newest, []int{5}},
			{"two from the oldest", two, []int{1, 2}},
			{"two before the newest", behind, []int{3, 4}}, // as they come
			{"all but the first and the fourth", others, []int{2, 3, 5}},
		} {
			got := fetch(t, s, want.refs)
			slices.SortFunc(got, bytes.Compare)
			var wanted [][]byte
			for _, n := range want.nums {
				wanted = append(wanted, messages[n-1])
			}
			if !slices.EqualFunc(got, wanted, bytes.Equal) {
				t.Errorf("%s: %q, not %v", want.name, got, want.nums)
			}
		}
		for i, ref := range two {
			if ref.Size != int64(len(messages[i])) {
				t.Errorf("size %d, not %d", ref.Size, len(messages[i]))
			}
		}
		s.Apply(append(oldest, behind...), disposition.Delete)
		if left := d.Messages(t, user); len(left) != 5 {
			t.Errorf("%d messages are left before Commit", len(left))
		}
		if _, err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if left := mailtest.Bodies(d.Messages(t, user)); !slices.EqualFunc(left, [][]byte{messages[1], messages[4]}, bytes.Equal) {
			t.Errorf("left: %q", left)
		}
	})
}

func TestCloseWithoutCommitChangesNothing(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	eachWay(t, d, func(t *testing.T, connect func(string) *mail.Connection) {
		user := d.NewUser(t)
		d.Deliver(t, user, numbered(2)...)
		c := connect(user)
		c.Dispose = disposition.Delete
		s := open(t, c)
		refs := pick(t, s, mail.Query{Limit: 2})
		fetch(t, s, refs)
		s.Apply(refs, disposition.Delete)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for _, m := range d.Messages(t, user) {
			if c.Store == mail.IMAP && len(m.Flags) > 0 {
				t.Errorf("flags %v", m.Flags)
			}
		}
		if n := len(d.Messages(t, user)); n != 2 {
			t.Errorf("%d messages left", n)
		}
	})
}

func TestAWrongPasswordIsSaidPlainly(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	eachWay(t, d, func(t *testing.T, connect func(string) *mail.Connection) {
		c := connect(d.NewUser(t))
		c.Password.Literal = mail.NewSecret("canary-wrong")
		_, err := opener().Open(t.Context(), c)
		e := mail.AsError(err, "", "")
		if e == nil || e.Op != mail.OpAuthenticate || e.Kind != mail.KindAuth || e.Hint == "" {
			t.Fatalf("%v", err)
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("the secret is in %q", err)
		}
	})
}

// errFull is a folder's.
var errFull = errors.New("disk full")

// full takes so many octets.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestAFolderThatFailsEndsTheSessionAtOnce(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	eachWay(t, d, func(t *testing.T, connect func(string) *mail.Connection) {
		for _, c := range []struct{ size, room int }{{10, 0}, {10, 5}, {1 << 20, 0}, {1 << 20, 100_000}} {
			user := d.NewUser(t)
			d.Deliver(t, user, slices.Concat([]byte("Subject: x\r\n\r\n"), bytes.Repeat([]byte("x\r\n"), c.size/3)))
			s := open(t, connect(user))
			err := s.Fetch(t.Context(), pick(t, s, mail.Query{Limit: 1}), func(m mail.Message) error {
				if c.room == 0 {
					return errFull // without a look at the message
				}
				_, err := m.Body.WriteTo(&full{c.room})
				return err
			})
			if !errors.Is(err, errFull) {
				t.Errorf("%+v: %v", c, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A session may end between marking messages as deleted and removing them. A
// later one has to find and remove them, though no pick takes them for mail.
func TestWhatIsMarkedAsDeletedCanStillBeRemoved(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	d.DeliverFlagged(t, user, []string{`\Deleted`}, numbered(3)...)
	c := d.Connection(t, user, mail.IMAP, mail.SSLTLS)
	c.Dispose = disposition.Delete
	s := open(t, c)
	if refs := pick(t, s, mail.Query{Limit: 9}); len(refs) != 0 {
		t.Errorf("taken for mail: %v", refs)
	}
	var ours mail.Set
	ours.Add(mail.Ref{UID: 2})
	found := pick(t, s, mail.Query{Only: &ours, Sizes: true})
	if len(found) != 1 || found[0].UID != 2 || found[0].Size == 0 {
		t.Fatalf("found %v", found)
	}
	s.Apply(found, disposition.Delete)
	if _, err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := d.Messages(t, user); len(left) != 2 || left[0].UID != 1 || left[1].UID != 3 {
		t.Errorf("left: %v", left)
	}
}
