package header

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/traditionalchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// FromCharset decodes bytes in a charset, by any of the names that mail has for
// it. A byte that means nothing there is taken for one of Windows-1252, so none is
// lost. It is not ok where the charset is not known and the bytes are not ASCII;
// the text is what Legible makes of them then.
func FromCharset(name, bytes string) (text string, ok bool) {
	if decode := decoderOf(name); decode != nil {
		return decode(bytes), true
	}
	return Legible(bytes), isASCII(bytes)
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// decoder makes UTF-8 of the bytes of a charset.
type decoder func(bytes string) string

// charsets are those that the library does not have, has under fewer names than
// mail, or knows by a name that mail uses for a larger charset. The names are
// squeezed.
var charsets = func() map[string]decoder {
	all := make(map[string]decoder)
	for _, row := range []struct {
		decode decoder
		names  string
	}{
		{utf8Mended, "utf8 utf8mb4 cp65001"},
		{utf7, "utf7 unicode11utf7 csunicode11utf7 unicode20utf7 cp65000"},
		{through(unicode.UTF16(unicode.BigEndian, unicode.UseBOM)), "utf16 ucs2 iso10646ucs2"},
		{through(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)), "unicode cp1200"},
		{through(utf32.UTF32(utf32.BigEndian, utf32.UseBOM)), "utf32 utf32be ucs4 iso10646ucs4"},
		{through(utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)), "utf32le"},
		{iso2022With(kana), "iso2022jp csiso2022jp iso2022jp1 iso2022jp2 csiso2022jp2 iso2022jp3 iso2022jp2004 iso2022jpext iso2022jpms jis cp50220 cp50221 cp50222"},
		{iso2022With(ksc), "iso2022kr csiso2022kr cp50225"},
		{iso2022With(gb), "iso2022cn iso2022cnext cp50227"},
		{through(japanese.ShiftJIS), "shiftjis sjis mskanji cp932 cp943 macjapanese"},
		{through(japanese.EUCJP), "eucjp eucjpms ujis cp51932"},
		{through(korean.EUCKR), "euckr uhc ksc5601 ksc56011987 ksc56011989 ksc56011992 cp949 cp51949"},
		{through(simplifiedchinese.GB18030), "gb18030 gbk gb2312 gb231280 euccn cngb cp936 cp51936 cp54936"},
		{through(simplifiedchinese.HZGB2312), "hzgb2312 hz cp52936"},
		{through(traditionalchinese.Big5), "big5 bigfive big5eten big5hkscs cnbig5 cp950 cp951"},
		{through(charmap.Windows874), "cp874 tis620 tis6202533 iso885911"},
		{through(charmap.Windows1252), "ascii usascii us iso646us ansi ansix341968 ansix341986 iso8859 cp367 cp819 cp20127 cp28591"},
		{through(charmap.ISO8859_15), "latin9 latin0"},
		{through(charmap.Macintosh), "macintosh macroman mac cp10000"},
		{through(charmap.MacintoshCyrillic), "maccyrillic macukrainian cp10007"},
		{through(charmap.KOI8R), "koi8r koi8 koi cp878 cp20866"},
		{through(charmap.KOI8U), "koi8u koi8ru cp1168 cp21866"},
		{through(charmap.CodePage858), "cp858"},
		{Legible, "unknown8bit"}, // RFC 1428: it says that it is not known
	} {
		for name := range strings.FieldsSeq(row.names) {
			all[name] = row.decode
		}
	}
	return all
}()

// decoderOf is the decoder of a charset; nil where its name is not known. Of two
// charsets with one name the larger one is meant, as the WHATWG has it: us-ascii
// and iso-8859-1 are Windows-1252.
func decoderOf(name string) decoder {
	squeezed := squeeze(name)
	for _, alias := range []string{squeezed, strings.TrimPrefix(squeezed, "x"), codePage(strings.TrimPrefix(squeezed, "x"))} {
		if decode := charsets[alias]; decode != nil {
			return decode
		}
	}
	for _, alias := range []string{name, squeezed, codePage(squeezed)} {
		for _, find := range []func(string) (encoding.Encoding, error){htmlindex.Get, ianaindex.MIME.Encoding} {
			if e, err := find(alias); err == nil && e != nil && e != encoding.Replacement {
				return through(e)
			}
		}
	}
	return nil
}

// squeeze leaves of a name what all its spellings share: small letters and digits,
// without a year, as in ISO_8859-1:1987.
func squeeze(name string) string {
	name, _, _ = strings.Cut(strings.ToLower(name), ":")
	return strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, name)
}

// codePage is the short name of a code page that is called ms850 or windows932;
// empty for what is none.
func codePage(squeezed string) string {
	number := strings.TrimLeft(squeezed, "abcdefghijklmnopqrstuvwxyz")
	switch squeezed[:len(squeezed)-len(number)] {
	case "cp", "ibm", "ms", "mscp", "win", "windows", "dos", "oem", "codepage":
		return "cp" + number
	}
	return ""
}

// through is the decoder of an encoding of the library.
func through(e encoding.Encoding) decoder {
	return func(bytes string) string {
		text, err := e.NewDecoder().String(bytes)
		if err != nil || strings.ContainsRune(text, utf8.RuneError) {
			return mended(e, bytes)
		}
		return text
	}
}

// mended decodes character by character, which tells the bytes that mean nothing in
// the encoding. They are taken for Windows-1252.
func mended(e encoding.Encoding, bytes string) string {
	var out strings.Builder
	decoder, source, text := e.NewDecoder(), []byte(bytes), make([]byte, 64)
	for n := 1; len(source) > 0; {
		size, used, _ := decoder.Transform(text, source[:n], n == len(source))
		switch {
		case used == 0 && n < len(source): // it takes more bytes
			n++
			continue
		case used == 0 || string(text[:size]) == string(utf8.RuneError):
			used = max(used, 1)
			for _, b := range source[:used] {
				out.WriteRune(charmap.Windows1252.DecodeByte(b))
			}
		default:
			out.Write(text[:size])
		}
		source, n = source[used:], 1
	}
	return out.String()
}
