package attachments

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"mailpoller/internal/folder/facts"
)

// header is what the header of a part says of it.
type header struct {
	contentType valued
	disposition valued
	encoding    string // lower case; empty for none
}

// valued is a value with parameters, such as that of Content-Type.
type valued struct {
	value  string            // lower case
	params map[string]string // by names in lower case, decoded
}

// header reads the header of the part that begins here. One that a boundary
// cuts off ends there.
func (x *extractor) header() (*header, error) {
	x.begin()
	var text bytes.Buffer
	for {
		line, err := x.line()
		if err != nil {
			return nil, err
		}
		if line == nil {
			break
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 && !x.inLine {
			break
		}
		if text.Len() < maxOctets {
			text.Write(line)
		}
	}
	fields, err := facts.ReadHeader(&text, "content-type", "content-disposition", "content-transfer-encoding")
	return &header{
		contentType: parse(fields["content-type"], "text/plain"),
		disposition: parse(fields["content-disposition"], ""),
		encoding:    strings.ToLower(strings.TrimSpace(fields["content-transfer-encoding"])),
	}, err
}

// name is what the sender calls the part.
func (h *header) name() string {
	if name := h.disposition.params["filename"]; name != "" {
		return name
	}
	return h.contentType.params["name"]
}

// attachment reports whether the part is one.
func (h *header) attachment() bool {
	if h.disposition.value == "attachment" || h.name() != "" {
		return true
	}
	return h.contentType.value != "text/plain" && h.contentType.value != "text/html"
}

// extensions are those of types that come without a name.
var extensions = map[string]string{
	"application/json": ".json", "application/ms-tnef": ".dat", "application/pdf": ".pdf", "application/pgp-signature": ".asc",
	"application/pkcs7-mime": ".p7m", "application/pkcs7-signature": ".p7s", "application/xml": ".xml", "application/zip": ".zip",
	"audio/mpeg": ".mp3", "image/gif": ".gif", "image/jpeg": ".jpg", "image/png": ".png", "image/svg+xml": ".svg", "image/tiff": ".tif",
	"message/rfc822": ".eml", "text/calendar": ".ics", "text/csv": ".csv", "text/html": ".html", "text/plain": ".txt",
	"text/vcard": ".vcf", "text/xml": ".xml", "message/delivery-status": ".txt", "message/disposition-notification": ".txt",
	"text/rfc822-headers": ".txt",
}

func (h *header) extension() string {
	if extension := extensions[h.contentType.value]; extension != "" {
		return extension
	}
	return defaultExt
}

// parse reads a value with parameters, as much of it as can be read.
func parse(text, otherwise string) valued {
	value, rest, _ := strings.Cut(text, ";")
	v := valued{value: strings.ToLower(strings.TrimSpace(value)), params: make(map[string]string)}
	if v.value == "" || strings.ContainsAny(v.value, " \t") || otherwise != "" && !strings.Contains(v.value, "/") {
		v.value = otherwise
	}
	pieces := make(map[string][]piece)
	for len(v.params)+len(pieces) < 100 {
		rest = strings.TrimLeft(rest, "; \t")
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		var raw string
		raw, rest = first(strings.TrimLeft(after, " \t"))
		name = strings.ToLower(strings.TrimSpace(name))
		if base, n, encoded, ok := section(name); ok {
			if len(pieces[base]) < 1000 {
				pieces[base] = append(pieces[base], piece{n, raw, encoded})
			}
		} else if _, again := v.params[name]; !again { // of two the first counts
			v.params[name] = raw
		}
	}
	for _, name := range []string{"filename", "name"} {
		if raw, ok := v.params[name]; ok {
			v.params[name] = facts.Decode(raw)
		}
	}
	for name, all := range pieces { // which say it better than a plain one beside them
		if joined := join(all); joined != "" {
			v.params[name] = joined
		}
	}
	return v
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
		case c == '"':
			return b.String(), text[i+1:]
		case c == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\'):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "" // without its end
}

// piece is a part of a parameter (RFC 2231, sections 3 and 4).
type piece struct {
	n       int
	text    string
	encoded bool
}

// section takes the name of a piece apart: NAME*, NAME*N or NAME*N*.
func section(name string) (base string, n int, encoded, ok bool) {
	base, rest, ok := strings.Cut(name, "*")
	if !ok {
		return name, 0, false, false
	}
	if rest == "" {
		return base, 0, true, true
	}
	rest, encoded = strings.CutSuffix(rest, "*")
	n, err := strconv.Atoi(rest)
	return base, n, encoded, err == nil && n >= 0
}

func join(pieces []piece) string {
	slices.SortStableFunc(pieces, func(a, b piece) int { return a.n - b.n })
	charset := ""
	var text strings.Builder
	for i, p := range pieces {
		if i == 0 && p.encoded {
			if parts := strings.SplitN(p.text, "'", 3); len(parts) == 3 {
				charset, p.text = parts[0], parts[2]
			}
		}
		if p.encoded {
			if plain, err := url.PathUnescape(p.text); err == nil {
				p.text = plain
			}
		}
		text.WriteString(p.text)
	}
	return facts.FromCharset(charset, text.String())
}

// errDamaged says that a body is not encoded as it says.
var errDamaged = errors.New("damaged")

// decoded is the body at hand without its transfer encoding.
func (h *header) decoded(s *scanner) io.Reader {
	switch h.encoding {
	case "base64":
		return base64.NewDecoder(base64.RawStdEncoding, &sixBits{s: s})
	case "quoted-printable":
		return &quoted{s: s, r: bufio.NewReader(s)}
	case "", "7bit", "8bit", "binary":
	default:
		s.odd = true
	}
	return s
}

// sixBits is what a text in base64 consists of, without all else.
type sixBits struct {
	s     *scanner
	ended bool // by its padding
}

// Read implements io.Reader.
func (b *sixBits) Read(p []byte) (int, error) {
	for {
		n, err := b.s.Read(p)
		kept := p[:0]
		for _, c := range p[:n] {
			switch {
			case c == '\r', c == '\n', c == ' ', c == '\t':
			case c == '=':
				b.ended = true
			case !b.ended && (c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'):
				kept = append(kept, c)
			default:
				b.s.odd = true // a signature of a mailing list, say
			}
		}
		if len(kept) > 0 || err != nil {
			return len(kept), err
		}
	}
}

// quoted decodes quoted-printable (RFC 2045, section 6.7). What is none stands
// for itself.
type quoted struct {
	s      *scanner
	r      *bufio.Reader
	blanks []byte // at what may be the end of a line, where they mean nothing
}

// Read implements io.Reader.
func (q *quoted) Read(p []byte) (int, error) {
	out := p[:0]
	for len(out) < len(p) {
		if len(q.blanks) > 0 && q.settled() {
			n := min(len(q.blanks), len(p)-len(out))
			out = append(out, q.blanks[:n]...)
			q.blanks = q.blanks[n:]
			continue
		}
		c, err := q.r.ReadByte()
		if err != nil {
			if len(out) > 0 && errors.Is(err, io.EOF) {
				return len(out), nil
			}
			return len(out), err
		}
		switch {
		case c == ' ' || c == '\t':
			if q.blanks = append(q.blanks, c); len(q.blanks) > maxOctets {
				return len(out), errDamaged
			}
		case c != '=':
			out = append(out, c)
		default:
			if decoded, ok := q.escaped(); ok {
				out = append(out, decoded...)
			} else {
				q.s.odd = true
				out = append(out, c)
			}
		}
	}
	return len(out), nil
}

// settled reports whether the blanks mean something, and forgets them if not.
func (q *quoted) settled() bool {
	switch next, err := q.r.Peek(1); {
	case err == nil && (next[0] == ' ' || next[0] == '\t'):
		return false // there are more
	case err != nil || next[0] == '\r' || next[0] == '\n':
		q.blanks = nil
		return false
	}
	return true
}

// escaped is what follows a "=": an octet, or the end of a line that is none.
func (q *quoted) escaped() (decoded []byte, ok bool) {
	next, _ := q.r.Peek(2)
	if len(next) == 2 {
		if octet, err := strconv.ParseUint(string(next), 16, 8); err == nil && next[0] != '+' {
			_, _ = q.r.Discard(2)
			return []byte{byte(octet)}, true
		}
	}
	skipped := 0
	for { // blanks, and then the end of the line or of the body
		next, err := q.r.Peek(skipped + 1)
		switch {
		case err != nil && len(next) <= skipped: // the end, or more blanks than fit
			_, _ = q.r.Discard(skipped)
			return nil, errors.Is(err, io.EOF)
		case next[skipped] == '\n':
			_, _ = q.r.Discard(skipped + 1)
			return nil, true
		case next[skipped] != ' ' && next[skipped] != '\t' && next[skipped] != '\r':
			return nil, false
		}
		skipped++
	}
}
