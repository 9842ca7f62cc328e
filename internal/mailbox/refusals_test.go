package mailbox

import (
	"testing"
	"time"

	"mailpoller/internal/mail"
)

// TestWhatARefusalMeans: by its code, or where that says nothing, by its text.
func TestWhatARefusalMeans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		op, code, text string
		kind           mail.Kind
		wait           time.Duration
	}{
		{mail.OpFetch, "UNAVAILABLE", "", mail.KindServer, 0},
		{mail.OpFetch, "CONTACTADMIN", "", mail.KindServer, 0},
		{mail.OpFetch, "SYS/PERM", "corrupt", mail.KindServer, 0},
		{mail.OpFetch, "", "Request is throttled. Suggested Backoff Time: 297512 milliseconds", mail.KindServer, 297512 * time.Millisecond},
		{mail.OpFetch, "XTHROTTLE", "Too many requests, try again in 5 minutes", mail.KindServer, 5 * time.Minute},
		{mail.OpFetch, "", "User is authenticated but not connected.", mail.KindAuth, 0},
		{mail.OpFetch, "", "some of the requested messages no longer exist", mail.KindProtocol, 0},
		{mail.OpFetch, "NONEXISTENT", "no such message", mail.KindProtocol, 0},
		{mail.OpOpenMailbox, "NONEXISTENT", "no such mailbox", mail.KindConfig, 0},
		{mail.OpOpenMailbox, "", "no", mail.KindConfig, 0},
		{mail.OpAuthenticate, "AUTHENTICATIONFAILED", "too many failures", mail.KindAuth, 0},
		{mail.OpAuthenticate, "ALERT", "Too many simultaneous connections. (Failure)", mail.KindServer, 0},
		{mail.OpAuthenticate, "", "Invalid credentials; try again later", mail.KindAuth, 0},
		{mail.OpAuthenticate, "", "LOGIN User name or passwd rejected", mail.KindAuth, 0},
		{mail.OpAuthenticate, "", "Mailbox in use", mail.KindServer, 0},
		{mail.OpAuthenticate, "LOGIN-DELAY", "minimum time between mail checks violation", mail.KindServer, 0},
		{mail.OpAuthenticate, "IN-USE", "", mail.KindServer, 0},
		{mail.OpAuthenticate, "CONTACTADMIN", "", mail.KindServer, 0},
	} {
		kind, _ := refused(c.op, &refusal{code: c.code, text: c.text})
		wait := backOff(c.text)
		if kind != c.kind || kind == mail.KindServer && wait != c.wait {
			t.Errorf("%s: [%s] %s: %s, %s", c.op, c.code, c.text, kind, wait)
		}
	}
}
