package architecture_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/licences.md")

// phrases tell licences apart; the first that fits counts.
var phrases = []struct{ name, phrase string }{
	{"Apache-2.0", "Apache License"},
	{"MIT", "Permission is hereby granted, free of charge"},
	{"BSD-3-Clause", "Neither the name"},
	{"BSD-2-Clause", "Redistributions of source code must retain"},
}

// TestEveryLicenceIsListed: what is linked into the program, and under which
// licence, is in docs/licences.md. A licence that is not known here has to be
// read by somebody.
func TestEveryLicenceIsListed(t *testing.T) {
	t.Parallel()
	var page strings.Builder
	page.WriteString("# Licences\n\nThe modules that are linked into `poller`, and their licences.\n" +
		"`go test ./test/architecture -update` writes this page.\n\n| module | version | licence |\n| --- | --- | --- |\n")
	for _, m := range linked(t) {
		text, err := licence(m.Dir)
		if err != nil {
			t.Errorf("%s: %v", m.Path, err)
		}
		name := ""
		for _, p := range phrases {
			if bytes.Contains(text, []byte(p.phrase)) {
				name = p.name
				break
			}
		}
		if name == "" {
			t.Errorf("%s has a licence that is not known here: read it, and add it to the table of this test", m.Path)
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s |\n", m.Path, m.Version, name)
	}
	const path = "../../docs/licences.md"
	if *update {
		if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != page.String() {
		t.Errorf("%s is not what go list says (%v); go test ./test/architecture -update writes it", path, err)
	}
}

type goModule struct{ Path, Version, Dir string }

// linked are the modules of other people that the program is linked with.
func linked(t *testing.T) []goModule {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=Module", "./cmd/poller")
	command.Dir = "../.."
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	var all []goModule
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct{ Module *goModule }
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if m := p.Module; m != nil && m.Path != module && !seen[m.Path] {
			seen[m.Path] = true
			all = append(all, *m)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Path < all[j].Path })
	return all
}

// licence is the text of a module's licence.
func licence(dir string) ([]byte, error) {
	for _, name := range []string{"LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			return text, nil
		}
	}
	return nil, errors.New("no file of a licence")
}
