package mail

import (
	"bytes"
	"crypto/sha256"
	"hash"
	"slices"
)

// Digest identifies a message by its content: the SHA-256 of its bytes, without the
// header fields in which mail servers keep their own records (see records).
type Digest [sha256.Size]byte

// records are header fields that belong to the server, not to the message. Servers
// with mbox files (mailutils, UW imapd, qpopper) keep UIDs and flags there, serve the
// fields as part of the message, and change them from one session to the next.
var records = [][]byte{
	[]byte("status:"), []byte("x-status:"), []byte("x-keywords:"), []byte("x-uid:"), []byte("x-uidl:"), []byte("x-imap:"), []byte("x-imapbase:"),
}

// longestRecord is how many bytes of a line tell whether it is one of them.
const longestRecord = len("x-imapbase:")

// Digester is written the bytes of a message, in any pieces, and knows its digests.
type Digester struct {
	hash   hash.Hash // without records
	whole  hash.Hash // with them; nil as long as there are none
	start  []byte    // of a line that is not known yet to be a record or not
	inside bool      // the line is known, and goes on
	drops  bool      // it is a record
	body   bool      // the header is over
}

// NewDigester returns a Digester of a message.
func NewDigester() *Digester { return &Digester{hash: sha256.New()} }

// Write implements io.Writer. It never fails.
func (d *Digester) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := len(rest)
		if i := bytes.IndexByte(rest, '\n'); i >= 0 && !d.body {
			n = i + 1
		}
		if !d.body && !d.inside {
			n = min(n, longestRecord-len(d.start))
		}
		d.take(rest[:n])
		rest = rest[n:]
	}
	return len(p), nil
}

// take takes a piece of the body, or of one line of the header.
func (d *Digester) take(p []byte) {
	ends := p[len(p)-1] == '\n'
	switch {
	case d.body:
		d.add(p)
	case d.inside:
		d.add(p)
		d.inside = !ends
	default:
		d.start = append(d.start, p...)
		if ends || len(d.start) == longestRecord {
			d.settle()
			d.inside = !ends
		}
	}
}

// settle tells by the start of a line what it is.
func (d *Digester) settle() {
	switch line := d.start; {
	case string(line) == "\n", string(line) == "\r\n":
		d.body, d.drops = true, false
	case len(line) > 0 && line[0] != ' ' && line[0] != '\t': // else the line before goes on
		d.drops = slices.ContainsFunc(records, func(field []byte) bool {
			return len(line) >= len(field) && bytes.EqualFold(line[:len(field)], field)
		})
	}
	d.add(d.start)
	d.start = d.start[:0]
}

func (d *Digester) add(p []byte) {
	if d.drops && d.whole == nil {
		whole, err := d.hash.(hash.Cloner).Clone()
		if err != nil {
			panic(err) // SHA-256 can always be cloned
		}
		d.whole = whole.(hash.Hash)
	}
	if !d.drops {
		d.hash.Write(p)
	}
	if d.whole != nil {
		d.whole.Write(p)
	}
}

// Sum is the Digest of what was written, which is all of the message, and the SHA-256
// of all of its bytes. Digests that earlier versions recorded are of the second kind.
func (d *Digester) Sum() (digest, whole Digest) {
	d.settle()
	d.hash.Sum(digest[:0])
	if d.whole == nil {
		return digest, digest
	}
	d.whole.Sum(whole[:0])
	return digest, whole
}
