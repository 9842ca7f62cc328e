package facts

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"mailpoller/internal/mail"
)

var connection = &mail.Connection{Name: "orders", Store: mail.IMAP, Mailbox: "INBOX"}

func of(t testing.TB, text string) *Message {
	t.Helper()
	m := &mail.Message{Ref: mail.Ref{UID: 7}, Received: time.Date(2026, 1, 31, 9, 30, 0, 0, time.FixedZone("", 3600)), Flags: []string{`\Seen`}}
	f, err := Of(connection, mail.Box{Validity: 3}, m, &mail.Entry{Octets: int64(len(text))}, strings.NewReader(text), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header string
		want   string // Header as JSON
	}{
		"ordinary": {
			"Date: Sat, 31 Jan 2026 09:30:00 +0100\r\nSubject: Order 17\r\nFrom: Ann <ann@example.com>\r\nTo: bob@example.com,\r\n \"Carl, Jr.\" <carl@example.com>\r\nMessage-ID: <1@example.com>\r\nReferences: <a@b>\r\n <c@d>\r\n\r\nSubject: not this\r\n",
			`{"date":"2026-01-31T08:30:00Z","subject":"Order 17","from":[{"name":"Ann","address":"ann@example.com"}],"to":[{"address":"bob@example.com"},{"name":"Carl, Jr.","address":"carl@example.com"}],"message_id":"1@example.com","references":["a@b","c@d"]}`,
		},
		"encoded words": {
			"subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= =?iso-2022-jp?b?GyRCQEE1YTNnGyhC?=\nFrom: =?koi8-r?B?8sXNydLP1w==?= <r@example.ru>\nCc: =?windows-1252?q?J=F6rg?= <j@example.de>\n\n",
			`{"subject":"Grüße請求括","from":[{"name":"Ремиров","address":"r@example.ru"}],"cc":[{"name":"Jörg","address":"j@example.de"}]}`,
		},
		"octets without a charset":   {"Subject: M\xe4rz\r\nFrom: J\xf6rg <j@example.de>\r\n\r\n", `{"subject":"März","from":[{"name":"Jörg","address":"j@example.de"}]}`},
		"UTF-8 as it is":             {"Subject: März\r\n\r\n", `{"subject":"März"}`},
		"an unknown charset":         {"Subject: =?klingon?q?ab=FF?=\r\n\r\n", `{"subject":"=?klingon?q?ab=FF?="}`},
		"a broken list":              {"From: Example, Ltd. <sales@example.com>\r\nTo: one@example.com; two@example.com\r\n\r\n", `{"from":[{"name":"Example, Ltd.","address":"sales@example.com"}],"to":[{"address":"one@example.com"},{"address":"two@example.com"}]}`},
		"the first of two counts":    {"Subject: one\r\nSubject: two\r\n three\r\n\r\n", `{"subject":"one"}`},
		"what is no field":           {"From ann Sat Jan 31\r\nrubbish\r\n folded\r\nSubject : late\r\n\r\n", `{"subject":"late"}`},
		"a date of the future":       {"Date: Sat, 31 Jan 20260 09:30:00 +0100\r\n\r\n", `{}`},
		"no end":                     {"Subject: cut o", `{"subject":"cut o"}`},
		"nothing":                    {"", `{}`},
		"control characters":         {"Subject: a\x00b\x1b[31mc\r\nMessage-ID: <x\x07y@z>\r\n\r\n", `{"subject":"a b [31mc","message_id":"x y@z"}`},
		"a bare id":                  {"Message-ID: 1@example.com\r\nIn-Reply-To: (nobody)\r\n\r\n", `{"message_id":"1@example.com","in_reply_to":["(nobody)"]}`},
		"a text without end":         {"Subject: " + strings.Repeat("x", 10000) + "\r\n\r\n", `{"subject":"` + strings.Repeat("x", 4096) + `"}`},
		"bidirectional overrides":    {"Subject: a\u202eb\r\n\r\n", `{"subject":"a b"}`},
		"a list of many":             {"To: " + strings.Repeat("a@b,", 200) + "a@b\r\n\r\n", `{"to":[` + strings.TrimSuffix(strings.Repeat(`{"address":"a@b"},`, 100), ",") + `]}`},
		"an encoded word that lies":  {"Subject: =?utf-8?b?!!!?=\r\n\r\n", `{"subject":"=?utf-8?b?!!!?="}`},
		"a subject over three lines": {"Subject: one\r\n two\r\n\tthree\r\n\r\n", `{"subject":"one two three"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got bytes.Buffer
			e := json.NewEncoder(&got)
			e.SetEscapeHTML(false)
			if err := e.Encode(of(t, c.header).Header); err != nil {
				t.Fatal(err)
			}
			if text := strings.TrimSpace(got.String()); text != c.want {
				t.Errorf("got  %s\nwant %s", text, c.want)
			}
		})
	}
}

// schema is the one that docs/metadata.md names.
func schema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile("../../../docs/metadata.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// valid reports what is wrong with a document.
func valid(t testing.TB, s *jsonschema.Schema, document []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value)
}

func TestTheSchemaDescribesTheFile(t *testing.T) {
	t.Parallel()
	s := schema(t)
	f := of(t, "Date: Sat, 31 Jan 2026 09:30:00 +0100\r\nSubject: <Order> & 17\r\nFrom: Ann <ann@example.com>\r\nMessage-ID: <1@example.com>\r\n\r\n")
	f.Files = []File{{Name: "a.pdf", Original: "a/.pdf", ContentType: "application/pdf", Size: 3, SHA256: strings.Repeat("0", 64)}}
	f.Incomplete, f.Attachments = []string{"part 2 ends early"}, new(0)
	if err := valid(t, s, f.JSON()); err != nil {
		t.Errorf("%v\n%s", err, f.JSON())
	}
	if !bytes.Contains(f.JSON(), []byte("<Order> & 17")) {
		t.Errorf("%s", f.JSON())
	}
	for _, wrong := range []string{
		`{}`, strings.Replace(string(f.JSON()), `"schema": 1`, `"schema": 2`, 1),
		strings.Replace(string(f.JSON()), `"connection"`, `"konnection"`, 1), strings.Replace(string(f.JSON()), `"uid": 7`, `"uid": "7"`, 1),
	} {
		if valid(t, s, []byte(wrong)) == nil {
			t.Errorf("the schema takes %s", wrong)
		}
	}
	// The example of the page is one.
	page, err := os.ReadFile("../../../docs/metadata.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	example, _, ok := strings.Cut(rest, "```")
	if err := valid(t, s, []byte(example)); err != nil || !ok {
		t.Errorf("the example of the page: %v", err)
	}
	if one, other := of(t, "").JSON(), of(t, "").JSON(); !bytes.Equal(one, other) {
		t.Error("the same message has two descriptions")
	}
}

// FuzzFacts: whatever a header holds, what is made of it is bounded, and valid.
func FuzzFacts(f *testing.F) {
	f.Add("Subject: =?utf-8?q?x?=\r\nFrom: a@b, c <d@e>\r\nDate: Sat, 31 Jan 2026 09:30:00 +0100\r\n\r\n")
	f.Add("To: \xff\xfe\r\n\tx\nReferences: <a><b\n\n")
	s := schema(f)
	f.Fuzz(func(t *testing.T, text string) {
		document := of(t, text).JSON()
		if err := valid(t, s, document); err != nil {
			t.Errorf("%v\n%s", err, document)
		}
	})
}
