// Package mailtest is what tests of every layer lean on: a test CA, a real
// Dovecot, servers in the process, servers that follow a script, and messages
// that are awkward to carry. What it starts ends with the test.
package mailtest

import (
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/tlspolicy"
)

// Host is where every server of a test listens.
const Host = "127.0.0.1"

// Connection is what a configuration with nothing but the required keys would
// make, with a folder of its own and shorter bounds on time. The test may
// change it before it hands it on.
func Connection(t testing.TB, ca *CA, store mail.StoreType, security mail.Security, port int, user, password string) *mail.Connection {
	t.Helper()
	c := &mail.Connection{
		Name:        user,
		Enabled:     true,
		Host:        Host,
		Port:        port,
		Security:    security,
		TLS:         tlspolicy.Policy{Roots: ca.Pool()},
		Username:    user,
		Password:    mail.SecretSource{Literal: mail.NewSecret(password)},
		Auth:        mail.AuthAuto,
		Store:       store,
		Mailbox:     "INBOX",
		Pull:        disposition.Pull{Unread: true},
		Dispose:     disposition.Keep,
		Folder:      t.TempDir(),
		FileMode:    0o640,
		DirMode:     0o750,
		Schedule:    "@every 1m",
		BackOff:     true,
		MaxMessages: 1,
		Timeout:     10 * time.Second,
		PollTimeout: time.Minute,
		Fingerprint: user,
	}
	if store == mail.POP3 {
		c.Dispose = disposition.Delete
	}
	return c
}
