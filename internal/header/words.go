package header

import (
	"encoding/base64"
	"strings"
)

// Decode decodes the encoded words of a text (RFC 2047), wherever they stand in
// it, and makes the rest legible. The bytes of neighbouring words of one charset
// are joined before they are decoded: many a mailer cuts within a character. A
// word that cannot be read stays as it is written.
func Decode(text string) string {
	if !strings.Contains(text, "=?") {
		return Legible(text)
	}
	d := decoding{text: text}
	for at := 0; ; {
		next := strings.Index(text[at:], "=?")
		if next < 0 {
			break
		}
		at += next
		w, ok := wordAt(text[at:])
		if !ok {
			at += len("=?")
			continue
		}
		if !isBlank(text[d.end:at]) || !strings.EqualFold(w.charset, d.charset) {
			d.flush()
			d.start, d.charset = at, w.charset
		}
		d.add(w)
		at += w.length
		d.end = at
	}
	d.flush()
	d.out.WriteString(Legible(text[d.done:]))
	return d.out.String()
}

// decoding is how far Decode has come: out holds the text up to done, and the
// words at hand lie between start and end.
type decoding struct {
	text       string
	out        strings.Builder
	done       int
	afterWord  bool // what ends at done was a word, and was read
	start, end int
	charset    string
	bytes      []byte
	sixes      string // of the last word: characters of base64 that are no whole quantum
}

// add adds to the words at hand. Some mailers cut base64 itself into words. Where the
// last characters of one are no end, or the next word makes a whole of them, it goes
// on with them; else their padding is missing.
func (d *decoding) add(w encodedWord) {
	if !w.base64 {
		d.endBase64()
		d.bytes = append(d.bytes, unquoted(w.content)...)
		return
	}
	both := len(d.sixes) + len(w.content)
	if _, err := base64.RawStdEncoding.Strict().DecodeString(d.sixes); err == nil && (len(w.content)%4 == 0 || both%4 != 0) {
		d.endBase64()
	}
	pieces := strings.Split(d.sixes+w.content, "=") // each but the last has its padding
	last := len(pieces) - 1
	for _, piece := range pieces[:last] {
		d.sixes = piece
		d.endBase64()
	}
	whole := len(pieces[last]) / 4 * 4
	d.sixes = pieces[last][:whole]
	d.endBase64()
	d.sixes = pieces[last][whole:]
}

// endBase64 decodes the characters of base64 at hand.
func (d *decoding) endBase64() {
	if len(d.sixes)%4 == 1 { // six bits make no byte
		d.sixes = d.sixes[:len(d.sixes)-1]
	}
	d.bytes, _ = base64.RawStdEncoding.AppendDecode(d.bytes, []byte(d.sixes)) // wordAt has seen to the alphabet
	d.sixes = ""
}

// flush writes the words at hand, and what stands before them. Blanks between two
// words that were read mean nothing (RFC 2047, section 6.2).
func (d *decoding) flush() {
	if d.start == d.end {
		return
	}
	lost := len(d.bytes) == 0 && len(d.sixes) == 1
	d.endBase64()
	text, ok := FromCharset(d.charset, string(d.bytes))
	if ok = ok && !lost; !ok {
		text = Legible(d.text[d.start:d.end])
	}
	if gap := d.text[d.done:d.start]; !ok || !d.afterWord || !isBlank(gap) {
		d.out.WriteString(Legible(gap))
	}
	d.out.WriteString(text)
	d.done, d.afterWord = d.end, ok
	d.start, d.bytes = d.end, d.bytes[:0]
}

func isBlank(text string) bool { return strings.TrimLeft(text, " \t\r\n") == "" }

// encodedWord is a word of RFC 2047.
type encodedWord struct {
	charset string
	base64  bool
	content string // without blanks, where it is base64
	length  int    // of the word as it is written
}

// maxCharset bounds the name of a charset with its language, maxEncoding that of an
// encoding with blanks around it.
const (
	maxCharset  = 100
	maxEncoding = 10
)

// cutWithin cuts a text at its first question mark, if that is within its first
// bytes.
func cutWithin(text string, most int) (before, after string, ok bool) {
	at := strings.IndexByte(text[:min(len(text), most)], '?')
	if at < 0 {
		return "", "", false
	}
	return text[:at], text[at+1:], true
}

// wordAt is the encoded word that a text begins with. Mail has them with a language
// (RFC 2231, section 5), with blanks in them, with question marks in them, and far
// longer than they may be.
func wordAt(text string) (w encodedWord, ok bool) {
	charset, rest, _ := cutWithin(text[len("=?"):], maxCharset)
	encoding, content, ok := cutWithin(rest, maxEncoding)
	if !ok {
		return w, false
	}
	charset, _, _ = strings.Cut(charset, "*")
	w.charset = strings.Trim(charset, " \t")
	end := contentEnd(content)
	if end < 0 || w.charset == "" || strings.ContainsAny(w.charset, " \t") {
		return w, false
	}
	w.length = len(text) - len(content) + end + len("?=")
	switch content = content[:end]; strings.ToLower(strings.Trim(encoding, " \t")) {
	case "b":
		w.base64 = true
		w.content = strings.Join(strings.Fields(content), "")
		ok = strings.Trim(w.content, alphabet+"=") == ""
	case "q":
		w.content = content
	default:
		ok = false
	}
	return w, ok
}

// contentEnd is where the content of a word ends; negative where it does not before
// the next word begins.
func contentEnd(text string) int {
	for at := 0; ; at++ {
		next := strings.IndexByte(text[at:], '?')
		if next < 0 {
			return -1
		}
		switch at += next; {
		case strings.HasPrefix(text[at:], "?="):
			return at
		case at > 0 && text[at-1] == '=':
			return -1
		}
	}
}

// alphabet is that of base64.
const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// unquoted decodes the Q encoding (RFC 2047, section 4.2). What is not encoded as
// it should be stands for itself.
func unquoted(text string) string {
	if !strings.ContainsAny(text, "=_") {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch c {
		case '_':
			c = ' '
		case '=':
			if b, ok := hexByte(text[i+1:]); ok {
				c = b
				i += 2
			}
		}
		out = append(out, c)
	}
	return string(out)
}

// hexByte is the byte that the two digits at the beginning of a text are.
func hexByte(text string) (b byte, ok bool) {
	if len(text) < 2 {
		return 0, false
	}
	for i := range 2 {
		digit := strings.IndexByte("0123456789abcdef", text[i]|0x20)
		if digit < 0 {
			return 0, false
		}
		b = b<<4 | byte(digit) //nolint:gosec // one of sixteen
	}
	return b, true
}
