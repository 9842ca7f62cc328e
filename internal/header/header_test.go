package header

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestRead(t *testing.T) {
	t.Parallel()
	const text = "From ann Sat Jan 31 08:30:00 2026\r\n folded\r\nSUBJECT : one\r\n\ttwo\r\nrubbish\r\n lost\r\n" +
		"Subject:three\nX-Empty:\r\nX-Raw: \xff\xfe\r\nA Name: with a blank\r\n: no name\r\nCut:\r\n \r\n x\r\n\r\nBody: not this\r\n"
	all := Header{"subject": {" one\ttwo", "three"}, "x-empty": {""}, "x-raw": {" \xff\xfe"}, "cut": {"  x"}}
	for name, c := range map[string]struct {
		text  string
		names []string
		want  Header
	}{
		"all fields":         {text, nil, all},
		"some fields":        {text, []string{"cut", "x-raw", "missing"}, Header{"cut": {"  x"}, "x-raw": {" \xff\xfe"}}},
		"lines of LF":        {strings.ReplaceAll(text, "\r\n", "\n"), nil, all},
		"without an end":     {"Subject: cut o", nil, Header{"subject": {" cut o"}}},
		"nothing":            {"", nil, Header{}},
		"no header at all":   {"\r\nSubject: x\r\n", nil, Header{}},
		"begins folded":      {" x\r\nSubject: y\r\n", nil, Header{"subject": {" y"}}},
		"a long line":        {"A: " + strings.Repeat("x", 10_000) + "\r\nB: y\r\n", nil, Header{"a": {" " + strings.Repeat("x", 10_000)}, "b": {" y"}}},
		"a line as a buffer": {"A: " + strings.Repeat("x", maxPiece-3) + "\r\n\r\nB: y\r\n", nil, Header{"a": {" " + strings.Repeat("x", maxPiece-3)}}},
		"a long name":        {strings.Repeat("x", 10_000) + ": y\r\nB: z\r\n", nil, Header{"b": {" z"}}},
		"far too long":       {"A: " + strings.Repeat("x\r\n ", maxHeader) + "\r\nB: y\r\n", []string{"b"}, Header{}},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.text), iotest.OneByteReader(strings.NewReader(c.text)), iotest.DataErrReader(strings.NewReader(c.text))} {
			if got, err := Read(r, c.names...); err != nil || !cmp.Equal(got, c.want) {
				t.Errorf("%s: %v\n%s", name, err, cmp.Diff(c.want, got))
			}
		}
	}
	if h := (Header{"a": {"1", "2"}}); h.First("a") != "1" || h.First("b") != "" {
		t.Error("the first of a field is another")
	}
}

func TestAReaderThatFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	h, err := Read(io.MultiReader(strings.NewReader("A: x\r\nB: y"), iotest.ErrReader(broken)))
	if want := (Header{"a": {" x"}, "b": {" y"}}); !errors.Is(err, broken) || !cmp.Equal(h, want) {
		t.Errorf("%q, %v", h, err)
	}
}

func TestParseValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][3]string{ // the value, and the parameters name and raw x
		`text/plain`:                                                   {"text/plain", "", ""},
		`  TEXT/Plain ; NAME=a.txt; x=y`:                               {"text/plain", "a.txt", "y"},
		`text/plain (a comment); name="a b.txt"`:                       {"text/plain", "a b.txt", ""},
		`"text/plain"; name = a b.txt ;`:                               {"text/plain", "a b.txt", ""},
		`application/pdf name=a.pdf`:                                   {"application/pdf", "a.pdf", ""},
		`name=a.pdf; x=y`:                                              {"", "a.pdf", "y"},
		`a/b; name="a\"b\\c"; x="C:\TEMP"`:                             {"a/b", `a"b\c`, `C:\TEMP`},
		`a/b; name="a "b" c.txt"; x=y`:                                 {"a/b", `a "b" c.txt`, "y"},
		`a/b; name="a.txt" x="y"`:                                      {"a/b", "a.txt", "y"},
		`a/b; name="a.txt`:                                             {"a/b", "a.txt", ""},
		`a/b; name=; x=y`:                                              {"a/b", "", "y"},
		`a/b; name; x=y; name=a; name=b`:                               {"a/b", "a", "y"},
		`a/b; name="=?utf-8?B?TcOkcno?="`:                              {"a/b", "März", ""},
		`a/b; name==?utf-8?Q?M=C3=A4rz.pdf?=`:                          {"a/b", "März.pdf", ""},
		`a/b; name="=?gb2312?B?tqm1pci3yA==?=  =?gb2312?B?zw==?=.pdf"`: {"a/b", "订单确认.pdf", ""},
		`a/b; name*=utf-8''M%C3%A4rz%20%E2%82%AC.pdf`:                  {"a/b", "März €.pdf", ""},
		`a/b; name*=cp-850'de'M%84rz`:                                  {"a/b", "März", ""},
		`a/b; name*=iso-2022-kr''%1B%24%29C%0E%3C%5B%0F.txt`:           {"a/b", "송.txt", ""},
		`a/b; name*=''M%E4rz`:                                          {"a/b", "März", ""},
		`a/b; name*=klingon''M%E4rz`:                                   {"a/b", "März", ""},
		`a/b; name*=100%25.txt`:                                        {"a/b", "100%.txt", ""},
		`a/b; name*=utf-8''100%; name=plain`:                           {"a/b", "100%", ""},
		`a/b; name*1*=%A4rz; name*0*=utf-8''M%C3; x*0=a; x*1=b`:        {"a/b", "März", "ab"},
		`a/b; name*0="=?utf-8?B?Tc"; name*1="Okcno=?="`:                {"a/b", "März", ""},
		`a/b; name*x=y; name*99999=z`:                                  {"a/b", "", ""},
		"a/b; name=\"M\xe4rz\"":                                        {"a/b", "März", ""},
		"a/b; name=\"M\xc3\xa4rz\"":                                    {"a/b", "März", ""},
		"a/b; name=\"\x1b$B\";7o\x1b(B.txt\"; x=y":                     {"a/b", "∋件.txt", "y"}, // in it: ";7o
		"a/b; name=\"a\x00\u202eb\"":                                   {"a/b", "a \u202eb", ""},
		`;`:                                                            {"", "", ""},
		``:                                                             {"", "", ""},
	} {
		v := ParseValue(text)
		if got := [3]string{v.Value, v.Param("name"), v.Raw("x")}; got != want {
			t.Errorf("%q: %q; wanted %q", text, got, want)
		}
	}
	if name := ParseValue("a/b; name=" + strings.Repeat("ä", 1000)).Param("name"); len(name) != maxParam {
		t.Errorf("a name of %d bytes", len(name))
	}
	for text, want := range map[string]string{"Base64 (a comment)": "base64", ` "7BIT"; x`: "7bit", "(x) 8bit": "8bit", "": "", "(": ""} {
		if got := Token(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
