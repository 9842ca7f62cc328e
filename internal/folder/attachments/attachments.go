// Package attachments takes a message apart (RFC 2045 to 2049, 2183, 2231).
//
// Mail in the wild is broken in every way. What can be decoded is, and what
// could not be is said, so that the message itself can be kept beside it. No
// library decodes as much of a message with an end, a boundary or a header
// missing and holds as little of it in memory: docs/decisions/0018.
package attachments

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"mailpoller/internal/filename"
	"mailpoller/internal/folder/facts"
)

// Bounds, so that a hostile message costs no more than any other.
const (
	MaxParts   = 1000 // that are decoded
	maxDepth   = 20   // of multiparts within each other
	maxDoubts  = 20   // that are told
	maxName    = 200  // octets
	maxOctets  = 64 << 10
	defaultExt = ".bin"
)

// Result is what became of a message.
type Result struct {
	Files  []facts.File // in the order of the message
	Doubts []string     // why the files may not be all that is in the message; none when they are
}

// Extract decodes the attachments of the message in r into a directory that
// nobody else knows of. Names in taken are not given to any. Each file is
// durable when it returns; the directory is for the caller to sync. An error is
// one of r or of the file system: a message that is broken is none.
//
// An attachment is a part that has a file name, that says it is one, or that is
// neither text to read nor a multipart. A message within the message is one, as
// a whole. The octets are those of the sender: a text keeps its charset and its
// ends of lines.
func Extract(r io.Reader, dir *os.Root, mode fs.FileMode, taken ...string) (*Result, error) {
	x := &extractor{scanner: newScanner(r), dir: dir, mode: mode, names: make(map[string]bool)}
	for _, name := range taken {
		x.names[folded(name)] = true
	}
	if err := x.part("", 0); err != nil {
		return nil, err
	}
	return &x.result, nil
}

type extractor struct {
	*scanner
	dir    *os.Root
	mode   fs.FileMode
	names  map[string]bool // given, folded
	parts  int
	result Result
}

func (x *extractor) doubt(format string, args ...any) {
	if len(x.result.Doubts) < maxDoubts {
		x.result.Doubts = append(x.result.Doubts, fmt.Sprintf(format, args...))
	}
}

// part takes the part apart that begins here, up to the boundary behind it.
// path is its number, as IMAP counts them (RFC 9051, section 6.4.5).
func (x *extractor) part(path string, depth int) error {
	h, err := x.header()
	if err != nil {
		return err
	}
	if x.ended && path != "" {
		x.doubt("%s has no end of its header", where(path))
	}
	switch boundary := strings.TrimRight(h.contentType.params["boundary"], " "); {
	case strings.HasPrefix(h.contentType.value, "multipart/") && boundary != "" && depth < maxDepth:
		return x.multipart(path, depth, boundary)
	case strings.HasPrefix(h.contentType.value, "multipart/"):
		x.doubt("%s cannot be taken apart: it has no boundary, or lies too deep", where(path))
		return x.skip()
	case !h.attachment():
		return x.skip()
	}
	if x.parts++; x.parts > MaxParts {
		if x.parts == MaxParts+1 {
			x.doubt("there are more than %d attachments", MaxParts)
		}
		return x.skip()
	}
	return x.save(path, h)
}

// multipart takes the parts between its boundaries.
func (x *extractor) multipart(path string, depth int, boundary string) error {
	level := x.push(boundary)
	defer x.pop()
	err := x.skip() // what stands before the first part
	for n := 1; err == nil && x.met.level == level && !x.met.last; n++ {
		err = x.part(strings.TrimPrefix(fmt.Sprintf("%s.%d", path, n), "."), depth+1)
	}
	if err != nil {
		return err
	}
	if x.met.level != level {
		x.doubt("%s ends before its last boundary", where(path))
		return nil
	}
	x.pop()
	x.begin()
	err = x.skip() // what stands behind the last
	x.push(boundary)
	return err
}

// save decodes a part into a file.
func (x *extractor) save(path string, h *header) (err error) {
	name := x.name(path, h)
	file, err := x.dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if closed := file.Close(); err == nil {
			err = closed
		}
	}()
	sum := sha256.New()
	body := h.decoded(x.scanner)
	n, err := io.Copy(io.MultiWriter(file, sum), body)
	var corrupt base64.CorruptInputError
	switch {
	case errors.As(err, &corrupt), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errDamaged):
		x.doubt("%s is not encoded as it says (%q)", where(path), h.encoding)
		err = x.skip()
	case err == nil && x.odd:
		x.doubt("%s is not encoded as it says (%q)", where(path), h.encoding)
	}
	if err != nil {
		return err
	}
	x.result.Files = append(x.result.Files, facts.File{
		Name: name, Original: h.name(), ContentType: h.contentType.value, Size: n, SHA256: hex.EncodeToString(sum.Sum(nil)),
	})
	if err := file.Chmod(x.mode); err != nil {
		return err
	}
	return file.Sync()
}

// name is the name of a part's file: its own, made safe, and told from those
// of the others.
func (x *extractor) name(path string, h *header) string {
	name := filename.Safe(h.name(), maxName)
	if name == "" {
		name = "part-" + path + h.extension()
		if path == "" {
			name = "part-1" + h.extension()
		}
	} else if h.contentType.value == "message/rfc822" && filename.Extension(name) == "" {
		name += ".eml"
	}
	extension := filename.Extension(name)
	stem := strings.TrimSuffix(name, extension)
	for n := 2; x.names[folded(name)]; n++ {
		name = fmt.Sprintf("%s-%d%s", stem, n, extension)
	}
	x.names[folded(name)] = true
	return name
}

// folded is equal for two names that some file system takes for one.
func folded(name string) string { return strings.ToLower(strings.ToUpper(name)) }

func where(path string) string {
	if path == "" {
		return "the message"
	}
	return "part " + path
}
