package attachments

import (
	"bytes"
	"cmp"
	"strings"

	"mailpoller/internal/header"
)

// maxField bounds what is kept of one field.
const maxField = 64 << 10

// partHeader is what the header of a part says of it.
type partHeader struct {
	contentType header.Value
	disposition header.Value
	encoding    string
	faults      []string
}

// header reads the header of the part that begins here, of whatever length. One
// that a boundary cuts off ends there, at stop.
func (l *lines) header() (h *partHeader, at *stop, err error) {
	h = &partHeader{}
	fields := map[string]*bytes.Buffer{"content-type": nil, "content-disposition": nil, "content-transfer-encoding": nil}
	var field *bytes.Buffer // that a folded line goes on with; nil for one that means nothing here
	for first := true; ; first = false {
		piece, begins, stop, err := l.next()
		if err != nil {
			return nil, nil, err
		}
		if stop != nil {
			at = stop
			break
		}
		text := bytes.TrimRight(piece, "\r\n")
		if begins && len(text) == 0 {
			break
		}
		name, value, ok := bytes.Cut(text, []byte(":"))
		switch {
		case !begins, text[0] == ' ', text[0] == '\t':
			value = text
		case first && bytes.HasPrefix(text, []byte("From ")): // the mark of a mailbox in one file
			field = nil
			continue
		case !ok:
			field = nil
			h.fault("its header has a line that is no field")
			continue
		default:
			name := strings.ToLower(string(bytes.TrimRight(name, " \t")))
			was, known := fields[name]
			if field = nil; known {
				field = new(bytes.Buffer)
			}
			if was != nil {
				h.fault("its header has " + name + " twice")
			} else if known {
				fields[name] = field
			}
		}
		if field == nil {
			continue
		}
		if field.Len()+len(value) > maxField {
			h.fault("a field of its header is too long")
			value = value[:maxField-field.Len()]
		}
		field.Write(value)
	}
	text := func(name string) string {
		if fields[name] == nil {
			return ""
		}
		return fields[name].String()
	}
	h.contentType = header.ParseValue(text("content-type"))
	h.disposition = header.ParseValue(text("content-disposition"))
	h.encoding = header.Token(text("content-transfer-encoding"))
	return h, at, nil
}

func (h *partHeader) fault(text string) {
	if len(h.faults) == 0 || h.faults[len(h.faults)-1] != text {
		h.faults = append(h.faults, text)
	}
}

// name is what the mail calls the part; empty where it does not. Mail in the wild
// has each parameter in the field of the other, too.
func (h *partHeader) name() string {
	return cmp.Or(h.disposition.Param("filename"), h.contentType.Param("name"), h.disposition.Param("name"), h.contentType.Param("filename"))
}

const (
	message = "message/rfc822"
	octets  = "application/octet-stream"
)

// settle makes the type of a part one that can be relied on (RFC 2045, section
// 5.2). otherwise is the type of a part that does not say its own. One that
// cannot be read is not text: it is better to have a file too many.
func (h *partHeader) settle(otherwise string) {
	kind, sub, ok := strings.Cut(h.contentType.Value, "/")
	switch {
	case h.contentType.Value == "":
		h.contentType.Value = otherwise
	case h.contentType.Value == "text":
		h.contentType.Value = "text/plain"
	case !ok, kind == "", sub == "", len(kind)+len(sub) > 200, strings.ContainsFunc(kind+sub, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		h.contentType.Value = octets
	}
}

// bodies are the types of texts that are read, and not saved.
var bodies = map[string]bool{
	"text/plain": true, "text/html": true,
	"text/enriched": true, "text/richtext": true, "text/x-amp-html": true, // the same text once more
}

// attachment reports whether a part that is no multipart is one.
func (h *partHeader) attachment(name string) bool {
	return name != "" || h.disposition.Value == "attachment" || !bodies[h.contentType.Value]
}

// extensions are those of types that often come without a name.
var extensions = map[string]string{
	message: ".eml", "message/global": ".eml", "message/delivery-status": ".txt", "message/disposition-notification": ".txt",
	"text/plain": ".txt", "text/html": ".html", "text/calendar": ".ics", "text/csv": ".csv", "text/vcard": ".vcf", "text/x-vcard": ".vcf",
	"text/xml": ".xml", "text/rfc822-headers": ".txt",
	"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/bmp": ".bmp", "image/tiff": ".tif", "image/webp": ".webp",
	"image/svg+xml": ".svg", "image/heic": ".heic", "audio/mpeg": ".mp3", "audio/wav": ".wav", "video/mp4": ".mp4",
	"application/pdf": ".pdf", "application/zip": ".zip", "application/gzip": ".gz", "application/json": ".json", "application/xml": ".xml",
	"application/ms-tnef": ".dat", "application/rtf": ".rtf", "application/msword": ".doc", "application/vnd.ms-excel": ".xls",
	"application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
	"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet":       ".xlsx",
	"application/pkcs7-mime": ".p7m", "application/x-pkcs7-mime": ".p7m",
	"application/pkcs7-signature": ".p7s", "application/x-pkcs7-signature": ".p7s", "application/pgp-signature": ".asc",
}

// extension is that of a part without a name.
func (h *partHeader) extension() string {
	if extension := extensions[h.contentType.Value]; extension != "" {
		return extension
	}
	return ".bin"
}
