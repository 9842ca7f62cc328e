package header

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// maxParams is how many parameters of one field are read, and maxParam how many
// bytes one has when it is decoded.
const (
	maxParams = 1000
	maxParam  = 1000
)

// Value is a field with parameters, such as Content-Type or Content-Disposition.
type Value struct {
	Value  string // in lower case, without comments
	params map[string][]param
}

// param is a parameter, or a part of one (RFC 2231, sections 3 and 4).
type param struct {
	n        int // -1 for a plain one
	extended bool
	text     string
}

// ParseValue reads a field with parameters, as much of it as can be read. A
// semicolon may be missing, and so may the value itself.
func ParseValue(text string) Value {
	if strings.Contains(text, "\x1b") { // half a character may look like a quote or a semicolon
		text = Legible(text)
	}
	rest := strings.TrimLeft(text, " \t")
	end := strings.IndexAny(rest, "; \t")
	if end < 0 {
		end = len(rest)
	}
	v := Value{params: make(map[string][]param)}
	if !strings.Contains(rest[:end], "=") {
		v.Value, rest = Token(rest[:end]), rest[end:]
	}
	for range maxParams {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		p := param{n: -1}
		p.text, rest = paramValue(strings.TrimLeft(after, " \t"))
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
		v.params[name] = append(v.params[name], p)
	}
	return v
}

// Token is the first word of a text, in lower case, without comments and quotes.
func Token(text string) string {
	for word := range strings.FieldsFuncSeq(uncommented(text), func(r rune) bool { return r <= ' ' || r == '"' || r == ';' }) {
		return strings.ToLower(word)
	}
	return ""
}

// Raw is a parameter as it is written.
func (v Value) Raw(name string) string {
	for _, p := range v.params[name] {
		if p.n < 0 {
			return p.text
		}
	}
	return v.Param(name)
}

// Param is a parameter, decoded, in one line, of at most 1,000 bytes. It has the
// format characters that it is sent with: whoever makes a file name of it has to
// deal with those. The spelling of RFC 2231 says it better than a plain one beside
// it.
func (v Value) Param(name string) string {
	var parts []param
	plain, found := "", false
	for _, p := range v.params[name] {
		switch {
		case p.n >= 0:
			parts = append(parts, p)
		case !found:
			plain, found = p.text, true
		}
	}
	slices.SortStableFunc(parts, func(a, b param) int { return cmp.Compare(a.n, b.n) })
	return cmp.Or(joinedParts(parts), paramLine(Decode(plain)))
}

// joinedParts puts the parts of a parameter together.
func joinedParts(parts []param) string {
	var bytes strings.Builder
	charset, declared := "", false
	for i, p := range parts {
		text := p.text
		if fields := strings.SplitN(text, "'", 3); i == 0 && p.extended && len(fields) == 3 {
			charset, text, declared = fields[0], fields[2], true
		}
		if p.extended {
			text = unpercented(text)
		}
		bytes.WriteString(text)
	}
	if !declared { // some put encoded words there
		return paramLine(Decode(bytes.String()))
	}
	text, _ := FromCharset(charset, bytes.String())
	return paramLine(text)
}

func paramLine(text string) string { return line(text, maxParam, unicode.IsControl) }

// unpercented decodes %XX (RFC 2231, section 4).
func unpercented(text string) string {
	if !strings.Contains(text, "%") {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c == '%' {
			if b, ok := hexByte(text[i+1:]); ok {
				c = b
				i += 2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// paramValue is the value that a text begins with, and what follows it.
func paramValue(text string) (value, rest string) {
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
		case c == '"' && endsValue(text[i+1:]):
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

// endsValue reports whether a quote ends its value, by what follows: mail in the
// wild has quotes within it, and other parameters behind it without a semicolon.
func endsValue(rest string) bool {
	rest = strings.TrimLeft(rest, " \t")
	if rest == "" || rest[0] == ';' || rest[0] == '(' {
		return true
	}
	behind := strings.TrimLeftFunc(rest, func(r rune) bool { return r == '*' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r) })
	return len(behind) < len(rest) && strings.HasPrefix(strings.TrimLeft(behind, " \t"), "=")
}
