//go:build bench

package bench

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// TestLargeMessage: a message of 200 MiB passes octet for octet through a
// process of less than 64 MiB, and is deleted.
func TestLargeMessage(t *testing.T) {
	const size, limit = 200 << 20, 64 << 20
	message, want := largeMessage(size)
	d := mailtest.StartDovecot(t)
	var rows [][]string
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		user := d.NewUser(t)
		d.Deliver(t, user, message)
		c := settings(d, t, user, store, mail.SSLTLS)
		c["disposition"] = "DELETE"
		m := newSite(t, c).poll(t)
		if m.messages != 1 || len(m.files) != 1 {
			t.Fatalf("%s: %+v", store, m)
		}
		if got := digest(t, m.files[0]); got != want {
			t.Errorf("%s: the message was altered", store)
		}
		if left := d.Messages(t, user); len(left) != 0 {
			t.Errorf("%s: %d messages left on the server", store, len(left))
		}
		if m.peak == 0 || m.peak >= limit {
			t.Errorf("%s: %d MiB resident", store, m.peak>>20)
		}
		rows = append(rows, []string{
			string(store), fmt.Sprintf("%.1f", m.seconds),
			fmt.Sprintf("%.0f", float64(len(message))/m.seconds/(1<<20)), mebibytes(m.peak),
		})
	}
	printTable("One message of 200 MiB, SSL_TLS, DELETE", []string{"store", "seconds", "MiB/s", "peak MiB resident"}, rows)
}

// TestLargeMessageInEachFormat: so does one that is an attachment of 140 MiB for
// the most part, with all that there is beside its octets.
func TestLargeMessageInEachFormat(t *testing.T) {
	const size, limit = 200 << 20, 64 << 20
	message, want, attached := withLargeAttachment(size)
	d := mailtest.StartDovecot(t)
	var rows [][]string
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		for _, format := range []mail.Format{mail.EML, mail.Maildir, mail.Attachments} {
			user := d.NewUser(t)
			d.Deliver(t, user, message)
			c := settings(d, t, user, store, mail.SSLTLS)
			c["disposition"], c["format"], c["metadata"] = "DELETE", format, true
			c["notify"] = map[string]any{"command": []string{"/bin/true"}}
			if format == mail.Attachments {
				c["keep_original"] = "ENABLED"
			}
			m := newSite(t, c).poll(t)
			if m.messages != 1 || len(m.files) != 1 {
				t.Fatalf("%s, %s: %+v", store, format, m)
			}
			path := m.files[0]
			if format == mail.Attachments {
				path = filepath.Join(m.files[0], "message.eml")
				if digest(t, filepath.Join(m.files[0], "large.bin")) != attached {
					t.Errorf("%s, %s: the attachment was altered", store, format)
				}
			}
			if digest(t, path) != want {
				t.Errorf("%s, %s: the message was altered", store, format)
			}
			if left := d.Messages(t, user); len(left) != 0 {
				t.Errorf("%s, %s: %d messages left on the server", store, format, len(left))
			}
			if m.peak == 0 || m.peak >= limit {
				t.Errorf("%s, %s: %d MiB resident", store, format, m.peak>>20)
			}
			rows = append(rows, []string{
				string(store), string(format), fmt.Sprintf("%.1f", m.seconds), fmt.Sprintf("%.0f", float64(len(message))/m.seconds/(1<<20)), mebibytes(m.peak),
			})
		}
	}
	printTable("One message of 200 MiB in each format, with metadata and notify, SSL_TLS, DELETE", []string{"store", "format", "seconds", "MiB/s", "peak MiB resident"}, rows)
}

// withLargeAttachment is a message of about size octets that has one, the
// digest of it, and that of what is attached.
func withLargeAttachment(size int) (message []byte, whole, attached [sha256.Size]byte) {
	b := make([]byte, 0, size+1<<20)
	b = append(b, "From: ann@example.com\r\nSubject: large\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n"+
		"--b\r\nContent-Disposition: attachment; filename=large.bin\r\nContent-Transfer-Encoding: base64\r\n\r\n"...)
	random, sum := rand.NewChaCha8([sha256.Size]byte{}), sha256.New()
	var part [57]byte
	for len(b) < size {
		_, _ = random.Read(part[:]) // never fails
		sum.Write(part[:])
		b = base64.StdEncoding.AppendEncode(b, part[:])
		b = append(b, "\r\n"...)
	}
	b = append(b, "--b--\r\n"...)
	return b, sha256.Sum256(b), [sha256.Size]byte(sum.Sum(nil))
}

// largeMessage is a message of about size octets, and their digest: lines of
// base64, all different, and after each mebibyte of them lines of dots, and one
// of 100 kB.
func largeMessage(size int) ([]byte, [sha256.Size]byte) {
	b := make([]byte, 0, size+1<<20)
	b = append(b, "Subject: large\r\n\r\n"...)
	random := rand.NewChaCha8([sha256.Size]byte{})
	var part [57]byte // 76 characters, the longest line of RFC 2045, section 6.8
	for mebibytes := 1; len(b) < size; {
		_, _ = random.Read(part[:]) // never fails
		b = base64.StdEncoding.AppendEncode(b, part[:])
		b = append(b, "\r\n"...)
		if len(b)>>20 >= mebibytes {
			mebibytes++
			b = append(b, ".\r\n..\r\n.dot\r\n"...)
			b = append(b, bytes.Repeat([]byte("."), 100_000)...)
			b = append(b, "\r\n"...)
		}
	}
	return b, sha256.Sum256(b)
}

func digest(t *testing.T, path string) (sum [sha256.Size]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	h.Sum(sum[:0])
	return sum
}
