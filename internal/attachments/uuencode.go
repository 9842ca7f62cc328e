package attachments

import (
	"bytes"
	"cmp"
	"math"
	"strings"

	"mailpoller/internal/header"
)

const (
	noBegin = "its uuencode has no beginning"
	noEnd   = "its uuencode has no end"
	beside  = "something stands before or behind its uuencode"
	noData  = "it has a line that begins a uuencoded file, and no file follows"
	oddUU   = "its uuencode has lines that are too short or too long"
	notUU   = "its uuencode has other characters in it"
)

// uuBody is the decoder of a body in uuencode: of the first file in it.
type uuBody struct {
	uuReader
	began bool
	fault string
}

func newUUBody(w *output) *uuBody {
	b := &uuBody{}
	b.begin = func(string) (*output, error) {
		if b.began { // the second stands behind the first
			b.odd(beside)
			return nil, nil
		}
		b.began = true
		return w, nil
	}
	b.odd = func(fault string) { b.fault = cmp.Or(b.fault, fault) }
	b.outside = func() { b.odd(beside) }
	b.end = func(fault string) error {
		b.odd(fault)
		return nil
	}
	return b
}

// Write implements decoder. What it writes to keeps its own error.
func (b *uuBody) Write(p []byte) { _, _ = b.uuReader.Write(p) }

// Close implements decoder.
func (b *uuBody) Close() string {
	_ = b.uuReader.Close()
	if !b.began {
		return noBegin
	}
	return b.fault
}

// search saves the uuencoded files in the text that begins here. They are
// attachments, too: many a machine sends no other.
func (x *extractor) search(path string, h *partHeader) (*stop, error) {
	var f *saving
	found, odd := false, false
	kind := &partHeader{contentType: header.Value{Value: octets}}
	encoding := h.encoding
	if encoding == uuencode {
		encoding, kind = "", h
	}
	r := &uuReader{outside: func() {}} // what is beside a file in a text is the text
	if h.attachment("") {
		r.outside = func() { odd = true }
	}
	r.begin = func(name string) (_ *output, err error) {
		found = true
		if tooMany, err := x.counted(); err != nil || tooMany {
			return nil, err
		}
		name, _ = header.FromCharset(h.contentType.Param("charset"), name)
		f, err = x.create(path, kind, header.Line(header.Decode(name), 1000), "attachment")
		if err != nil {
			return nil, err
		}
		return f.out, nil
	}
	r.end = func(fault string) error {
		saved := f
		f = nil
		return saved.finish(fault)
	}
	r.odd = func(fault string) { x.warn(path, fault) }
	text := &output{w: r, left: math.MaxInt64}
	body := newDecoder(encoding, text)
	at, err := x.read(body.Write)
	fault := body.Close()
	if err == nil {
		err = text.err
	}
	if err == nil {
		err = r.Close()
	}
	switch {
	case f != nil: // it is cut off by an error
		f.file.Close()
	case err != nil:
	case found && fault != "": // in a text that nobody saves, it does not matter
		x.warn(path, fault)
	case !found && h.encoding == uuencode:
		x.warn(path, noBegin)
	case odd:
		x.warn(path, beside)
	}
	return at, err
}

// uuReader finds uuencoded files in the text that is written to it: between a line
// such as "begin 644 NAME" and a line "end". A text may have such a line and no
// file, so there is a file only where its first line is data.
type uuReader struct {
	begin func(name string) (*output, error) // a file begins; nil: nobody wants it
	end   func(fault string) error           // it ends
	odd   func(fault string)                 // a line means a file, and there is none
	// outside is told of each line, but for empty ones, that belongs to no file.
	outside func()

	line  []byte // that has not ended yet
	long  bool   // it is longer than any that matters
	state uuState
	name  string
	file  *output
	data  []byte
	fault string
}

// uuState is what comes next.
type uuState int

const (
	uuText     uuState = iota // a line that begins a file
	uuFirst                   // its first line of data
	uuData                    // another
	uuEmptyEnd                // the end of a file without data
	uuEnd                     // the end of a file, behind its last line
)

// maxUULine is how long a line can be that begins a file; one of data is shorter.
const maxUULine = 1 << 10

// Write implements io.Writer.
func (r *uuReader) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			r.add(p)
			break
		}
		line := p[:end]
		if len(r.line) > 0 || r.long {
			r.add(line)
			line = r.line
		}
		if err := r.take(line); err != nil {
			return 0, err
		}
		p = p[end+1:]
	}
	return n, nil
}

// add adds to the line that has not ended yet.
func (r *uuReader) add(p []byte) {
	r.long = r.long || len(r.line)+len(p) > maxUULine
	if !r.long {
		r.line = append(r.line, p...)
	}
}

// take takes a whole line.
func (r *uuReader) take(line []byte) error {
	if r.long || len(line) > maxUULine {
		line = []byte("~") // which is neither data nor anything else
	}
	err := r.next(bytes.TrimRight(line, "\r"))
	r.line, r.long = r.line[:0], false
	return err
}

// Close ends the text.
func (r *uuReader) Close() error {
	if len(r.line) > 0 || r.long {
		if err := r.take(r.line); err != nil {
			return err
		}
	}
	return r.give()
}

// next takes a line without its end.
func (r *uuReader) next(line []byte) error {
	empty, end := len(bytes.Trim(line, " `")) == 0, string(bytes.TrimRight(line, " \t")) == "end"
	switch r.state {
	case uuText:
		if name, ok := uuBegin(line); ok {
			r.state, r.name = uuFirst, name
		} else if !empty {
			r.outside()
		}
		return nil
	case uuFirst:
		if empty {
			r.state = uuEmptyEnd
			return nil
		}
		if data, fault, _ := uuLine(r.data[:0], line); fault == "" {
			return r.first(data)
		}
	case uuEmptyEnd:
		if end {
			if err := r.first(nil); err != nil || r.file == nil {
				return err
			}
			return r.finish()
		}
	case uuData:
		if end {
			return r.finish()
		}
		if empty {
			r.state = uuEnd
			return nil
		}
		data, fault, ok := uuLine(r.data[:0], line)
		r.fault = cmp.Or(fault, r.fault)
		if ok {
			r.data = data
			r.file.Write(data)
			return r.file.err
		}
		if err := r.finish(); err != nil { // there is no telling what was to come
			return err
		}
		return r.next(line)
	case uuEnd:
		if end {
			return r.finish()
		}
		if empty {
			return nil
		}
	}
	if err := r.give(); err != nil {
		return err
	}
	return r.next(line)
}

// first begins a file with its first data.
func (r *uuReader) first(data []byte) (err error) {
	r.state = uuText
	if r.file, err = r.begin(r.name); err != nil || r.file == nil {
		return err
	}
	r.state = uuData
	r.file.Write(data)
	return r.file.err
}

// give gives up what has not come to its end.
func (r *uuReader) give() error {
	switch r.state {
	case uuFirst, uuEmptyEnd:
		r.state = uuText
		r.odd(noData)
	case uuData, uuEnd:
		r.fault = noEnd
		return r.finish()
	}
	return nil
}

// finish ends the file.
func (r *uuReader) finish() error {
	fault := r.fault
	r.state, r.fault, r.file = uuText, "", nil
	return r.end(fault)
}

// uuBegin is the name in a line that begins a file: "begin", the mode of the file
// as three digits or four, and its name, which may be missing.
func uuBegin(line []byte) (name string, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte("begin "))
	if !ok {
		return "", false
	}
	rest = bytes.TrimLeft(rest, " ")
	behind := bytes.TrimLeft(rest, "01234567")
	digits := len(rest) - len(behind)
	if digits < 3 || digits > 4 || len(behind) > 0 && behind[0] != ' ' && behind[0] != '\t' {
		return "", false
	}
	return strings.Trim(string(behind), " \t\""), true
}

// uuLine decodes a line of data onto dst, and says what is wrong with it, and whether
// it is still one. It is the number of its bytes, and four characters for three of them each. Blanks at
// its end, which mean zeros, are lost in many a mail. Some write what the last bytes
// need and no more, some a sum behind it.
func uuLine(dst, line []byte) (data []byte, fault string, ok bool) {
	for _, c := range line {
		if c < ' ' || c > '`' {
			return dst, notUU, false
		}
	}
	if len(line) == 0 {
		return dst, "", true
	}
	n, characters := int(line[0]-' ')&63, line[1:]
	need := (n + 2) / 3 * 4
	behind := len(bytes.TrimRight(characters, " `")) - need
	switch {
	case behind > 1, len(line) < n: // no file is larger than its text
		return dst, oddUU, false
	case behind == 1, len(characters) < (n*8+5)/6:
		fault = oddUU
	}
	at := func(i int) byte {
		if i < len(characters) {
			return (characters[i] - ' ') & 63
		}
		return 0
	}
	start := len(dst)
	for i := 0; i < need; i += 4 {
		a, b, c, d := at(i), at(i+1), at(i+2), at(i+3)
		dst = append(dst, a<<2|b>>4, b<<4|c>>2, c<<6|d)
	}
	return dst[:start+n], fault, true
}
