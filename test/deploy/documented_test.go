package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mailpoller/internal/mailtest"
)

// documented are the files that the pages show, by their names: blocks in a
// language whose first lines name the file.
func documented(t *testing.T, language string) map[string]string {
	t.Helper()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```" + language + "\n((?:#!.*?\n)?# (/\\S+)\n.*?)^```$")
	files := make(map[string]string)
	for _, page := range pages {
		for _, found := range block.FindAllStringSubmatch(read(t, page), -1) {
			files[found[2]] = found[1]
		}
	}
	if len(files) == 0 {
		t.Fatalf("no page shows a file in %s", language)
	}
	return files
}

// TestDocumentedUnitsAreSound has systemd read the units that the pages show.
func TestDocumentedUnitsAreSound(t *testing.T) {
	t.Parallel()
	mailtest.Systemd(t)
	dir := t.TempDir()
	var paths []string
	program := regexp.MustCompile(`(?m)^(Exec\w+=)\S+`)
	for name, text := range documented(t, "ini") {
		path := filepath.Join(dir, filepath.Base(name))
		if err := os.WriteFile(path, []byte(program.ReplaceAllString(text, "${1}/bin/true")), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	if said := run(t, "systemd-analyze", append([]string{"verify", "--man=no"}, paths...)...); said != "" {
		t.Error(said)
	}
}

// importer is the documented script that gives the files of a folder to a
// program, in directories of the test. The program keeps what it takes, and
// refuses what holds the word "bad".
type importer struct {
	t                       *testing.T
	script, folder, program string
}

func newImporter(t *testing.T) importer {
	t.Helper()
	dir := t.TempDir()
	i := importer{t, filepath.Join(dir, "import-all"), filepath.Join(dir, "orders"), filepath.Join(dir, "import-order")}
	if err := os.Mkdir(i.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	text, ok := documented(t, "sh")["/usr/local/bin/import-all"]
	if !ok {
		t.Fatal("no page shows the script")
	}
	text = strings.NewReplacer("/srv/inbound/orders", i.folder, "/usr/local/bin/import-order", i.program).Replace(text)
	program := "#!/bin/sh\ntext=$(cat)\ncase $text in *bad*) exit 1 ;; esac\nprintf '%s|' \"$text\" >>" + i.program + ".took\n"
	for path, text := range map[string]string{i.script: text, i.program: program} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return i
}

func (i importer) file(name, text string) {
	i.t.Helper()
	if err := os.WriteFile(filepath.Join(i.folder, name), []byte(text), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// run runs the script, and holds its exit code, what the program took so far, and
// what is left in the folder.
func (i importer) run(code int, took, left string) {
	i.t.Helper()
	script := exec.CommandContext(i.t.Context(), i.script)
	out, err := script.CombinedOutput()
	if script.ProcessState == nil || script.ProcessState.ExitCode() != code {
		i.t.Fatalf("%v: %s", err, out)
	}
	got, err := os.ReadFile(i.program + ".took")
	if err != nil && !os.IsNotExist(err) {
		i.t.Fatal(err)
	}
	entries, err := os.ReadDir(i.folder)
	if err != nil {
		i.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if string(got) != took || strings.Join(names, " ") != left {
		i.t.Errorf("it took %q and left %v; want %q, %q\n%s", got, names, took, left, out)
	}
}

// TestTheDocumentedImportGoesOnBehindAFailure: a file that is refused stays, and
// so does one that cannot be read; all others are imported, and the exit code
// tells.
func TestTheDocumentedImportGoesOnBehindAFailure(t *testing.T) {
	t.Parallel()
	i := newImporter(t)
	i.run(0, "", "")
	i.file("1.eml", "one\r\ntwo\r\n")
	i.file("2.eml", "bad\r\n")
	i.file("3.eml", "three\r\n")
	i.file(".4.eml.part", "not ready\r\n")
	if err := os.Mkdir(filepath.Join(i.folder, "5.eml"), 0o700); err != nil { // which sed cannot read
		t.Fatal(err)
	}
	i.run(1, "one\ntwo|three|", ".4.eml.part 2.eml 5.eml")
	i.run(1, "one\ntwo|three|", ".4.eml.part 2.eml 5.eml")
	i.file("2.eml", "mended\r\n")
	if err := os.Remove(filepath.Join(i.folder, "5.eml")); err != nil {
		t.Fatal(err)
	}
	i.run(0, "one\ntwo|three|mended|", ".4.eml.part")
}
