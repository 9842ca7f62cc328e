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
	"hash"
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
	x := &extractor{dir: dir, Options: o, taken: make(map[string]int)}
	x.MaxOctets = cmp.Or(o.MaxOctets, math.MaxInt64)
	for _, name := range o.Taken {
		x.taken[filename.Fold(name)] = 1
	}
	x.result.Complete = true
	x.walk = newWalk(ctx, r, x, o)
	if err := x.message(); err != nil {
		return Result{}, fmt.Errorf("extract attachments: %w", err)
	}
	return x.result, nil
}

// extractor saves what a walk comes by.
type extractor struct {
	*walk
	Options
	dir    *os.Root
	taken  map[string]int // names, folded, and the last number behind each
	octets int64
	result Result
}

func (x *extractor) warn(path, text string) {
	x.result.Complete = false
	if len(x.result.Warnings) < maxWarnings {
		x.result.Warnings = append(x.result.Warnings, where(path)+": "+text)
	}
}

// odd implements visitor.
func (x *extractor) odd(path, text string) error {
	x.warn(path, text)
	return nil
}

func where(path string) string {
	if path == "" {
		return "the message"
	}
	return "part " + path
}

// begins implements visitor.
func (x *extractor) begins(path string, h *partHeader, _ bool) error {
	for _, fault := range h.faults {
		x.warn(path, fault)
	}
	return nil
}

// body implements visitor.
func (x *extractor) body(path string, h *partHeader, inline bool) (*stop, error) {
	name := h.name()
	switch {
	case h.encoding == uuencode && name == "", h.contentType.Value == "text/plain" && !h.attachment(name):
		return x.search(path, h)
	case !h.attachment(name):
		return x.skip()
	}
	return x.save(path, h, name, inline)
}

// save decodes the part into a file.
func (x *extractor) save(path string, h *partHeader, original string, inline bool) (*stop, error) {
	disposition := "attachment"
	if said := h.disposition.Value; said == "inline" || said == "" && inline {
		disposition = "inline"
	}
	f, err := x.create(path, h, original, disposition)
	if err != nil {
		return nil, err
	}
	body := newDecoder(h.encoding, f.out)
	at, err := x.read(body.Write)
	if err != nil {
		f.file.Close()
		return nil, err
	}
	return at, f.finish(body.Close())
}

// saving is a file that is being written.
type saving struct {
	File
	x        *extractor
	file     *os.File
	buffered *bufio.Writer
	sum      hash.Hash
	out      *output
}

// create creates the file of a part.
func (x *extractor) create(path string, h *partHeader, original, disposition string) (*saving, error) {
	path = cmp.Or(path, "1")
	f := &saving{x: x, sum: sha256.New(), File: File{
		Name: x.name(path, h, original), Original: original, ContentType: h.contentType.Value, Disposition: disposition, Path: path,
	}}
	var err error
	if f.file, err = x.dir.OpenFile(f.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, x.Mode|0o600); err != nil {
		return nil, err
	}
	f.buffered = bufio.NewWriter(io.MultiWriter(f.file, f.sum))
	f.out = &output{w: f.buffered, left: x.MaxOctets - x.octets}
	return f, nil
}

// finish closes the file, with what was wrong about it.
func (f *saving) finish(fault string) error {
	defer f.file.Close()
	x := f.x
	if f.out.over {
		x.warn(f.Path, "it is too large")
		return x.dir.Remove(f.Name)
	}
	if fault != "" {
		x.warn(f.Path, fault)
	}
	err := f.file.Chmod(x.Mode)
	if x.ModeSet != nil {
		x.ModeSet(err)
		err = nil
	}
	if err := cmp.Or(f.out.err, f.buffered.Flush(), err); err != nil {
		return err
	}
	if x.Sync {
		if err := f.file.Sync(); err != nil {
			return err
		}
	}
	if err := f.file.Close(); err != nil {
		return err
	}
	x.octets += f.out.n
	f.Size = f.out.n
	f.sum.Sum(f.SHA256[:0])
	x.result.Files = append(x.result.Files, f.File)
	return nil
}

// name is the name of a part's file: the one that the mail gives it, made safe,
// and told from those of the others.
func (x *extractor) name(path string, h *partHeader, original string) string {
	name := filename.Safe(original, maxName-numberRoom)
	extension := filename.Extension(name)
	switch {
	case name == "":
		extension = h.extension()
		name = "part-" + path + extension
	case h.contentType.Value == message && !strings.EqualFold(extension, ".eml"):
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
