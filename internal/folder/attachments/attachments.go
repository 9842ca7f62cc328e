// Package attachments takes a message apart (RFC 2045 to 2049, 2183, 2231).
//
// Mail in the wild is broken in every way. What can be decoded is, and what is
// odd is said, so that the message itself can be kept beside it. The splitter is
// our own; docs/decisions/0018 says why.
package attachments

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"

	"mailpoller/internal/filename"
)

// Options are bounds, so that a hostile message costs no more than any other.
// What exceeds one is not decoded, which is a warning.
type Options struct {
	Mode      fs.FileMode // of the files
	MaxParts  int         // in all; 0 is 1000
	MaxDepth  int         // of multiparts within each other; 0 is 20
	MaxOctets int64       // of all files together; 0 is no bound
	Taken     []string    // names that no file is given
	Sync      bool        // whether each file is durable before it is closed
	ModeSet   func(error) // unless nil: what came of setting the mode, which is then no reason to fail
}

// Result is what became of a message.
type Result struct {
	Files    []File   // in the order of the message
	Warnings []string // what is odd about it; the first of them, if there are many
	// Complete says that the files are all that the message holds, octet for
	// octet: there is no warning. The message itself is to be kept if not.
	Complete bool
}

// File is one that was written.
type File struct {
	Name        string // in the directory
	Original    string // as the mail has it, decoded; empty where it has none
	ContentType string // in lower case, without parameters
	Disposition string // "attachment" or "inline"
	Path        string // the number of the part, as IMAP counts (RFC 9051, section 6.4.5.1)
	Size        int64
	SHA256      [sha256.Size]byte
}

const (
	maxWarnings = 20
	maxName     = 200             // octets
	numberRoom  = len("-1000000") // of them, to tell names apart
)

// Extract decodes the attachments of the message in r into dir, which is empty
// and known to nobody else; nothing is written outside of it. An attachment is a
// part that has a file name, that says it is one, or that is neither a text to
// read nor a multipart. A message within the message is one, as a whole.
//
// The files are closed, and synced if the caller wants it; the directory is for
// the caller to sync. An error is one of r, of the file system or of ctx, and
// what lies in dir is then of no use; a broken message is no error.
func Extract(ctx context.Context, r io.Reader, dir *os.Root, o Options) (Result, error) {
	x := &extractor{lines: newLines(ctx, r), dir: dir, Options: o, taken: make(map[string]int)}
	x.MaxParts, x.MaxDepth, x.MaxOctets = cmp.Or(o.MaxParts, 1000), cmp.Or(o.MaxDepth, 20), cmp.Or(o.MaxOctets, math.MaxInt64)
	for _, name := range o.Taken {
		x.taken[filename.Fold(name)] = 1
	}
	x.result.Complete = true
	if _, err := x.part("", 0, "text/plain", false); err != nil {
		return Result{}, fmt.Errorf("extract attachments: %w", err)
	}
	return x.result, nil
}

type extractor struct {
	*lines
	Options
	dir    *os.Root
	taken  map[string]int // names, folded, and the last number behind each
	parts  int
	octets int64
	result Result
}

func (x *extractor) warn(path, text string) {
	x.result.Complete = false
	if len(x.result.Warnings) < maxWarnings {
		x.result.Warnings = append(x.result.Warnings, where(path)+": "+text)
	}
}

func where(path string) string {
	if path == "" {
		return "the message"
	}
	return "part " + path
}

// part takes the part apart that begins here, and says what it ends at.
// otherwise is its type where it does not say its own; inline, how it is to be
// shown where it does not say that.
func (x *extractor) part(path string, depth int, otherwise string, inline bool) (*stop, error) {
	if x.parts++; x.parts > x.MaxParts {
		if x.parts == x.MaxParts+1 {
			x.warn("", fmt.Sprintf("it has more than %d parts", x.MaxParts))
		}
		return x.skip()
	}
	h, at, err := x.header()
	if err != nil {
		return nil, err
	}
	for _, fault := range h.faults {
		x.warn(path, fault)
	}
	if at != nil {
		x.warn(path, "its header has no end")
		x.again = at
	}
	h.settle(otherwise)
	if subtype, ok := strings.CutPrefix(h.contentType.value, "multipart/"); ok {
		return x.multipart(path, depth, subtype, strings.TrimRight(h.contentType.raw("boundary"), " \t"))
	}
	name := h.name()
	if !h.attachment(name) {
		return x.skip()
	}
	return x.save(path, h, name, inline)
}

// multipart takes the parts between its boundaries.
func (x *extractor) multipart(path string, depth int, subtype, boundary string) (*stop, error) {
	switch {
	case boundary == "":
		x.warn(path, "it does not say what its boundary is")
		return x.skip()
	case depth >= x.MaxDepth:
		x.warn(path, "it lies too deep")
		return x.skip()
	}
	otherwise := "text/plain"
	if subtype == "digest" { // RFC 2046, section 5.1.5
		otherwise = message
	}
	level := len(x.open)
	x.open = append(x.open, boundary)
	defer func() { x.open = x.open[:level] }()

	n, closed := 0, false
	at, err := x.skip() // what stands before the first part
	for err == nil && at.level == level {
		if at.last { // and what stands behind the last
			closed = true
			at, err = x.skip()
			continue
		}
		if closed {
			x.warn(path, "it goes on behind its last boundary")
			closed = false
		}
		n++
		at, err = x.part(strings.TrimPrefix(path+"."+strconv.Itoa(n), "."), depth+1, otherwise, subtype == "related")
	}
	switch {
	case err != nil:
		return nil, err
	case n == 0:
		x.warn(path, "its boundary never comes")
	case !closed:
		x.warn(path, "it ends before its last boundary")
	}
	return at, nil
}

// save decodes the part into a file.
func (x *extractor) save(path string, h *header, original string, inline bool) (at *stop, err error) {
	path = cmp.Or(path, "1")
	name := x.name(path, h, original)
	file, err := x.dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, x.Mode|0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sum := sha256.New()
	buffered := bufio.NewWriter(io.MultiWriter(file, sum))
	out := &output{w: buffered, left: x.MaxOctets - x.octets}
	body := newDecoder(h.encoding, out)
	if at, err = x.body(body.Write); err != nil {
		return nil, err
	}
	fault := body.Close()
	if out.over {
		x.warn(path, "it is too large")
		return at, x.dir.Remove(name)
	}
	if fault != "" {
		x.warn(path, fault)
	}
	err = file.Chmod(x.Mode)
	if x.ModeSet != nil {
		x.ModeSet(err)
		err = nil
	}
	if err := cmp.Or(out.err, buffered.Flush(), err); err != nil {
		return nil, err
	}
	if x.Sync {
		if err := file.Sync(); err != nil {
			return nil, err
		}
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	x.octets += out.n
	f := File{Name: name, Original: original, ContentType: h.contentType.value, Disposition: "attachment", Path: path, Size: out.n}
	if said := h.disposition.value; said == "inline" || said == "" && inline {
		f.Disposition = "inline"
	}
	sum.Sum(f.SHA256[:0])
	x.result.Files = append(x.result.Files, f)
	return at, nil
}

// name is the name of a part's file: the one that the mail gives it, made safe,
// and told from those of the others.
func (x *extractor) name(path string, h *header, original string) string {
	name := filename.Safe(original, maxName-numberRoom)
	extension := filename.Extension(name)
	switch {
	case name == "":
		extension = h.extension()
		name = "part-" + path + extension
	case h.contentType.value == message && !strings.EqualFold(extension, ".eml"):
		extension = ".eml"
		name = filename.Safe(name+extension, maxName-numberRoom)
	}
	stem := strings.TrimSuffix(name, extension)
	first := filename.Fold(name)
	for folded := first; x.taken[folded] > 0; folded = filename.Fold(name) {
		x.taken[first]++
		name = stem + "-" + strconv.Itoa(x.taken[first]) + extension
	}
	x.taken[filename.Fold(name)] = 1
	return name
}
