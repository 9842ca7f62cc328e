// Package oauth runs the real binary against an authorisation server of other
// people and a real Dovecot that asks that server about tokens.
package oauth

import (
	"os"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/op"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// site is a mailbox that takes the tokens of a provider, and a daemon.
func site(t *testing.T, app op.ApplicationType) (*rig.Daemon, *mailtest.Dovecot, *provider, string) {
	t.Helper()
	user := "user1" // as NewUser calls the first one
	p := startProvider(t, user, app)
	d := mailtest.StartDovecot(t, p.dovecot(t)...)
	if made := d.NewUser(t); made != user {
		t.Fatalf("the mailbox is %s", made)
	}
	c := rig.Connect(t, d, "orders", user, mail.IMAP, mail.SSLTLS)
	delete(c, "password")
	block := rig.Settings{
		"provider": "custom", "client_id": clientID, "client_secret": clientSecret,
		"scopes": "openid profile offline_access", "token_url": p.url + "/oauth/token",
	}
	if app == op.ApplicationTypeNative {
		block["auth_url"] = p.url + "/auth"
	} else {
		block["device_url"] = p.url + "/device_authorization"
	}
	c["oauth2"], c["schedule"] = block, "@hourly"
	return rig.New(t, c).Start().Ready(), d, p, user
}

// works polls with the token of a login, and after a restart with what is
// left of it: the provider has voided the first refresh token by then.
func works(t *testing.T, daemon *rig.Daemon, d *mailtest.Dovecot, user string) {
	t.Helper()
	for range 3 {
		d.Deliver(t, user, []byte("Subject: x\r\n\r\nx\r\n"))
		if v := daemon.Poll("orders")[0]; v.State != "SUCCEEDED" || v.Messages != 1 {
			t.Fatalf("%+v, %+v", v, v.Error)
		}
		daemon.Kill()
		<-daemon.Done
		daemon = daemon.Site.Start().Ready()
	}
}

func TestLoginInABrowser(t *testing.T) {
	t.Parallel()
	daemon, d, _, user := site(t, op.ApplicationTypeNative)
	address, ended := login(t, daemon.Site)
	if page := consent(t, address, user); !strings.Contains(page, "poller may read the mailbox now") {
		t.Fatalf("the user sees\n%s", page)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	works(t, daemon, d, user)
}

func TestLoginOnAnotherDevice(t *testing.T) {
	t.Parallel()
	daemon, d, p, user := site(t, op.ApplicationTypeWeb)
	code, ended := login(t, daemon.Site)
	if err := p.all.CompleteDeviceAuthorization(t.Context(), code, "id1"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	works(t, daemon, d, user)
}
