package header

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// set is a set of characters that ISO 2022 switches to.
type set struct {
	width    int               // bytes of a character
	encoding encoding.Encoding // which holds the set in its upper half; nil where the library has none
	prefix   string            // of a character there
}

var (
	kana   = &set{1, japanese.EUCJP, "\x8e"}
	jis208 = &set{2, japanese.EUCJP, ""}
	jis212 = &set{2, japanese.EUCJP, "\x8f"}
	ksc    = &set{2, korean.EUCKR, ""}
	gb     = &set{2, simplifiedchinese.GBK, ""}
	latin  = &set{1, charmap.Windows1252, ""}
	greek  = &set{1, charmap.ISO8859_7, ""}
	other  = &set{2, nil, ""}
)

// decoded decodes characters of the set. It is not ok where there is one that the set
// does not have.
func (s *set) decoded(characters string) (text string, ok bool) {
	upper := make([]byte, 0, len(characters)*2)
	for at := 0; at < len(characters); at += s.width {
		upper = append(upper, s.prefix...)
		for i := range s.width {
			upper = append(upper, characters[at+i]|0x80)
		}
	}
	text, err := s.encoding.NewDecoder().String(string(upper))
	return text, err == nil && !strings.ContainsRune(text, utf8.RuneError)
}

// sets are the sets by what designates them: "$" where a character has two bytes,
// "." where there are 96 of them, and the final byte. Any other is ASCII.
var sets = map[string]*set{
	"I": kana, "$@": jis208, "$B": jis208, "$O": jis208, "$Q": jis208, "$D": jis212, "$C": ksc, "$A": gb, "$E": gb,
	".A": latin, ".F": greek, "$G": other, "$H": other, "$I": other, "$J": other, "$K": other, "$L": other, "$M": other, "$P": other,
}

// iso2022With is the decoder of a member of the family whose shifted set need not
// be designated.
func iso2022With(shifted *set) decoder {
	return func(bytes string) string { return iso2022(bytes, shifted) }
}

// iso2022 decodes ISO 2022 with seven bits, as mail has it: ISO-2022-JP and what
// grew out of it (RFC 1468, 1554, 2237), ISO-2022-KR (RFC 1557), ISO-2022-CN (RFC
// 1922) but for the planes of CNS 11643. The library has the first alone. A
// character is looked up in the charset whose upper half is its set.
func iso2022(bytes string, shifted *set) string {
	var out strings.Builder
	g, lower := [4]*set{1: shifted}, 0 // nil is ASCII
	var run []byte                     // that is not yet decoded, all of it in the set of now
	var now *set
	flush := func() {
		characters := string(run)
		run = run[:0]
		if now == nil || now.encoding == nil {
			out.WriteString(utf8Mended(characters))
			return
		}
		if text, ok := now.decoded(characters); ok {
			out.WriteString(text)
			return
		}
		for ; characters != ""; characters = characters[now.width:] { // one of them means nothing, and stays as it is
			text, ok := now.decoded(characters[:now.width])
			if !ok {
				text = characters[:now.width]
			}
			out.WriteString(text)
		}
	}
	single := false // the next character alone is of the set G2
	for len(bytes) > 0 {
		if slot, s, length := designated(bytes); length > 0 {
			g[slot] = s
			bytes = bytes[length:]
			continue
		}
		s := g[lower]
		if single {
			s = g[2]
		}
		c, width := bytes[0], 1
		switch {
		case strings.HasPrefix(bytes, "\x1bN"):
			single = true
			bytes = bytes[2:]
			continue
		case c == 0x0e, c == 0x0f:
			lower = int(0x0f - c)
			bytes = bytes[1:]
			continue
		case c == '\n': // a line begins in ASCII
			g[0], lower, s = nil, 0, nil
		case c <= ' ' || c >= 0x7f:
			s = nil
		case s != nil && s.width == 2:
			if len(bytes) < 2 || bytes[1] <= ' ' || bytes[1] >= 0x7f {
				s = nil
			} else {
				width = 2
			}
		}
		if s != now {
			flush()
			now = s
		}
		run = append(run, bytes[:width]...)
		bytes, single = bytes[width:], false
	}
	flush()
	return out.String()
}

// designated is the set that an escape sequence puts into one of the four slots. It
// has no length where the bytes begin with none.
func designated(bytes string) (slot int, s *set, length int) {
	if bytes[0] != '\x1b' {
		return 0, nil, 0
	}
	rest, wide := strings.CutPrefix(bytes[1:], "$")
	key := ""
	if wide {
		key = "$"
	}
	if rest == "" {
		return 0, nil, 0
	}
	if at := strings.IndexByte("()*+", rest[0]); at >= 0 {
		slot, rest = at, rest[1:]
	} else if at := strings.IndexByte(",-./", rest[0]); at >= 0 {
		slot, rest, key = at, rest[1:], key+"."
	} else if !wide {
		return 0, nil, 0
	}
	if rest == "" || rest[0] < '0' || rest[0] > '~' {
		return 0, nil, 0
	}
	return slot, sets[key+rest[:1]], len(bytes) - len(rest) + 1
}
