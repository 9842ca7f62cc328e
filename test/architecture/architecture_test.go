// Package architecture_test holds the layers of docs/architecture.md.
package architecture_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "mailpoller"

// layers holds every package of the program, lowest layer first. A package
// imports layers below its own only. The first two rows are layer 0, whose packages
// import none of ours but header. What lies in a folder of a package belongs
// to it: internal/demo/pop3server is part of internal/demo.
var layers = [][]string{
	{"internal/header"},
	{"internal/certificate", "internal/cronspec", "internal/disposition", "internal/filename", "internal/match", "internal/notify", "internal/proxy", "internal/retry", "internal/tlspolicy"},
	{"internal/attachments", "internal/mail"},
	{"internal/api"}, // layer 1, on mail
	{
		"internal/admin", "internal/auth", "internal/config", "internal/folder", "internal/mailbox",
		"internal/metrics", "internal/poll", "internal/schedule", "internal/state",
		"internal/tracing",
	},
	{"internal/app", "internal/demo"},
	{"cmd/poller"},
}

// forTests is for tests and imported by nothing else.
const forTests = "internal/mailtest"

// homes says which packages may import a third-party module. What stands in no
// row may be imported nowhere.
var homes = []struct {
	module   string
	packages []string
}{
	{"github.com/coreos/go-systemd/v22", []string{"internal/app"}},
	{"github.com/dustin/go-humanize", []string{"cmd/poller"}},
	{"github.com/emersion/go-imap/v2", []string{"internal/mailbox", "internal/demo"}},
	{"github.com/emersion/go-message", []string{"internal/demo"}},
	{"github.com/emersion/go-sasl", []string{"internal/mailbox", "internal/demo"}},
	{"github.com/knadh/go-pop3", []string{"internal/mailbox"}},
	{"github.com/mattn/go-isatty", []string{"cmd/poller"}},
	{"github.com/prometheus/client_golang", []string{"internal/metrics"}},
	{"github.com/robfig/cron/v3", []string{"internal/cronspec"}},
	{"github.com/spf13/cobra", []string{"cmd/poller"}},
	{"github.com/spf13/pflag", []string{"cmd/poller"}}, // the flags of cobra
	{"github.com/youmark/pkcs8", []string{"internal/tlspolicy"}},
	{"github.com/xdg-go/scram", []string{"internal/mailbox"}},
	{"go.opentelemetry.io/otel", []string{"internal/tracing"}},
	{"github.com/go-logr/logr", []string{"internal/tracing"}},
	{"go.uber.org/zap", slices.Concat(layers[4:]...)},
	{"go.yaml.in/yaml/v4", []string{"internal/config"}},
	{"golang.org/x/crypto", []string{"internal/certificate", "internal/state"}},
	{"golang.org/x/net/netutil", []string{"internal/admin"}},
	{"golang.org/x/net/idna", []string{"internal/config"}},
	{"golang.org/x/net/proxy", []string{"internal/proxy"}},
	{"golang.org/x/oauth2", []string{"internal/auth"}},
	{"golang.org/x/sync", []string{"internal/folder", "internal/app", "cmd/poller"}},
	{"golang.org/x/text", []string{"internal/filename", "internal/header"}},
	{"golang.org/x/sys", []string{"internal/folder", "internal/state", "internal/app"}},
	{"golang.org/x/term", []string{"cmd/poller"}},
	{"modernc.org/sqlite", []string{"internal/state"}},
	{"software.sslmate.com/src/go-pkcs12", []string{"internal/tlspolicy"}},
}

type goPackage struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

// list is what go list says of the packages and all that they are linked with.
func list(t *testing.T, patterns ...string) []goPackage {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-json=ImportPath,Standard,Imports"}, patterns...)...)
	command.Dir = "../.."
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// within reports whether path is root or lies below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// place is the package of the table that path belongs to, and its layer.
func place(path string) (owner string, layer int, ok bool) {
	for layer, names := range layers {
		for _, name := range names {
			if within(path, module+"/"+name) {
				return name, layer, true
			}
		}
	}
	return "", 0, false
}

func TestImportsPointDownOnly(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./internal/...", "./cmd/...") {
		if !within(p.ImportPath, module) || within(p.ImportPath, module+"/"+forTests) {
			continue
		}
		owner, layer, ok := place(p.ImportPath)
		if !ok {
			t.Errorf("%s has no layer: give it one in the table of this test and in docs/architecture.md", p.ImportPath)
			continue
		}
		for _, path := range p.Imports {
			if !within(path, module) {
				continue
			}
			if other, below, ok := place(path); !ok || other != owner && below >= layer {
				t.Errorf("%s imports %s, which is not in a layer below", p.ImportPath, path)
			}
		}
	}
}

func TestThirdPartyModulesStayInTheirHomes(t *testing.T) {
	t.Parallel()
	packages := list(t, "./internal/...", "./cmd/...")
	standard := map[string]bool{"C": true}
	for _, p := range packages {
		standard[p.ImportPath] = p.Standard
	}
	for _, p := range packages {
		owner, _, ours := place(p.ImportPath)
		if !ours {
			continue
		}
		for _, path := range p.Imports {
			if !within(path, module) && !standard[path] && !slices.Contains(homeOf(path), owner) {
				t.Errorf("%s imports %s, whose home is %q", p.ImportPath, path, homeOf(path))
			}
		}
	}
}

func homeOf(path string) []string {
	for _, home := range homes {
		if within(path, home.module) {
			return home.packages
		}
	}
	return nil
}

func TestTheProgramIsLinkedWithNothingOfTheTests(t *testing.T) {
	t.Parallel()
	for _, p := range list(t, "./cmd/...") {
		if p.ImportPath == "testing" || within(p.ImportPath, module+"/"+forTests) {
			t.Errorf("the program is linked with %s", p.ImportPath)
		}
	}
}
