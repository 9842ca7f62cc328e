package mail

import (
	"crypto/sha256"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func digestOf(text string) Digest {
	d := NewDigester()
	_, _ = io.WriteString(d, text)
	return d.Sum()
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
		want := Digest(sha256.Sum256([]byte(row.counts)))
		if digestOf(row.text) != want {
			t.Errorf("%.100q: not that of %.100q", row.text, row.counts)
		}
		d := NewDigester()
		if _, err := io.Copy(d, iotest.OneByteReader(strings.NewReader(row.text))); err != nil || d.Sum() != want {
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
		sum := d.Sum()
		if sum != digestOf(string(text)) {
			t.Errorf("%q cut at %d", text, at)
		}
		lower := strings.ToLower(string(text))
		for _, field := range records {
			if strings.Contains(lower, field) {
				return
			}
		}
		if sum != sha256.Sum256(text) {
			t.Errorf("%q loses something", text)
		}
	})
}
