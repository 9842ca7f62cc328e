package attachments

import (
	"bytes"
	"encoding/base64"
	"math"
	"testing"
)

// decoded is what a body of an encoding decodes to when it comes in such pieces.
func decoded(encoding string, pieces ...[]byte) (data, fault string) {
	var b bytes.Buffer
	d := newDecoder(encoding, &output{w: &b, left: math.MaxInt64})
	for _, piece := range pieces {
		d.Write(piece)
	}
	fault = d.Close()
	return b.String(), fault
}

// FuzzBody: no body decodes to more than it is, nor to anything else when it comes
// in other pieces. Base64 by the book decodes to what the standard library makes of
// it.
func FuzzBody(f *testing.F) {
	for _, body := range []string{
		"QUJD", "QUI=", "QQ==\r\nQUJD\r\n", "QQ==QQ==", "QUI=\r\n-- \r\na list\r\n", "QQ==\r\nBest\r\n", "QQ==\r\nQUJDREVGMTIz", "Q", "=", "Q=Q=", "QQ = =\r\n\r\nQQ==",
		"=C3=A4= \r\nx", "=ZZ", "begin 644 a\r\n#86)C\r\n`\r\nend\r\n", "begin 644 a\nM\n \nend", "begin 644 a\r\nbegin 644 b\r\n#86)C\r\n#86)\r\n\r\nx", "\r\nbegin 0644 a b\n`\nend\nx",
	} {
		f.Add([]byte(body), uint8(3))
	}
	f.Fuzz(func(t *testing.T, body []byte, cut uint8) {
		for _, encoding := range []string{"base64", "quoted-printable", uuencode, "8bit", "x-yencode"} {
			data, fault := decoded(encoding, body)
			at := int(cut) % (len(body) + 1)
			if again, same := decoded(encoding, body[:at], body[at:]); again != data || same != fault {
				t.Errorf("%s: %q, %q; cut at %d: %q, %q", encoding, data, fault, at, again, same)
			}
			var each [][]byte
			for i := range body {
				each = append(each, body[i:i+1])
			}
			if again, same := decoded(encoding, each...); again != data || same != fault {
				t.Errorf("%s: %q, %q; byte by byte: %q, %q", encoding, data, fault, again, same)
			}
			if len(data) > len(body) {
				t.Errorf("%s: %d bytes of %d", encoding, len(data), len(body))
			}
			if want, err := base64.StdEncoding.Strict().DecodeString(string(body)); encoding == "base64" && err == nil && (data != string(want) || fault != "") {
				t.Errorf("%q, %q; by the standard library %q", data, fault, want)
			}
		}
	})
}
