package e2e

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// shown are the commands that a section of docs/operations.md shows: of each
// indented block the text.
func shown(t *testing.T, section string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n## "+section+"\n")
	if !found {
		t.Fatalf("the page has no section %q", section)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	var blocks []string
	for _, block := range regexp.MustCompile(`(?m)(^ {4}.*\n)+`).FindAllString(text, -1) {
		blocks = append(blocks, strings.ReplaceAll(block, "    ", ""))
	}
	return blocks
}

// typed runs commands as a person types them: with the usual umask, on the
// directories of the test. It returns the directory of the copies.
func typed(t *testing.T, s *rig.Site, commands string) (backups string) {
	t.Helper()
	backups = filepath.Join(s.Dir, "srv", "backup")
	bin := filepath.Join(s.Dir, "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	// The test itself stops and starts the daemon.
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	commands = strings.NewReplacer(
		"/var/lib/poller", filepath.Join(s.Dir, "state"), "/srv/backup", backups, " -o poller -g poller", "",
		"poller-2026-01-31", "poller-*", // the one that was made
	).Replace(commands)
	commands = strings.ReplaceAll(commands, "backup="+backups+"/poller-*", "backup=$(echo "+backups+"/poller-*)")
	sh := exec.CommandContext(t.Context(), "sh", "-euc", "umask 022\n"+commands)
	sh.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, commands)
	}
	return backups
}

// TestABackupAsDocumented: made as docs/operations.md shows it, a copy is for
// nobody but its owner, and restored, it knows what was saved.
func TestABackupAsDocumented(t *testing.T) {
	t.Parallel()
	mailtest.Systemd(t)
	backUp, restore := shown(t, "Back up"), shown(t, "Restore")
	if len(backUp) != 2 || len(restore) != 1 {
		t.Fatalf("%d ways to make a copy, %d to restore it", len(backUp), len(restore))
	}
	d := mailtest.StartDovecot(t)
	for i, name := range []string{"while the daemon runs", "while it is stopped"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := d.NewUser(t)
			d.Deliver(t, user, rig.Numbered(3)...)
			s := rig.New(t, rig.Connect(t, d, "kept", user, mail.IMAP, mail.SSLTLS).With(rig.Settings{
				"max_messages": 0, "disposition": "KEEP", "pull_disposition": "GET_FIRST_MESSAGE", "schedule": "@every 1h",
			}))
			p := s.Start().Ready()
			if v := s.Poll("kept")[0]; v.Messages != 3 {
				t.Fatalf("%+v", v)
			}
			if i == 1 {
				p.Stop()
			}
			backups := typed(t, s, backUp[i])
			p.Kill()
			copies := 0
			err := filepath.WalkDir(backups, func(path string, e fs.DirEntry, err error) error {
				if err != nil || path == backups {
					return err
				}
				info, err := e.Info()
				if err != nil {
					return err
				}
				if info.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s: %v", path, info.Mode())
				}
				if e.Name() == "poller.db" {
					copies++
				}
				return nil
			})
			if err != nil || copies != 1 {
				t.Errorf("%d copies, %v", copies, err)
			}

			// What is in place of the database when it is restored knows nothing.
			if out, errs, code := s.Run("forget", "--yes", "kept"); code != 0 {
				t.Fatalf("%d: %s%s", code, out, errs)
			}
			typed(t, s, restore[0])
			database, err := os.Stat(filepath.Join(s.Dir, "state", "poller.db"))
			if err != nil || database.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", database, err)
			}
			if v := s.Poll("kept")[0]; v.State != "SUCCEEDED" || v.Messages != 0 {
				t.Errorf("after the copy was restored: %+v", v)
			}
		})
	}
}
