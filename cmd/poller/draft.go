package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"text/template"
)

// draft is what a first configuration says.
type draft struct {
	Name, Store, Host, Port, Security    string
	Username, PasswordFile               string
	Provider, ClientID, ClientSecretFile string
	Tenant                               string
	Folder, Disposition, MaxMessages     string
	CAFile, StateDir                     string
}

//go:embed init.yaml.tmpl
var initTemplate string

// render is the configuration, with comments.
func (d *draft) render() ([]byte, error) {
	t, err := template.New("poller.yaml").Funcs(template.FuncMap{"yaml": scalar}).Parse(initTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, d)
	return b.Bytes(), err
}

// plain is what means itself in YAML, also between braces.
var plain = regexp.MustCompile(`^[A-Za-z0-9/_][A-Za-z0-9/_.@+-]*$`)

// scalar is a text as YAML has it: plain, or quoted as in JSON.
func scalar(s string) (string, error) {
	if plain.MatchString(s) && !strings.EqualFold(s, "null") {
		return s, nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// next says what to do with the file that was written.
func (s *setup) next() {
	// What systemd does is about the one file that its unit names.
	units := s.path == defaultConfig && isDir("/run/systemd/system")
	at := ""
	if s.path != defaultConfig {
		at = " --config " + shell(s.path)
	}
	name := shell(s.Name)
	fmt.Fprintln(s.stdout, "\nNext:")
	say := func(command, why string) { fmt.Fprintf(s.stdout, "  %-44s # %s\n", command, why) }
	if units {
		fmt.Fprintf(s.stdout, "  let the unit write there, with `systemctl edit poller`:\n    [Service]\n    ReadWritePaths=%s\n", s.Folder)
		say("systemctl enable --now poller", "start it; if it runs: systemctl reload poller")
	}
	if s.grant {
		say("poller oauth login "+name+at, "the user of the mailbox consents, once")
	}
	if s.grant || !s.tested || units {
		say("poller test "+name+at, "can it work?")
	}
	if !units {
		say("poller poll "+name+at, "poll once")
		say("poller run"+at, "be the daemon; docs/install.md has it under systemd")
	} else {
		say("poller status", "what it does")
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// shell is a text as one word of a shell.
func shell(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
