package servers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/test/rig"
)

// logins are how many logins a server refuses over TLS, for each protocol.
type logins struct {
	astray int // with the right password: once in the life of a daemon
	wrong  int // with a wrong password: in each job
	cannot int // mechanisms that it offers and says that it cannot do: once in the life of a daemon
}

var refusedLogins = map[string]logins{
	"dovecot":   {astray: 0, wrong: 2},            // SCRAM, and what tells whether it is the password
	"perdition": {astray: 0, wrong: 1},            // it offers LOGIN alone
	"cyrus":     {astray: 1, wrong: 2, cannot: 1}, // SCRAM-SHA-256-PLUS under TLS 1.3
	"courier":   {astray: 0, wrong: 1},            // it offers LOGIN and PLAIN alone
	"mailutils": {astray: 1, wrong: 2},            // SCRAM, APOP; it does not say that it cannot do them
}

// TestRefusedLoginsAreFew: a daemon that had to find out how to log in remembers it,
// and a wrong password costs two logins in a job at the most, as the server counts.
func TestRefusedLoginsAreFew(t *testing.T) {
	t.Parallel()
	for _, row := range servers {
		t.Run(row.program, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, row)
			want := refusedLogins[row.program]
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("%s said:\n%s", s.program, s.front.said.tail())
				}
			})
			s.remembers(t)
			s.refused(t, 2*want.astray)

			var connections []rig.Settings
			for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
				c := cell{store: store, dispose: disposition.Keep}
				settings := s.connection(t, c, s.fill(t, store, false), mail.SSLTLS)
				connections = append(connections, settings.With(rig.Settings{"name": string(store), "schedule": never, "password": "wrong-" + s.front.Password}))
			}
			poller := rig.New(t, connections...)
			daemon := poller.Start().Ready()
			for range 2 {
				for _, v := range poller.Poll("IMAP", "POP3") {
					if v.State != "FAILED" || v.Error == nil || v.Error.Kind != "auth" || !strings.Contains(v.Error.Hint, "password") {
						t.Errorf("%s with a wrong password: %s, %+v", v.Connection, v.State, v.Error)
					}
				}
			}
			daemon.Stop()
			s.refused(t, 2*want.astray+4*want.wrong+2*want.cannot)
		})
	}
}

// never is a schedule that is not due while a test runs.
const never = "@every 8760h"

// remembers has a daemon poll again and again, over TLS and in clear text: it finds out
// once what the server does not put up with, and says who it is.
func (s *site) remembers(t *testing.T) {
	t.Helper()
	var connections []rig.Settings
	var names []string
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for _, security := range []mail.Security{mail.NoTLS, mail.SSLTLS} {
			c := cell{store: store, dispose: disposition.Keep}
			name := fmt.Sprintf("%s-%s", store, security)
			settings := s.connection(t, c, s.fill(t, store, false), security)
			connections = append(connections, settings.With(rig.Settings{"name": name, "schedule": never}))
			names = append(names, name)
		}
	}
	poller := rig.New(t, connections...)
	daemon := poller.Start().Ready()
	for range 4 {
		for _, v := range poller.Poll(names...) {
			if v.State != "SUCCEEDED" {
				t.Errorf("%s: %s, %+v", v.Connection, v.State, v.Error)
			}
		}
	}
	daemon.Stop()
	said, _ := daemon.Log.From(0)
	for _, name := range names {
		for _, lesson := range []string{"going on step by step", "trying the next way"} {
			n := 0
			for line := range strings.Lines(said) {
				if strings.Contains(line, lesson) && strings.Contains(line, `"connection":"`+name+`"`) {
					n++
				}
			}
			if n > 1 {
				t.Errorf("%s has to learn %d times: %s", name, n, lesson)
			}
		}
	}
	if s.identifies != nil && !s.identifies.MatchString(s.back.said.all()) {
		t.Errorf("%s is not told which program polls it", s.program)
	}
}

// refused waits until the server has refused so many logins, by its log.
func (s *site) refused(t *testing.T, want int) {
	t.Helper()
	late := time.After(startTimeout)
	for {
		n := len(s.refusal.FindAllString(s.front.said.all(), -1))
		if n > want {
			t.Errorf("%s refused %d logins, not %d", s.program, n, want)
		}
		if n >= want {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-late:
			t.Errorf("%s refused %d logins, not %d", s.program, n, want)
			return
		}
	}
}
