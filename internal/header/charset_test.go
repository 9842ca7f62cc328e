package header

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf8"
)

// encoded are texts in the charsets of mail, by names that it has for them.
var encoded = []struct{ charset, bytes, text string }{
	{"utf-8", "Gr\xc3\xbc\xc3\x9fe \xe2\x82\xac", "Grüße €"},
	{"UTF8", "\xc3\xbc", "ü"},
	{"utf-7", "Gr+APwA3w-e +- +ZeVnLIqe +2D3eAA-", "Grüße + 日本語 😀"},
	{"unicode-1-1-utf-7", "a+-b+AH4A6Q-", "a+b~é"},
	{"utf-16", "\x00\xe9e\xe5", "é日"},
	{"UTF-16", "\xff\xfe\xe9\x00\xe5e", "é日"},
	{"utf-16le", "\xe9\x00\xe5e", "é日"},
	{"utf-32", "\x00\x00\x00\xe9\x00\x01\xf6\x00", "é😀"},
	{"cp932", "\x8c\xa9\x90\xcf\x8f\x91\x87@\xb6\xc5", "見積書①ｶﾅ"},
	{"x-sjis", "\x95\x5c\x8e\xa6\x83\x5c", "表示ソ"},
	{"Shift_JIS", "\xee\xe0\xed\x95", "髙﨑"},
	{"euc-jp", "\xc6\xfc\xcb\xdc\xb8\xec\x8e\xb6\x8e\xc5\x8f\xb0\xa1", "日本語ｶﾅ丂"},
	{"EUCJP", "\xb8\xab\xc0\xd1", "見積"},
	{"iso-2022-jp", "\x1b$B7oL>\x1b(B: \x1b$B8+@Q=q$G$9\x1b(B", "件名: 見積書です"},
	{"iso-2022-jp", "\x1b$B-!\x1b(J x", "① x"},
	{"iso-2022-jp", "\x1b$B7o\nOK", "件\nOK"}, // a line begins in ASCII
	{"cp50222", "a\x0e6E\x0fb", "aｶﾅb"},
	{"iso-2022-jp-ext", "\x1b(I6E\x1b$B$H4A;z\x1b(B", "ｶﾅと漢字"},
	{"ISO-2022-JP-2", "\x1b$BF|K\x5c\x1b(B \x1b$(CGQ19\x1b(B \x1b$BCf9q\x1b(B \x1b$(D+1\x1b(B", "日本 한국 中国 é"},
	{"iso-2022-jp-2", "\x1b.Acaf\x1bNi \x1b.F\x1bNa \x1b$A6)5%\x1b(B", "café α 订单"},
	{"iso-2022-jp-1", "\x1b$(D0!\x1b$B4A\x1b(B", "丂漢"},
	{"iso-2022-kr", "\x1b$)C\x0e<[@e\x0f \x0e9xH#\x0f 17", "송장 번호 17"},
	{"ISO-2022-KR", "\x0e<[@e\x0f!", "송장!"}, // without its mark
	{"iso-2022-cn", "\x1b$)A\x0e6)5%\x0f ok", "订单 ok"},
	{"cp949", "\xbc\xdb\xc0\xe5\x8cc", "송장똠"},
	{"ks_c_5601-1987", "\xb0\xdf\xc0\xfb\xbc\xad", "견적서"},
	{"x-windows-949", "\xb0\xdf", "견"},
	{"UHC", "\x8cc\xb9\xe6\xb0\xa2\xc7\xcf", "똠방각하"},
	{"euc-kr", "\xc7\xd1\xb1\xb9\xbe\xee", "한국어"},
	{"gb2312", "\xb6\xa9\xb5\xa5\xc8\xb7\xc8\xcf", "订单确认"},
	{"gb2312", "\x80 \xe9F", "€ 镕"}, // of GBK
	{"cp936", "\xe9F", "镕"},
	{"gb18030", "\x954\xb25\xb6\xa9\xb5\xa5", "𠮷订单"},
	{"hz-gb-2312", "~{6)5%~} ok", "订单 ok"},
	{"EUC-CN", "\xb6\xa9\xb5\xa5", "订单"},
	{"big5", "\xadq\xb3\xe6\xbdT\xbb{", "訂單確認"},
	{"big5-hkscs", "\x9d\xef\x9d\xf8", "嘅啲"},
	{"cp950", "\xf9\xd6", "碁"},
	{"cp850", "M\x81ller", "Müller"},
	{"cp-850", "Gr\x81\xe1e", "Grüße"},
	{"ibm850", "\x82", "é"},
	{"cp437", "M\x81ller", "Müller"},
	{"IBM-437", "\x82", "é"},
	{"dos-437", "\x82", "é"},
	{"cp852", "\x9d\xa2d\xab", "Łódź"},
	{"cp866", "\x91\xe7\xf1\xe2", "Счёт"},
	{"cp858", "5 \xd5", "5 €"},
	{"windows-1250", "\xa3\xf3d\x9f", "Łódź"},
	{"windows-1251", "\xd1\xf7\xb8\xf2", "Счёт"},
	{"win-1251", "\xd1\xf7\xb8\xf2", "Счёт"},
	{"windows1251", "\xd1\xf7\xb8\xf2", "Счёт"},
	{"cp1253", "\xd4\xe9\xec\xde", "Τιμή"},
	{"windows-1254", "\xdd\xfe", "İş"},
	{"windows-1255", "\xf9\xec\xe5\xed", "שלום"},
	{"cp-1256", "\xd3\xe1\xc7\xe3", "سلام"},
	{"windows-1257", "A\xe8i\xfb", "Ačiū"},
	{"windows-1258", "\xf0", "đ"},
	{"windows-874", "\xe3\xba\xe1\xa8\xe9\xa7", "ใบแจ้ง"},
	{"cp874", "\xcb\xb9\xd5\xe9", "หนี้"},
	{"tis-620", "\xca\xc7\xd1\xca\xb4\xd5", "สวัสดี"},
	{"iso-8859-11", "\xa1", "ก"},
	{"iso-8859-2", "\xa3\xf3d\xbc", "Łódź"},
	{"iso8859_2", "\xa3\xf3d\xbc", "Łódź"},
	{"ISO_8859-2:1987", "\xa3\xf3d\xbc", "Łódź"},
	{"iso-8859-5", "\xc1\xe7\xf1\xe2", "Счёт"},
	{"iso-8859-7", "\xd4\xe9\xec\xde", "Τιμή"},
	{"iso-8859-8-i", "\xf9\xec\xe5\xed", "שלום"},
	{"iso-8859-9", "\xdd\xfe", "İş"},
	{"iso-8859-13", "A\xe8i\xfb", "Ačiū"},
	{"iso-8859-15", "5 \xa4", "5 €"},
	{"latin9", "5 \xa4", "5 €"},
	{"koi8-r", "\xf3\xde\xa3\xd4", "Счёт"},
	{"koi8-u", "\xa7\xd6\xc1\xcb", "їжак"},
	{"cp20866", "\xf3\xde\xa3\xd4", "Счёт"},
	{"macintosh", "Gr\x9f\xa7e", "Grüße"},
	{"x-mac-roman", "\x8e", "é"},
	{"x-mac-cyrillic", "\x91\xf7\xde\xf2", "Счёт"},
	{"us-ascii", "Gr\xfc\xdfe", "Grüße"},
	{"ansi_x3.4-1968", "\xe9", "é"},
	{"iso-8859-1", "5 \x80", "5 €"},
	{"latin-1", "\xe9", "é"},
	{"ISO_8859-1:1987", "\xfc", "ü"},
	{"iso646-us", "\xfc", "ü"},
	{"x-ansi", "\xfc", "ü"},
	{"unknown-8bit", "M\xe4rz", "März"},
	{"unknown-8bit", "M\xc3\xa4rz", "März"},
}

func TestCharsetsByTheNamesOfMail(t *testing.T) {
	t.Parallel()
	for _, c := range encoded {
		if got, ok := FromCharset(c.charset, c.bytes); got != c.text || !ok {
			t.Errorf("%s: %q, %t; wanted %q", c.charset, got, ok, c.text)
		}
	}
}

// TestWordsThatAreCutAnywhere: the bytes of words of one charset are joined, be it
// within a character, an escape sequence or a shifted run.
func TestWordsThatAreCutAnywhere(t *testing.T) {
	t.Parallel()
	word := func(charset, bytes string) string {
		return "=?" + charset + "?B?" + base64.StdEncoding.EncodeToString([]byte(bytes)) + "?="
	}
	for _, c := range encoded {
		for cut := range len(c.bytes) {
			text := "Re: " + word(c.charset, c.bytes[:cut]) + "\r\n\t" + word(strings.ToUpper(c.charset), c.bytes[cut:]) + " !"
			if got, want := Decode(text), "Re: "+c.text+" !"; got != want {
				t.Errorf("%s, cut after %d bytes: %q; wanted %q", c.charset, cut, got, want)
			}
		}
	}
}

// TestBytesWithoutAMeaningAreNotLost: they are taken for Windows-1252, and the rest
// is still read.
func TestBytesWithoutAMeaningAreNotLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ charset, bytes, want string }{
		{"utf-8", "M\xe4rz und M\xc3\xa4rz", "März und März"},
		{"utf-8", "cut \xe2\x82", "cut â‚"},
		{"utf-8", "\xed\xa0\xbd", "í\u00a0½"}, // half a pair of UTF-16
		{"gb2312", "\xb6\xa9\xb5\xa5\xc8", "订单È"},
		{"gb2312", "\xb6\xa9\xff\xb5\xa5", "订ÿ单"},
		{"shift_jis", "\x8c\xa9\xfe!", "見þ!"},
		{"big5", "\xadq\xff", "訂ÿ"},
		{"euc-kr", "\xc7", "Ç"},
		{"iso-8859-7", "\xd4\xd2", "ΤÒ"}, // undefined
		{"iso-2022-jp", "\x1b$B7", "7"},
		{"iso-2022-jp", "\x1b$B7o\x1b(B \xe4", "件 ä"},
		{"iso-2022-jp", "\x1b[31m", "\x1b[31m"},
		{"iso-2022-jp", "\x1b$B7o)!7o\x1b(B", "件)!件"}, // a row that is empty
		{"iso-2022-jp", "\x1b(I6pE", "ｶpﾅ"},
		{"iso-2022-cn", "\x1b$*H\x1bNab", "ab"}, // a plane that no library has
		{"iso-2022-kr", "\x1b$)C\x0e<", "<"},
		{"hz-gb-2312", "~{6)\xff~}", "订ÿ"},
		{"utf-7", "1 + 1 = 2", "1 + 1 = 2"},
		{"utf-7", "+APw", "ü"},
		{"utf-7", "+A-", "+A-"},
		{"utf-7", "+2D0-x", "+2D0-x"}, // half a pair
		{"utf-7", "\xfc", "ü"},
		{"utf-16", "\x00a\x00", "a\x00"},
	} {
		if got, ok := FromCharset(c.charset, c.bytes); got != c.want || !ok {
			t.Errorf("%s %q: %q, %t; wanted %q", c.charset, c.bytes, got, ok, c.want)
		}
	}
}

func TestACharsetThatIsNotKnown(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "klingon", "x-unknown", "replacement", "cp", "iso-8859-99", strings.Repeat("x", 1000), "utf-8\x00", "ﬀ"} {
		if text, ok := FromCharset(name, "Angebot 17"); text != "Angebot 17" || !ok {
			t.Errorf("ASCII in %q: %q, %t", name, text, ok)
		}
		if name == "utf-8\x00" {
			continue // known, whatever surrounds it
		}
		if text, ok := FromCharset(name, "M\xe4rz"); text != "März" || ok {
			t.Errorf("a byte in %q: %q, %t", name, text, ok)
		}
	}
}

func FuzzFromCharset(f *testing.F) {
	for _, c := range encoded {
		f.Add(c.charset, c.bytes)
	}
	f.Fuzz(func(t *testing.T, name, bytes string) {
		text, ok := FromCharset(name, bytes)
		switch {
		case !utf8.ValidString(text):
			t.Errorf("%q is no UTF-8", text)
		case len(text) > 3*len(bytes):
			t.Errorf("%d bytes of %d", len(text), len(bytes))
		case isASCII(bytes) && !ok:
			t.Error("ASCII cannot be read")
		}
	})
}
