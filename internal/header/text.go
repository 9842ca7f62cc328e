package header

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// maxText is how many bytes Text returns at most.
const maxText = 4 << 10

// Text is the value of a field that is a text, such as a subject: decoded, in one
// line, of at most 4 KiB.
func Text(value string) string { return Line(Decode(value), maxText) }

// Legible is a text without a declared charset as UTF-8. Bytes that are no UTF-8
// are taken for Windows-1252, and the escape sequences of ISO 2022, which Japanese
// mailers write without a word, are followed.
func Legible(text string) string {
	if strings.Contains(text, "\x1b$") || strings.Contains(text, "\x1b(") {
		return iso2022(text, nil)
	}
	return utf8Mended(text)
}

// utf8Mended is UTF-8 in which each byte that has no place in it is taken for a
// character of Windows-1252. So no byte is lost, and a text that is all
// Windows-1252 comes out right.
func utf8Mended(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var out strings.Builder
	out.Grow(len(text) + len(text)/8)
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 {
			r = charmap.Windows1252.DecodeByte(text[i])
		}
		out.WriteRune(r)
		i += size
	}
	return out.String()
}

// Line is a text in one line: each run of line ends, control characters, and
// format characters such as bidirectional overrides is one blank. It is UTF-8, of
// at most so many bytes.
func Line(text string, most int) string { return line(text, most, unseen) }

// line is a text in which each run of characters that are left out is one blank.
func line(text string, most int, leftOut func(rune) bool) string {
	text = strings.TrimSpace(text)
	if len(text) <= most && isPlain(text) {
		return text
	}
	var out strings.Builder
	gap := false
	for _, r := range text {
		if leftOut(r) {
			gap = true
			continue
		}
		if gap && out.Len() > 0 {
			out.WriteByte(' ')
		}
		gap = false
		if out.Len()+utf8.RuneLen(r) > most {
			break
		}
		out.WriteRune(r)
	}
	return strings.TrimSpace(out.String())
}

// isPlain reports whether a text is ASCII that can be seen.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// unseen reports whether a character has no place in a line. The joiners have:
// words of Persian and many an emoji need them.
func unseen(r rune) bool {
	const nonJoiner, joiner = '\u200c', '\u200d'
	return r != nonJoiner && r != joiner && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}
