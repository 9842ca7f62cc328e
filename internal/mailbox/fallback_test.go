package mailbox

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// door is a server that offers ways to log in, and answers each in its own way.
type door struct {
	store    mail.StoreType
	security mail.Security
	greeting string            // POP3: behind +OK
	offered  string            // SASL mechanisms
	answers  map[string]string // to a login, by its way; "in" lets the client in

	mu    sync.Mutex
	tried []string
}

const (
	locked = "closed" // the server hangs up
	in     = "in"
)

// try notes a login and answers it.
func (d *door) try(c *mailtest.Conn, way, ok string, in func()) {
	d.mu.Lock()
	d.tried = append(d.tried, way)
	d.mu.Unlock()
	switch answer := d.answers[way]; answer {
	case "in":
		c.Send(ok)
		in()
	case "", locked:
	default:
		c.Send(answer + "\r\n")
		c.Stall()
	}
}

// tries are the logins since the last call.
func (d *door) tries() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	tried := d.tried
	d.tried = nil
	return tried
}

func (d *door) imap(t *testing.T, c *mailtest.Conn) {
	caps := "CAPABILITY IMAP4rev1 SASL-IR"
	for word := range strings.FieldsSeq(d.offered) {
		caps += " AUTH=" + word
	}
	c.Send("* OK [" + caps + "] hi\r\n")
	line := c.Expect(`(AUTHENTICATE|LOGIN) `)
	words := strings.Fields(line)
	inside := func() {
		for {
			switch line := c.Line(); {
			case strings.Contains(line, " EXAMINE "), strings.Contains(line, " SELECT "):
				c.Send("* 0 EXISTS\r\n* OK [UIDVALIDITY 1] ok\r\n{tag} OK done\r\n")
			case strings.Contains(line, " LOGOUT"):
				c.Send("* BYE\r\n{tag} OK bye\r\n")
				return
			default:
				c.Send("{tag} OK\r\n")
			}
		}
	}
	ok := words[0] + " OK [CAPABILITY IMAP4rev1] in\r\n"
	switch {
	case strings.EqualFold(words[1], "LOGIN"):
		d.try(c, "LOGIN", ok, inside)
	case words[2] == "SCRAM-SHA-256" && d.answers[words[2]] == in:
		d.try(c, words[2], "", func() { d.scram(t, c, line, ok); inside() })
	default:
		d.try(c, words[2], ok, inside)
	}
}

// scram is the server's side of SCRAM-SHA-256 without channel binding.
func (d *door) scram(t *testing.T, c *mailtest.Conn, line, ok string) {
	conversation := scramServer(t).NewConversation()
	for range 2 {
		raw, err := base64.StdEncoding.DecodeString(line[strings.LastIndexByte(line, ' ')+1:])
		if err != nil {
			t.Error(err)
		}
		answer, err := conversation.Step(string(raw))
		if err != nil {
			t.Error(err)
		}
		c.Send("+ " + base64.StdEncoding.EncodeToString([]byte(answer)) + "\r\n")
		line = c.Line()
	}
	c.Send(ok)
}

func (d *door) pop3(c *mailtest.Conn) {
	c.Send("+OK hi " + d.greeting + "\r\n")
	inside := func() {
		for {
			switch c.Line() {
			case "STAT":
				c.Send("+OK 0 0\r\n")
			case "QUIT":
				c.Send("+OK bye\r\n")
				return
			default:
				c.Send("+OK\r\n")
			}
		}
	}
	for {
		switch words := strings.Fields(c.Line()); words[0] {
		case "CAPA":
			c.Send("+OK\r\nUSER\r\nSASL " + d.offered + "\r\n.\r\n")
		case "AUTH":
			d.try(c, words[1], "+OK\r\n", inside)
		case "USER":
			c.Send("+OK\r\n")
		default:
			d.try(c, words[0], "+OK\r\n", inside)
		}
	}
}

// stand opens the door until the test ends, and is a connection to it.
func (d *door) stand(t *testing.T) (*mail.Connection, *mailtest.Scripted) {
	t.Helper()
	ca := mailtest.NewCA(t)
	config := ca.ServerTLS(t, mailtest.Host)
	server := mailtest.Script(t, func(c *mailtest.Conn) {
		if d.security == mail.SSLTLS {
			c.TLS(config)
		}
		if d.store == mail.POP3 {
			d.pop3(c)
		} else {
			d.imap(t, c)
		}
	})
	c := mailtest.Connection(t, ca, d.store, d.security, server.Port, "u", "secret")
	c.Timeout = 5 * time.Second
	return c, server
}

// TestALoginThatFailsIsFollowedByAsSafeAOne, where it may be another matter than
// the password, under TLS alone. What worked is remembered, and a wrong password
// costs one login too many.
func TestALoginThatFailsIsFollowedByAsSafeAOne(t *testing.T) {
	t.Parallel()
	const (
		no     = "{tag} NO "
		wrong  = no + "[AUTHENTICATIONFAILED] wrong user or password"
		failed = no + "AUTHENTICATE authentication failed"
		every  = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN"
		plus   = "SCRAM-SHA-256-PLUS"
		stamp  = "<1896.697170952@dbc.mtview.ca.us>"
	)
	type answers = map[string]string
	for _, row := range []struct {
		name string
		door *door
		auth mail.AuthMethod
		want []string // what is tried in the first session, in turn
		next []string // likewise in the second one
		kind mail.Kind
		says string
		hint string
	}{
		{
			name: "a channel binding that the server cannot do", door: &door{offered: every, answers: answers{plus: no + "bad protocol / cancel", "SCRAM-SHA-256": in}},
			want: []string{plus, "SCRAM-SHA-256"}, next: []string{"SCRAM-SHA-256"},
		},
		{
			name: "a server that has no secrets for it", door: &door{offered: every, answers: answers{plus: failed, "SCRAM-SHA-256": failed, "LOGIN": in}},
			want: []string{plus, "LOGIN"}, next: []string{"LOGIN"},
		},
		{
			name: "mechanisms that the server does not have after all",
			door: &door{offered: every, answers: answers{plus: "{tag} BAD unknown", "SCRAM-SHA-256": no + "mechanism not supported, mate", "CRAM-MD5": no + "[CANNOT] unsupported", "LOGIN": in}},
			want: []string{plus, "SCRAM-SHA-256", "CRAM-MD5", "LOGIN"}, next: []string{"LOGIN"},
		},
		{
			name: "a disconnect for an answer", door: &door{offered: every, answers: answers{plus: locked, "LOGIN": in}},
			want: []string{plus, "LOGIN"}, next: []string{"LOGIN"},
		},
		{
			name: "a challenge that makes no sense", door: &door{offered: "SCRAM-SHA-256 PLAIN", answers: answers{"SCRAM-SHA-256": "+ cj14", "LOGIN": in}},
			want: []string{"SCRAM-SHA-256", "LOGIN"}, next: []string{"LOGIN"},
		},
		{
			name: "a wrong password", door: &door{offered: every, answers: answers{plus: wrong, "SCRAM-SHA-256": wrong, "CRAM-MD5": wrong, "PLAIN": wrong, "LOGIN": wrong}},
			want: []string{plus, "LOGIN"}, next: []string{plus, "LOGIN"},
			kind: mail.KindAuth, says: "tried before: SCRAM-SHA-256-PLUS: server refused", hint: "password",
		},
		{
			name: "a wrong password behind a mechanism that does not work", door: &door{offered: every, answers: answers{plus: no + "cancel", "SCRAM-SHA-256": wrong, "LOGIN": wrong}},
			want: []string{plus, "SCRAM-SHA-256", "LOGIN"}, next: []string{"SCRAM-SHA-256", "LOGIN"},
			kind: mail.KindAuth, says: "SCRAM-SHA-256: server refused", hint: "password",
		},
		{
			name: "a wrong password, said to who says it", door: &door{offered: "PLAIN LOGIN", answers: answers{"LOGIN": wrong, "PLAIN": in}},
			want: []string{"LOGIN"}, next: []string{"LOGIN"}, kind: mail.KindAuth, says: "wrong user or password", hint: "password",
		},
		{
			name: "a server that has enough", door: &door{offered: every, answers: answers{plus: no + "[LIMIT] too many logins", "LOGIN": in}},
			want: []string{plus}, next: []string{plus}, kind: mail.KindServer, says: "too many logins",
		},
		{
			name: "somebody who took channel binding away", door: &door{offered: "SCRAM-SHA-256 PLAIN", answers: answers{"SCRAM-SHA-256": no + "server-does-support-channel-binding", "LOGIN": in}},
			want: []string{"SCRAM-SHA-256"}, next: []string{"SCRAM-SHA-256"}, kind: mail.KindAuth, says: "channel-binding",
		},
		{
			name: "a mechanism that was asked for", door: &door{offered: every, answers: answers{"SCRAM-SHA-256": in, "LOGIN": in}}, auth: mail.AuthScramSHA256,
			want: []string{"SCRAM-SHA-256"}, next: []string{"SCRAM-SHA-256"},
		},
		{
			name: "a mechanism that was asked for, and does not work", door: &door{offered: every, answers: answers{plus: no + "bad protocol / cancel", "LOGIN": in}}, auth: mail.AuthScramSHA256Plus,
			want: []string{plus}, next: []string{plus}, kind: mail.KindProtocol, says: "bad protocol", hint: "auth: PLAIN",
		},
		{
			name: "in clear text", door: &door{security: mail.NoTLS, offered: "SCRAM-SHA-256 PLAIN", answers: answers{"SCRAM-SHA-256": failed, "PLAIN": in, "LOGIN": in}},
			want: []string{"SCRAM-SHA-256"}, next: []string{"SCRAM-SHA-256"}, kind: mail.KindAuth, says: "authentication failed",
		},
		{
			name: "in clear text, for another reason than the password", door: &door{security: mail.NoTLS, offered: "SCRAM-SHA-256 CRAM-MD5 PLAIN", answers: answers{"SCRAM-SHA-256": no + "mechanism not supported", "CRAM-MD5": in, "LOGIN": in}},
			want: []string{"SCRAM-SHA-256"}, next: []string{"SCRAM-SHA-256"}, kind: mail.KindProtocol, says: "not supported", hint: "auth:",
		},
		{
			name: "APOP that is refused", door: &door{store: mail.POP3, greeting: stamp, answers: answers{"APOP": "-ERR [AUTH] Bad login", "PASS": in}},
			want: []string{"APOP", "PASS"}, next: []string{"PASS"},
		},
		{
			name: "APOP and a mechanism that do not work", door: &door{store: mail.POP3, greeting: stamp, offered: "CRAM-MD5 PLAIN", answers: answers{"CRAM-MD5": "-ERR unsupported", "APOP": "-ERR not implemented", "PASS": in}},
			want: []string{"CRAM-MD5", "APOP", "PASS"}, next: []string{"PASS"},
		},
		{
			name: "APOP with a wrong password", door: &door{store: mail.POP3, greeting: stamp, offered: "PLAIN", answers: answers{"APOP": "-ERR [AUTH] no", "PASS": "-ERR [AUTH] no", "PLAIN": "-ERR [AUTH] no"}},
			want: []string{"APOP", "PASS"}, next: []string{"APOP", "PASS"}, kind: mail.KindAuth, says: "tried before: APOP command: server refused", hint: "password",
		},
		{
			name: "APOP in clear text", door: &door{store: mail.POP3, security: mail.NoTLS, greeting: stamp, answers: answers{"APOP": "-ERR [AUTH] Bad login", "PASS": in}},
			want: []string{"APOP"}, next: []string{"APOP"}, kind: mail.KindAuth, says: "Bad login",
		},
		{
			name: "a challenge of APOP that is no message id", door: &door{store: mail.POP3, greeting: "<\x01\x02 not one@>", answers: answers{"APOP": in, "PASS": in}},
			want: []string{"PASS"}, next: []string{"PASS"},
		},
		{
			name: "a challenge of APOP without a domain", door: &door{store: mail.POP3, greeting: "<12345>", answers: answers{"APOP": in, "PASS": in}},
			want: []string{"PASS"}, next: []string{"PASS"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d := row.door
			if d.store == "" {
				d.store = mail.IMAP
			}
			if d.security == "" {
				d.security = mail.SSLTLS
			}
			c, server := d.stand(t)
			if row.auth != "" {
				c.Auth = row.auth
			}
			o := opener()
			for _, want := range [][]string{row.want, row.next} {
				s, err := o.Open(t.Context(), c)
				if err == nil {
					if err := s.Close(); err != nil {
						t.Error(err)
					}
				}
				if tried := d.tries(); !slices.Equal(tried, want) {
					t.Errorf("tried %q, not %q", tried, want)
				}
				switch e := mail.AsError(err, "", ""); {
				case row.says == "" && err != nil:
					t.Error(err)
				case row.says != "" && (e == nil || e.Kind != row.kind || !strings.Contains(e.Error(), row.says) || !strings.Contains(e.Hint, row.hint)):
					t.Errorf("%v (%+v); not %q of kind %s, hint %q", err, e, row.says, row.kind, row.hint)
				}
			}
			for _, secret := range spellings("u", mail.NewSecret("secret")) {
				if strings.Contains(server.Clear(), secret) {
					t.Errorf("in clear text: %q", server.Clear())
				}
			}
		})
	}
}

// TestAWrongPasswordCostsOneLoginTooManyInAJob, however many attempts it has.
func TestAWrongPasswordCostsOneLoginTooManyInAJob(t *testing.T) {
	t.Parallel()
	for store, ways := range map[mail.StoreType][]string{mail.IMAP: {"SCRAM-SHA-256-PLUS", "LOGIN"}, mail.POP3: {"SCRAM-SHA-256-PLUS", "PASS"}} {
		t.Run(fmt.Sprint(store), func(t *testing.T) {
			t.Parallel()
			wrong := map[mail.StoreType]string{mail.IMAP: "{tag} NO [AUTHENTICATIONFAILED] no", mail.POP3: "-ERR [AUTH] no"}[store]
			d := &door{store: store, security: mail.SSLTLS, offered: "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN", answers: map[string]string{}}
			for _, way := range []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "PASS"} {
				d.answers[way] = wrong
			}
			c, _ := d.stand(t)
			job, o := mail.WithLogins(t.Context()), opener()
			for range 3 {
				if _, err := o.Open(job, c); err == nil {
					t.Error("it is let in")
				}
			}
			if tried, want := d.tries(), append(slices.Clone(ways), ways[0], ways[0]); !slices.Equal(tried, want) {
				t.Errorf("tried %q, not %q", tried, want)
			}
		})
	}
}

// TestWhatWorkedIsRememberedOfThatServerAndSetting alone.
func TestWhatWorkedIsRememberedOfThatServerAndSetting(t *testing.T) {
	t.Parallel()
	const cannot = "{tag} NO bad protocol / cancel"
	d := &door{store: mail.IMAP, security: mail.SSLTLS, offered: "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN", answers: map[string]string{"SCRAM-SHA-256-PLUS": cannot, "SCRAM-SHA-256": in}}
	other := &door{store: mail.IMAP, security: mail.SSLTLS, offered: d.offered, answers: d.answers}
	first, _ := d.stand(t)
	second, _ := other.stand(t)
	insists := *first
	insists.Auth = mail.AuthScramSHA256Plus
	o := opener()
	for _, turn := range []struct {
		c    *mail.Connection
		door *door
		want []string
		ok   bool
	}{
		{first, d, []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, true},
		{&insists, d, []string{"SCRAM-SHA-256-PLUS"}, false},
		{second, other, []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, true},
		{first, d, []string{"SCRAM-SHA-256"}, true},
		{second, other, []string{"SCRAM-SHA-256"}, true},
	} {
		s, err := o.Open(t.Context(), turn.c)
		if err == nil {
			_ = s.Close()
		}
		if tried := turn.door.tries(); !slices.Equal(tried, turn.want) || (err == nil) != turn.ok {
			t.Errorf("tried %q, not %q: %v", tried, turn.want, err)
		}
	}
}
