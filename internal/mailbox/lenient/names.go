package lenient

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
)

// utf7 is the base64 of mailbox names (RFC 3501, section 5.1.3).
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// MailboxName is the name of a mailbox as people write it. One that is not
// spelled as it has to be stands for itself.
func MailboxName(name string) string {
	var b strings.Builder
	for rest := name; ; {
		before, behind, ok := strings.Cut(rest, "&")
		b.WriteString(before)
		if !ok {
			return strings.ToValidUTF8(b.String(), "\uFFFD")
		}
		coded, behind, ok := strings.Cut(behind, "-")
		if !ok {
			return strings.ToValidUTF8(name, "\uFFFD")
		}
		rest = behind
		if coded == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := utf7.DecodeString(coded)
		if err != nil || len(raw)%2 != 0 {
			return strings.ToValidUTF8(name, "\uFFFD")
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		b.WriteString(string(utf16.Decode(units)))
	}
}
