package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestThroughAProxy: the mail server has a name that only the proxy knows.
func TestThroughAProxy(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for scheme, address := range mailtest.Proxies(t) {
		for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
			for _, security := range []mail.Security{mail.SSLTLS, mail.StartTLS, mail.NoTLS} {
				t.Run(fmt.Sprint(scheme, " ", store, " ", security), func(t *testing.T) {
					t.Parallel()
					user := d.NewUser(t)
					d.Deliver(t, user, []byte("Subject: 1\r\n\r\nx\r\n"))
					secret := filepath.Join(t.TempDir(), "secret")
					if err := os.WriteFile(secret, []byte(mailtest.ProxyPassword+"\n"), 0o600); err != nil {
						t.Fatal(err)
					}
					s := rig.New(t, rig.Connect(t, d, "orders", user, store, security).With(rig.Settings{
						"host": mailtest.Hidden, "disposition": "DELETE",
						"proxy": map[string]any{"url": scheme + "://" + address, "username": mailtest.ProxyUser, "password": map[string]any{"file": secret}},
					}))
					out, _, code := s.Run("test", "orders")
					for _, want := range []string{"left to the proxy " + scheme + "://" + address, mailtest.Hidden, "through " + scheme + "://" + address} {
						if code != 0 || !strings.Contains(out, want) {
							t.Errorf("%d: no %q in\n%s", code, want, out)
						}
					}
					if view := s.Poll("orders")[0]; view.Messages != 1 || len(d.Messages(t, user)) != 0 {
						t.Errorf("%+v, %+v", view, view.Error)
					}
					if err := os.WriteFile(secret, []byte("another one\n"), 0o600); err != nil {
						t.Fatal(err)
					}
					view := s.Poll("orders")[0]
					if e := view.Error; e == nil || e.Op != "connect" || e.Kind != "auth" || !strings.Contains(e.Hint, "proxy:") || !strings.Contains(e.Message, scheme+"://"+address) {
						t.Errorf("with another password: %+v", view.Error)
					}
				})
			}
		}
	}
}

// TestTheProxiesOfTheDocumentation: the example is a configuration.
func TestTheProxiesOfTheDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/proxies.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	s := rig.New(t)
	if err := os.WriteFile(s.Config, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := s.Run("check", "--show"); code != 0 || strings.Count(out, "://proxy.example.com") != 2 {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}
