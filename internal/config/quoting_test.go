package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestAValueThatYAMLTakesForSomethingElse: whatever character of YAML's own a
// secret begins with, the problem is at the value, says that it has to be quoted,
// and does not show it.
func TestAValueThatYAMLTakesForSomethingElse(t *testing.T) {
	t.Parallel()
	const canary = "Canary"
	for _, written := range []string{
		"!Canary", "!Canary 1", "! Canary", "!", "!!Canary", "!!Canary 1", "!<Canary>", "!<Canary", "!Canary!1", "!{Canary}", "!Canary,1", "!%Canary",
		"&Canary", "&Canary 1", "&", "& Canary", "&Canary: 1", "*Canary", "*", "* Canary", "*Canary!",
		"@Canary", "`Canary", "%Canary", "|Canary", "|", "|-", "|2", "|+Canary", ">Canary", ">", ">-", ">5",
		"#Canary", ",Canary", "]Canary", "}Canary", "- Canary", "? Canary",
	} {
		for _, in := range []struct{ before, after string }{
			{"connections:\n  - name: a\n    password: ", "\n    host: h\n    port: 1\n    folder: /srv/a\n"},
			{"connections:\n  - host: h\n    port: 1\n    folder: /srv/a\n    name: a\n    password:   ", ""},
			{"defaults:\n  password: ", "\nconnections:\n  - {name: a, host: h, port: 1, folder: /srv/a}\n"},
			{"connections:\n  - name: a\n    host: h\n    port: 1\n    folder: /srv/a\n    username: u\n    oauth2:\n      provider: google\n      client_id: c\n      client_secret: ", "\n"},
		} {
			text := in.before + written + in.after
			_, err := Load(write(t, text))
			lines := strings.Split(in.before, "\n")
			line, column := len(lines), len(lines[len(lines)-1])+1
			if written[0] == '#' {
				column -= len(in.before) - len(strings.TrimRight(in.before, " ")) // of an empty value, behind the colon
			}
			place, sign := fmt.Sprintf(":%d:%d: ", line, column), fmt.Sprintf("found a value that begins with %c, ", written[0])
			if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "missing") ||
				!strings.Contains(err.Error(), place) || !strings.Contains(err.Error(), sign) || !strings.Contains(err.Error(), fmt.Sprintf("quote it: %s: '%c...'", strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(lines[len(lines)-1]), ":")), written[0])) {
				t.Errorf("%s\n%v", text, err)
			}
			quoted := load(t, in.before+"'"+strings.ReplaceAll(written, "'", "''")+"'"+in.after).Connections[0]
			got := quoted.Password
			if quoted.OAuth2 != nil {
				got = quoted.OAuth2.ClientSecret
			}
			if got.Literal.Reveal() != written {
				t.Errorf("%s, quoted, is read as %q", written, got.Literal.Reveal())
			}
		}
	}
}

// TestAFaultElsewhereIsNotOneOfQuoting: the characters stand in places where
// nothing is wrong with them.
func TestAFaultElsewhereIsNotOneOfQuoting(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"connections:\n  - name: a\n   host: h\n",
		"connections: [\n  {name: a}\n",
		"connections:\n\t- name: a\n",
		"connections:\n  - name: a\n    description: note: this\n",
		"connections:\n  - name: \"a\n",
	} {
		if _, err := Load(write(t, text)); err == nil || strings.Contains(err.Error(), "begins with") {
			t.Errorf("%s\n%v", text, err)
		}
	}
}

// TestWhatYAMLHasIsTaken: anchors that an alias refers to, tags that say what a
// value is anyway, block scalars, and comments.
func TestWhatYAMLHasIsTaken(t *testing.T) {
	t.Parallel()
	c := load(t, `
defaults: &d
  port: 1
  folder: &f /srv/a
  description: |
    of two
    lines
connections:
  - name: !!str 1
    host: &h imap.example.com
    username: *h
    password: &p hunter2 # a comment
    match_server_hostname: ENABLED
  - <<: &unused {max_messages: 0}
    name: b # another
    folder: *f
    host: *h
    username: u
    password: *p
    match_server_hostname: ENABLED
`)
	a, b := c.Connections[0], c.Connections[1]
	if a.Name != "1" || a.Username != "imap.example.com" || a.Password.Literal.Reveal() != "hunter2" || b.Password.Literal != a.Password.Literal || b.Host != a.Host || b.Folder != a.Folder || len(c.Warnings) > 0 {
		t.Errorf("%+v\n%+v\n%v", a, b, c.Warnings)
	}
}

// TestAPasswordThatAHashCutOff is a doubt: nobody can tell, but people write a
// blank behind the hash of a comment.
func TestAPasswordThatAHashCutOff(t *testing.T) {
	t.Parallel()
	for written, doubt := range map[string]bool{
		"hunter2 #3":          true,
		"hunter2 #old secret": true,
		"hunter2 # a comment": false,
		"hunter2 #":           false,
		"hunter2#3":           false,
		"'hunter2' #3":        false,
		`"hunter2 #3"`:        false,
		"{env: A} #3":         false,
	} {
		text := fmt.Sprint(load(t, bare+"    username: u\n    match_server_hostname: ENABLED\n    password: "+written+"\n").Warnings)
		if strings.Contains(text, "9:15: password: what stands behind the # is a comment") != doubt || strings.Contains(text, "hunter2") || strings.Contains(text, "secret") {
			t.Errorf("%s: %s", written, text)
		}
	}
}
