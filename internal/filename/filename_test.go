package filename_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mailpoller/internal/filename"
)

var message = filename.Fields{
	Connection: "invoices", Mailbox: "INBOX", UID: "4711", UIDValidity: "1795407016", Digest: "ba7816bf8f01cfea",
	Received: time.Date(2026, 1, 31, 8, 30, 0, 0, time.UTC), Sequence: 3, Date: time.Date(2026, 1, 30, 23, 59, 59, 0, time.UTC),
	Subject: "Invoice 17/2026: März", From: "ann@example.com", FromName: "Ann Example", To: "bob@example.com", MessageID: "1@example.com",
}

// TestThePageIsTrue: each example of docs/filenames.md comes to what it says.
func TestThePageIsTrue(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/filenames.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `(\\{\\{.*?|[^`]*\\{\\{.*?)` \\| `([^`]*)` \\|$").FindAllStringSubmatch(string(text), -1)
	if len(rows) < 15 {
		t.Fatalf("%d examples", len(rows))
	}
	for _, row := range rows {
		parsed, err := filename.Parse(strings.ReplaceAll(row[1], `\|`, "|"))
		if err != nil {
			t.Errorf("%s: %v", row[1], err)
			continue
		}
		if got := parsed.Name(&message); got != row[2] {
			t.Errorf("%s comes to %q, not %q", row[1], got, row[2])
		}
	}
	for _, field := range filename.FieldNames {
		if !strings.Contains(string(text), "| `."+field+"` |") {
			t.Errorf("the page does not say what .%s is", field)
		}
	}
}

func TestTemplatesThatAreRefused(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"":                                       `comes to ""`,
		"{{.Subject}}":                           "with a message without a subject it comes to \"\"",
		"{{.Subject}}.eml":                       "a message without a subject",
		"...":                                    `comes to "..."`,
		"{{.From}}/{{.UID}}":                     `it has '/' in it`,
		"{{.UID}}:{{.Subject}}":                  `it has ':' in it`,
		"{{.Uid}}":                               "there are Connection, Date, Digest",
		"{{.UID | shout}}":                       "there are date, default, lower",
		"{{.UID":                                 "unclosed action",
		"{{range .UID}}x{{end}}":                 "is not for file names",
		"{{range 1000000000}}{{end}}{{.UID}}":    "is not for file names",
		`{{define "x"}}{{end}}{{.UID}}`:          "a template of its own",
		`{{template "filename" .}}`:              "is not for file names",
		`{{printf "%1000000d" .Sequence}}`:       "at most two digits",
		`{{printf "%*d" 100000000 .Sequence}}`:   "at most two digits",
		`{{slice .Subject 0 5}}`:                 "with a message without a subject it fails",
		strings.Repeat("x", 1025):                "longer than 1024",
		`{{if .Subject}}{{.Subject}}{{end}}`:     "a message without a subject",
		`{{with .Subject}}{{.}}{{else}}/{{end}}`: `it has '/' in it`,
	} {
		if _, err := filename.Parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, not %q", text, err, says)
		}
	}
}

func TestNamesAreSafe(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"../../etc/passwd":                "_.._etc_passwd",
		"CON":                             "_CON",
		"nul.tar.gz":                      "_nul.tar.gz",
		"com¹.txt":                        "_com¹.txt",
		"COM10.txt":                       "COM10.txt",
		" .-~hidden. . ":                  "hidden",
		"--rf":                            "rf",
		"a\x00b\x1bc\x7f":                 "abc",
		"report\u202egpj.exe":             "reportgpj.exe",
		"zero\u200bwidth\ufeff":           "zerowidth",
		"a\tb\r\nc":                       "a b  c",
		"\xff\xfe":                        "_",
		"A\u030angström.pdf":              "Ångström.pdf",
		"請求書.pdf":                         "請求書.pdf",
		"...":                             "",
		"":                                "",
		strings.Repeat("ä", 300) + ".pdf": strings.Repeat("ä", 98) + ".pdf",
		"con" + strings.Repeat(" ", 300) + "x.txt": "_con.txt",
		"a\u3164\u1160b\U000E0100.pdf":             "ab.pdf",
		strings.Repeat("x", 300):                   strings.Repeat("x", 200),
	} {
		if got := filename.Safe(text, 200); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
}

func TestNamesThatCollideElsewhere(t *testing.T) {
	t.Parallel()
	for _, pair := range [][2]string{{"a.pdf", "A.PDF"}, {"ä", "a\u0308"}, {"Ä", "a\u0308"}, {"\u212a.txt", "k.txt"}, {"Σς", "σσ"}, {"ſ", "s"}} {
		if filename.Fold(pair[0]) != filename.Fold(pair[1]) {
			t.Errorf("%q and %q are told apart", pair[0], pair[1])
		}
	}
	if filename.Fold("a.pdf") == filename.Fold("ä.pdf") {
		t.Error("two names are taken for one")
	}
}

// unsafe is what no name may hold.
var unsafe = regexp.MustCompile(`[/\\:*?"<>|\p{C}]|^[ .~-]|[ .]$|^$`)

func FuzzSafe(f *testing.F) {
	f.Add("../x", 200)
	f.Add("CON.txt", 20)
	f.Add("\u202e\xff.pdf", 13)
	f.Fuzz(func(t *testing.T, text string, most int) {
		most = 16 + max(0, most)%250
		name := filename.Safe(text, most)
		if name != "" && (unsafe.MatchString(name) || len(name) > most || !utf8.ValidString(name)) {
			t.Errorf("%q of at most %d octets becomes %q", text, most, name)
		}
		if again := filename.Safe(name, most); again != name {
			t.Errorf("%q becomes %q, and that %q", text, name, again)
		}
	})
}

// FuzzName: whatever a header holds, a template that was taken makes names that
// can be used.
func FuzzName(f *testing.F) {
	f.Add("{{.Subject}} {{.UID}}", "Invoice", "a@b")
	f.Add(`{{.Received | date "2006"}}-{{.From | truncate 5}}-{{.UID}}.msg`, "../..", "\x00")
	f.Fuzz(func(t *testing.T, text, subject, from string) {
		parsed, err := filename.Parse(text)
		if err != nil {
			return
		}
		m := message
		m.Subject, m.From, m.FromName, m.MessageID = subject, from, subject, from
		for _, name := range []string{parsed.Name(&m), parsed.Stem(&m)} {
			if name != "" && (unsafe.MatchString(name) || len(name) > filename.MaxName) {
				t.Errorf("%q with %q and %q comes to %q", text, subject, from, name)
			}
		}
	})
}
