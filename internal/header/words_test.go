package header

import (
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ value, want string }{
		"plain":                       {" Order 17 ", "Order 17"},
		"a word":                      {"=?utf-8?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"},
		"words and text":              {"Re: =?utf-8?B?TcOkcno=?= [2] =?utf-8?q?=3F?=", "Re: März [2] ?"},
		"text right beside it":        {"[x]=?utf-8?Q?=C3=A4?=y", "[x]äy"},
		"cut within a character":      {"=?gb2312?B?tqm1pci3yA==?=\r\n\t=?gb2312?B?z9Prt6K79c2o1qo=?=", "订单确认与发货通知"},
		"cut, in two encodings":       {"=?utf-8?Q?Gr=C3?= =?UTF-8?B?vMOfZQ==?=", "Grüße"},
		"cut, without a blank":        {"=?utf-8?Q?Gr=C3?==?utf-8?Q?=BC=C3=9Fe?=", "Grüße"},
		"cut within a shifted run":    {"=?iso-2022-jp?B?GyRCN28=?= =?iso-2022-jp?B?TD4bKEI=?=", "件名"},
		"cut within a sequence":       {"=?iso-2022-kr?B?GyQp?= =?iso-2022-kr?B?Qw48W0BlDw==?=", "송장"},
		"words of two charsets":       {"=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?iso-2022-jp?b?GyRCQEE1YTNnGyhC?=", "Grüße請求括"},
		"text between words":          {"=?utf-8?Q?a?= b =?utf-8?Q?c?=", "a b c"},
		"no padding":                  {"=?utf-8?B?UmVjaG51bmcgTcOkcno?=", "Rechnung März"},
		"part of the padding":         {"=?utf-8?B?TcOkcno0Mg=?=", "März42"},
		"padded pieces":               {"=?utf-8?B?UmVjaG51bmc=IE3DpHJ6?=", "Rechnung März"},
		"base64 cut into words":       {"=?utf-8?B?UmVjaG51b?= =?utf-8?B?mcgTcOkcno=?=", "Rechnung März"},
		"base64 cut after two":        {"=?utf-8?B?UmVjaG51bm?= =?utf-8?B?cgTcOkcno=?=", "Rechnung März"},
		"base64 cut after three":      {"=?utf-8?B?UmVjaG51bmc?=\r\n =?utf-8?B?gTcOkcno=?= x", "Rechnung März x"},
		"base64 cut into three words": {"=?utf-8?B?UmVjaG51b?= =?utf-8?B?m?= =?utf-8?B?cgTcOkcno=?=", "Rechnung März"},
		"padding left out twice":      {"=?utf-8?B?TcOkcno?= =?utf-8?B?TcOkcno?=", "MärzMärz"},
		"padding left out, then Q":    {"=?utf-8?B?TcOkcno?= =?utf-8?Q?=C3=A4?=", "Märzä"},
		"a single six":                {"=?utf-8?B?U?=", "=?utf-8?B?U?="},
		"base64 that is cut off":      {"=?utf-8?B?TcOkcnoxM?=", "März1"},
		"a blank in base64":           {"=?utf-8?B?UmVjaG51 bmcgTcOkcno=?=", "Rechnung März"},
		"folded within base64":        {"=?utf-8?B?UmVjaG51\r\n bmcgTcOkcno=?=", "Rechnung März"},
		"blanks in Q":                 {"=?utf-8?Q?Rechnung M=C3=A4rz?=", "Rechnung März"},
		"blanks around the parts":     {"=?utf-8 ? Q ?M=C3=A4rz?=", "März"},
		"a question mark in Q":        {"=?utf-8?Q?Noch_da??=", "Noch da?"},
		"question marks in Q":         {"=?utf-8?Q?Was?_M=C3=A4rz??= x", "Was? März? x"},
		"small digits":                {"=?utf-8?q?m=c3=a4rz?=", "märz"},
		"a language":                  {"=?utf-8*de?Q?Rechnung_M=C3=A4rz?=", "Rechnung März"},
		"a language of a region":      {"=?iso-8859-1*de-AT?q?J=E4nner?=", "Jänner"},
		"in quotes":                   {`"=?utf-8?B?TcOkcno=?="`, `"März"`},
		"in brackets":                 {"(=?utf-8?B?TcOkcno=?=)", "(März)"},
		"bytes in Q":                  {"=?iso-8859-2?Q?\xa3\xf3d=BC?=", "Łódź"},
		"an empty word":               {"a =?utf-8?Q??= b", "a  b"},
		"far too long":                {"=?utf-8?Q?" + strings.Repeat("=C3=A4", 1000) + "?=", strings.Repeat("ä", 1000)},
		"an underscore":               {"=?us-ascii?Q?a_b=5Fc?=", "a b_c"},
		"Q that is none":              {"=?utf-8?Q?100=_=ZZ_=4?=", "100= =ZZ =4"},
		"an unknown charset, ASCII":   {"=?x-unknown?B?QW5nZWJvdCAxNw==?=", "Angebot 17"},
		"an unknown charset":          {"a =?klingon?Q?M=E4rz?=  =?utf-8?Q?=C3=A4?=", "a =?klingon?Q?M=E4rz?=  ä"},
		"an unknown charset behind":   {"=?utf-8?Q?=C3=A4?= =?klingon?Q?M=E4rz?= b", "ä =?klingon?Q?M=E4rz?= b"},
		"words of an unknown charset": {"=?klingon?Q?M=E4?= =?klingon?Q?rz?=", "=?klingon?Q?M=E4?= =?klingon?Q?rz?="},
		"base64 that lies":            {"=?utf-8?b?!!!!?=", "=?utf-8?b?!!!!?="},
		"an unknown encoding":         {"=?utf-8?X?abc?=", "=?utf-8?X?abc?="},
		"a word without an end":       {"=?utf-8?Q?abc", "=?utf-8?Q?abc"},
		"no end, and then a word":     {"=?utf-8?Q?abc =?utf-8?Q?=C3=A4?=", "=?utf-8?Q?abc ä"},
		"what only looks like one":    {"a =? b =?? c =?=?= d ?= e=?", "a =? b =?? c =?=?= d ?= e=?"},
		"UTF-8 as it is":              {"März 日本", "März 日本"},
		"Windows-1252 as it is":       {"M\xe4rz 5 \x80", "März 5 €"},
		"both as they are":            {"[M\xc3\xa4rz] M\xe4rz", "[März] März"},
		"ISO-2022-JP as it is":        {"\x1b$B7oL>\x1b(B 17", "件名 17"},
		"control characters":          {"a\x00b\x1b[31mc\r\nd", "a b [31mc d"},
		"an encoded line end":         {"=?utf-8?Q?a=0D=0AX-Evil:_b?=", "a X-Evil: b"},
		"bidirectional overrides":     {"a\u202eb\u2028c", "a b c"},
		"joiners":                     {"می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"},
		"a character of tomorrow":     {"\U0003134b\ue000", "\U0003134b\ue000"},
		"too long":                    {strings.Repeat("x", 5000), strings.Repeat("x", 4096)},
		"too long, in characters":     {strings.Repeat("ä", 5000) + "!", strings.Repeat("ä", 2048)},
		"too long, blanks":            {"x" + strings.Repeat(" ", 5000) + "y", "x"},
		"nothing":                     {" \r\n\t", ""},
	} {
		if got := Text(c.value); got != c.want {
			t.Errorf("%s: %q: %q; wanted %q", name, c.value, got, c.want)
		}
	}
}
