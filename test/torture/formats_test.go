package torture

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/test/rig"
)

// formatted is a connection with all that there is beside the octets of a
// message: a format, one name for all messages, descriptions, and a command
// that writes down what it was told.
type formatted struct {
	format   mail.Format
	settings rig.Settings
	original bool   // ATTACHMENTS: the message is kept
	log      string // of the command

	attached map[[sha256.Size]byte][]byte // what is attached to a message
	names    map[[sha256.Size]byte]string // that messages had when they were found
}

func newFormatted(t testing.TB, s *rig.Site, row crashRow) *formatted {
	t.Helper()
	f := &formatted{
		format: row.format, original: row.batched, log: filepath.Join(s.Mkdir("told"), "log"),
		attached: make(map[[sha256.Size]byte][]byte), names: make(map[[sha256.Size]byte]string),
	}
	command := filepath.Join(s.Dir, "command")
	script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$(cat)\" >>'%s'\n", f.log)
	if err := os.WriteFile(command, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	f.settings = rig.Settings{"format": row.format, "metadata": true, "notify": map[string]any{"command": []string{command}}}
	if row.format != mail.Maildir {
		f.settings["filename"] = `{{.From | default "nobody"}}`
	}
	if row.format == mail.Attachments && f.original {
		f.settings["keep_original"] = "ENABLED"
	}
	for _, dir := range f.dirs(s.Mkdir("crash")) {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// dirs are the directories in which messages appear.
func (f *formatted) dirs(folder string) []string {
	if f.format == mail.Maildir {
		return []string{filepath.Join(folder, "new"), filepath.Join(folder, "cur")}
	}
	return []string{folder}
}

// compose is a message with something attached.
func (f *formatted) compose(attached []byte) []byte {
	m := bytes.Join([][]byte{[]byte("From: ann@example.com\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Disposition: attachment; filename=lines.txt\r\n\r\n"), attached, []byte("\r\n--b--\r\n")}, nil)
	f.attached[sha256.Sum256(m)] = attached
	return m
}

// found is a message that is visible, with its description.
type found struct{ name, path, description string }

// visible is the messages in the folder, or in the directory to which a
// consumer takes them.
func (f *formatted) visible(c *crashTrial, dir string) []found {
	c.Helper()
	dirs := []string{dir}
	if dir == c.folder {
		dirs = f.dirs(dir)
	}
	var all []found
	for _, at := range dirs {
		entries, err := os.ReadDir(at)
		if err != nil {
			c.Fatal(err)
		}
		for _, e := range entries {
			if name := e.Name(); !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, ".json") {
				base, _, _ := strings.Cut(name, ":2,")
				all = append(all, found{name, filepath.Join(at, name), filepath.Join(dir, base+".json")})
			}
		}
	}
	return all
}

// delivered is the messages that are visible in a directory. Each is whole, and
// so is its description.
func (f *formatted) delivered(c *crashTrial, dir string) []delivery {
	c.Helper()
	var all []delivery
	for _, m := range f.visible(c, dir) {
		if sum, ok := f.whole(c, m); ok {
			f.names[sum] = m.name
			if dir == c.taken {
				_, f.names[sum], _ = strings.Cut(m.name, "-")
			}
			all = append(all, delivery{m.name, []string{m.path, m.description}, sum})
		}
	}
	return all
}

// whole fails the test unless a message is one that was delivered to the server, with
// its description beside it.
func (f *formatted) whole(c *crashTrial, m found) (sum [sha256.Size]byte, ok bool) {
	c.Helper()
	var about struct {
		SHA256 string
		Size   int
		Files  []struct{ Name, SHA256 string }
	}
	text, err := os.ReadFile(m.description)
	if err == nil {
		err = json.Unmarshal(text, &about)
	}
	if err == nil {
		_, err = hex.Decode(sum[:], []byte(about.SHA256))
	}
	if _, known := c.messages[sum]; err != nil || !known {
		c.Errorf("after crash %d, %s is described by %q, %v", c.Faults, m.path, text, err)
		return sum, false
	}
	files := map[string]string{"": about.SHA256} // and their digests
	if f.format == mail.Attachments {
		digest := sha256.Sum256(f.attached[sum])
		files = map[string]string{"lines.txt": hex.EncodeToString(digest[:])}
		if f.original {
			files["message.eml"] = about.SHA256
		}
		if entries, err := os.ReadDir(m.path); err != nil || len(entries) != len(files) || len(about.Files) != len(files) {
			c.Errorf("after crash %d, %s holds %v and has %v, %v", c.Faults, m.path, entries, about.Files, err)
		}
	}
	for name, want := range files {
		data, err := os.ReadFile(filepath.Join(m.path, name))
		if digest := sha256.Sum256(data); err != nil || hex.EncodeToString(digest[:]) != want {
			c.Errorf("after crash %d, %s holds %d octets that are not those that are described, %v", c.Faults, filepath.Join(m.path, name), len(data), err)
			return sum, false
		}
	}
	return sum, true
}

// take moves what is visible out of the folder, and looks at it at once.
func (f *formatted) take(c *crashTrial) {
	for _, m := range f.visible(c, c.folder) {
		if _, ok := f.whole(c, m); !ok {
			continue
		}
		taken := filepath.Join(c.taken, fmt.Sprintf("%d-%s", time.Now().UnixNano(), m.name))
		base, _, _ := strings.Cut(taken, ":2,")
		for from, to := range map[string]string{m.path: taken, m.description: base + ".json"} {
			if err := os.Rename(from, to); err != nil {
				c.Error(err)
			}
		}
	}
}

// tidy holds that nothing is left in the folder, and that the command was run
// for each message, with the name that it had.
func (f *formatted) tidy(c *crashTrial) {
	c.Helper()
	err := filepath.WalkDir(c.folder, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			c.Errorf("after crash %d, left in the folder: %s", c.Faults, path)
		}
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	log, err := os.Open(f.log)
	if err != nil {
		c.Fatal(err)
	}
	defer log.Close()
	told := make(map[[sha256.Size]byte]bool)
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct {
			Path    string
			Message struct{ SHA256 string }
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue // its poll was killed while it told
		}
		var sum [sha256.Size]byte
		if _, err := hex.Decode(sum[:], []byte(line.Message.SHA256)); err != nil {
			c.Error(err)
		}
		if told[sum] = true; filepath.Base(line.Path) != f.names[sum] {
			c.Errorf("after crash %d, the command was run for %s, which is %q", c.Faults, line.Path, f.names[sum])
		}
	}
	for sum, name := range f.names {
		if !told[sum] {
			c.Errorf("after crash %d, the command was not run for %s", c.Faults, name)
		}
	}
}
