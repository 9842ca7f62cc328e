package servers

import (
	"regexp"
	"strings"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/test/rig"
)

// keepsThePassword holds the other side of the exceptions to AUTO: where the
// better ways to log in are refused, the password does not follow them in clear
// text, nothing is changed, and the hint says what to set.
func (s *site) keepsThePassword(t *testing.T, security mail.Security) {
	t.Helper()
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		c := cell{store: store, dispose: disposition.Delete, marked: true}
		user := s.fill(t, store, c.marked)
		settings := s.connection(t, c, user, security)
		delete(settings, "auth")
		v := rig.New(t, settings).Poll(c.name())[0]
		if v.State != "FAILED" || v.Error == nil || v.Error.Kind != "auth" || !setAuth.MatchString(v.Error.Hint) {
			t.Errorf("%s: %s, error %+v; want a failure to log in whose hint names auth", store, v.State, v.Error)
		}
		if got, want := namesOf(s.look(t, store, user).messages), len(samples(store, c.marked)); len(got) != want {
			t.Errorf("%s: %v are left on the server, of %d", store, got, want)
		}
		s.tell(t, user)
	}
}

// setAuth finds the advice to set auth.
var setAuth = regexp.MustCompile("\\bauth(:|`)")

// TestAServerWantsAMinuteBetweenLogins: Debian's Cyrus does, over POP3. That is no
// wrong password, and no fault of a message.
func TestAServerWantsAMinuteBetweenLogins(t *testing.T) {
	t.Parallel()
	one := start(t, "cyrus", map[string]any{"PopMinPoll": 1})
	s := &site{server: server{program: "cyrus", account: cyrusUser, deliver: byAPPEND}, front: one, back: one}
	c := cell{store: mail.POP3, dispose: disposition.Delete}
	user := s.fill(t, c.store, c.marked)
	t.Cleanup(func() { s.tell(t, user) })
	poller := rig.New(t, s.connection(t, c, user, mail.NoTLS))
	if v := poller.Poll(c.name())[0]; v.State != "SUCCEEDED" || v.Messages != few {
		t.Fatalf("first job: %+v", v)
	}
	v := poller.Poll(c.name())[0]
	if v.State != "FAILED" || v.Error == nil || v.Error.Kind == "auth" || !strings.Contains(v.Error.Message, "LOGIN-DELAY") {
		t.Errorf("second job: %s, error %+v", v.State, v.Error)
	}
	if v.Quarantined != 0 {
		t.Errorf("%d messages are quarantined", v.Quarantined)
	}
}
