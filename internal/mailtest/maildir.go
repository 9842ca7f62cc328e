package mailtest

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Message is a message as a server holds it.
type Message struct {
	UID    uint32   // IMAP; 0 where no session has seen the message yet
	Flags  []string // sorted; system flags as IMAP spells them
	Recent bool     // no session has taken notice of the message
	Body   []byte

	file string
}

// Bodies are the octets of the messages.
func Bodies(messages []Message) [][]byte {
	bodies := make([][]byte, len(messages))
	for i, m := range messages {
		bodies[i] = m.Body
	}
	return bodies
}

// NewUser makes an account with an empty mailbox.
func (d *Dovecot) NewUser(t testing.TB) string {
	t.Helper()
	user := fmt.Sprintf("user%d", d.users.Add(1))
	for _, dir := range []string{"", "cur", "new", "tmp"} {
		d.makeDir(t, "mail", user, dir)
	}
	return user
}

// Maildir is the path of the mailbox of a user.
func (d *Dovecot) Maildir(user string) string { return filepath.Join(d.dir, "mail", user) }

// makeDir makes a directory that Dovecot may write to.
func (d *Dovecot) makeDir(t testing.TB, path ...string) {
	t.Helper()
	dir := filepath.Join(append([]string{d.dir}, path...)...)
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // G301: Dovecot is another user
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(dir, d.owner, d.owner); err != nil {
			t.Fatal(err)
		}
	}
}

// Deliver puts unread messages into the mailbox of the user, in this order,
// the way a delivery agent does.
func (d *Dovecot) Deliver(t testing.TB, user string, messages ...[]byte) {
	t.Helper()
	for _, m := range messages {
		d.deliver(t, user, filepath.Join("new", d.nextName(m)), m)
	}
}

// DeliverFlagged puts messages into the mailbox of the user that another
// client has dealt with already: flags such as `\Seen` or `\Deleted`.
func (d *Dovecot) DeliverFlagged(t testing.TB, user string, flags []string, messages ...[]byte) {
	t.Helper()
	var letters []byte
	for _, f := range maildirFlags {
		if slices.Contains(flags, f.flag) {
			letters = append(letters, f.letter)
		}
	}
	for _, m := range messages {
		d.deliver(t, user, filepath.Join("cur", d.nextName(m)+":2,"+string(letters)), m)
	}
}

// maildirFlags are the letters of a Maildir, in the order they are written in.
var maildirFlags = []struct {
	letter byte
	flag   string
}{{'D', `\Draft`}, {'F', `\Flagged`}, {'R', `\Answered`}, {'S', `\Seen`}, {'T', `\Deleted`}}

// DeliverFiles puts files into the mailbox of the user, unread, by a second
// name each (link(2)): for messages that are delivered many times, or are
// large. Their lines end in CRLF, and Dovecot, another user, may read them.
func (d *Dovecot) DeliverFiles(t testing.TB, user string, files ...string) {
	t.Helper()
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Link(file, filepath.Join(d.dir, "mail", user, "new", d.nextNameOf(info.Size(), info.Size()))); err != nil {
			t.Fatal(err)
		}
	}
}

// Count is how many messages the mailbox of the user holds, and how many of
// them are unread.
func (d *Dovecot) Count(t testing.TB, user string) (all, unread int) {
	t.Helper()
	for _, dir := range []string{"cur", "new"} {
		files, err := os.ReadDir(filepath.Join(d.dir, "mail", user, dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			all++
			if _, letters, _ := strings.Cut(file.Name(), ":2,"); !strings.Contains(letters, "S") {
				unread++
			}
		}
	}
	return all, unread
}

// nextName names a message so that Dovecot, which sorts new files by the time
// in their names, numbers messages in the order of their delivery. S and W are
// the sizes on disk and on the wire, so that it need not read the files to
// tell them.
func (d *Dovecot) nextName(m []byte) string {
	lf := bytes.Count(m, []byte("\n")) - bytes.Count(m, []byte("\r\n"))
	return d.nextNameOf(int64(len(m)), int64(len(m)+lf))
}

func (d *Dovecot) nextNameOf(onDisk, onWire int64) string {
	return fmt.Sprintf("%d.M0P1.test,S=%d,W=%d", 1_000_000_000+d.delivered.Add(1), onDisk, onWire)
}

func (d *Dovecot) deliver(t testing.TB, user, name string, m []byte) {
	t.Helper()
	maildir := filepath.Join(d.dir, "mail", user)
	temp := filepath.Join(maildir, "tmp", filepath.Base(name))
	if err := os.WriteFile(temp, m, 0o644); err != nil { //nolint:gosec // G306: Dovecot is another user
		t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(maildir, name)); err != nil {
		t.Fatal(err)
	}
}

// Messages is what the mailbox of the user holds, in the order of delivery,
// read from its files: no session takes part in it, so looking changes
// nothing. Where a session is changing the mailbox meanwhile, it looks again.
func (d *Dovecot) Messages(t testing.TB, user string) []Message {
	t.Helper()
	for {
		messages, err := d.messages(t, user)
		if err == nil {
			return messages
		}
		if !errors.Is(err, fs.ErrNotExist) || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}

func (d *Dovecot) messages(t testing.TB, user string) ([]Message, error) {
	t.Helper()
	uids := d.uids(t, user)
	var messages []Message
	for _, dir := range []string{"cur", "new"} {
		files, err := filepath.Glob(filepath.Join(d.dir, "mail", user, dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			body, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			base, letters, _ := strings.Cut(filepath.Base(file), ":2,")
			m := Message{UID: uids[base], Recent: dir == "new", Body: body, file: file}
			for _, f := range maildirFlags {
				if strings.IndexByte(letters, f.letter) >= 0 {
					m.Flags = append(m.Flags, f.flag)
				}
			}
			slices.Sort(m.Flags)
			messages = append(messages, m)
		}
	}
	slices.SortFunc(messages, func(a, b Message) int {
		return cmp.Compare(filepath.Base(a.file), filepath.Base(b.file))
	})
	return messages, nil
}

// uidList is the file in which Dovecot keeps the UIDs of a mailbox: a header
// line, "3 V<uidvalidity> N<next uid> ...", then ":<file name>" per message.
const uidList = "dovecot-uidlist"

// uids are the UIDs by file name, without flags.
func (d *Dovecot) uids(t testing.TB, user string) map[string]uint32 {
	t.Helper()
	list, err := os.ReadFile(filepath.Join(d.dir, "mail", user, uidList))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	uids := make(map[string]uint32)
	for lines := bufio.NewScanner(bytes.NewReader(list)); lines.Scan(); {
		number, file, isMessage := strings.Cut(lines.Text(), " :")
		if !isMessage {
			continue
		}
		number, _, _ = strings.Cut(number, " ")
		uid, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			t.Fatalf("read UIDs of %s: %v", user, err)
		}
		file, _, _ = strings.Cut(file, ":2,")
		uids[file] = uint32(uid)
	}
	return uids
}

// Remove takes messages that Messages returned out of the mailbox, as another
// client would by deleting and expunging them.
func (d *Dovecot) Remove(t testing.TB, messages ...Message) {
	t.Helper()
	for _, m := range messages {
		if err := os.Remove(m.file); err != nil {
			t.Fatal(err)
		}
	}
}

// Rebuild gives the mailbox of the user another UIDVALIDITY and its messages
// new UIDs, from 1 on. No session may have it open.
func (d *Dovecot) Rebuild(t testing.TB, user string, validity uint32) {
	t.Helper()
	maildir := filepath.Join(d.dir, "mail", user)
	files, err := filepath.Glob(filepath.Join(maildir, "dovecot*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	list := filepath.Join(maildir, uidList)
	header := fmt.Sprintf("3 V%d N1 G%032x\n", validity, validity)
	if err := os.WriteFile(list, []byte(header), 0o644); err != nil { //nolint:gosec // G306: Dovecot is another user
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(list, d.owner, d.owner); err != nil {
			t.Fatal(err)
		}
	}
}
