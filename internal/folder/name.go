package folder

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"mailpoller/internal/filename"
	"mailpoller/internal/mail"
)

// stem is the name of a message, without what the format adds: in the layout
// EML, NAME-UIDVALIDITY-UID.eml for IMAP, NAME-DIGEST.eml for POP3, with the
// digest of the UIDL. The same message of the same mailbox has the same name for
// ever, and two messages, also of two connections that share a folder, have two.
func stem(connection string, box mail.Box, ref mail.Ref) string {
	if ref.UID != 0 {
		return fmt.Sprintf("%s-%d-%s", safe(connection), box.Validity, uid(ref))
	}
	return safe(connection) + "-" + uid(ref)
}

// uid is what a message is called within its mailbox.
func uid(ref mail.Ref) string {
	if ref.UID != 0 {
		return ref.ID()
	}
	digest := sha256.Sum256([]byte(ref.UIDL))
	return hex.EncodeToString(digest[:16])
}

// numbered is the n-th choice for a name that something else has taken. The
// extension of a file stays at its end, where consumers look for it; a directory
// has none, nor has a file of a Maildir, whatever follows a dot in its name. In the
// names of stem a dot never stands before the last number, so it meets no other.
func numbered(name string, n int, directory bool) string {
	if n == 1 {
		return name
	}
	end := len(name)
	if i := strings.Index(name, maildirInfo); i >= 0 {
		end = i
	} else if !directory && filepath.Base(name) == name {
		end -= len(filename.Extension(name))
	}
	return fmt.Sprintf("%s.%d%s", name[:end], n, name[end:])
}

// maxSafe is how many octets of a file name a connection may fill. What
// follows it needs at most 42, and no file system in use allows fewer than
// 255 in all.
const maxSafe = 150

// safe spells a connection name so that every file system takes it: ASCII
// letters, digits and a few marks stand as they are, every other octet, and a
// leading dot, is percent-encoded. A name too long is cut and ends in a digest
// of the whole, behind a tilde that no other spelling contains. So two names
// are never spelled alike.
func safe(name string) string {
	var b strings.Builder
	cut := 0 // the last place where the spelling may be cut
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			strings.IndexByte("-_@+=", c) >= 0, c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
		if b.Len() <= maxSafe-17 {
			cut = b.Len()
		}
	}
	if b.Len() <= maxSafe {
		return b.String()
	}
	digest := sha256.Sum256([]byte(name))
	return b.String()[:cut] + "~" + hex.EncodeToString(digest[:8])
}
