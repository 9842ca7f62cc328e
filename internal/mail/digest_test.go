package mail

import (
	"crypto/sha256"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func digestsOf(text string) [2]Digest {
	d := NewDigester()
	_, _ = io.WriteString(d, text)
	digest, whole := d.Sum()
	return [2]Digest{digest, whole}
}

// TestAServersRecordsAreNoPartOfAMessage, in whatever pieces it comes; everything
// else is.
func TestAServersRecordsAreNoPartOfAMessage(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for _, row := range []struct{ text, counts string }{
		{"Subject: a\r\n\r\nb\r\n", "Subject: a\r\n\r\nb\r\n"},
		{"", ""},
		{"\r\n", "\r\n"},
		{"X", "X"},
		{"\r", "\r"},
		{"no header at all", "no header at all"},
		{"Subject: a\r\nX-IMAPbase: 1 2\r\nX-UID: 3\r\nStatus: RO\r\n\r\nb", "Subject: a\r\n\r\nb"},
		{"status: O\nX-UIDL: x\n\nb\n", "\nb\n"},
		{"X-Keywords: a\r\n b\r\n\tc\r\nSubject: d\r\n e\r\n\r\n", "Subject: d\r\n e\r\n\r\n"},
		{"X-UID: " + long + "\r\nSubject: " + long + "\r\n\r\n" + long, "Subject: " + long + "\r\n\r\n" + long},
		{"Subject: a\r\n\r\nStatus: down\r\nX-UID: 1\r\n", "Subject: a\r\n\r\nStatus: down\r\nX-UID: 1\r\n"},
		{"X-UIDs: 1\r\nX-Status-Page: a\r\nX-UID-X: 1\r\n", "X-UIDs: 1\r\nX-Status-Page: a\r\nX-UID-X: 1\r\n"},
		{"Subject: a\r\n Status: b\r\n\r\n", "Subject: a\r\n Status: b\r\n\r\n"},
		{"Subject: a\r\nStatus: b", "Subject: a\r\n"},
		{"Subject: a\r\nX-", "Subject: a\r\nX-"},
	} {
		want := [2]Digest{sha256.Sum256([]byte(row.counts)), sha256.Sum256([]byte(row.text))}
		if digestsOf(row.text) != want {
			t.Errorf("%.100q: not that of %.100q", row.text, row.counts)
		}
		d := NewDigester()
		_, err := io.Copy(d, iotest.OneByteReader(strings.NewReader(row.text)))
		if digest, whole := d.Sum(); err != nil || digest != want[0] || whole != want[1] {
			t.Errorf("%.100q, byte by byte: not that of %.100q, %v", row.text, row.counts, err)
		}
	}
}

// FuzzDigester: how the bytes are cut into pieces makes no difference, and without
// records it is the SHA-256 of the message.
func FuzzDigester(f *testing.F) {
	f.Add([]byte("Subject: a\r\nX-UID: 1\r\n 2\r\n\r\nStatus: b"), 3)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		at = min(max(at, 0), len(text))
		d := NewDigester()
		_, _ = d.Write(text[:at])
		_, _ = d.Write(text[at:])
		sum, whole := d.Sum()
		if digests := [2]Digest{sum, whole}; digests != digestsOf(string(text)) || whole != sha256.Sum256(text) {
			t.Errorf("%q cut at %d", text, at)
		}
		lower := strings.ToLower(string(text))
		for _, field := range records {
			if strings.Contains(lower, string(field)) {
				return
			}
		}
		if sum != whole {
			t.Errorf("%q loses something", text)
		}
	})
}
