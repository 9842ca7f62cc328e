// Package servers runs the real binary against real mail servers other than the
// one that the program was written with: Cyrus, Courier, mailutils, and perdition
// in front of Dovecot, with Dovecot itself beside them. Each is what Debian ships,
// started as a private instance; docs/decisions/0026 says how and why so.
//
// Every cell states what is right. What a server cannot do stands in the table
// below, with the reason, and in no other place.
package servers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/test/rig"
)

func TestMain(m *testing.M) {
	code := rig.Main(m)
	tally.print(os.Stdout)
	os.Exit(code)
}

// server is a row of the matrix: how mail gets onto it, and its exceptions.
type server struct {
	program string
	behind  string // the server that it is a proxy for
	archive string // a mailbox that an account can make
	account func(*testing.T, *instance) string
	deliver func(t *testing.T, s *instance, user string, store mail.StoreType, messages []sample)

	refusal    *regexp.Regexp // of a login, in its log
	identifies *regexp.Regexp // the program that polls, in its log; nil where it has no ID

	// auth is what auth: has to be where AUTO cannot log in.
	auth map[mail.Security]exception
	// unlike is what of a message is not the same whenever it is read, by anybody.
	unlike map[mail.StoreType]exception
	// fleeting is that no UIDVALIDITY lasts from one EXAMINE to the next.
	fleeting exception
	// noUIDPLUS is that exactly the messages that were saved cannot be removed while
	// others are marked as deleted: all stay, marked.
	noUIDPLUS exception
	// bareCopies is that a copy of a message has none of its flags.
	bareCopies exception
}

// exception is something that a server cannot do, and why.
type exception struct {
	value string
	why   string
}

var servers = []server{
	{
		program: "dovecot", archive: "Archive", account: anyUser, deliver: intoMaildir,
		refusal: regexp.MustCompile(`auth failed, 1 attempts`), identifies: dovecotID,
	},
	{
		program: "perdition", behind: "dovecot", archive: "Archive", account: anyUser, deliver: intoMaildir,
		refusal: regexp.MustCompile(`status="failed: `), identifies: dovecotID,
	},
	{
		program: "cyrus", archive: "INBOX.Archive", account: cyrusUser, deliver: byAPPEND,
		refusal: regexp.MustCompile(`badlogin: `), identifies: regexp.MustCompile(`client id .*"name" "poller" "version"`),
	},
	{
		program: "courier", archive: "INBOX.Archive", account: anyUser, deliver: intoMaildir,
		refusal: regexp.MustCompile(`LOGIN FAILED, `),
		unlike: map[mail.StoreType]exception{mail.POP3: {
			`=_\d+-\d+`,
			"a message with 8-bit letters in its header is wrapped into one that explains that, with a new boundary at each RETR",
		}},
		fleeting: exception{why: "EXAMINE writes nothing down: until somebody SELECTs a mailbox, each EXAMINE makes a new UIDVALIDITY"},
	},
	{
		program: "mailutils", archive: "Archive", account: anyUser, deliver: intoSpool,
		refusal:    regexp.MustCompile(`GSASL error: |login failed: |: password for .* not found|: authentication failed`),
		identifies: regexp.MustCompile(`client identification: name=poller version=`),
		auth: map[mail.Security]exception{mail.NoTLS: {
			"LOGIN",
			"it offers SCRAM (IMAP) and APOP (POP3), but has no secret for them, and AUTO does not answer their refusal with the password in clear text",
		}},
		unlike:     map[mail.StoreType]exception{mail.IMAP: mailutilsFields, mail.POP3: mailutilsFields},
		noUIDPLUS:  exception{why: "it has neither UID EXPUNGE nor MOVE, and a plain EXPUNGE would remove what others have marked"},
		bareCopies: exception{why: "its COPY drops the flags, which RFC 3501 has a server keep"},
	},
}

var dovecotID = regexp.MustCompile(`ID sent: .*name=poller, version=`)

var mailutilsFields = exception{
	`(?m)^(X-UIDL|X-IMAPbase|X-UID|Status): .*\r\n`,
	"it keeps UIDs and flags in header fields of the message, and writes them during the first session and at its end",
}

// same reports whether two readings of a message are equal, but for what the
// server makes anew.
func (s *server) same(store mail.StoreType, a, b []byte) bool {
	return bytes.Equal(s.constant(store, a), s.constant(store, b))
}

func (s *server) constant(store mail.StoreType, raw []byte) []byte {
	e, ok := s.unlike[store]
	if !ok {
		return raw
	}
	return regexp.MustCompile(e.value).ReplaceAll(raw, nil)
}

// anyUser is an account of a server that needs no more for one.
func anyUser(t *testing.T, s *instance) string { return s.nextUser(t) }

// cyrusUser makes the mailbox of an account too.
func cyrusUser(t *testing.T, s *instance) string {
	name := s.nextUser(t)
	admin := loginIMAP(t, s.Port(mail.IMAP, mail.NoTLS), "cyrus", s.Password)
	admin.do("CREATE user.%s", name)
	admin.do("LOGOUT")
	admin.c.Close()
	return name
}

// byAPPEND delivers as another client does.
func byAPPEND(t *testing.T, s *instance, user string, _ mail.StoreType, messages []sample) {
	c := loginIMAP(t, s.Port(mail.IMAP, mail.NoTLS), user, s.Password)
	for _, m := range messages {
		c.append(m.flags, m.raw)
	}
	c.do("LOGOUT")
	c.c.Close()
}

// intoMaildir delivers as a delivery agent does: what nobody has dealt with is new.
func intoMaildir(t *testing.T, s *instance, user string, _ mail.StoreType, messages []sample) {
	maildir := filepath.Join("home", user, "Maildir")
	for _, d := range []string{"new", "cur", "tmp"} {
		s.mkdir(t, filepath.Join(maildir, d))
	}
	for _, m := range messages {
		name := fmt.Sprintf("%d.M0P1.test", 1_000_000_000+s.mails.Add(1))
		where := "new"
		if m.flags != "" {
			where, name = "cur", name+":2,"+map[string]string{`\Seen`: "S", `\Deleted`: "T"}[m.flags]
		}
		s.write(t, filepath.Join(maildir, where, name), m.raw)
	}
}

// intoSpool delivers as a mail transfer agent does, into an mbox, where flags do
// not matter; else like another client.
func intoSpool(t *testing.T, s *instance, user string, store mail.StoreType, messages []sample) {
	if store == mail.IMAP {
		s.write(t, filepath.Join("var/mail", user), nil)
		byAPPEND(t, s, user, store, messages)
		return
	}
	var spool bytes.Buffer
	for _, m := range messages {
		text := bytes.ReplaceAll(m.raw, []byte("\r\n"), []byte("\n"))
		text = regexp.MustCompile(`(?m)^From `).ReplaceAll(text, []byte(">From "))
		fmt.Fprintf(&spool, "From test@example.com Thu Jan  1 12:00:00 2026\n%s\n\n", text)
	}
	s.write(t, filepath.Join("var/mail", user), spool.Bytes())
}
