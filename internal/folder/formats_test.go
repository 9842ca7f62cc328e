package folder

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mailpoller/internal/filename"
	"mailpoller/internal/folder/facts"
	"mailpoller/internal/mail"
)

// described is a connection with all that a folder can do beside a message. Its
// template gives all messages of a sender one name.
func described(t *testing.T, dir string, format mail.Format) *mail.Connection {
	t.Helper()
	c := connection(dir)
	c.Name, c.Store, c.Format, c.Metadata, c.DirMode, c.Notify = "a", mail.IMAP, format, true, 0o750, &mail.Notify{}
	if format != mail.Maildir {
		var err error
		if c.Filename, err = filename.Parse(`{{.From | default "nobody"}}`); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// letter is a message with an attachment that holds its number.
func letter(uid uint32) mail.Message {
	return message(uid, fmt.Sprintf("From: ann@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"+
		"--b\r\nContent-Disposition: attachment; filename=n.txt\r\n\r\n%d\r\n--b--\r\n", uid))
}

// entries writes messages, up to where the journal has them.
func entries(t *testing.T, s *Store, c *mail.Connection, messages ...mail.Message) []mail.Entry {
	t.Helper()
	var written []mail.Entry
	for _, m := range messages {
		e, err := s.Write(c, box, m)
		if err != nil {
			t.Fatal(err)
		}
		written = append(written, e)
	}
	if err := s.Sync(c.Folder, written); err != nil {
		t.Fatal(err)
	}
	return written
}

// tree is what is in a folder, hidden or not: files, and what else there is by
// its kind. Empty directories do not count.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if found[name] = e.Type().String(); err == nil && e.Type().IsRegular() {
			var data []byte
			data, err = os.ReadFile(path)
			found[name] = string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// outcome is where each format puts the messages of described.
var outcome = map[mail.Format]func(n int) (message, description string){
	mail.EML: func(n int) (string, string) {
		return numbered("ann@example.com.eml", n, false), numbered("ann@example.com.eml", n, false) + ".json"
	},
	mail.Maildir: func(n int) (string, string) { return fmt.Sprintf("new/a-17-%d", n), fmt.Sprintf("a-17-%d.json", n) },
	mail.Attachments: func(n int) (string, string) {
		return numbered("ann@example.com", n, true) + "/n.txt", numbered("ann@example.com", n, true) + ".json"
	},
}

// eachFormat runs a test for each format.
func eachFormat(t *testing.T, test func(t *testing.T, format mail.Format)) {
	t.Helper()
	for _, format := range slices.Sorted(maps.Keys(outcome)) {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			test(t, format)
		})
	}
}

func TestEachMessageHasItsDescriptionBesideIt(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, format mail.Format) {
		dir, s := t.TempDir(), New("i")
		written := entries(t, s, described(t, dir, format), letter(1), letter(2), letter(3))
		published, _, err := s.Publish(t.Context(), written, nil)
		if err != nil || len(published) != 3 {
			t.Fatal(published, err)
		}
		found := tree(t, dir)
		for n := 1; n <= 3; n++ {
			message, description := outcome[format](n)
			if !strings.Contains(found[message], fmt.Sprint(n)) || !strings.Contains(found[description], fmt.Sprintf(`"uid": %d,`, n)) {
				t.Errorf("message %d: %q, %q", n, found[message], found[description])
			}
		}
		if len(found) != 6 {
			t.Errorf("there is more: %q", slices.Sorted(maps.Keys(found)))
		}
	})
}

// TestAPublicationThatWasCutOff is stopped at each point of it, with and
// without a consumer that has taken all it saw, and is done again: there is no
// message, and no description, that was not there before.
func TestAPublicationThatWasCutOff(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, format mail.Format) {
		for _, point := range []string{"before the description", "before the message", "before the end", "after it"} {
			for _, taken := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, taken %v", point, taken), func(t *testing.T) {
					t.Parallel()
					dir, s := t.TempDir(), New("i")
					e := entries(t, s, described(t, dir, format), letter(1))[0]
					message, description := outcome[format](1)
					cutOff(t, s, e, point, filepath.Join(dir, description))
					want := map[string]bool{message: true, description: true}
					if seen := tree(t, dir); taken && seen[message] != "" { // what has no message yet, nobody takes
						for name := range want {
							if err := os.Remove(filepath.Join(dir, name)); err != nil {
								t.Fatal(err)
							}
						}
						if format == mail.Attachments {
							if err := os.Remove(filepath.Join(dir, filepath.Dir(message))); err != nil {
								t.Fatal(err)
							}
						}
						clear(want)
					}
					published, vanished, err := s.Publish(t.Context(), []mail.Entry{e}, nil)
					if err != nil || len(published) != 1 || len(vanished) != 0 {
						t.Fatal(published, vanished, err)
					}
					found := tree(t, dir)
					for name := range want {
						if found[name] == "" {
							t.Errorf("%s is missing", name)
						}
						delete(found, name)
					}
					if len(found) > 0 {
						t.Errorf("there is more: %q", slices.Sorted(maps.Keys(found)))
					}
				})
			}
		}
	})
}

// TestNamesAreSettledBeforehand: each entry has its own, and keeps it.
func TestNamesAreSettledBeforehand(t *testing.T) {
	t.Parallel()
	for _, format := range []mail.Format{mail.EML, mail.Attachments} {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			dir, s := t.TempDir(), New("i")
			c := described(t, dir, format)
			stem, extension := "ann@example.com", map[mail.Format]string{mail.EML: ".eml"}[format]
			for n := 1; n <= 100; n++ {
				if n == 50 {
					continue
				}
				name := numbered(stem+extension, n, format == mail.Attachments)
				if n%2 == 0 { // another message may have the name of the description alone
					name += ".json"
				}
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			written := entries(t, s, c, letter(1), letter(2), letter(3))
			if err := s.Settle(written); err != nil {
				t.Fatal(err)
			}
			names := make(map[string]bool)
			for _, e := range written {
				names[e.Name] = true
			}
			if len(names) != 3 || names[stem+extension] {
				t.Errorf("names %v", names)
			}
			published, _, err := s.Publish(t.Context(), written, func(e mail.Entry) error {
				t.Errorf("renamed to %s", e.Name)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range published {
				if e.Name != written[i].Name || !strings.Contains(tree(t, dir)[e.Name+".json"], fmt.Sprintf(`"uid": %d,`, i+1)) {
					t.Errorf("message %d is %s, not %s", i+1, e.Name, written[i].Name)
				}
			}
		})
	}
}

// TestWhoeverAsksHearsOfANameBeforeItIsTaken: the message is still hidden then,
// and stays so when it cannot be recorded.
func TestWhoeverAsksHearsOfANameBeforeItIsTaken(t *testing.T) {
	t.Parallel()
	eachFormat(t, func(t *testing.T, format mail.Format) {
		dir, s := t.TempDir(), New("i")
		e := entries(t, s, described(t, dir, format), letter(1))[0]
		if err := os.WriteFile(filepath.Join(dir, e.Name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		failed := mail.Errorf(mail.OpRecord, mail.KindState, "the journal is full")
		if _, _, err := s.Publish(t.Context(), []mail.Entry{e}, func(mail.Entry) error { return failed }); !errors.Is(err, failed) {
			t.Errorf("%v", err)
		}
		var told []string
		published, _, err := s.Publish(t.Context(), []mail.Entry{e}, func(other mail.Entry) error {
			if there, err := exists(filepath.Join(dir, other.Name)); there || err != nil || other.Temp != e.Temp {
				t.Errorf("%+v is there: %v %v", other, there, err)
			}
			told = append(told, other.Name)
			return nil
		})
		if err != nil || len(published) != 1 || !slices.Equal(told, []string{published[0].Name}) {
			t.Errorf("%v, told of %q, %v", published, told, err)
		}
	})
}

// TestBothNamesOfOneFile are what a power cut may leave of a rename.
func TestBothNamesOfOneFile(t *testing.T) {
	t.Parallel()
	dir, s := t.TempDir(), New("i")
	e := entries(t, s, described(t, dir, mail.EML), letter(1))[0]
	if err := os.Link(filepath.Join(dir, e.Temp), filepath.Join(dir, e.Name)); err != nil {
		t.Fatal(err)
	}
	published, _, err := s.Publish(t.Context(), []mail.Entry{e}, nil)
	if found := tree(t, dir); err != nil || len(published) != 1 || len(found) != 2 || found[e.Name] == "" {
		t.Errorf("%v, %v, %q", published, err, slices.Sorted(maps.Keys(found)))
	}
}

// cutOff publishes an entry as far as that.
func cutOff(t *testing.T, s *Store, e mail.Entry, point, description string) {
	t.Helper()
	waiting, aside := metadataTemp(e), filepath.Join(t.TempDir(), "aside")
	var err error
	switch point {
	case "before the message":
		err = os.Link(waiting, description)
	case "before the end":
		if err = os.Link(waiting, aside); err == nil {
			_, _, err = s.Publish(t.Context(), []mail.Entry{e}, nil)
			err = errors.Join(err, os.Link(aside, waiting))
		}
	case "after it":
		_, _, err = s.Publish(t.Context(), []mail.Entry{e}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsInTheWay under the names that a message needs is neither followed
// nor replaced, whatever it is: the message and its description get others.
func TestWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	obstacles := map[string]func(path, outside string) error{
		"a file":            func(path, _ string) error { return os.WriteFile(path, []byte("theirs"), 0o600) },
		"a directory":       func(path, _ string) error { return os.Mkdir(path, 0o700) },
		"a link to a file":  func(path, outside string) error { return os.Symlink(filepath.Join(outside, "file"), path) },
		"a link to nothing": func(path, outside string) error { return os.Symlink(filepath.Join(outside, "nothing"), path) },
		"a link to a folder": func(path, outside string) error {
			return os.Symlink(outside, path)
		},
		"a pipe": func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
	}
	eachFormat(t, func(t *testing.T, format mail.Format) {
		for what, obstacle := range obstacles {
			for _, where := range []string{"message", "description"} {
				t.Run(what+" for the "+where, func(t *testing.T) {
					t.Parallel()
					dir, outside, s := t.TempDir(), t.TempDir(), New("i")
					if err := os.WriteFile(filepath.Join(outside, "file"), []byte("theirs"), 0o600); err != nil {
						t.Fatal(err)
					}
					e := entries(t, s, described(t, dir, format), letter(1))[0]
					message, description := outcome[format](1)
					name := strings.TrimSuffix(message, "/n.txt")
					if where == "description" {
						name = description
					}
					if err := obstacle(filepath.Join(dir, name), outside); err != nil {
						t.Fatal(err)
					}
					before, beyond := tree(t, dir), tree(t, outside)
					published, _, err := s.Publish(t.Context(), []mail.Entry{e}, nil)
					if err != nil || len(published) != 1 || published[0].Name != numbered(e.Name, 2, format == mail.Attachments) {
						t.Fatal(published, err)
					}
					after := tree(t, dir)
					if after[name] != before[name] || !maps.Equal(beyond, tree(t, outside)) {
						t.Errorf("%s was %q and is %q; outside: %q", name, before[name], after[name], tree(t, outside))
					}
					base := strings.TrimPrefix(published[0].Name, "new/")
					if !strings.Contains(after[base+".json"], `"uid": 1,`) {
						t.Errorf("no description: %q", slices.Sorted(maps.Keys(after)))
					}
					for left := range after {
						if strings.Contains(left, ".part") {
							t.Errorf("%s is left", left)
						}
					}
				})
			}
		}
	})
}

// TestAMessageWithoutAttachmentsSaysSo: what became of it is in its description, and
// the message itself is in its directory.
func TestAMessageWithoutAttachmentsSaysSo(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int{
		"Subject: x\r\n\r\nx\r\n":                                0,
		"Content-Type: application/pdf; name=a.pdf\r\n\r\nx\r\n": 1,
	} {
		dir, s := t.TempDir(), New("i")
		c := connection(dir)
		c.Format, c.Metadata, c.DirMode = mail.Attachments, true, 0o750
		m := message(1, body)
		e, err := s.Write(c, box, m)
		if err != nil {
			t.Fatal(err)
		}
		var known facts.Message
		text, err := os.ReadFile(metadataTemp(e))
		if err == nil {
			err = json.Unmarshal(text, &known)
		}
		if err != nil || known.Attachments == nil || *known.Attachments != want || len(known.Files) != 1 {
			t.Errorf("%s: %v", text, err)
		}
		if err := s.Discard(e); err != nil {
			t.Error(err)
		}
	}
}

// TestOnlyAUuencodedFile is an attachment like any other: a message with nothing else
// is saved where only attachments are wanted. One whose file is broken is saved with
// the message itself.
func TestOnlyAUuencodedFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		err        error
		files      []string
		incomplete bool
	}{
		"see below\r\n\r\nbegin 644 a.pdf\r\n#86)C\r\n`\r\nend\r\n": {nil, []string{"a.pdf"}, false},
		"begin 644 a.pdf\r\n#86)C\r\n":                              {nil, []string{"a.pdf", original}, true},
		"begin 644 of them\r\ntoday\r\n":                            {nil, []string{original}, true},
		"we begin 644 of them today\r\n":                            {mail.ErrNoAttachments, nil, false},
	} {
		dir := t.TempDir()
		c := connection(dir)
		c.Format, c.Metadata, c.DirMode, c.WithoutAttachments = mail.Attachments, true, 0o750, mail.SetAside
		e, err := New("i").Write(c, box, message(1, "Subject: x\r\n\r\n"+text))
		if !errors.Is(err, want.err) {
			t.Errorf("%q: %v", text, err)
		}
		if want.err != nil {
			continue
		}
		var known facts.Message
		description, err := os.ReadFile(metadataTemp(e))
		if err == nil {
			err = json.Unmarshal(description, &known)
		}
		if err != nil {
			t.Fatal(err)
		}
		var files []string
		for _, f := range known.Files {
			files = append(files, f.Name)
		}
		if !slices.Equal(files, want.files) || (len(known.Incomplete) > 0) != want.incomplete {
			t.Errorf("%q: %s", text, description)
		}
	}
}
