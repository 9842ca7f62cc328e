package mailtest_test

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/internal/tlspolicy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// login is a session of another client, for clear text or TLS from the start.
func login(t *testing.T, c *mail.Connection) *imapclient.Client {
	t.Helper()
	addr := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	options := &imapclient.Options{TLSConfig: c.TLS.Configs(tlspolicy.Peer{Host: c.Host})[0]}
	dial := map[mail.Security]func(string, *imapclient.Options) (*imapclient.Client, error){
		mail.NoTLS: imapclient.DialInsecure, mail.StartTLS: imapclient.DialStartTLS, mail.SSLTLS: imapclient.DialTLS,
	}[c.Security]
	client, err := dial(addr, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Login(c.Username, c.Password.Literal.Reveal()).Wait(); err != nil {
		t.Fatal(err)
	}
	return client
}

func numbered(n int) [][]byte {
	messages := make([][]byte, n)
	for i := range messages {
		messages[i] = fmt.Appendf(nil, "Subject: message %d\r\n\r\nbody\r\n", i+1)
	}
	return messages
}

func TestDovecot(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)

	for _, security := range []mail.Security{mail.NoTLS, mail.StartTLS, mail.SSLTLS} {
		t.Run("serves over "+string(security), func(t *testing.T) {
			t.Parallel()
			user := d.NewUser(t)
			d.Deliver(t, user, numbered(3)...)
			client := login(t, d.Connection(t, user, mail.IMAP, security))
			box, err := client.Select("INBOX", nil).Wait()
			if err != nil || box.NumMessages != 3 {
				t.Fatalf("SELECT: %+v, %v; want 3 messages", box, err)
			}
		})
	}

	t.Run("numbers messages in the order of delivery", func(t *testing.T) {
		t.Parallel()
		user := d.NewUser(t)
		want := numbered(50)
		d.Deliver(t, user, want...)
		client := login(t, d.Connection(t, user, mail.IMAP, mail.NoTLS))
		if _, err := client.Select("INBOX", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		got := d.Messages(t, user)
		if diff := cmp.Diff(want, mailtest.Bodies(got)); diff != "" {
			t.Fatal(diff)
		}
		for i, m := range got {
			if m.UID != uint32(i+1) {
				t.Errorf("message %d has UID %d", i+1, m.UID)
			}
		}
	})

	t.Run("shows what another client left behind", func(t *testing.T) {
		t.Parallel()
		user := d.NewUser(t)
		d.Deliver(t, user, numbered(3)...)
		d.DeliverFlagged(t, user, []string{`\Flagged`, `\Seen`}, []byte("Subject: read\r\n\r\n"))
		client := login(t, d.Connection(t, user, mail.IMAP, mail.NoTLS))
		if _, err := client.Select("INBOX", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		store := func(uid imap.UID, flag imap.Flag) {
			add := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{flag}}
			if err := client.Store(imap.UIDSetNum(uid), add, nil).Close(); err != nil {
				t.Fatal(err)
			}
		}
		store(1, imap.FlagDeleted)
		store(2, imap.FlagSeen)
		if err := client.UIDExpunge(imap.UIDSetNum(1)).Close(); err != nil {
			t.Fatal(err)
		}
		store(3, imap.FlagDeleted)
		want := []mailtest.Message{
			{UID: 2, Flags: []string{`\Seen`}},
			{UID: 3, Flags: []string{`\Deleted`}},
			{UID: 4, Flags: []string{`\Flagged`, `\Seen`}},
		}
		ignore := cmpopts.IgnoreFields(mailtest.Message{}, "Body", "file")
		if diff := cmp.Diff(want, d.Messages(t, user), ignore); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("tells EXAMINE from SELECT", func(t *testing.T) {
		t.Parallel()
		user := d.NewUser(t)
		d.Deliver(t, user, numbered(1)...)
		for _, readOnly := range []bool{true, false} {
			client := login(t, d.Connection(t, user, mail.IMAP, mail.NoTLS))
			if _, err := client.Select("INBOX", &imap.SelectOptions{ReadOnly: readOnly}).Wait(); err != nil {
				t.Fatal(err)
			}
			if got := d.Messages(t, user)[0].Recent; got != readOnly {
				t.Errorf("after opening with readOnly %v: recent is %v", readOnly, got)
			}
		}
	})

	t.Run("rebuilds a mailbox under another UIDVALIDITY", func(t *testing.T) {
		t.Parallel()
		user := d.NewUser(t)
		d.Deliver(t, user, numbered(3)...)
		open := func() *imap.SelectData {
			client := login(t, d.Connection(t, user, mail.IMAP, mail.NoTLS))
			box, err := client.Select("INBOX", nil).Wait()
			if err != nil {
				t.Fatal(err)
			}
			if err := client.Logout().Wait(); err != nil {
				t.Fatal(err)
			}
			return box
		}
		open()
		d.Remove(t, d.Messages(t, user)[0])
		d.Rebuild(t, user, 77)
		if box := open(); box.UIDValidity != 77 || box.NumMessages != 2 || box.UIDNext != 3 {
			t.Errorf("after the rebuild: %+v", box)
		}
	})
}

func TestDovecotSettings(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t, "imap_capability = IMAP4rev1 UNSELECT")
	client := login(t, d.Connection(t, d.NewUser(t), mail.IMAP, mail.NoTLS))
	if caps := client.Caps(); caps.Has(imap.CapESearch) || !caps.Has(imap.CapUnselect) {
		t.Errorf("capabilities: %v", caps)
	}
}

func TestDovecotTakesManyMessages(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	want := numbered(2000)
	d.Deliver(t, user, want...)
	if got := mailtest.Bodies(d.Messages(t, user)); !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) {
		t.Errorf("%d messages are not what was delivered", len(got))
	}
}
