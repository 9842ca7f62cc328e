package header

import (
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// utf7 decodes UTF-7 (RFC 2152). What is not encoded as it should be stands for
// itself.
func utf7(text string) string {
	var out strings.Builder
	for {
		plain, rest, found := strings.Cut(text, "+")
		out.WriteString(utf8Mended(plain))
		if !found {
			return out.String()
		}
		behind := strings.TrimLeft(rest, alphabet)
		shifted := rest[:len(rest)-len(behind)]
		text = strings.TrimPrefix(behind, "-")
		switch decoded, ok := fromUTF16(shifted); {
		case shifted == "" && len(text) < len(behind): // "+-"
			out.WriteByte('+')
		case ok && shifted != "":
			out.WriteString(decoded)
		default:
			out.WriteString("+" + shifted)
			text = behind
		}
	}
}

// fromUTF16 decodes UTF-16 in base64 without padding.
func fromUTF16(encoded string) (string, bool) {
	octets, err := base64.RawStdEncoding.DecodeString(encoded)
	if err != nil || len(octets)%2 != 0 {
		return "", false
	}
	units := make([]uint16, 0, len(octets)/2)
	for ; len(octets) > 0; octets = octets[2:] {
		units = append(units, binary.BigEndian.Uint16(octets))
	}
	runes := utf16.Decode(units)
	return string(runes), !slices.Contains(runes, utf8.RuneError)
}
