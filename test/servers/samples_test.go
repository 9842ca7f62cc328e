package servers

import (
	"regexp"
	"strings"

	"mailpoller/internal/mail"
)

// sample is a message as it is delivered.
type sample struct {
	name  string
	flags string // IMAP: what another client has done with it
	raw   []byte
}

// samples are the messages of a mailbox, in their order. Those that another
// client has marked as deleted are there over IMAP only: POP3 has no such mark.
func samples(store mail.StoreType, marked bool) []sample {
	messages := []sample{
		message("plain", `\Seen`, "", "One line.\r\n"),
		message("eightbit", "", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n", "Grüße, 世界 🙂\r\nlatin \xe9 \xff\r\n"),
		message("marked", `\Deleted`, "", "Somebody else is about to remove this.\r\n"),
		message("dots", "", "", ".\r\n..\r\n...\r\n.x\r\n. \r\n.\r\nthe end.\r\n.\r\n"),
		message("open", "", "", "no line end at the end"),
		message("ends", "", "", "\r\n\r\nbefore\rafter a lone CR\r\n"+strings.Repeat("long ", 400)+"\r\n \r\n\t\r\n\r\n\r\n"),
		message("attachment", "", "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_b\"\r\n", strings.Join([]string{
			"--=_b", "Content-Type: text/plain; charset=utf-8", "", "See the attachment.",
			"--=_b", `Content-Type: application/octet-stream; name="data.bin"`, `Content-Disposition: attachment; filename="data.bin"`,
			"Content-Transfer-Encoding: base64", "", "AAECAwQFBgcICQoLDA0ODw==", "--=_b--", "",
		}, "\r\n")),
		message("header", "", "X-Name: Übergröße\r\n", "The header has letters outside ASCII.\r\n"),
		message("replies", "", "", "+OK\r\n-ERR\r\n)\r\nA1 OK done\r\n* BYE\r\nFrom here on\r\n"),
	}
	if marked && store == mail.IMAP {
		return messages
	}
	return append(messages[:2:2], messages[3:]...)
}

// message makes a sample.
func message(name, flags, fields, body string) sample {
	return sample{name, flags, []byte("From: Test <test@example.com>\r\nTo: inbox@example.org\r\nSubject: " + name + "\r\n" +
		"Date: Thu, 01 Jan 2026 12:00:00 +0000\r\nMessage-ID: <" + name + "@samples.example>\r\n" + fields + "\r\n" + body)}
}

var sampleName = regexp.MustCompile(`Message-ID: <(\w+)@samples\.example>`)

// nameOf is which sample a message is, however a server serves it.
func nameOf(raw []byte) string {
	m := sampleName.FindSubmatch(raw)
	if m == nil {
		return "unknown"
	}
	return string(m[1])
}
