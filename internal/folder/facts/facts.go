// Package facts tells what is known of a message: what the server said of it,
// and what its header says, decoded.
package facts

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io"
	"strconv"
	"time"

	"mailpoller/internal/filename"
	"mailpoller/internal/header"
	"mailpoller/internal/mail"
)

// Schema is the version of the JSON; docs/metadata.md describes it.
const Schema = 1

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
	Date       *time.Time       `json:"date,omitempty"`
	Subject    string           `json:"subject,omitempty"`
	From       []header.Address `json:"from,omitempty"`
	To         []header.Address `json:"to,omitempty"`
	CC         []header.Address `json:"cc,omitempty"`
	ReplyTo    []header.Address `json:"reply_to,omitempty"`
	MessageID  string           `json:"message_id,omitempty"`
	InReplyTo  []string         `json:"in_reply_to,omitempty"`
	References []string         `json:"references,omitempty"`
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
		Schema: Schema, Connection: c.Name, StoreType: c.Store, Mailbox: c.Mailbox, UIDValidity: box.Validity, UID: m.UID, UIDL: line(m.UIDL),
		Received: received.UTC().Truncate(time.Second), Size: e.Octets, SHA256: hex.EncodeToString(e.SHA256[:]),
	}
	for _, flag := range m.Flags {
		f.Flags = append(f.Flags, line(flag))
	}
	if !m.Received.IsZero() {
		f.Received = m.Received.UTC()
	}
	fields, err := header.Read(octets, "date", "subject", "from", "to", "cc", "reply-to", "message-id", "in-reply-to", "references")
	f.Header = headerOf(fields)
	return f, err
}

// line is what a server calls something, in one line of a bounded length.
func line(text string) string { return header.Line(text, 4<<10) }

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

// headerOf is what the fields of a header say.
func headerOf(h header.Header) Header {
	d := Header{
		Subject: header.Text(h.First("subject")),
		From:    header.Addresses(h.First("from")), To: header.Addresses(h.First("to")),
		CC: header.Addresses(h.First("cc")), ReplyTo: header.Addresses(h.First("reply-to")),
		InReplyTo: header.IDs(h.First("in-reply-to")), References: header.IDs(h.First("references")),
	}
	if ids := header.IDs(h.First("message-id")); len(ids) > 0 {
		d.MessageID = ids[0]
	}
	if date, ok := header.Date(h.First("date")); ok {
		if date = date.UTC(); date.Year() >= 0 && date.Year() < 10000 { // what JSON can say
			d.Date = &date
		}
	}
	return d
}
