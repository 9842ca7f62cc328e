package filename

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Safe makes a name out of any text that every file system takes and that
// nobody is misled by: no separators or other marks with a meaning to a system,
// nothing invisible, no name of a device, neither hidden nor an option of a
// command, of at most so many octets, of which an extension is the last to be
// cut. Letters of all scripts stay as they are, in Unicode's form C. It is
// empty where nothing is left of the text.
func Safe(text string, most int) string {
	text = norm.NFC.String(strings.Map(safeRune, strings.ToValidUTF8(text, "_")))
	text = strings.TrimLeft(text, " .-~")
	name := strings.TrimRight(text, " .")
	name = unreserved(name)
	if len(name) <= most {
		return name
	}
	extension := Extension(name)
	stem := name[:len(name)-len(extension)]
	stem = stem[:max(0, most-len(extension))]
	for len(stem) > 0 && !utf8.ValidString(stem) { // cut within a rune
		stem = stem[:len(stem)-1]
	}
	return unreserved(strings.TrimRight(stem, " .") + extension) // what was cut may have told it from a device
}

// Fold is equal for two names that some file system takes for one: they differ
// in case alone, or in the way that Unicode spells them.
func Fold(name string) string {
	return norm.NFC.String(strings.ToLower(strings.ToUpper(norm.NFD.String(name))))
}

// safeRune is what stands for a rune in a name; a negative one for nothing.
func safeRune(r rune) rune {
	switch {
	case strings.ContainsRune(`/\:*?"<>|`, r), r == utf8.RuneError:
		return '_'
	case unicode.In(r, unicode.Zs), r == '\t', r == '\r', r == '\n':
		return ' '
	case unicode.In(r, unicode.C, unicode.Zl, unicode.Zp, unicode.Variation_Selector), slices.Contains(blank, r):
		return -1 // control and format characters, bidirectional overrides among them; variations
	}
	return r
}

// blank are runes that count as letters and marks and show nothing.
var blank = []rune{0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}

// devices are names that Windows keeps for itself, whatever extension follows.
var devices = []string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}

func unreserved(name string) string {
	if reserved(name) {
		return "_" + name
	}
	return name
}

func reserved(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToUpper(strings.TrimSpace(base))
	if slices.Contains(devices, base) {
		return true
	}
	for _, port := range []string{"COM", "LPT"} {
		if rest, ok := strings.CutPrefix(base, port); ok && utf8.RuneCountInString(rest) == 1 && strings.ContainsAny(rest, "0123456789¹²³") {
			return true
		}
	}
	return false
}

// Extension is the end of a name from its last dot on, if it is short and made
// of letters and digits; else it is empty.
func Extension(name string) string {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || len(name)-dot > 12 || len(name)-dot < 2 {
		return ""
	}
	for _, r := range name[dot+1:] {
		if r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return ""
		}
	}
	return name[dot:]
}
