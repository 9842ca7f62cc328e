package deploy_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailpoller/internal/mailtest"
)

// holds is what a package installs.
var holds = []string{
	"/etc/poller/poller.schema.json",
	configuration,
	"/usr/bin/poller",
	"/usr/lib/systemd/system/poller.service",
	"/usr/lib/systemd/system/poller@.service",
	"/usr/lib/sysusers.d/poller.conf",
	"/usr/lib/tmpfiles.d/poller.conf",
	"/usr/share/bash-completion/completions/poller",
	"/usr/share/doc/poller/licences.md",
	"/usr/share/doc/poller/poller.schema.json",
	"/usr/share/doc/poller/poller.yaml",
	"/usr/share/fish/vendor_completions.d/poller.fish",
	"/usr/share/man/man1/poller.1.gz",
	"/usr/share/man/man5/poller.yaml.5.gz",
	"/usr/share/zsh/site-functions/_poller",
}

const configuration = "/etc/poller/poller.yaml"

// one is the only file of a directory that matches.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s in %s: %v, %v", pattern, dir, found, err)
	}
	return found[0]
}

// TestPackages builds the packages of this machine's architecture twice, and
// looks into them.
func TestPackages(t *testing.T) {
	t.Parallel()
	mailtest.Systemd(t)
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		run(t, "../../scripts/package", "v1.2.3", dir, "amd64")
	}
	if first, second := read(t, filepath.Join(dirs[0], "SHA256SUMS")), read(t, filepath.Join(dirs[1], "SHA256SUMS")); first != second {
		t.Errorf("the same tree gave different packages:\n%s\n%s", first, second)
	}
	deb, rpm := one(t, dirs[0], "poller_1.2.3_amd64.deb"), one(t, dirs[0], "poller-1.2.3-1.x86_64.rpm")

	if listed := strings.Fields(run(t, "rpm", "-qp", "--nosignature", "-l", rpm)); !slices.Equal(holds, slices.DeleteFunc(listed, func(path string) bool { return !slices.Contains(holds, path) })) {
		t.Errorf("the rpm holds %v", listed)
	}
	if files := strings.TrimSpace(run(t, "rpm", "-qp", "--nosignature", "--configfiles", rpm)); files != configuration {
		t.Errorf("configuration files of the rpm: %q", files)
	}
	if files := strings.TrimSpace(run(t, "dpkg-deb", "-I", deb, "conffiles")); files != configuration {
		t.Errorf("configuration files of the deb: %q", files)
	}
	if version := strings.TrimSpace(run(t, "dpkg-deb", "-f", deb, "Version")); version != "1.2.3" {
		t.Errorf("version of the deb: %q", version)
	}

	root := t.TempDir()
	run(t, "dpkg-deb", "-x", deb, root)
	for _, path := range holds {
		if _, err := os.Lstat(filepath.Join(root, path)); err != nil {
			t.Error(err)
		}
	}
	// Both files name the schema as one that lies beside them.
	const schema = "poller.schema.json"
	for _, path := range []string{configuration, "/usr/share/doc/poller/poller.yaml"} {
		if first, _, _ := strings.Cut(read(t, filepath.Join(root, path)), "\n"); first != "# yaml-language-server: $schema="+schema {
			t.Errorf("%s begins with %q", path, first)
		}
	}
	if target, err := os.Readlink(filepath.Join(root, "/etc/poller", schema)); target != "/usr/share/doc/poller/"+schema {
		t.Errorf("the schema beside the configuration is %q, %v", target, err)
	}
	if said := run(t, filepath.Join(root, "/usr/bin/poller"), "version"); !strings.Contains(said, "v1.2.3") {
		t.Errorf("the program says of itself: %s", said)
	}
	for _, page := range []string{"/usr/share/man/man1/poller.1.gz", "/usr/share/man/man5/poller.yaml.5.gz"} {
		if said := run(t, "sh", "-c", `gzip -dc "$1" | mandoc -T lint -W warning`, "sh", filepath.Join(root, page)); said != "" {
			t.Errorf("%s:\n%s", page, said)
		}
	}
	// As the package does it, on the unpacked tree.
	run(t, "systemd-sysusers", "--root="+root, "poller.conf")
	if accounts := read(t, filepath.Join(root, "etc/passwd")); !strings.Contains(accounts, "poller:") {
		t.Errorf("accounts after the installation:\n%s", accounts)
	}
	run(t, "systemd-tmpfiles", "--root="+root, "--create", "poller.conf")
	for path, mode := range map[string]os.FileMode{"etc/poller": 0o750, "etc/poller/secrets": 0o750, "etc/poller/poller.yaml": 0o640} {
		if info, err := os.Stat(filepath.Join(root, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v, want %v", path, info.Mode(), err, mode)
		}
	}
}

// TestScriptsOfThePackageStartNothing runs them with tools that only take notes.
func TestScriptsOfThePackageStartNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes")
	for _, tool := range []string{"systemctl", "systemd-sysusers", "systemd-tmpfiles"} {
		script := "#!/bin/sh\necho " + tool + " \"$@\" >>" + notes + "\n"
		if tool == "systemctl" {
			script += "[ \"$2\" != is-active ]\n" // as on a machine where it never ran
		}
		if err := os.WriteFile(filepath.Join(dir, tool), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"postinstall", "configure"}, {"postinstall", "1"}, {"preremove", "upgrade"}, {"preremove", "1"}, {"postremove", "remove"}} {
		run(t, "env", "PATH="+dir+":/usr/bin:/bin", "sh", "../../deploy/package/"+args[0], args[1])
	}
	said := read(t, notes)
	if !strings.Contains(said, "systemd-sysusers poller.conf\nsystemd-tmpfiles --create poller.conf\n") {
		t.Errorf("the account and the folders are not made:\n%s", said)
	}
	for _, verb := range []string{"start", "enable", "disable", "stop"} {
		if strings.Contains(said, verb) {
			t.Errorf("%s:\n%s", verb, said)
		}
	}
}
