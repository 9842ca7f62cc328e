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
	case "", "7bit", "8bit", "binary", "7-bit", "8-bit":
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

// sixBits is base64 (RFC 2045, section 6.8) passes over what is not of its alphabet. Its
// padding is its end: what follows, the footer of a mailing list say, is no data.
type sixBits struct {
	w     *output
	bits  uint32
	n     int // sixes of bits that wait
	pads  int
	stray bool
	after bool
	out   []byte
}

func (b *sixBits) Write(p []byte) {
	for _, c := range p {
		v := sextets[c]
		switch {
		case v == isBlank:
		case c == '=':
			b.pads++
		case b.pads > 0:
			b.after = true
		case v == isStray:
			b.stray = true
		default:
			b.bits = b.bits<<6 | uint32(v)
			if b.n++; b.n == 4 {
				b.take()
			}
		}
	}
	b.w.Write(b.out)
	b.out = b.out[:0]
}

// take takes the octets out of the bits that wait.
func (b *sixBits) take() {
	b.out = binary.BigEndian.AppendUint32(b.out, b.bits<<(6*(4-b.n)+8))
	b.out = b.out[:len(b.out)-4+b.n-1]
	b.bits, b.n = 0, 0
}

func (b *sixBits) Close() string {
	n := b.n
	if n > 1 {
		b.take()
		b.w.Write(b.out)
	}
	switch {
	case b.after:
		return "something follows the end of its base64"
	case n == 1, n > 1 && b.pads != 4-n:
		return "its base64 is cut off"
	case b.stray, n == 0 && b.pads > 0:
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
