package header

import (
	"strings"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// set is a set of characters that ISO 2022 switches to.
type set struct {
	width  int     // bytes of a character
	prefix string  // of a character in the charset that holds the set in its upper half
	decode decoder // of that charset; nil where the library has none
}

var (
	kana   = &set{1, "\x8e", through(japanese.EUCJP)}
	jis208 = &set{2, "", through(japanese.EUCJP)}
	jis212 = &set{2, "\x8f", through(japanese.EUCJP)}
	ksc    = &set{2, "", through(korean.EUCKR)}
	gb     = &set{2, "", through(simplifiedchinese.GBK)}
	latin  = &set{1, "", through(charmap.Windows1252)}
	greek  = &set{1, "", through(charmap.ISO8859_7)}
	other  = &set{2, "", nil}
)

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
		switch {
		case now == nil || now.decode == nil:
			out.WriteString(utf8Mended(string(run)))
		default:
			out.WriteString(now.decode(string(run)))
		}
		run = run[:0]
	}
	add := func(s *set, character string) {
		if s != now {
			flush()
			now = s
		}
		if s == nil || s.decode == nil {
			run = append(run, character...)
			return
		}
		run = append(run, s.prefix...)
		for i := range len(character) {
			run = append(run, character[i]|0x80)
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
		add(s, bytes[:width])
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
