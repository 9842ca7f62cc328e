package header

import (
	"encoding/base64"
	"encoding/hex"
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
		d.bytes = append(d.bytes, w.bytes...)
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
}

// flush writes the words at hand, and what stands before them. Blanks between two
// words that were read mean nothing (RFC 2047, section 6.2).
func (d *decoding) flush() {
	if d.start == d.end {
		return
	}
	text, ok := FromCharset(d.charset, string(d.bytes))
	if !ok {
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
	bytes   string
	length  int // of the word as it is written
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
		w.bytes, ok = unbase64(content)
	case "q":
		w.bytes = unquoted(content)
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

// unbase64 decodes base64 with or without its padding, with blanks in it, and in
// padded pieces. It is not ok with other characters in it.
func unbase64(text string) (string, bool) {
	if strings.ContainsAny(text, " \t\r\n") {
		text = strings.Join(strings.Fields(text), "")
	}
	var out []byte
	for piece := range strings.SplitSeq(text, "=") {
		if len(piece)%4 == 1 { // six bits make no byte
			piece = piece[:len(piece)-1]
		}
		var err error
		if out, err = base64.RawStdEncoding.AppendDecode(out, []byte(piece)); err != nil {
			return "", false
		}
	}
	return string(out), true
}

// unquoted decodes the Q encoding (RFC 2047, section 4.2). What is not encoded as
// it should be stands for itself.
func unquoted(text string) string {
	if !strings.ContainsAny(text, "=_") {
		return text
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '_':
			out = append(out, ' ')
		case c == '=' && i+2 < len(text):
			b, err := hex.DecodeString(text[i+1 : i+3])
			if err != nil {
				out = append(out, c)
				continue
			}
			out = append(out, b...)
			i += 2
		default:
			out = append(out, c)
		}
	}
	return string(out)
}
