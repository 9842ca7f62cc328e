package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// tree is what is visible in a folder, by path.
func tree(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left", path)
			return nil
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(folder, path)
		found[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func wantPaths(t *testing.T, folder string, want ...string) map[string]string {
	t.Helper()
	found := tree(t, folder)
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(found)); !slices.Equal(got, want) {
		t.Errorf("in the folder:\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return found
}

const (
	invoice = "From: Ann Example <ann@example.com>\r\nTo: bob@example.com\r\nSubject: =?utf-8?q?Invoice_17/2026:_M=C3=A4rz?=\r\nMessage-ID: <1@example.com>\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\nDear Bob\r\n--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"../invoice.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQK\r\n" +
		"--b\r\nContent-Type: text/csv\r\nContent-Disposition: attachment; filename=invoice.csv\r\n\r\na;b\r\n--b--\r\n"
	plain  = "From: carl@example.com\r\nSubject: hello\r\n\r\njust text\r\n"
	broken = "From: dora@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment; filename=cut.bin\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJDREVG"
)

// TestAttachments: a directory for each message, with what belongs in it, and
// the description beside it.
func TestAttachments(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			d.Deliver(t, u, []byte(invoice), []byte(plain), []byte(broken))
			s := rig.New(t, rig.Connect(t, d, "documents", u, store, mail.SSLTLS).With(rig.Settings{
				"format": "ATTACHMENTS", "filename": "{{.From}} {{.Sequence}}", "metadata": true, "max_messages": 0, "disposition": "DELETE",
			}))
			v := s.Poll("documents")[0]
			if v.State != "SUCCEEDED" || v.Messages != 3 {
				t.Fatalf("%+v %+v", v, v.Error)
			}
			found := wantPaths(t, s.Dir+"/documents",
				"ann@example.com 1/_invoice.pdf", "ann@example.com 1/invoice.csv", "ann@example.com 1.json",
				"carl@example.com 2/message.eml", "carl@example.com 2.json",
				"dora@example.com 3/cut.bin", "dora@example.com 3/message.eml", "dora@example.com 3.json",
			)
			if found["ann@example.com 1/_invoice.pdf"] != "%PDF-1.4\n" || found["ann@example.com 1/invoice.csv"] != "a;b" ||
				found["carl@example.com 2/message.eml"] != plain || found["dora@example.com 3/cut.bin"] != "ABCDEF" {
				t.Errorf("%q", found)
			}
			var about struct {
				Connection string
				StoreType  string `json:"store_type"`
				Header     struct{ Subject string }
				Files      []struct {
					Name, Original string
					Size           int
				}
				Incomplete []string
			}
			if err := json.Unmarshal([]byte(found["ann@example.com 1.json"]), &about); err != nil {
				t.Fatal(err)
			}
			if about.Connection != "documents" || about.StoreType != string(store) || about.Header.Subject != "Invoice 17/2026: März" || len(about.Files) != 2 || about.Files[0].Size != 9 || about.Incomplete != nil {
				t.Errorf("%+v", about)
			}
			if err := json.Unmarshal([]byte(found["dora@example.com 3.json"]), &about); err != nil || len(about.Incomplete) == 0 {
				t.Errorf("%+v, %v", about, err)
			}
			if left := d.Messages(t, u); len(left) != 0 {
				t.Errorf("%d messages are left", len(left))
			}
		})
	}
}

// TestMessagesWithoutAttachmentsAreSkipped: they stay on the server, are
// listed, and are asked for again on request alone.
func TestMessagesWithoutAttachmentsAreSkipped(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	u := d.NewUser(t)
	d.Deliver(t, u, []byte(plain), []byte(invoice), []byte(plain))
	s := rig.New(t, rig.Connect(t, d, "documents", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{
		"format": "ATTACHMENTS", "without_attachments": "SET_ASIDE", "keep_original": "ENABLED", "max_messages": 0, "disposition": "DELETE", "filename": "{{.Subject | default .Digest}}",
	}))
	v := s.Poll("documents")[0]
	if v.State != "SUCCEEDED" || v.Messages != 1 || v.Unwanted != 2 {
		t.Fatalf("%+v %+v", v, v.Error)
	}
	found := wantPaths(t, s.Dir+"/documents", "Invoice 17_2026_ März/_invoice.pdf", "Invoice 17_2026_ März/invoice.csv", "Invoice 17_2026_ März/message.eml")
	if found["Invoice 17_2026_ März/message.eml"] != invoice {
		t.Errorf("%q", found)
	}
	if left := d.Messages(t, u); len(left) != 2 {
		t.Errorf("%d messages are left, not 2", len(left))
	}
	if v := s.Poll("documents")[0]; v.Outcome != "empty" || v.Unwanted != 2 {
		t.Errorf("again: %+v", v)
	}
	if out, _, code := s.Run("retry", "documents"); code != 0 || !strings.Contains(out, "2") {
		t.Errorf("retry: %d %s", code, out)
	}
	s.Configure(rig.Connect(t, d, "documents", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{"format": "ATTACHMENTS", "max_messages": 0, "disposition": "DELETE"}))
	if v := s.Poll("documents")[0]; v.Messages != 2 {
		t.Errorf("as they are: %+v", v)
	}
}

// TestNamesThatManyMessagesHave: none is lost, and none replaces another, not
// even one that is the same.
func TestNamesThatManyMessagesHave(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			d.Deliver(t, u, []byte(plain), []byte(plain), []byte(strings.Replace(plain, "just", "more", 1)), []byte("Subject: ../..\r\n\r\n"))
			s := rig.New(t, rig.Connect(t, d, "names", u, store, mail.SSLTLS).With(rig.Settings{
				"filename": `{{.Subject | default "none"}}`, "metadata": true, "max_messages": 0, "disposition": "KEEP",
			}))
			if v := s.Poll("names")[0]; v.Messages != 4 {
				t.Fatalf("%+v %+v", v, v.Error)
			}
			found := wantPaths(t, s.Dir+"/names", "hello.eml", "hello.eml.json", "hello.2.eml", "hello.2.eml.json", "hello.3.eml", "hello.3.eml.json", "_.eml", "_.eml.json")
			if found["hello.eml"] != plain || found["hello.2.eml"] != plain || !strings.Contains(found["hello.3.eml"], "more") {
				t.Errorf("%q", found)
			}
			var uids []string
			for _, name := range []string{"hello.eml.json", "hello.2.eml.json", "hello.3.eml.json"} {
				var about map[string]any
				if err := json.Unmarshal([]byte(found[name]), &about); err != nil {
					t.Fatal(err)
				}
				uids = append(uids, fmt.Sprint(about["uid"], about["uidl"]))
			}
			if len(slices.Compact(uids)) != 3 {
				t.Errorf("one message is described twice: %q", uids)
			}
		})
	}
}

// TestTheCommandIsRunForEachMessage: in their order, with what it needs, and
// again until it did its work; the messages are not touched by its failures.
func TestTheCommandIsRunForEachMessage(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	u := d.NewUser(t)
	d.Deliver(t, u, []byte(plain), []byte(invoice))
	s := rig.New(t)
	told := s.Mkdir("told")
	script := filepath.Join(s.Dir, "notify")
	text := fmt.Sprintf("#!/bin/sh\nset -eu\ntest -e %[1]s/ready || { echo not yet >&2; exit 7; }\ntest -s \"$2\"\ncat >>%[1]s/log\necho \" $1 $2 $POLLER_CONNECTION\" >>%[1]s/log\n", told)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	orders := rig.Connect(t, d, "orders", u, mail.IMAP, mail.SSLTLS).With(rig.Settings{
		"filename": `{{.From | default "nobody"}}`, "max_messages": 0, "disposition": "DELETE", "notify": map[string]any{"command": []string{script, "--mail"}},
	})
	s.Configure(orders)
	v := s.Poll("orders")[0]
	if v.State != "SUCCEEDED" || v.Messages != 2 || !strings.Contains(strings.Join(v.Warnings, " "), "notify: exit status 7: not yet; it is tried again") {
		t.Fatalf("%+v %+v", v, v.Error)
	}
	wantPaths(t, s.Dir+"/orders", "carl@example.com.eml", "ann@example.com.eml")
	if left := d.Messages(t, u); len(left) != 0 {
		t.Errorf("%d messages are left", len(left))
	}
	if err := os.WriteFile(told+"/ready", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if v := s.Poll("orders")[0]; v.State != "SUCCEEDED" || v.Messages != 0 || len(v.Warnings) != 0 {
		t.Errorf("again: %+v", v)
	}
	log, err := os.ReadFile(told + "/log")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], " --mail "+s.Dir+"/orders/carl@example.com.eml orders") || !strings.HasSuffix(lines[1], "/orders/ann@example.com.eml orders") ||
		!strings.Contains(lines[1], `"subject":"Invoice 17/2026: März"`) {
		t.Errorf("%s", log)
	}
	if v := s.Poll("orders")[0]; v.Outcome != "empty" {
		t.Errorf("once is enough: %+v", v)
	}
	if after, _ := os.ReadFile(told + "/log"); string(after) != string(log) {
		t.Errorf("it was run again: %s", after)
	}
}
