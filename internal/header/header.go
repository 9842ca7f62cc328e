// Package header reads the header of a message as mail in the wild writes it: its
// fields, and the texts, addresses, ids, dates and parameters in them, whatever
// charset they are in. All that decodes header text goes through this package.
//
// What cannot be read stays as it is written. Reading takes time and memory in
// proportion to the size of the header. docs/decisions/0020 says why the readers
// are our own.
package header

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
)

// maxHeader is how many bytes of a header are read.
const maxHeader = 256 << 10

// maxPiece is how much of a line is read at once.
const maxPiece = 1 << 10

// maxList is how many addresses or ids of one field are read.
const maxList = 100

// Header holds fields by their names in lower case: of each the values, in their
// order, unfolded and otherwise as they are written.
type Header map[string][]string

// Read reads the fields of these names, in lower case, or all fields where no name
// is given. It reads up to the end of the header, to 256 KiB, or to the end of r.
// Lines that are no fields are skipped. Its error is that of r; what was read
// before it is returned with it.
func Read(r io.Reader, names ...string) (Header, error) {
	h := make(Header)
	lines := bufio.NewReaderSize(io.LimitReader(r, maxHeader), maxPiece)
	name := "" // of the field at hand; empty for one that nobody asked for
	var value bytes.Buffer
	add := func() {
		if name != "" {
			h[name] = append(h[name], value.String())
		}
		name = ""
		value.Reset()
	}
	begins := true // a line, and not only a piece of one
	for {
		piece, err := lines.ReadSlice('\n')
		text := bytes.TrimRight(piece, "\r\n")
		switch {
		case begins && len(text) == 0:
			add()
			if len(piece) > 0 { // the end of the header
				return h, nil
			}
		case !begins, text[0] == ' ', text[0] == '\t':
			if name != "" {
				value.Write(text)
			}
		default:
			add()
			if found, rest, ok := bytes.Cut(text, []byte(":")); ok {
				name = fieldName(found, names)
				value.Write(rest)
			}
		}
		begins = !errors.Is(err, bufio.ErrBufferFull)
		switch {
		case errors.Is(err, io.EOF):
			add()
			return h, nil
		case err != nil && begins:
			add()
			return h, err
		}
	}
}

// fieldName is the name of a field in lower case; empty where it is not one of
// those asked for, or no name.
func fieldName(text []byte, names []string) string {
	text = bytes.TrimRight(text, " \t")
	if bytes.ContainsAny(text, " \t") { // the mark of a mailbox: "From ann Sat Jan 31 08:30:00"
		return ""
	}
	name := strings.ToLower(string(text))
	if len(names) > 0 && !slices.Contains(names, name) {
		return ""
	}
	return name
}

// First is the first value of a field as it is written; empty where there is none.
func (h Header) First(name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// IDs are the message ids of a field, without their angle brackets.
func IDs(text string) []string {
	text = Legible(text)
	var all []string
	for rest := text; len(all) < maxList; {
		_, after, ok := strings.Cut(rest, "<")
		if !ok {
			break
		}
		end := strings.IndexAny(after, "<>")
		if end < 0 {
			break
		}
		if id := Line(after[:end], maxText); after[end] == '>' && id != "" {
			all = append(all, id)
		}
		rest = after[end:]
	}
	if bare := Line(text, maxText); len(all) == 0 && bare != "" && !strings.ContainsAny(bare, " <>") {
		all = append(all, bare)
	}
	return all
}

// uncommented is a text without its comments (RFC 5322, section 3.2.2). What
// follows a parenthesis that is not closed counts as a comment.
func uncommented(text string) string {
	if !strings.Contains(text, "(") {
		return text
	}
	var out strings.Builder
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			if depth++; depth == 1 {
				out.WriteByte(' ')
			}
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			out.WriteByte(c)
		}
	}
	return out.String()
}
