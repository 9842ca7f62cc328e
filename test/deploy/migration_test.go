package deploy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailpoller/internal/mailtest"
)

// TestTheReplacedProgramsReadTheirExamples: what docs/migration.md shows of another
// program is what that program takes, and says the same in its own words.
func TestTheReplacedProgramsReadTheirExamples(t *testing.T) {
	t.Parallel()
	mailtest.Systemd(t)
	page := read(t, "../../docs/migration.md")
	for name, row := range map[string]struct {
		command []string // the file follows
		says    []string
	}{
		"fetchmail": {[]string{"fetchmail", "--version", "--fetchmailrc"}, []string{
			"Poll interval is 300 seconds", "invoices@example.com@imap.example.com", "(--keep on)", "Message size limit is 26214400",
			"orders@example.com@imap.example.com", "Selected mailboxes are: Orders", "(--all on)", "Received-message limit is 200",
			"alarms@pop.example.com", "Protocol is POP3 (forcing UIDL use)", "SSL server certificate checking enabled",
		}},
		"getmail": {[]string{"getmail", "--dump", "--getmaildir", t.TempDir(), "--rcfile"}, []string{
			"SimpleIMAPSSLRetriever", `mailboxes="('INBOX', 'Orders')"`, "read_all : False", "delete : False", "delete_after : 30", "max_message_size : 26214400",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, rest, _ := strings.Cut(page, "\n## "+name+"\n")
			_, rest, _ = strings.Cut(rest, "\n```\n")
			example, _, found := strings.Cut(rest, "```")
			if !found {
				t.Fatal("the page has no example")
			}
			file := filepath.Join(t.TempDir(), "rc")
			// Both look for the program that they are to give messages to.
			example = strings.ReplaceAll(example, "/usr/local/bin/import-order", "/bin/true")
			if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
				t.Fatal(err)
			}
			out := run(t, row.command[0], append(row.command[1:], file)...)
			for _, text := range row.says {
				if !strings.Contains(out, text) {
					t.Errorf("it does not say %q:\n%s", text, out)
				}
			}
		})
	}
}
