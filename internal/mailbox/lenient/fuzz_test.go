package lenient

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// FuzzReader: whatever comes, the reader ends, and passes on nothing but what
// go-imap reads: lines in order, with literals of the length that they announce.
func FuzzReader(f *testing.F) {
	for _, said := range []string{
		"* OK [CAPABILITY IMAP4rev1] hi\r\nT1 OK in\r\n",
		"* 3 EXISTS\r\n* OK [UIDVALIDITY 3] x\r\nT2 OK [READ-WRITE] done\r\n",
		"* SEARCH 1 2 3\r\n* ESEARCH (TAG \"T1\") UID ALL 1:3,5 COUNT 4\r\nT3 OK\r\n",
		"* 1 FETCH (UID 1 RFC822.SIZE 5 BODY[] {5}\r\nhello FLAGS (\\Seen))\r\nT4 OK\r\n",
		"* 1 FETCH (BODY[] \"he\\\"llo\" UID 7)\r\n* 2 FETCH (BODYSTRUCTURE ((\"text\" \"plain\" NIL NIL NIL \"7bit\" 3 1) \"mixed\") UID 4)\r\n",
		"* LIST (\\A) \"/\" {3}\r\na&b\r\n* STATUS x (MESSAGES 3)\r\n+ go\r\n* BYE x\r\n",
	} {
		f.Add([]byte(said), uint32(7), byte(0))
		f.Add([]byte(said), uint32(0), byte(3))
	}
	f.Fuzz(func(t *testing.T, said []byte, uid uint32, how byte) {
		r := NewReader(bufio.NewReaderSize(bytes.NewReader(said), 64))
		w := Want{Body: how&1 == 0, UID: uid, Facts: how&2 != 0, Structure: how&4 != 0, Names: how&8 != 0}
		if how&16 != 0 {
			w.Section = "HEADER"
		}
		r.Await(w)
		out, err := io.ReadAll(r)
		if len(out) > 4*len(said)+1024 {
			t.Fatalf("%d bytes became %d", len(said), len(out))
		}
		if err == nil {
			wellFormed(t, out)
		}
	})
}

// wellFormed fails the test for what go-imap cannot read.
func wellFormed(t *testing.T, out []byte) {
	t.Helper()
	for len(out) > 0 {
		line, rest, ok := bytes.Cut(out, []byte("\r\n"))
		if !ok {
			t.Fatalf("a line without an end: %q", out)
		}
		out = rest
		word, _, _ := bytes.Cut(line, []byte(" "))
		switch {
		case string(word) == "+", isAtom(word):
		case bytes.HasPrefix(line, []byte("* SEARCH")), bytes.HasPrefix(line, []byte("* ESEARCH")), bytes.HasPrefix(line, []byte("* CAPABILITY ")):
		case bytes.HasPrefix(line, []byte("* OK [CAP")), bytes.HasPrefix(line, []byte("* PREAUTH [CAP")), bytes.HasPrefix(line, []byte("* BYE [CAP")), bytes.HasPrefix(line, []byte("* NO [CAP")), bytes.HasPrefix(line, []byte("* BAD [CAP")):
		default:
			var seq, uid uint32
			var size int
			section := ""
			at := bytes.IndexByte(line, '{')
			if at < 0 {
				t.Fatalf("a line that go-imap does not need: %q", line)
			}
			if n, err := fmt.Sscanf(string(line[:at]), "* %d FETCH (UID %d BODY[%s", &seq, &uid, &section); n < 3 || err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if _, err := fmt.Sscanf(string(line[at:]), "{%d}", &size); err != nil || size > len(out) || !bytes.HasPrefix(out[size:], []byte(")\r\n")) {
				t.Fatalf("a literal that is not as long as it says: %q", line)
			}
			out = out[size+3:]
		}
	}
}

// FuzzResponses is FuzzReader with input that is nearly IMAP: the fuzzer chooses what a
// server says, response by response and item by item, with all that servers do wrong
// in it, instead of single bytes.
func FuzzResponses(f *testing.F) {
	for _, choices := range []string{"", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09", "fetch", strings.Repeat("\x07\x03", 40), strings.Repeat("\x05\x0b\xff", 60)} {
		for how := range byte(8) {
			f.Add([]byte(choices), how)
		}
	}
	f.Fuzz(func(t *testing.T, choices []byte, how byte) {
		g := &server{choices: choices}
		for range 64 {
			if len(g.choices) == 0 {
				break
			}
			g.response()
		}
		said := g.out.Bytes()
		r := NewReader(bufio.NewReaderSize(bytes.NewReader(said), 64))
		w := Want{Body: how&1 != 0, Facts: how&2 != 0, Structure: how&4 != 0, Names: how&8 != 0}
		if how&16 != 0 {
			w.UID = 7
		}
		r.Await(w)
		out, err := io.ReadAll(r)
		if len(out) > 4*len(said)+1024 {
			t.Fatalf("%d bytes became %d", len(said), len(out))
		}
		if err == nil {
			wellFormed(t, out)
		}
		if n := len(r.Messages()); n > 64 {
			t.Fatalf("%d messages in 64 responses", n)
		}
	})
}

// server says what the choices tell it to.
type server struct {
	choices []byte
	out     bytes.Buffer
}

// choose is one of n.
func (s *server) choose(n int) int {
	if len(s.choices) == 0 {
		return 0
	}
	c := s.choices[0]
	s.choices = s.choices[1:]
	return int(c) % n
}

func (s *server) one(of ...string) string { return of[s.choose(len(of))] }
func (s *server) say(text string)         { s.out.WriteString(text) }

// response says one response.
func (s *server) response() {
	switch s.choose(10) {
	case 0, 1, 2, 3:
		s.say("* " + s.number() + s.blank() + s.one("FETCH", "fetch", "FETCHED") + s.blank() + "(")
		for range s.choose(8) {
			s.item()
			s.say(s.blank())
		}
		s.say(s.one(")", ")", " )", ""))
	case 4:
		s.say("* " + s.one("OK", "NO", "BAD", "BYE", "PREAUTH", "XYZZY") + s.blank() + s.one("[CAPABILITY IMAP4rev1 ESEARCH]", "[UIDVALIDITY "+s.number()+"]", "[ALERT]", "[UNKNOWN \"x]\"]", "[", "[COPYUID 14  ]", "[PERMANENTFLAGS (\\* ])]", "") + " text")
	case 5:
		s.say("* " + s.one("SEARCH", "ESEARCH (TAG \"T1\") UID ALL", "ESEARCH UID COUNT", "SORT"))
		for range s.choose(6) {
			s.say(s.blank() + s.number() + s.one("", ":", ","))
		}
	case 6:
		s.say("* " + s.number() + s.blank() + s.one("EXISTS", "RECENT", "EXPUNGE", "EXPUNGED", "VANISHED"))
	case 7:
		s.say("* " + s.one("LIST", "LSUB", "XLIST") + " (" + s.one("", "\\HasNoChildren", "\\A ]") + ") " + s.one("NIL", "\"/\"", "\"\\\"") + " ")
		s.value(0)
	case 8:
		s.say("* " + s.one("STATUS", "FLAGS", "NAMESPACE", "ID", "ENABLED", "CAPABILITY") + " ")
		s.value(0)
		s.say(s.blank())
		s.value(0)
	default:
		s.say(s.one("T1 OK done", "T2 NO [UNAVAILABLE] later", "+ go on", "T3 BAD ", "", "*", "garbage"))
	}
	s.say(s.one("\r\n", "\r\n", "\r\n", "\n", " \r\n"))
}

// item says one data item of a FETCH response.
func (s *server) item() {
	switch s.choose(8) {
	case 0:
		s.say("UID " + s.number())
	case 1:
		s.say("FLAGS (" + s.one("", "\\Seen", "$X ] \"a b\"", "(", "\\*") + s.one(")", ""))
	case 2:
		s.say("RFC822.SIZE " + s.number())
	case 3:
		s.say("INTERNALDATE ")
		s.value(0)
	case 4, 5:
		s.say(s.one("BODY[]", "BODY[HEADER]", "RFC822", "BODY[TEXT]<0>", "BODY[") + s.blank())
		s.value(0)
	case 6:
		s.say(s.one("BODYSTRUCTURE ", "ENVELOPE ", "BODY "))
		s.value(0)
	default:
		s.say(s.one("X-GM-MSGID 5", "EMAILID (M1)", "MODSEQ ("+s.number()+")", "NIL", "\"name\" 3", "{", "\\"))
	}
}

// value says a text, a literal or a list.
func (s *server) value(depth int) {
	switch c := s.choose(9); {
	case c == 0:
		s.say("NIL")
	case c == 1:
		s.say("\"" + s.one("", "text", "a\\\"b", "a\"b", "\\", "attachment", "x\ty", "\xff") + s.one("\"", "\"", ""))
	case c == 2:
		s.say(s.number())
	case c <= 4:
		text := s.one("", "hello", "\r\n", ")\r\nT1 OK\r\n", "* 1 FETCH (UID 1)\r\n", strings.Repeat("x", 300))
		size := len(text)
		switch s.choose(6) {
		case 0:
			size++
		case 1:
			size = max(0, size-1)
		case 2:
			size = 1 << 30
		}
		s.say(fmt.Sprintf("%s{%d%s}\r\n%s", s.one("", "", "~"), size, s.one("", "", "+"), text))
	case depth < 200:
		open := 1
		if s.choose(16) == 0 {
			open = 100
		}
		s.say(strings.Repeat("(", open))
		for range s.choose(5) {
			s.value(depth + open)
			s.say(s.blank())
		}
		s.say(strings.Repeat(")", open-s.choose(2)))
	}
}

func (s *server) number() string {
	return s.one("1", "7", "7", "2", "0", "4294967295", "4294967296", "-1", "1e3", "", "00012", "x")
}

func (s *server) blank() string { return s.one(" ", " ", " ", "  ", "", "\t") }
