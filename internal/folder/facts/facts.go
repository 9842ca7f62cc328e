// Package facts tells what is known of a message: what the server said of it,
// and what its header says, decoded.
package facts

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"mime"
	netmail "net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
	"golang.org/x/text/encoding/charmap"

	"mailpoller/internal/filename"
	"mailpoller/internal/mail"
)

// Schema is the version of the JSON; docs/metadata.md describes it.
const Schema = 1

// Bounds of what is read and kept of a header.
const (
	maxHeader = 256 << 10 // octets
	maxField  = 4 << 10   // octets of one text
	maxList   = 100       // addresses or ids of one field
)

// Message is what is known of a message. Its JSON is the contents of a
// metadata file.
type Message struct {
	Schema      int            `json:"schema"`
	Connection  string         `json:"connection"`
	StoreType   mail.StoreType `json:"store_type"`
	Mailbox     string         `json:"mailbox,omitempty"`
	UIDValidity uint32         `json:"uidvalidity,omitempty"`
	UID         uint32         `json:"uid,omitempty"`
	UIDL        string         `json:"uidl,omitempty"`
	Received    time.Time      `json:"received"`
	Flags       []string       `json:"flags,omitempty"`
	Size        int64          `json:"size"`
	SHA256      string         `json:"sha256"`
	Header      Header         `json:"header"`
	// Attachments is how many of the files are attachments, zero included. Nil
	// where the message is one file.
	Attachments *int `json:"attachments,omitempty"`
	// Files are those that were made of the message, with names in its
	// directory. Nil where the message is one file.
	Files []File `json:"files,omitempty"`
	// Incomplete says why the files are not all that the message holds.
	Incomplete []string `json:"incomplete,omitempty"`
}

// Header holds the fields of a header, decoded. What is missing or cannot be
// read is empty.
type Header struct {
	Date       *time.Time `json:"date,omitempty"`
	Subject    string     `json:"subject,omitempty"`
	From       []Address  `json:"from,omitempty"`
	To         []Address  `json:"to,omitempty"`
	CC         []Address  `json:"cc,omitempty"`
	ReplyTo    []Address  `json:"reply_to,omitempty"`
	MessageID  string     `json:"message_id,omitempty"`
	InReplyTo  []string   `json:"in_reply_to,omitempty"`
	References []string   `json:"references,omitempty"`
}

// Address is one of a header.
type Address struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address"`
}

// File is one that was made of a message.
type File struct {
	Name        string `json:"name"`                    // of the file
	Original    string `json:"original_name,omitempty"` // as the message has it, decoded
	ContentType string `json:"content_type,omitempty"`
	Size        int64  `json:"size"`
	SHA256      string `json:"sha256"`
}

// Of puts together what is known of a message that was saved: m as the server
// described it, and the octets that were written, of which the header is read.
// received is used where the server does not say when it was.
func Of(c *mail.Connection, box mail.Box, m *mail.Message, e *mail.Entry, octets io.Reader, received time.Time) (*Message, error) {
	f := &Message{
		Schema: Schema, Connection: c.Name, StoreType: c.Store, Mailbox: c.Mailbox, UIDValidity: box.Validity, UID: m.UID, UIDL: printable(m.UIDL),
		Received: received.UTC().Truncate(time.Second), Size: e.Octets, SHA256: hex.EncodeToString(e.Digest[:]),
	}
	for _, flag := range m.Flags {
		f.Flags = append(f.Flags, printable(flag))
	}
	if !m.Received.IsZero() {
		f.Received = m.Received.UTC()
	}
	fields, err := ReadHeader(octets, known...)
	f.Header = header(fields).decoded()
	return f, err
}

// JSON is the contents of a metadata file.
func (f *Message) JSON() []byte {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(f) // texts and numbers, into memory
	return text.Bytes()
}

// Fields are what a template of file names can name.
func (f *Message) Fields(uid string, sequence int) *filename.Fields {
	n := &filename.Fields{
		Connection: f.Connection, Mailbox: f.Mailbox, UID: uid, Digest: f.SHA256[:16], Received: f.Received, Date: f.Received,
		Sequence: sequence, Subject: f.Header.Subject, MessageID: f.Header.MessageID,
	}
	if f.UIDValidity != 0 {
		n.UIDValidity = strconv.FormatUint(uint64(f.UIDValidity), 10)
	}
	if f.Header.Date != nil {
		n.Date = *f.Header.Date
	}
	if len(f.Header.From) > 0 {
		n.From, n.FromName = f.Header.From[0].Address, f.Header.From[0].Name
	}
	if len(f.Header.To) > 0 {
		n.To = f.Header.To[0].Address
	}
	return n
}

// header is the fields that are known, as ReadHeader returns them.
type header map[string]string

var known = []string{"date", "subject", "from", "to", "cc", "reply-to", "message-id", "in-reply-to", "references"}

// ReadHeader reads some fields of a header, whose names are in lower case, as
// they stand there, unfolded; of each the first. It reads up to the end of the
// header, to 256 KiB, or to the end of r. Lines that mean nothing are passed
// over: mail in the wild has them. Its error is that of r.
func ReadHeader(r io.Reader, names ...string) (map[string]string, error) {
	h := make(map[string]string)
	lines := bufio.NewReader(io.LimitReader(r, maxHeader))
	field := "" // that a folded line goes on with
	for {
		line, err := lines.ReadString('\n')
		text := strings.TrimRight(line, "\r\n")
		switch name, value, ok := strings.Cut(text, ":"); {
		case text == "" && line != "":
			return h, nil
		case strings.HasPrefix(text, " "), strings.HasPrefix(text, "\t"):
			if field != "" && len(h[field]) < 16*maxField {
				h[field] += text
			}
		case ok:
			field = strings.ToLower(strings.TrimRight(name, " \t"))
			if _, again := h[field]; again || !slices.Contains(names, field) {
				field = ""
				break
			}
			h[field] = value
		default:
			field = ""
		}
		if errors.Is(err, io.EOF) {
			return h, nil
		}
		if err != nil {
			return h, err
		}
	}
}

var words = &mime.WordDecoder{CharsetReader: charset.Reader}

func (h header) decoded() Header {
	d := Header{
		Subject: h.text("subject"),
		From:    h.addresses("from"), To: h.addresses("to"), CC: h.addresses("cc"), ReplyTo: h.addresses("reply-to"),
		InReplyTo: h.ids("in-reply-to"), References: h.ids("references"),
	}
	if ids := h.ids("message-id"); len(ids) > 0 {
		d.MessageID = ids[0]
	}
	if date, err := netmail.ParseDate(strings.TrimSpace(h["date"])); err == nil {
		date = date.UTC()
		if date.Year() >= 0 && date.Year() < 10000 { // what JSON can say
			d.Date = &date
		}
	}
	return d
}

// text is a field of words.
func (h header) text(name string) string { return Decode(h[name]) }

// Decode decodes encoded words (RFC 2047), and octets without a charset, into a
// text in one line of a bounded length.
func Decode(text string) string {
	text = legible(text)
	if decoded, err := words.DecodeHeader(text); err == nil {
		text = decoded
	}
	return printable(text)
}

// FromCharset is a text in a charset, as Decode would have it. Without one, or
// in one that is not known, it is taken for UTF-8.
func FromCharset(name, text string) string {
	if r, err := charset.Reader(name, strings.NewReader(text)); err == nil && name != "" {
		if decoded, err := io.ReadAll(r); err == nil {
			text = string(decoded)
		}
	}
	return printable(legible(text))
}

// legible is a text as UTF-8. Octets that are none are taken for those of
// Windows, which have a meaning each.
func legible(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	decoded, err := charmap.Windows1252.NewDecoder().String(text)
	if err != nil {
		return strings.ToValidUTF8(text, "\uFFFD")
	}
	return decoded
}

// control finds what no text of ours holds.
var control = regexp.MustCompile(`[\pC\x{2028}\x{2029}]+`)

// printable is a text in one line, of a bounded length.
func printable(text string) string {
	text = strings.TrimSpace(control.ReplaceAllString(strings.ToValidUTF8(text, "\uFFFD"), " "))
	if len(text) > maxField {
		text = strings.ToValidUTF8(text[:maxField], "")
	}
	return text
}

// parser reads lists of addresses as they ought to be, and bare finds those
// that are to be found in others.
var (
	parser = &netmail.AddressParser{WordDecoder: words}
	bare   = regexp.MustCompile(`[^\s<>,;:"()\[\]]+@[^\s<>,;:"()\[\]]+`)
)

func (h header) addresses(name string) []Address {
	text := strings.TrimSpace(legible(h[name]))
	if text == "" {
		return nil
	}
	var all []Address
	if len(text) <= 16*maxField {
		if list, err := parser.ParseList(text); err == nil {
			for _, a := range list[:min(len(list), maxList)] {
				all = append(all, Address{printable(a.Name), printable(a.Address)})
			}
			return all
		}
	}
	for _, address := range bare.FindAllString(text, maxList) {
		all = append(all, Address{Address: printable(address)})
	}
	if len(all) == 1 { // one person, oddly written: "Name, Ltd. <address>"
		if before, _, ok := strings.Cut(text, "<"); ok {
			all[0].Name = Decode(strings.Trim(before, ` "`))
		}
	}
	return all
}

// id finds message ids.
var id = regexp.MustCompile(`<([^<>]+)>`)

func (h header) ids(name string) []string {
	var all []string
	for _, found := range id.FindAllStringSubmatch(legible(h[name]), maxList) {
		all = append(all, printable(found[1]))
	}
	if text := printable(legible(h[name])); len(all) == 0 && text != "" && !strings.ContainsAny(text, " <>") {
		all = append(all, text) // without its marks
	}
	return all
}
