package mailtest_test

import (
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/knadh/go-pop3"

	"mailpoller/internal/demo/mailserver"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

func TestIMAPInTheProcess(t *testing.T) {
	t.Parallel()
	s := mailtest.NewIMAP(t)
	user := s.NewUser(t)
	if got := s.Messages(t, user); got != nil {
		t.Errorf("a new mailbox holds %v", got)
	}
	s.Deliver(t, user, numbered(2)...)
	s.DeliverFlagged(t, user, []string{`\Seen`, `\Flagged`}, []byte("Subject: read\r\n\r\n"))
	want := []mailtest.Message{
		{UID: 1, Body: numbered(2)[0]},
		{UID: 2, Body: numbered(2)[1]},
		{UID: 3, Flags: []string{`\Flagged`, `\Seen`}, Body: []byte("Subject: read\r\n\r\n")},
	}
	for range 2 { // looking changes nothing
		if diff := cmp.Diff(want, s.Messages(t, user), cmpopts.IgnoreUnexported(mailtest.Message{})); diff != "" {
			t.Error(diff)
		}
	}
	validity := func() uint32 {
		box, err := login(t, s.Connection(t, user, mail.SSLTLS)).Select("INBOX", nil).Wait()
		if err != nil {
			t.Fatal(err)
		}
		return box.UIDValidity
	}
	before := validity()
	s.Rebuild(t, user)
	if after := validity(); after == before || len(s.Messages(t, user)) != 0 {
		t.Errorf("after the rebuild: UIDVALIDITY %d, as before; %d messages", after, len(s.Messages(t, user)))
	}
}

func TestIMAPInTheProcessOffersWhatItIsToldTo(t *testing.T) {
	t.Parallel()
	s := mailtest.NewIMAP(t, imap.CapIMAP4rev1)
	client := login(t, s.Connection(t, s.NewUser(t), mail.StartTLS))
	if caps := client.Caps(); caps.Has(imap.CapESearch) || caps.Has(imap.CapUIDPlus) {
		t.Errorf("capabilities: %v", caps)
	}
}

func TestPOP3InTheProcess(t *testing.T) {
	t.Parallel()
	s := mailtest.NewPOP3(t, func(s *mailserver.POP3) { s.Without = []string{"UIDL"} })
	user := s.NewUser(t)
	s.Deliver(t, user, numbered(3)...)
	c := s.Connection(t, user, mail.NoTLS)
	client, err := pop3.New(pop3.Opt{Host: c.Host, Port: c.Port}).NewConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Auth(user, c.Password.Literal.Reveal()); err != nil {
		t.Fatal(err)
	}
	if ids, err := client.Uidl(0); err == nil {
		t.Errorf("UIDL is answered: %v", ids)
	}
	if err := client.Dele(2); err != nil {
		t.Fatal(err)
	}
	if err := client.Quit(); err != nil {
		t.Fatal(err)
	}
	all := numbered(3)
	if diff := cmp.Diff([][]byte{all[0], all[2]}, mailtest.Bodies(s.Messages(t, user))); diff != "" {
		t.Error(diff)
	}
}
