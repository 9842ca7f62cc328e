package header

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// hostile is what a header can repeat to make its reader slow.
var hostile = []string{
	"=?utf-8?Q?=C3=A4?= ", "=?a?q??=", "=?a?q??= x", "=?a?q?x", "=?", "=?=", "=? ", "=?utf-8?Q?", "=?a?b?=", "?=",
	"=?utf-8?Q?a?==?gb2312?Q?b?=", "=?a?Q?=FF?==?b?Q?=FF?=", "=?gb2312?B?tqm1pci3yA==?=", "=?utf-7?Q?+AAA?=", "=?iso-2022-kr?Q?=1B$)C=0E?=",
	"\x1b$B7o", "\x1b$B", "\x1b(B", "\x1b", "\x0e", "\xff", "ä", "\x00", " ", "\t", "\r\n ", "\r\n", ":", "a:\r\n", "a:b\r\n",
	"(", ")", "()", "((a)", "\\", "\\(", `"`, `\"`, `"\"`, `" "x`, `a"b `, "[", "]", "<", ">", "<>", "<a,", "<a@b>", `<"`, `<"a" `, "a@b", "a@b,", "@ ", "@",
	",", ";", "a,", "a;", "x y, ", ": ", "::", "a:;", "'", "=", "; a=b", "; a*1=%41", "; a*0*=x''%41", `; a="`, `; a="b" `, `; a="b"c`, ";", "%", "%4",
	"1 ", "1:", "+1 ", "Jan ", "1-", "GMT",
}

// readAll decodes a value in every way.
func readAll(t *testing.T, value string) {
	t.Helper()
	texts := append([]string{Text(value), Token(value), ParseValue("x; a=" + value).Param("a"), ParseValue(value).Param("a")}, IDs(value)...)
	for _, a := range Addresses(value) {
		texts = append(texts, a.Name, a.Address)
	}
	if len(texts) > 4+3*maxList {
		t.Errorf("%d texts", len(texts))
	}
	for i, text := range texts {
		if i == 1 { // a token is as it is written
			continue
		}
		if len(text) > maxText || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("of %.100q comes %.100q", value, text)
		}
	}
	if decoded := Decode(value); !utf8.ValidString(decoded) || len(decoded) > 3*len(value) {
		t.Errorf("of %.100q comes %.100q", value, decoded)
	}
	Date(value)
	if h, err := Read(strings.NewReader(value)); err != nil || len(h) > len(value) {
		t.Errorf("%d fields of %.100q, %v", len(h), value, err)
	}
}

// TestTimeGrowsNoFasterThanTheHeader: what takes the square of its length would take
// many seconds for so long a header, not milliseconds.
func TestTimeGrowsNoFasterThanTheHeader(t *testing.T) {
	t.Parallel()
	const bound = 2 * time.Second // on a busy machine, with the race detector
	for _, piece := range hostile {
		for _, behind := range []string{"", `?=")>;<a@b>`} {
			value := strings.Repeat(piece, maxHeader/2/len(piece)) + behind
			began := time.Now()
			readAll(t, value)
			if took := time.Since(began); took > bound {
				t.Errorf("%q, many times, and %q: %v", piece, behind, took)
			}
		}
	}
}

// FuzzHeader: whatever a value holds, what is made of it is bounded, and legible.
func FuzzHeader(f *testing.F) {
	for _, piece := range hostile {
		f.Add(piece + piece)
		f.Add("Ann " + piece + " <a@b>")
	}
	f.Fuzz(readAll)
}

const ordinary = "Return-Path: <ann@example.com>\r\nReceived: from mx.example.net (mx.example.net [192.0.2.1])\r\n\tby mail.example.org (Postfix) with ESMTPS id 4Zx1y2z3\r\n\tfor <bob@example.net>; Sat, 31 Jan 2026 09:30:01 +0100 (CET)\r\n" +
	"Date: Sat, 31 Jan 2026 09:30:00 +0100\r\nSubject: =?utf-8?Q?Rechnung_17=2F2026:_M=C3=A4rz?=\r\n =?utf-8?Q?_und_April?=\r\n" +
	"From: =?utf-8?Q?Ann_M=C3=BCller?= <ann@example.com>\r\nTo: Bob Example <bob@example.net>, \"Carl, Jr.\" <carl@example.net>,\r\n dora@example.net\r\nMessage-ID: <1@example.com>\r\n\r\n"

func BenchmarkOrdinary(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		h, _ := Read(strings.NewReader(ordinary), "date", "subject", "from", "to", "message-id")
		_, dated := Date(h.First("date"))
		if len(Addresses(h.First("to"))) != 3 || Text(h.First("subject")) != "Rechnung 17/2026: März und April" || !dated {
			b.Fatal(h)
		}
	}
}

// BenchmarkManyWords is a header of 256 KiB that holds as many words as it can.
func BenchmarkManyWords(b *testing.B) {
	for name, word := range map[string]string{"joined": "=?a?q?x?=", "apart": "=?a?q?x?=y"} {
		value := strings.Repeat(word, maxHeader/len(word))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Decode(value)
			}
		})
	}
}
