package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The reference, and the manual page that says the same.
const (
	reference = "../../docs/configuration.md"
	manual    = "../../docs/man/poller.yaml.5"
)

// groups are the keys of a connection as an operator looks for them.
var groups = []struct {
	title string
	keys  []string
}{
	{"What it is", []string{"name", "description", "status"}},
	{"The mailbox", []string{"host", "port", "store_type", "connection_security", "mailbox", "proxy"}},
	{"The account", []string{"username", "password", "auth", "oauth2", "client_id"}},
	{"Whom to trust", []string{"match_server_hostname", "ca_file", "client_key_label", "ssl_authentication_protocol", "accepted_cipher_suites"}},
	{"Which messages, and what becomes of them", []string{"pull_disposition", "max_messages", "max_message_size", "disposition", "move_to", "match"}},
	{"Where they are saved", []string{"folder", "file_mode", "dir_mode", "directory_sync", "format", "filename", "metadata", "keep_original", "without_attachments"}},
	{"Whom to tell", []string{"notify"}},
	{"When, and what if it fails", []string{"schedule", "max_retries", "retry_interval", "back_off", "timeout", "command_timeout", "poll_timeout"}},
}

// TestTheReferenceIsThatOfTheTables: docs/configuration.md and poller.yaml(5) say
// what the tables of keys say.
func TestTheReferenceIsThatOfTheTables(t *testing.T) {
	t.Parallel()
	var page, man strings.Builder
	for _, s := range chapters(t) {
		fmt.Fprintf(&page, "%s %s\n\n", strings.Repeat("#", s.depth), s.title)
		if fmt.Fprintf(&man, ".Ss %s\n", mdoc(s.title)); len(s.rows) > 0 {
			page.WriteString(s.markdown() + "\n")
			man.WriteString(s.mdoc())
		}
	}
	inserted(t, reference, "<!-- the keys -->\n", "<!-- end -->", page.String())
	inserted(t, manual, ".Sh KEYS\n", ".Sh FILES", man.String())
}

// inserted compares the part of a file between two marks.
func inserted(t *testing.T, file, begin, end, got string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the tables", file)
	}
	golden(t, file, before+begin+got+end+after)
}

// chapter is a table under its title, or a title alone.
type chapter struct {
	depth int
	title string
	table
}

// chapters are the tables, in the order of the reference.
func chapters(t *testing.T) []chapter {
	t.Helper()
	connection := named(t, "connection")
	all := []chapter{{depth: 2, title: "A connection"}}
	grouped := make(map[string]bool)
	for _, g := range groups {
		part := table{required: required}
		for _, name := range g.keys {
			i := slices.Index(connection.names(), name)
			if i < 0 || grouped[name] {
				t.Fatalf("%s: there is no such key, or it stands in two groups", name)
			}
			grouped[name] = true
			part.rows = append(part.rows, connection.rows[i])
		}
		all = append(all, chapter{3, g.title, part})
	}
	for _, name := range connection.names() {
		if !grouped[name] {
			t.Errorf("%s stands in no group: give it a place in the reference", name)
		}
	}
	return append(all,
		chapter{3, "Tokens: `oauth2`", named(t, "oauth2")},
		chapter{3, "A proxy that asks who one is: `proxy`", named(t, "proxy")},
		chapter{3, "Whom to tell: `notify`", named(t, "notify")},
		chapter{3, "Where a secret comes from", named(t, "source")},
		chapter{2, "The top level", named(t, "")},
		chapter{3, "`log`", named(t, "log")},
		chapter{3, "`limits`", named(t, "limits")},
		chapter{3, "Each of `api_tokens`", named(t, "api_token")},
		chapter{3, "`tracing`", named(t, "tracing")},
		chapter{3, "Each of `keys`", named(t, "key")},
	)
}

// markdown is a table as it stands on a page.
func (t table) markdown() string {
	escape := strings.NewReplacer("|", `\|`, "*", `\*`, "<", `\<`)
	var page strings.Builder
	page.WriteString("| key | meaning | accepted | default |\n| --- | --- | --- | --- |\n")
	for _, r := range t.rows {
		standard := ""
		switch {
		case slices.Contains(t.required, r.name):
			standard = "*required*"
		case r.standard != nil:
			standard = fmt.Sprintf("`%v`", r.standard)
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", r.name, escape.Replace(r.about), escape.Replace(r.accepts), standard)
	}
	return page.String()
}

// mdoc is a table as it stands on a manual page; see mdoc(7).
func (t table) mdoc() string {
	var page strings.Builder
	page.WriteString(".Bl -tag -width Ds\n")
	for _, r := range t.rows {
		fmt.Fprintf(&page, ".It Cm %s\n%s.\nAccepted: %s.\n", r.name, mdoc(strings.TrimSuffix(r.about, ".")), mdoc(r.accepts))
		switch {
		case slices.Contains(t.required, r.name):
			page.WriteString("Required.\n")
		case r.standard != nil:
			fmt.Fprintf(&page, "Default: %s.\n", mdoc(fmt.Sprint(r.standard)))
		}
	}
	page.WriteString(".El\n")
	return page.String()
}

// request is what mdoc(7) takes for one: a dot or an apostrophe that begins a line.
var request = regexp.MustCompile(`(?m)^[.']`)

// mdoc is text in which nothing is a request, with each sentence on a line of its own.
func mdoc(text string) string {
	text = strings.NewReplacer("\n", " ", `\`, `\e`, "`", "", ". ", ".\n").Replace(text)
	return request.ReplaceAllString(text, `\&$0`)
}

// TestWhatTheGuidesComeToLoads: each configuration of docs/migration.md and of
// docs/configuration.md is one that Load takes, without a doubt.
func TestWhatTheGuidesComeToLoads(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"../../docs/migration.md", reference} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks := block.FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 {
			t.Errorf("%s has no configuration", page)
		}
		for i, b := range blocks {
			t.Run(fmt.Sprint(filepath.Base(page), i+1), func(t *testing.T) {
				t.Parallel()
				c := load(t, b[1])
				if len(c.Connections) == 0 {
					t.Error("no connection is in it")
				}
				for _, w := range c.Warnings {
					t.Errorf("a doubt about it: %v", w)
				}
			})
		}
	}
}

// setting is one that a table of a guide names beside what it stands for.
var setting = regexp.MustCompile("`([a-z0-9_]+): ([^`]+)`")

// TestSettingsOfTheGuidesAreTaken: what docs/migration.md says a setting of another
// program becomes is a key, with a value that it takes.
func TestSettingsOfTheGuidesAreTaken(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	connection, tried := named(t, "connection"), 0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		for _, found := range setting.FindAllStringSubmatch(line, -1) {
			tried++
			i := slices.Index(connection.names(), found[1])
			value, ok := root([]byte(found[2]))
			if i < 0 || !ok || !connection.rows[i].takes(value) {
				t.Errorf("%s is no setting", found[0])
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d settings in the tables", tried)
	}
}

// TestTheFormIsThereFieldForField: each field has its row, and its key.
func TestTheFormIsThereFieldForField(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/migration.md")
	if err != nil {
		t.Fatal(err)
	}
	fields := []string{
		"Name", "Description", "Status", "Host", "Port", "User name", "Password", "Match server host name", "Client key label",
		"SSL authentication protocol", "Accepted cipher suites", "Store type", "Folder", "Connection security", "Disposition",
		"Pull disposition", "Max retries", "Retry interval",
	}
	names := strings.NewReplacer("user name", "username", "host name", "hostname", " ", "_")
	for _, field := range fields {
		name := names.Replace(strings.ToLower(field))
		if row := fmt.Sprintf("| %s | `%s` |", field, name); !strings.Contains(string(text), row) {
			t.Errorf("there is no row %q", row)
		}
		if !slices.Contains(named(t, "connection").names(), name) {
			t.Errorf("there is no key %q", name)
		}
	}
}
