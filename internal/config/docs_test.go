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

const reference = "../../docs/configuration.md"

// groups are the keys of a connection as an operator looks for them.
var groups = []struct {
	title string
	keys  []string
}{
	{"What it is", []string{"name", "description", "status"}},
	{"The mailbox", []string{"host", "port", "store_type", "connection_security", "mailbox", "proxy"}},
	{"The account", []string{"username", "password", "auth", "oauth2"}},
	{"Whom to trust", []string{"match_server_hostname", "ca_file", "client_key_label", "ssl_authentication_protocol", "accepted_cipher_suites"}},
	{"Which messages, and what becomes of them", []string{"pull_disposition", "max_messages", "max_message_size", "disposition", "move_to", "match"}},
	{"Where they are saved", []string{"folder", "file_mode", "dir_mode", "format", "filename", "metadata", "keep_original", "without_attachments"}},
	{"Whom to tell", []string{"notify"}},
	{"When, and what if it fails", []string{"schedule", "max_retries", "retry_interval", "back_off", "timeout", "poll_timeout"}},
}

// TestTheReferenceIsThatOfTheTables: docs/configuration.md says what the tables of
// keys say.
func TestTheReferenceIsThatOfTheTables(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- the keys -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the tables", reference)
	}
	golden(t, reference, before+begin+keys(t)+end+after)
}

// keys are the tables, as they stand in the reference.
func keys(t *testing.T) string {
	t.Helper()
	connection := named(t, "connection")
	var page strings.Builder
	page.WriteString("## A connection\n")
	grouped := make(map[string]bool)
	for _, g := range groups {
		fmt.Fprintf(&page, "\n### %s\n\n", g.title)
		part := table{required: required}
		for _, name := range g.keys {
			i := slices.Index(connection.names(), name)
			if i < 0 || grouped[name] {
				t.Fatalf("%s: there is no such key, or it stands in two groups", name)
			}
			grouped[name] = true
			part.rows = append(part.rows, connection.rows[i])
		}
		page.WriteString(part.markdown())
	}
	for _, name := range connection.names() {
		if !grouped[name] {
			t.Errorf("%s stands in no group: give it a place in the reference", name)
		}
	}
	for _, section := range []struct{ title, table string }{
		{"### Tokens: `oauth2`", "oauth2"},
		{"### A proxy that asks who one is: `proxy`", "proxy"},
		{"### Whom to tell: `notify`", "notify"},
		{"### Where a secret comes from", "source"},
		{"## The top level", ""},
		{"### `log`", "log"},
		{"### `limits`", "limits"},
		{"### Each of `api_tokens`", "api_token"},
		{"### `tracing`", "tracing"},
		{"### Each of `keys`", "key"},
	} {
		fmt.Fprintf(&page, "\n%s\n\n%s", section.title, named(t, section.table).markdown())
	}
	page.WriteString("\n")
	return page.String()
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
