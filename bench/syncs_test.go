//go:build bench

package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// syncCall is a sync that strace -y saw, and of what.
var syncCall = regexp.MustCompile(`(?:fsync|fdatasync|syncfs|sync_file_range)\(\d+<([^>]*)>`)

// deletes are what a client says to delete messages. Over POP3 that is QUIT:
// what was marked by DELE is there until then.
var deletes = map[mail.StoreType]*regexp.Regexp{
	mail.IMAP: regexp.MustCompile(`(?:write|sendto|writev|sendmsg)\(.*Deleted`),
	mail.POP3: regexp.MustCompile(`(?:write|sendto|writev|sendmsg)\(.*QUIT`),
}

// facts is what programs sync before they delete, by program and store: each
// is looked at once.
type facts map[string]string

// of says what a program syncs before it deletes a message on the server, as
// strace sees it: in clear text, since it cannot look into TLS.
func (known facts) of(t *testing.T, p program, store mail.StoreType) string {
	t.Helper()
	if p.name == daemon().name {
		p = ours()
	}
	key := p.name + " " + string(store)
	if known[key] == "" {
		known[key] = synced(t, p, store)
	}
	return known[key]
}

func synced(t *testing.T, p program, store mail.StoreType) string {
	t.Helper()
	d := mailtest.StartDovecot(t)
	user := d.NewUser(t)
	for i := range 3 {
		d.Deliver(t, user, fmt.Appendf(nil, "From: a@example.com\r\nTo: b@example.com\r\nSubject: %d\r\n\r\nmessage %[1]d\r\n", i))
	}
	j := &job{
		t: t, dir: public(t, t.TempDir()), store: store, security: mail.NoTLS, port: d.Port(store, mail.NoTLS), password: d.Password, users: []string{user}, mode: deleteAll,
	}
	j.trace = filepath.Join(j.dir, "strace")
	p.prepare(j)()
	if left, _ := d.Count(t, user); left != 0 {
		p.fails(t, "%s: %d messages left on the server under strace", p.name, left)
	}
	trace, err := os.ReadFile(j.trace)
	if err != nil {
		t.Fatal(err)
	}
	return syncedBefore(trace, deletes[store], j.dir)
}

// syncedBefore reads a trace up to the first deletion. dir is the job's.
func syncedBefore(trace []byte, deletes *regexp.Regexp, dir string) string {
	found := make(map[string]bool)
	for lines := bufio.NewScanner(bytes.NewReader(trace)); lines.Scan(); {
		if deletes.MatchString(lines.Text()) {
			break
		}
		m := syncCall.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		info, err := os.Stat(m[1])
		switch ofMessages := strings.HasPrefix(m[1], filepath.Join(dir, "out")) || strings.HasPrefix(m[1], filepath.Join(dir, "near")); {
		case ofMessages && err == nil && info.IsDir():
			found["folder"] = true
		case ofMessages:
			found["file"] = true
		case strings.HasPrefix(m[1], dir) && (err != nil || !info.IsDir()):
			found["journal"] = true
		}
	}
	var what []string
	for _, w := range []string{"file", "folder", "journal"} {
		if found[w] {
			what = append(what, w)
		}
	}
	if !found["file"] {
		return "no"
	}
	return strings.Join(what, ", ")
}
