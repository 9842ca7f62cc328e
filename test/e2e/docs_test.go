package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mailpoller/test/rig"
)

// command is one of poller, within a line or on a line of its own.
var command = regexp.MustCompile("(?m)`poller ([^`]+)`|^ {4,}poller ([^#\n]*)")

// link is one to a file of the repository.
var link = regexp.MustCompile(`\]\(([^)#:\s]+)[)#]`)

// documents are the pages, by their path in the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md"} {
		paths, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			pages[path] = string(text)
		}
	}
	return pages
}

// TestCommandsOfTheDocumentation: each is one that there is, with flags that it
// has.
func TestCommandsOfTheDocumentation(t *testing.T) {
	t.Parallel()
	s, asked := rig.New(t), make(map[string]bool)
	for path, text := range documents(t) {
		for _, found := range command.FindAllStringSubmatch(text, -1) {
			line := strings.TrimSpace(found[1] + found[2])
			if asked[line] {
				continue
			}
			asked[line] = true
			args := strings.Fields(line)
			help, errs, code := s.Run(append(slices.Clone(args), "--help")...)
			words := "poller " + args[0]
			if strings.Contains(help, "Available Commands:") && len(args) > 1 && !strings.HasPrefix(args[1], "-") {
				words += " " + args[1] // which there would be no help for otherwise
			}
			if code != 0 || !strings.Contains(help, "Usage:\n  "+words) {
				t.Errorf("%s: poller %s: exit code %d, %s", path, line, code, errs)
			}
		}
	}
	if len(asked) < 20 {
		t.Errorf("only %d commands", len(asked))
	}
}

// TestEveryDocumentIsReached: the README names each page of docs/, and no link of
// any page leads nowhere.
func TestEveryDocumentIsReached(t *testing.T) {
	t.Parallel()
	pages := documents(t)
	for path, text := range pages {
		if filepath.Dir(path) == "../../docs" && !strings.Contains(pages["../../README.md"], "(docs/"+filepath.Base(path)+")") {
			t.Errorf("README.md does not name %s", path)
		}
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), found[1])); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// TestCompletion: a shell proposes connections where a command takes some, and
// never files.
func TestCompletion(t *testing.T) {
	t.Parallel()
	s := rig.New(t, disabled().With(rig.Settings{"name": "orders", "description": "Orders of shops\nand more"}), disabled().With(rig.Settings{"name": "invoices"}))
	for args, want := range map[string]string{
		"poll": "orders\tOrders of shops\ninvoices\n", "test orders": "orders\tOrders of shops\ninvoices\n",
		"oauth login": "orders\tOrders of shops\ninvoices\n", "jobs --connection": "orders\tOrders of shops\ninvoices\n",
		"check": "", "certs trust": "",
	} {
		complete := exec.CommandContext(t.Context(), rig.Binary, append(append([]string{"__complete"}, strings.Fields(args)...), "")...)
		complete.Env = append(os.Environ(), "POLLER_CONFIG="+s.Config)
		out, err := complete.Output()
		if proposed, directive, _ := strings.Cut(string(out), ":"); err != nil || proposed != want || directive != "4\n" { // no files
			t.Errorf("%s: %q, %v", args, out, err)
		}
	}
}
