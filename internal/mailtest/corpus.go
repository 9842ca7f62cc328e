package mailtest

import "strings"

// Sample is a message that is awkward to carry.
type Sample struct {
	Name string
	// Raw is the message as it is put into a mailbox. The servers in the
	// process keep its octets, but for a CRLF that POP3 needs at the end.
	Raw []byte
	// IMAP and POP3 are the message as Dovecot serves it. Both have lines that
	// end in CRLF. IMAP has no NUL, which is no octet of a message (CHAR8 in
	// RFC 9051, section 9), but 0x80 in its place; POP3 has it, and a CRLF at
	// the end. POP3 is nil where Dovecot 2.3 fails: it puts no dot ahead of
	// one that begins the message, which ends there and is cut off.
	IMAP, POP3 []byte
}

// Corpus is messages of every shape that ever got lost, cut or altered on its
// way, beside some that are just mail. Each call makes new ones.
func Corpus() []Sample {
	samples := []struct{ name, raw string }{
		{"plain", header("plain") + "One line.\r\n"},
		{"multipart with attachment", multipart()},
		{"message in a message", header("forwarded", "Content-Type: message/rfc822") + header("inner") + "Hello.\r\n"},
		{"folded header", header("folded\r\n over\r\n\tthree lines") + "Body.\r\n"},
		{"8-bit UTF-8", header("Übergrößenträger", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit") + "Grüße, 世界 🙂\r\n"},
		{"8-bit that is no UTF-8", header("latin", "Content-Type: text/plain; charset=iso-8859-1") + "caf\xe9 \xff\xfe\x80\r\n"},
		{"every octet but NUL, CR and LF", header("octets") + everyOctet() + "\r\n"},
		{"NUL", header("nul") + "before\x00after\r\n\x00\r\n"},
		{"bare CR", header("cr") + "before\rafter\r\n"},
		{"bare LF", "Subject: lf\nTo: a@example.com\n\nfirst\nsecond\n"},
		{"both line ends", header("mixed") + "crlf\r\nlf\ncrlf\r\n"},
		{"no line end at the end", header("open") + "the end"},
		{"CR at the end", header("open") + "the end\r"},
		{"no body", header("bodiless")},
		{"header alone", "Subject: header alone\r\nTo: a@example.com\r\n"},
		{"no header", "\r\nNothing but a body.\r\n"},
		{"body like a header", header("twice") + header("again") + "\r\n"},
		{"line of one dot", header("dot") + "before\r\n.\r\nafter\r\n"},
		{"dots of every kind", header("dots") + "..\r\n...\r\n. \r\n.x\r\n.\r\n..x\r\nx.\r\n"},
		{"dot at the start", ".\r\n"},
		{"dot at the end, open", header("dot") + "."},
		{"dot between bare LF", header("dot") + "before\n.\nafter: +OK not a reply\n"},
		{"dot between CR and LF", header("dot") + "before\r\n.\nafter\n.\r\n"},
		{"dots and nothing else", strings.Repeat(".\r\n", 1000)},
		{"looks like IMAP", header("imap") + ")\r\nA1 OK done\r\n* BYE\r\n{10}\r\n"},
		{"looks like POP3", header("pop3") + "+OK\r\n-ERR\r\n+OK 5 octets\r\n"},
		{"looks like mbox", "From somebody Thu Jan  1 00:00:00 1970\r\n" + header("mbox") + "From here on\r\n>From\r\n"},
		{"line of 100 kB", header("long") + strings.Repeat("0123456789", 10_000) + "\r\n"},
		{"line of 100 kB of dots", header("long") + strings.Repeat(".", 100_000) + "\r\n"},
		{"header of 100 kB", header(strings.Repeat("x", 100_000)) + "Body.\r\n"},
		{"10,000 header fields", strings.Repeat("X-Field: value\r\n", 10_000) + header("many") + "Body.\r\n"},
		{"1 MiB", header("large") + strings.Repeat(strings.Repeat("=", 62)+"\r\n", 16<<10)},
	}
	corpus := make([]Sample, len(samples))
	for i, s := range samples {
		lines := strings.ReplaceAll(strings.ReplaceAll(s.raw, "\r\n", "\n"), "\n", "\r\n")
		corpus[i] = Sample{Name: s.name, Raw: []byte(s.raw), IMAP: []byte(strings.ReplaceAll(lines, "\x00", "\x80"))}
		if !strings.HasPrefix(lines, ".") {
			corpus[i].POP3 = []byte(strings.TrimSuffix(lines, "\r\n") + "\r\n")
		}
	}
	return corpus
}

// header is the header of a message, with the empty line behind it.
func header(subject string, fields ...string) string {
	fields = append([]string{
		"From: Test <test@example.com>", "To: inbox@example.org", "Subject: " + subject,
		"Date: Thu, 01 Jan 2026 12:00:00 +0000", "Message-ID: <sample@example.com>",
	}, fields...)
	return strings.Join(fields, "\r\n") + "\r\n\r\n"
}

func everyOctet() string {
	var b strings.Builder
	for c := 1; c < 256; c++ {
		if c != '\r' && c != '\n' {
			b.WriteByte(byte(c))
		}
	}
	return b.String()
}

func multipart() string {
	return header("attachment", "MIME-Version: 1.0", `Content-Type: multipart/mixed; boundary="=_b"`) +
		strings.ReplaceAll(`--=_b
Content-Type: text/plain; charset=utf-8

See the attachment.
--=_b
Content-Type: application/octet-stream; name="data.bin"
Content-Disposition: attachment; filename="data.bin"
Content-Transfer-Encoding: base64

AAECAwQFBgcICQoLDA0ODw==
--=_b--
`, "\n", "\r\n")
}
