package lenient

import (
	"bufio"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// read is what a reader passes on of what a server says.
func read(t *testing.T, said string, set func(*Reader)) (*Reader, string, error) {
	t.Helper()
	// Byte by byte: nothing may hang on how the bytes come.
	r := NewReader(bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(said)), 64))
	r.greeted = true
	if set != nil {
		set(r)
	}
	out, err := io.ReadAll(r)
	return r, string(out), err
}

func TestGoIMAPGetsWhatItNeedsAsItReadsIt(t *testing.T) {
	t.Parallel()
	whole := func(r *Reader) { r.Await(Want{Body: true}) }
	only := func(uid uint32) func(*Reader) { return func(r *Reader) { r.Await(Want{Body: true, UID: uid}) } }
	for _, c := range []struct {
		name, said string
		set        func(*Reader)
		want       string
	}{
		{"a tagged OK", "T1 OK done\r\n", nil, "T1 OK done\r\n"},
		{"in lower case, with blanks", "T1  ok   done \r\n", nil, "T1 OK done \r\n"},
		{"without a text", "T1 OK\r\n", nil, "T1 OK -\r\n"},
		{"a bare LF", "T1 OK done\n", nil, "T1 OK done\r\n"},
		{"a refusal with a code", "T1 NO [unavailable] later\r\n", nil, "T1 NO [UNAVAILABLE] later\r\n"},
		{"a code with arguments", "T1 NO [BADCHARSET (UTF-8)] no\r\n", nil, "T1 NO [BADCHARSET] no\r\n"},
		{"COPYUID that is none", "T1 OK [COPYUID 14  ] done\r\n", nil, "T1 OK done\r\n"},
		{"APPENDUID that is none", "T1 OK [APPENDUID] done\r\n", nil, "T1 OK done\r\n"},
		{"what is no code", `T1 OK [Error="a b" x=1] done` + "\r\n", nil, `T1 OK  [Error="a b" x=1] done` + "\r\n"},
		{"a bracket that is not closed", "T1 NO [UNAVAILABLE later\r\n", nil, "T1 NO  [UNAVAILABLE later\r\n"},
		{"capabilities in a code", "T1 OK [CAPABILITY IMAP4rev1  esearch \"x\"] in\r\n", nil, "T1 OK [CAPABILITY IMAP4rev1 ESEARCH] in\r\n"},
		{"a login", "T1 OK in\r\n", (*Reader).LoggingIn, "T1 OK [CAPABILITY IMAP4rev1] in\r\n"},
		{"a login behind capabilities", "* CAPABILITY imap4REV1 ID\r\nT1 OK in\r\n", (*Reader).LoggingIn, "* CAPABILITY IMAP4rev1 ID\r\nT1 OK [CAPABILITY IMAP4rev1 ID] in\r\n"},
		{"a greeting", "* OK hello\r\n", func(r *Reader) { r.greeted = false }, "* OK [CAPABILITY IMAP4rev1] hello\r\n"},
		{"PREAUTH", "* preauth [CAPABILITY IMAP4rev1 ID] in\r\n", func(r *Reader) { r.greeted = false }, "* PREAUTH [CAPABILITY IMAP4rev1 ID] in\r\n"},
		{"a continuation", "+ go\r\n+\r\n", nil, "+ go\r\n+ \r\n"},
		{"empty lines", "\r\n \r\nT1 OK done\r\n", nil, "T1 OK done\r\n"},
		{"what nobody asked for", "* 1 EXPUNGED\r\n* XYZZY 1 (2\r\n* 3 RECENT\r\n* FLAGS (\\Seen a]b \"c\" x[y)\r\n* OK [PERMANENTFLAGS (App-[Gmail]/All Mail \\*)] ok\r\n* VANISHED 1\r\nT1 OK done\r\n", nil, "T1 OK done\r\n"},
		{"literals that nobody asked for", "* XYZZY {5}\r\n)(\r\n* {3+}\r\nabc x\r\n* 1 FETCH (ENVELOPE ({4}\r\n\"\"\"\" {1}\r\n)))\r\nT1 OK done\r\n", nil, "T1 OK done\r\n"},
		{"an end of a line that looks like a literal, for people", "* OK that takes {5}\r\nT1 OK done {7}\r\n", nil, "T1 OK done {7}\r\n"},
		{"SEARCH in any order", "* SEARCH 9 3  7 3 \r\n* SEARCH\r\n* SEARCH 5 (MODSEQ 7)\r\n", nil, "* SEARCH 3 7 9\r\n* SEARCH\r\n* SEARCH 5\r\n"},
		{"a long SEARCH", "* SEARCH" + strings.Repeat(" 4294967295 12", 20) + " 7\r\n", nil, "* SEARCH 7 12 4294967295\r\n"},
		{"ESEARCH", "* ESEARCH (TAG \"T7\") UID MIN 2 MAX 9 ALL 9,2:4,3 COUNT 4 X-NEW (1 2)\r\n", nil, "* ESEARCH (TAG \"T7\") UID MIN 2 MAX 9 ALL 2:4,9 COUNT 4\r\n"},
		{"ESEARCH that finds nothing", "* ESEARCH (TAG \"T7\") UID\r\n* ESEARCH (TAG \"T7\") UID COUNT 0\r\n", nil, "* ESEARCH (TAG \"T7\") UID\r\n* ESEARCH (TAG \"T7\") UID\r\n"},

		{"a message", "* 2 FETCH (UID 7 BODY[] {9}\r\nSubject: )\r\n", whole, "* 2 FETCH (UID 7 BODY[] {9}\r\nSubject: )\r\n"},
		{"items in any order and odd ones", "* 2 FETCH ( X-GM-MSGID 12 FLAGS (a]b \\Seen) EMAILID (M1) INTERNALDATE NIL  UID  7 RFC822.SIZE 9 BODY[] {9}\r\nSubject:  MODSEQ (3) )\r\n", whole, "* 2 FETCH (UID 7 BODY[] {9}\r\nSubject: )\r\n"},
		{"without blanks", "* 2 FETCH(UID 7 BODY[]{9}\r\nSubject: )\r\nT1 OK\r\n", whole, "* 2 FETCH (UID 7 BODY[] {9}\r\nSubject: )\r\nT1 OK -\r\n"},
		{"in lower case, of 8-bit data", "* 2 fetch (uid 7 body[] ~{9}\r\nSubject: )\r\n", whole, "* 2 FETCH (UID 7 BODY[] {9}\r\nSubject: )\r\n"},
		{"as RFC822", "* 2 FETCH (UID 7 RFC822 {9}\r\nSubject: )\r\n", whole, "* 2 FETCH (UID 7 BODY[] {9}\r\nSubject: )\r\n"},
		{"its UID behind it", "* 2 FETCH (BODY[] {9}\r\nSubject:  FLAGS () UID 7)\r\n", only(7), "* 2 FETCH (UID 7 BODY[] {9}\r\nSubject: )\r\n"},
		{"its UID behind it, of several", "* 2 FETCH (BODY[] {9}\r\nSubject:  UID 7)\r\nT1 OK done\r\n", whole, "T1 OK done\r\n"},
		{"as a quoted string", `* 2 FETCH (UID 7 BODY[] "Subject: \"x\"" FLAGS ())` + "\r\n", whole, "* 2 FETCH (UID 7 BODY[] {12}\r\nSubject: \"x\")\r\n"},
		{"an item with a literal ahead of it", "* 2 FETCH (UID 7 BODY[TEXT] {3}\r\nabc BODY[] {9}\r\nSubject: )\r\n", whole, "* 2 FETCH (UID 7 BODY[] {9}\r\nSubject: )\r\n"},
		{"a header", "* 2 FETCH (UID 7 BODY[HEADER] {9}\r\nSubject: )\r\n", func(r *Reader) { r.Await(Want{Body: true, Section: "HEADER"}) }, "* 2 FETCH (UID 7 BODY[HEADER] {9}\r\nSubject: )\r\n"},
		{"a section that was not asked for", "* 2 FETCH (UID 7 BODY[TEXT] {9}\r\nSubject:  BODY[HEADER.FIELDS (A B)] {2}\r\nxx BODY[]<0> {2}\r\nab)\r\n", whole, ""},
		{"a message that was not asked for", "* 2 FETCH (UID 7 BODY[] {9}\r\nSubject: )\r\n", nil, ""},
		{"an empty literal", "* 2 FETCH (UID 7 BODY[] {0}\r\n)\r\n", whole, ""},
		{"an empty string", "* 2 FETCH (UID 7 BODY[] \"\")\r\n", whole, ""},
		{"NIL", "* 2 FETCH (UID 7 BODY[] NIL)\r\n", whole, ""},
		{"an end of a line alone", "* 2 FETCH (UID 7 BODY[] {2}\r\n\r\n)\r\n", whole, ""},
		{"flags alone", "* 2 FETCH (FLAGS (\\Seen) UID 7)\r\n", whole, ""},
	} {
		_, out, err := read(t, c.said, c.set)
		if err != nil || out != c.want {
			t.Errorf("%s: %q, %v; not %q", c.name, out, err, c.want)
		}
	}
}

func TestWhatCannotBeEndsTheSession(t *testing.T) {
	t.Parallel()
	only := func(uid uint32) func(*Reader) { return func(r *Reader) { r.Await(Want{Body: true, UID: uid}) } }
	for _, c := range []struct {
		said string
		set  func(*Reader)
		says string
	}{
		{"garbage\r\n", nil, "no response of IMAP"},
		{"\x00\xff\x1b[31m\r\n", nil, "no response of IMAP"},
		{"T1 MAYBE done\r\n", nil, "no response of IMAP"},
		{"* SEARCH 1 x\r\n", nil, "a message that cannot be"},
		{"* SEARCH 4294967296\r\n", nil, "a message that cannot be"},
		{"* SEARCH 0\r\n", nil, "a message that cannot be"},
		{"* ESEARCH (TAG \"T1\") UID ALL 1,x\r\n", nil, "messages that cannot be"},
		{"* ESEARCH (TAG \"T1\") UID MIN x\r\n", nil, "MIN"},
		{"* ESEARCH (TAG \"T1\") ALL 1:3\r\n", nil, "message numbers"},
		{"* 1 FETCH (BODY[] {9}\r\nSubject:  UID 8)\r\n", only(7), "for message 7 with message 8"},
		{"* 1 FETCH (UID 7 BODY[] {9}\r\nSubject:  UID 8)\r\n", only(7), "for message 7 with message 8"},
		{"* 1 FETCH (BODY[] {9}\r\nSubject: )\r\n", only(7), "which message"},
		{"* 1 FETCH (UID 7 BODY[] {9}\r\nSubject:  BODY[] {9}\r\nSubject: )\r\n", only(7), "two messages as one"},
		{"* 1 FETCH (UID 7 BODY[] {9}\r\nSubject: more than announced)\r\n", only(7), "behind the end of a message"},
		{"* 1 FETCH (UID 7 BODY[] {9}\r\nSubject: \r\nReceived: x)\r\n", only(7), "behind the end of a message"},
		{"* 1 FETCH (UID 7 BODY[] {9}\r\nSubject: FLAGS ())\r\n", only(7), "behind the end of a message"},
		{"* 1 FETCH (UID 7 BODY[] {9}\r\nSubject:  FLAGS ()) x\r\n", only(7), "behind the end of a message"},
		{"* 1 FETCH (UID 7 X {5368709120}\r\nabc", only(7), "unexpected EOF"},
		{"* 1 FETCH (UID 7 BODY[] {9}\r\nSubj", only(7), "unexpected EOF"},
		{"* 1 FETCH (UID 7 FL", only(7), "unexpected EOF"},
		{"* 1 FETCH (" + strings.Repeat("(", maxLine+1), nil, "a line of more than"},
		{"* CAPABILITY" + strings.Repeat(" X", maxLine), nil, "a line of more than"},
	} {
		_, out, err := read(t, c.said, c.set)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.80q: passed on as %.200q, %v", c.said, out, err)
		}
	}
}

func TestASessionCanAskForTheRest(t *testing.T) {
	t.Parallel()
	r, _, err := read(t, "* OK [UIDVALIDITY 77] ok\r\n* 12 EXISTS\r\n* 3 EXPUNGE\r\n* 3 EXPUNGED\r\n"+
		"* OK [ALERT] Disk is full\r\n* OK [ALERT] Disk is full\r\n* BYE going down\r\n"+
		"* LIST (\\HasNoChildren) \"/\" INBOX\r\n* LIST () NIL \"R&D\"\r\n* LIST (\\Noselect) \"/\" x\r\n* LIST () \"/\" {7}\r\nArch{3}\r\n* LIST () \"/\" Entw&APw-rfe\r\n* LIST () \"/\" Sent Mail\r\n"+
		"* STATUS \"a ) (b\" (MESSAGES 4 UIDVALIDITY 9)\r\n* STATUS {1}\r\n( (UIDNEXT 5 X NIL)\r\n"+
		"* 1 FETCH (UID 4 FLAGS (\\Seen $a]b \"q\") INTERNALDATE \" 1-Feb-2026 08:30:00 +0100\" RFC822.SIZE 120)\r\n"+
		"* 2 FETCH (FLAGS () INTERNALDATE \"32-Foo-2026\" UID 5)\r\n* 3 FETCH (INTERNALDATE NIL UID 6 FLAGS NIL RFC822.SIZE x)\r\n"+
		"T1 OK [READ-ONLY] done\r\n", func(r *Reader) { r.Await(Want{Facts: true, Names: true}) })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Mailbox(), (Mailbox{Validity: 77, Exists: 10, Expunged: 2, ReadOnly: true}); got != want {
		t.Errorf("mailbox: %+v", got)
	}
	if got := r.Texts(); !slices.Equal(got, []string{"Disk is full", "going down"}) {
		t.Errorf("texts: %q", got)
	}
	if got := r.Names(); !slices.Equal(got, []string{"INBOX", "R&D", "Arch{3}", "Entwürfe", "Sent Mail"}) {
		t.Errorf("names: %q", got)
	}
	for item, want := range map[string]uint32{"MESSAGES": 4, "UIDVALIDITY": 9, "UIDNEXT": 5} {
		if got, _ := r.Status(item); got != want {
			t.Errorf("status: %s is %d", item, got)
		}
	}
	got := r.Messages()
	if len(got) != 3 || got[0].UID != 4 || got[0].Size != 120 || !slices.Equal(got[0].Flags, []string{`\Seen`, "$a]b", `"q"`}) ||
		!got[0].Received.Equal(time.Date(2026, 2, 1, 7, 30, 0, 0, time.UTC)) || got[1].UID != 5 || !got[1].Received.IsZero() || got[2].UID != 6 {
		t.Errorf("messages: %+v", got)
	}
}

func TestStructures(t *testing.T) {
	t.Parallel()
	const (
		plain = `("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 10 1 NIL NIL NIL NIL)`
		pdf   = `("application" "pdf" ("name" "a.pdf") NIL NIL "base64" 500 NIL ("attachment" ("filename" "a.pdf")) NIL NIL)`
	)
	for _, c := range []struct {
		structure string
		want      Attached
	}{
		{plain, Without},
		{pdf, With},
		{"(" + plain + pdf + ` "mixed" ("boundary" "x") NIL NIL)`, With},
		{"(" + plain + plain + ` "alternative")`, Without},
		{"((" + plain + plain + ` "alternative")` + pdf + ` "mixed")`, With},
		{`("image" "png" ("name" "a.png") "<id>" NIL "base64" 5 NIL ("inline" ("filename" "a.png")))`, Without},
		{`("image" "png" NIL NIL NIL "base64" 5 NIL ("attachment" NIL))`, With},
		{`("image" "png" ("name*0*" "utf-8''a") NIL NIL "base64" 5)`, With},
		{`("application" "pdf" ("name" {5}` + "\r\na.pdf" + `) NIL NIL "base64" -1)`, With},
		{`("message" "rfc822" NIL NIL NIL "7bit" 50 ("date" NIL NIL NIL NIL NIL NIL NIL NIL NIL) ` + plain + ` 3)`, Without},
		// Not by the book.
		{`(("text" "html" ("charset" "UTF-8") NIL NIL "quoted-printable" 12 1)("application" "octet-stream" ("name" "1.pdf") NIL """" "base64" 65) "MIXED")`, With},
		{`("application" "pdf" ("name" "a "b" c.pdf") NIL NIL "base64" 5)`, With},
		{`( "text"  "plain" ( "charset" "utf-8" ) NIL NIL "7bit" 10 1 )`, Without},
		// Nothing that can be understood.
		{`NIL`, Unknown},
		{`""`, Unknown},
		{`()`, Unknown},
		{`(1 2 3)`, Unknown},
		{`("text" "plain")`, Unknown},
		{strings.Repeat("(", 200) + plain + strings.Repeat(` "mixed")`, 200), Unknown},
		{"(" + plain + `("application" "pdf" "mixed")`, Unknown},
	} {
		r, _, err := read(t, "* 1 FETCH (BODYSTRUCTURE "+c.structure+" UID 3)\r\n", func(r *Reader) { r.Await(Want{Facts: true, Structure: true}) })
		got := Unknown
		if m := r.Messages(); len(m) == 1 {
			got = m[0].Attached
		}
		if err != nil || got != c.want {
			t.Errorf("%.100s: %v, %v", c.structure, got, err)
		}
	}
}

func TestNamesOfMailboxes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"INBOX": "INBOX", "&-": "&", "A&-B": "A&B", "Entw&APw-rfe": "Entwürfe", "&ZeVnLIqe-": "日本語", "&2D3eAA-": "😀",
		"R&D": "R&D", "&x": "&x", "&A-": "&A-", "&&&": "&&&", "Z\xfcrich": "Z\uFFFDrich", "Zürich": "Zürich",
	} {
		if got := MailboxName(name); got != want {
			t.Errorf("%q is %q, not %q", name, got, want)
		}
	}
}

// TestTheWorkIsBounded: what is the hardest to read takes time in proportion to its
// length, and what is kept of it is bounded.
func TestTheWorkIsBounded(t *testing.T) {
	t.Parallel()
	for name, chunk := range map[string]string{
		"parentheses": "(", "quotes": `"a"b `, "escapes": `\"`, "brackets": "[", "texts": `"a" `, "an open quote": `" "x`, "items": "X 1 ", "numbers": "9 ", "literals": "{1}\r\n(", "nested": `("`,
	} {
		for _, begin := range []string{"* 1 FETCH (UID 1 BODYSTRUCTURE (", "* 1 FETCH (UID 1 X (", "* 1 FETCH (", "* LIST (", "* STATUS x (", "* ESEARCH (", "* XYZZY "} {
			text := begin + strings.Repeat(chunk, (maxLine-100)/len(chunk)) + "\r\n"
			r := NewReader(bufio.NewReaderSize(strings.NewReader(text), 32<<10))
			r.Await(Want{Facts: true, Structure: true, Names: true, Body: true})
			// It ends: work that grows with the square of what is sent would take
			// longer than the tests may.
			if n, err := io.Copy(io.Discard, r); n > int64(len(text)) {
				t.Errorf("%s%s...: %d bytes were passed on, %v", begin, name, n, err)
			}
			if kept := len(r.messages) + len(r.names) + len(r.texts) + len(r.status); kept > 2*maxNames {
				t.Errorf("%s%s...: %d things were kept", begin, name, kept)
			}
		}
	}
}
