package mailbox

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// TestAServerIsToldWhichProgramThisIs where it wants to know, once, behind the login
// and ahead of the mailbox, and never on which host it runs.
func TestAServerIsToldWhichProgramThisIs(t *testing.T) {
	t.Parallel()
	const plain = `ID ("name" "poller" "version" "1.2.3")`
	for _, row := range []struct {
		name           string
		outside, login string // capabilities ahead of the login and behind it
		id             mail.ClientID
		stepwise       bool
		auth           mail.AuthMethod
		want           string // empty: nothing is said
	}{
		{name: "offered", outside: "ID", login: "ID", want: plain},
		{name: "offered, and step by step", outside: "ID", login: "ID", stepwise: true, want: plain},
		{name: "offered behind the login", outside: "X", login: "ID", stepwise: true, want: plain},
		{name: "offered ahead of the login alone, and step by step", outside: "ID", login: "X", stepwise: true},
		{name: "behind AUTHENTICATE", outside: "ID AUTH=PLAIN SASL-IR", login: "ID", auth: mail.AuthPlain, want: plain},
		{name: "not offered", outside: "X", login: "X"},
		{name: "turned off", outside: "ID", login: "ID", id: mail.ClientID{Disabled: true}},
		{name: "with more fields", outside: "ID", login: "ID", id: mail.ClientID{Fields: [][2]string{{"vendor", `An "Example"`}, {"support-email", `a\b@example.com`}}}, want: `ID ("name" "poller" "version" "1.2.3" "vendor" "An \"Example\"" "support-email" "a\\b@example.com")`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			server := mailtest.Script(t, func(c *mailtest.Conn) {
				c.Send("* OK [CAPABILITY IMAP4rev1 " + row.outside + "] hi\r\n")
				c.Answer(
					mailtest.Rule{Line: ` LOGIN | AUTHENTICATE `, Reply: "{tag} OK [CAPABILITY IMAP4rev1 " + row.login + "] in\r\n"},
					mailtest.Rule{Line: ` ID `, Reply: "{tag} NO [CANNOT] go away\r\n"}, // which is no failure
					mailtest.Rule{Line: ` EXAMINE `, Reply: "* 0 EXISTS\r\n* OK [UIDVALIDITY 1] ok\r\n{tag} OK done\r\n"},
					mailtest.Rule{Line: ` LOGOUT`, Reply: "* BYE\r\n{tag} OK bye\r\n"},
				)
			})
			c := mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.NoTLS, server.Port, "u", "secret")
			c.ClientID, c.Auth = row.id, mail.AuthAuto
			if row.auth != "" {
				c.Auth = row.auth
			}
			o := opener()
			o.Version = "1.2.3"
			o.servers.manners(c).stepwise.Store(row.stepwise)
			s, err := o.Open(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			var said []string
			lines := server.Lines()
			at := func(pattern string) int {
				re := regexp.MustCompile(pattern)
				return slices.IndexFunc(lines, re.MatchString)
			}
			for _, line := range lines {
				if _, command, _ := strings.Cut(line, " "); strings.HasPrefix(command, "ID ") {
					said = append(said, command)
				}
			}
			if row.want == "" {
				if len(said) > 0 {
					t.Errorf("it says %q", said)
				}
				return
			}
			if !slices.Equal(said, []string{row.want}) || at(` ID `) < at(` (LOGIN|AUTHENTICATE) `) || at(` ID `) > at(` EXAMINE `) {
				t.Errorf("it says %q, not %q, in %q", said, row.want, lines)
			}
		})
	}
}
