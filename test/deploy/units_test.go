// Package deploy_test holds what is deployed: the units of systemd, and the
// packages that `make package` builds.
package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mailpoller/internal/mailtest"
)

const units = "../../deploy/systemd"

// run runs a program and returns all that it says.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestUnitsAreSound has systemd read the units; it exits with 0 on a setting it
// does not know, but says so.
func TestUnitsAreSound(t *testing.T) {
	t.Parallel()
	mailtest.Systemd(t)
	dir := t.TempDir()
	for from, to := range map[string]string{"poller.service": "poller.service", "poller@.service": "poller@one.service"} {
		// The program need not be installed here.
		text := strings.ReplaceAll(read(t, filepath.Join(units, from)), "/usr/bin/poller", "/bin/true")
		path := filepath.Join(dir, to)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if said := run(t, "systemd-analyze", "verify", "--man=no", path); said != "" {
			t.Errorf("%s: %s", from, said)
		}
		run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", path) // 1.5
	}
}

// TestTheTemplateIsTheUnit compares the settings of the two units.
func TestTheTemplateIsTheUnit(t *testing.T) {
	t.Parallel()
	settings := func(name string) string {
		_, text, found := strings.Cut(read(t, filepath.Join(units, name)), "[Unit]")
		if !found {
			t.Fatalf("%s has no [Unit]", name)
		}
		return text
	}
	const explicit = "UnsetEnvironment=STATE_DIRECTORY\n"
	before, reason, _ := strings.Cut(settings("poller@.service"), "# The file names it:")
	_, after, found := strings.Cut(reason, explicit)
	if !found {
		t.Fatalf("poller@.service has no %s", explicit)
	}
	replaced := strings.NewReplacer(
		"poller/%i.yaml", "poller/poller.yaml", "daemon (%i)", "daemon", "poller-%i", "poller",
	).Replace(before + after)
	if replaced != settings("poller.service") {
		t.Error("poller@.service differs from poller.service in more than its paths, and that the file names them")
	}
}

// TestEverySettingOfTheUnitIsExplained holds the form: settings stand below a
// comment that says why.
func TestEverySettingOfTheUnitIsExplained(t *testing.T) {
	t.Parallel()
	explained := false
	for line := range strings.Lines(read(t, filepath.Join(units, "poller.service"))) {
		switch {
		case line == "\n", strings.HasPrefix(line, "["):
			explained = strings.HasPrefix(line, "[Unit]") || strings.HasPrefix(line, "[Install]")
		case strings.HasPrefix(line, "#"):
			explained = true
		case !explained:
			t.Errorf("nothing explains %s", line)
		}
	}
}
