package attachments

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
)

// decoder takes the transfer encoding off a body. What it writes to is buffered,
// and keeps its error for the one who closes it.
type decoder interface {
	Write(encoded []byte)
	// Close writes what is left, and says what was wrong with the body.
	Close() (fault string)
}

// newDecoder returns the decoder of an encoding. A body in one that is not known
// stays as it is.
func newDecoder(encoding string, w *output) decoder {
	switch encoding {
	case "base64":
		return &sixBits{w: w}
	case "quoted-printable":
		return &quoted{w: w}
	case uuencode:
		return newUUBody(w)
	case "", "7bit", "8bit", "binary":
		return &identity{w: w}
	}
	return &identity{w: w, fault: "its encoding is not known"}
}

type identity struct {
	w     *output
	fault string
}

func (i *identity) Write(p []byte) { i.w.Write(p) }
func (i *identity) Close() string  { return i.fault }

// sixBits is base64 (RFC 2045, section 6.8), which passes over what is not of its
// alphabet. Padding ends it, or a piece of it: some encode a file in pieces, each
// with its padding. What follows a padding is another piece if it looks like one,
// and else no data: the footer of a mailing list, say.
type sixBits struct {
	w      *output
	bits   uint32
	n      int    // sixes of bits that wait
	pads   int    // of the piece that ends here
	behind []byte // what follows them, until it is known what that is
	over   bool   // the last piece has ended
	cut    bool   // a piece has not the padding that it needs
	stray  bool
	out    []byte
}

func (b *sixBits) Write(p []byte) {
	for len(p) > 0 && !b.over {
		if b.pads == 0 {
			p = b.piece(p)
		} else {
			p = b.padding(p)
		}
	}
	b.w.Write(b.out)
	b.out = b.out[:0]
}

// piece decodes up to a padding, and returns what follows its first "=".
func (b *sixBits) piece(p []byte) []byte {
	for i := 0; i < len(p); {
		if b.n == 0 { // whole quanta, which nearly all of it is
			for ; i+4 <= len(p); i += 4 {
				v0, v1, v2, v3 := sextets[p[i]], sextets[p[i+1]], sextets[p[i+2]], sextets[p[i+3]]
				if (v0|v1|v2|v3)&^0x3f != 0 {
					break
				}
				b.out = append(b.out, v0<<2|v1>>4, v1<<4|v2>>2, v2<<6|v3)
			}
			if i == len(p) {
				break
			}
		}
		c := p[i]
		i++
		switch v := sextets[c]; {
		case v == isBlank:
		case c == '=':
			b.pads = 1
			return p[i:]
		case v == isStray:
			b.stray = true
		default:
			b.bits = b.bits<<6 | uint32(v)
			if b.n++; b.n == 4 {
				b.take()
			}
		}
	}
	return nil
}

// maxBehind is how much is looked at of what follows a padding.
const maxBehind = 256

// padding reads what follows a "=", up to where it is known what that is, and
// returns what it leaves.
func (b *sixBits) padding(p []byte) []byte {
	for i, c := range p {
		blank, padded := sextets[c] == isBlank, bytes.HasSuffix(b.behind, []byte("="))
		switch {
		case len(b.behind) == 0 && c == '=':
			b.pads++
		case blank && (padded || len(b.behind) == 0):
		case padded && c != '=', len(b.behind) == maxBehind:
			b.decide(false)
			return p[i:]
		default:
			b.behind = append(b.behind, c)
		}
	}
	return nil
}

// decide takes what follows a padding for another piece, or for no data. whole says
// that nothing comes behind it.
func (b *sixBits) decide(whole bool) {
	b.end()
	behind := b.behind
	b.behind = nil
	if b.over = !isPiece(behind, whole); b.over {
		return
	}
	b.pads = 0
	b.padding(b.piece(behind))
}

// isPiece reports whether a text looks like base64 and not like words: it has
// nothing else in it, no blanks within its lines, and the padding that it needs.
// Where it needs none, something in it has to tell it from a word.
func isPiece(text []byte, whole bool) bool {
	n, pads := 0, 0
	var letter, digit, odd, blank bool
	last := byte('\n')
	for _, c := range text {
		switch v := sextets[c]; {
		case c == '=':
			pads++
		case c == '\n' || c == '\r':
			last, blank = '\n', false
		case v == isBlank:
			blank = last != '\n'
		case v == isStray, blank:
			return false
		default:
			isUpper, isLower := 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z'
			letter = letter || isUpper || isLower
			digit = digit || '0' <= c && c <= '9'
			odd = odd || c == '+' || c == '/' || isUpper && 'a' <= last && last <= 'z'
			last = c
			n++
		}
	}
	if pads > 0 {
		return n%4 > 1 && n%4+pads == 4
	}
	const long = 40 // no word is, so that one is cut off
	return (n%4 == 0 || !whole || n >= long) && (odd || letter && digit)
}

// end ends a piece.
func (b *sixBits) end() {
	n := b.n
	switch {
	case n > 1:
		b.take()
		b.cut = b.cut || b.pads != 4-n
	case n == 1:
		b.cut = true
	case b.pads > 0:
		b.stray = true
	}
	b.bits, b.n = 0, 0
}

// take takes the octets out of the bits that wait.
func (b *sixBits) take() {
	b.out = binary.BigEndian.AppendUint32(b.out, b.bits<<(6*(4-b.n)+8))
	b.out = b.out[:len(b.out)-4+b.n-1]
	b.bits, b.n = 0, 0
}

func (b *sixBits) Close() string {
	if len(b.behind) > 0 {
		b.decide(true)
	}
	if !b.over { // else its end was met
		b.end()
	}
	b.w.Write(b.out)
	switch {
	case b.over:
		return "something follows the end of its base64"
	case b.cut:
		return "its base64 is cut off"
	case b.stray:
		return "its base64 has other characters in it"
	}
	return ""
}

const (
	isStray = 0xff
	isBlank = 0xfe
)

// sextets are the values of the characters of base64.
var sextets = func() (table [256]byte) {
	for i := range table {
		table[i] = isStray
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		table[c] = byte(i)
	}
	for _, c := range []byte(" \t\r\n") {
		table[c] = isBlank
	}
	return table
}()

// maxBlanks are how many blanks in a row may be the end of a line.
const maxBlanks = 1000

// quoted is quoted-printable (RFC 2045, section 6.7). What is not encoded as it
// should be stands for itself.
type quoted struct {
	w      *output
	escape []byte // "=" and what follows, until it is known what it means
	blanks []byte // which mean nothing at the end of a line
	odd    bool
	octet  [1]byte
}

func (q *quoted) Write(p []byte) {
	for len(p) > 0 {
		if len(q.escape) > 0 {
			q.escaped(p[0])
			p = p[1:]
			continue
		}
		n := bytes.IndexAny(p, "= \t\r\n")
		if n < 0 {
			n = len(p)
		}
		if n > 0 {
			q.meant()
			q.w.Write(p[:n])
			p = p[n:]
			continue
		}
		switch c := p[0]; c {
		case '=':
			q.meant()
			q.escape = append(q.escape, c)
		case ' ', '\t':
			if q.blanks = append(q.blanks, c); len(q.blanks) > maxBlanks {
				q.odd = true
				q.meant()
			}
		default: // the end of a line
			q.blanks = q.blanks[:0]
			q.w.Write(p[:1])
		}
		p = p[1:]
	}
}

// meant writes the blanks: they are not at the end of a line.
func (q *quoted) meant() {
	q.w.Write(q.blanks)
	q.blanks = q.blanks[:0]
}

// escaped goes on with an escape: two digits, or an end of a line, before which
// there may be blanks, and which means nothing.
func (q *quoted) escaped(c byte) {
	q.escape = append(q.escape, c)
	inner := q.escape[1 : len(q.escape)-1]
	switch {
	case strings.IndexByte(" \t\r\n", c) >= 0:
		if len(bytes.Trim(inner, " \t\r")) > 0 || len(inner) > maxBlanks {
			q.literal()
		} else if c == '\n' {
			q.escape = q.escape[:0]
		}
	case len(inner) == 0 && hexDigit(c) >= 0:
	case len(inner) == 1 && hexDigit(inner[0]) >= 0 && hexDigit(c) >= 0:
		q.octet[0] = byte(hexDigit(inner[0])<<4 | hexDigit(c)) //nolint:gosec // two digits make an octet
		q.w.Write(q.octet[:])
		q.escape = q.escape[:0]
	default:
		q.literal()
	}
}

// literal takes back an escape that is none.
func (q *quoted) literal() {
	rest := q.escape[1:]
	q.escape, q.odd = nil, true
	q.w.Write([]byte{'='})
	q.Write(rest)
}

func (q *quoted) Close() string {
	if len(bytes.Trim(q.escape, "= \t\r")) > 0 {
		q.literal()
	}
	if q.odd {
		return "its quoted-printable has other characters in it"
	}
	return ""
}

func hexDigit(c byte) int { return strings.IndexByte("0123456789ABCDEF", upper(c)) }

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

// output counts what a part decodes to, and stops at a bound.
type output struct {
	w    io.Writer
	left int64 // that may be written
	n    int64
	over bool // more was to be written
	err  error
}

func (o *output) Write(p []byte) {
	if o.err != nil || o.over || len(p) == 0 {
		return
	}
	if int64(len(p)) > o.left-o.n {
		o.over = true
		return
	}
	_, o.err = o.w.Write(p)
	o.n += int64(len(p))
}
