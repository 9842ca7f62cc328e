package mailserver_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailpoller/internal/demo/mailserver"
	"mailpoller/internal/mail"
)

func TestIMAPServesOverEverySecurity(t *testing.T) {
	t.Parallel()
	server, client := certified(t)
	s := mailserver.NewIMAP(server)
	t.Cleanup(s.Close)
	if err := s.AddUser(alice, secret); err != nil {
		t.Fatal(err)
	}
	if err := s.Deliver(alice, []imap.Flag{imap.FlagSeen}, messages...); err != nil {
		t.Fatal(err)
	}
	for security, dial := range map[mail.Security]func(string, *imapclient.Options) (*imapclient.Client, error){
		mail.NoTLS: imapclient.DialInsecure, mail.StartTLS: imapclient.DialStartTLS, mail.SSLTLS: imapclient.DialTLS,
	} {
		t.Run(string(security), func(t *testing.T) {
			t.Parallel()
			addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(listen(t, s, security)))
			c, err := dial(addr, &imapclient.Options{TLSConfig: client.Clone()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			if err := c.Login(alice, secret).Wait(); err != nil {
				t.Fatal(err)
			}
			box, err := c.Select("INBOX", nil).Wait()
			if err != nil || box.NumMessages != 3 || box.FirstUnseenSeqNum != 0 {
				t.Errorf("SELECT: %+v, %v; want 3 messages, all read", box, err)
			}
		})
	}
}

func TestIMAPAsksForTLSBeforeAPassword(t *testing.T) {
	t.Parallel()
	server, _ := certified(t)
	s := mailserver.NewIMAP(server)
	t.Cleanup(s.Close)
	if err := s.AddUser(alice, secret); err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(dial(t, listen(t, s, mail.StartTLS)), nil)
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Login(alice, secret).Wait(); err == nil {
		t.Error("LOGIN in clear text is accepted")
	}
}

func TestIMAPNeverGivesOldUIDsToNewMessages(t *testing.T) {
	t.Parallel()
	s := mailserver.NewIMAP(nil)
	t.Cleanup(s.Close)
	if err := s.AddUser(alice, secret); err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(dial(t, listen(t, s, mail.NoTLS)), nil)
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Login(alice, secret).Wait(); err != nil {
		t.Fatal(err)
	}
	began := uint32(time.Now().Add(-time.Minute).Unix())
	box, err := c.Select("INBOX", nil).Wait()
	if err != nil || box.UIDValidity < began {
		t.Errorf("SELECT: %+v, %v; want a UIDVALIDITY that grows with every start", box, err)
	}
	status, err := c.Status("INBOX", &imap.StatusOptions{UIDValidity: true}).Wait()
	if err != nil || status.UIDValidity != box.UIDValidity {
		t.Errorf("STATUS: %+v, %v; SELECT said %d", status, err, box.UIDValidity)
	}
}

func TestDeliveryToNobodyFails(t *testing.T) {
	t.Parallel()
	if err := mailserver.NewIMAP(nil).Deliver("nobody", nil, messages...); err == nil {
		t.Error("IMAP takes it")
	}
	if err := mailserver.NewPOP3(nil).Deliver("nobody", messages...); err == nil {
		t.Error("POP3 takes it")
	}
}
