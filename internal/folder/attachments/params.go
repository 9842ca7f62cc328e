package attachments

import (
	"cmp"
	"encoding/hex"
	"io"
	"mime/quotedprintable"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding/charmap"
)

// maxParams bounds the parameters of one field, and maxOriginal the octets of a
// name.
const (
	maxParams   = 1000
	maxOriginal = 1000
)

// valued is the value of a field with its parameters, as raw as they stand
// there.
type valued struct {
	value  string // lower case, without comments
	pieces map[string][]piece
}

// piece is a parameter, or a part of one (RFC 2231, sections 3 and 4).
type piece struct {
	n        int // -1 for a plain one
	extended bool
	text     string
}

// parse reads a field, as much of it as can be read.
func parse(text string) valued {
	rest := strings.TrimLeft(text, " \t")
	end := strings.IndexAny(rest, "; \t") // a semicolon may be missing
	if end < 0 {
		end = len(rest)
	}
	v := valued{pieces: make(map[string][]piece)}
	if !strings.Contains(rest[:end], "=") { // the value itself may be missing
		v.value, rest = token(rest[:end]), rest[end:]
	}
	for range maxParams {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		p := piece{n: -1}
		p.text, rest = first(strings.TrimLeft(after, " \t"))
		name = strings.ToLower(strings.TrimSpace(name))
		name = name[strings.LastIndexAny(name, "; \t")+1:] // behind parameters without a value
		name, number, starred := strings.Cut(name, "*")
		if starred {
			number, p.extended = strings.CutSuffix(number, "*")
			n, err := strconv.ParseUint(number, 10, 16)
			switch p.n = int(n); {
			case number == "": // NAME*
				p.extended = true
			case err != nil:
				continue
			}
		}
		v.pieces[name] = append(v.pieces[name], p)
	}
	return v
}

var comment = regexp.MustCompile(`\([^()]*\)`)

// token is the first word of a text, in lower case, without comments and quotes.
func token(text string) string {
	words := strings.FieldsFunc(comment.ReplaceAllString(text, " "), func(r rune) bool { return r <= ' ' || r == '"' || r == ';' })
	if len(words) == 0 {
		return ""
	}
	return strings.ToLower(words[0])
}

// closed reports whether a quote ends its value, by what follows: mail in the
// wild has quotes within it, and other parameters behind it without a semicolon.
func closed(rest string) bool {
	rest = strings.TrimLeft(rest, " \t")
	if rest == "" || rest[0] == ';' || rest[0] == '(' {
		return true
	}
	behind := strings.TrimLeftFunc(rest, func(r rune) bool { return r == '*' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r) })
	return len(behind) < len(rest) && strings.HasPrefix(strings.TrimLeft(behind, " \t"), "=")
}

// first is the value that a text begins with, and what follows it.
func first(text string) (value, rest string) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexByte(text, ';')
		if end < 0 {
			end = len(text)
		}
		return strings.TrimSpace(text[:end]), text[end:]
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"' && closed(text[i+1:]):
			return b.String(), text[i+1:]
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`"\`, text[i+1]) >= 0: // before others it is one: C:\TEMP
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "" // its end is missing
}

// raw is a parameter as it stands there.
func (v valued) raw(name string) string {
	for _, p := range v.pieces[name] {
		if p.n < 0 {
			return p.text
		}
	}
	return v.text(name)
}

// text is a parameter, decoded. The spelling of RFC 2231 says it better than a
// plain one beside it.
func (v valued) text(name string) string {
	var extended []piece
	for _, p := range v.pieces[name] {
		if p.n >= 0 {
			extended = append(extended, p)
		}
	}
	slices.SortStableFunc(extended, func(a, b piece) int { return cmp.Compare(a.n, b.n) })
	if text := joined(extended); text != "" {
		return text
	}
	for _, p := range v.pieces[name] {
		if p.n < 0 {
			return legible(decodeWords(p.text))
		}
	}
	return ""
}

// joined puts the pieces of a parameter together.
func joined(pieces []piece) string {
	var octets strings.Builder
	set, inSet := "", false
	for i, p := range pieces {
		text := p.text
		if parts := strings.SplitN(text, "'", 3); i == 0 && p.extended && len(parts) == 3 {
			set, text, inSet = parts[0], parts[2], true
		}
		if p.extended {
			text = percent.ReplaceAllStringFunc(text, func(found string) string {
				octet, _ := hex.DecodeString(found[1:])
				return string(octet)
			})
		}
		octets.WriteString(text)
	}
	if !inSet { // there are those who put words into it
		return legible(decodeWords(octets.String()))
	}
	return legible(fromCharset(set, octets.String()))
}

var percent = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// word is an encoded word (RFC 2047), also within quotes, where it has no
// meaning by the book. between is what may stand between two that are one text.
var (
	word    = regexp.MustCompile(`=\?([^?*\s]+)(?:\*[^?]*)?\?([bBqQ])\?([^?]*)\?=`)
	between = regexp.MustCompile(`^[ \t\r\n]*$`)
)

// decodeWords decodes the encoded words of a text. The octets of words that
// follow each other are put together first: many a mailer cuts within a
// character.
func decodeWords(text string) string {
	var out, octets strings.Builder
	set := "" // of the words at hand
	flush := func() {
		out.WriteString(fromCharset(set, octets.String()))
		octets.Reset()
		set = ""
	}
	end, within := 0, false
	for _, m := range word.FindAllStringSubmatchIndex(text, -1) {
		charset, encoding, content := strings.ToLower(text[m[2]:m[3]]), text[m[4]:m[5]], text[m[6]:m[7]]
		if gap := text[end:m[0]]; !within || !between.MatchString(gap) {
			flush()
			out.WriteString(gap)
		}
		if charset != set {
			flush()
			set = charset
		}
		octets.WriteString(wordOctets(encoding, content))
		end, within = m[1], true
	}
	flush()
	out.WriteString(text[end:])
	return out.String()
}

func wordOctets(encoding, content string) string {
	if encoding == "q" || encoding == "Q" {
		content = strings.ReplaceAll(content, "_", "=20")
		octets, _ := io.ReadAll(quotedprintable.NewReader(strings.NewReader(content)))
		return string(octets)
	}
	var octets strings.Builder
	b := &sixBits{w: &output{w: &octets, left: int64(len(content))}}
	b.Write([]byte(content))
	b.Close()
	return octets.String()
}

// fromCharset decodes octets. Those of a charset that is not known are left.
func fromCharset(name, octets string) string {
	if name == "" || octets == "" {
		return octets
	}
	r, err := charset.Reader(name, strings.NewReader(octets))
	if err != nil {
		return octets
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return octets
	}
	return string(text)
}

// legible is a text as UTF-8 in one line, of a bounded length. Octets that are
// not UTF-8 are taken for those of Windows, where nearly each has a meaning.
func legible(text string) string {
	if !utf8.ValidString(text) {
		if decoded, err := charmap.Windows1252.NewDecoder().String(text); err == nil {
			text = decoded
		}
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxOriginal {
		text = strings.ToValidUTF8(text[:maxOriginal], "")
	}
	return strings.TrimSpace(text)
}
