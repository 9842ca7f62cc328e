package attachments

import (
	"bytes"
	"cmp"
	"slices"
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

// partFields are the fields that say something of a part.
var partFields = [...]string{"content-type", "content-disposition", "content-transfer-encoding"}

// header reads the header of the part that begins here, of whatever length. One
// that a boundary cuts off ends there, at stop.
func (l *lines) header() (h *partHeader, at *stop, err error) {
	h = &partHeader{}
	var values [len(partFields)]*bytes.Buffer
	var value *bytes.Buffer // that a folded line goes on with; nil for one that means nothing here
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
		if begins && text[0] != ' ' && text[0] != '\t' {
			value = nil
			if first && bytes.HasPrefix(text, []byte("From ")) { // the mark of a mailbox in one file
				continue
			}
			name, rest, ok := bytes.Cut(text, []byte(":"))
			if !ok {
				h.fault("its header has a line that is no field")
				continue
			}
			name = bytes.TrimRight(name, " \t")
			for i, field := range partFields {
				switch {
				case len(name) != len(field) || !strings.EqualFold(string(name), field):
				case values[i] != nil:
					h.fault("its header has " + field + " twice")
				default:
					value = new(bytes.Buffer)
					values[i] = value
				}
			}
			text = rest
		}
		if value == nil {
			continue
		}
		if value.Len()+len(text) > maxField {
			h.fault("a field of its header is too long")
			text = text[:maxField-value.Len()]
		}
		value.Write(text)
	}
	var texts [len(partFields)]string
	for i, value := range values {
		if value != nil {
			texts[i] = value.String()
		}
	}
	h.contentType, h.disposition = header.ParseValue(texts[0]), header.ParseValue(texts[1])
	h.encoding = header.Token(texts[2])
	h.encoding = cmp.Or(encodings[h.encoding], h.encoding)
	return h, at, nil
}

// fault notes what is wrong with a header, once.
func (h *partHeader) fault(text string) {
	if !slices.Contains(h.faults, text) {
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

// uuencode is an encoding that has no place in MIME, and several names there.
const uuencode = "uuencode"

// encodings are the right names of transfer encodings by other names.
var encodings = map[string]string{
	"7-bit": "7bit", "8-bit": "8bit", "x-uuencode": uuencode, "x-uue": uuencode, "uue": uuencode,
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
