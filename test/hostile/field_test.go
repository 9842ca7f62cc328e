package hostile

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/internal/match"
)

// The rows here are what servers were seen to do by people who use them, and
// relatives of it.

// Lines of an IMAP client.
const (
	opens  = ` (SELECT|EXAMINE) `
	facts  = ` UID FETCH .*INTERNALDATE`
	either = ` UID FETCH .*PEEK`
)

// opened opens the mailbox with further responses ahead of those of a good server.
func opened(lines string) odd {
	return altered(opens, func(answer string) string { return lines + answer })
}

// beside adds items to each FETCH response, behind the body where it has one.
func beside(items string) odd { return instead(` UID FETCH `, ")\r\n", " "+items+")\r\n") }

// behind sends each message ahead of the UID that says which one it is.
func behind(b *box, c *mailtest.Conn, line string) bool {
	if !strings.Contains(line, "PEEK") {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, m := range b.messages {
		if within(line, m.uid) {
			c.Send(fmt.Sprintf("* %d FETCH (BODY[] %s FLAGS (\\Seen) UID %d)\r\n", i+1, whole(m.body), m.uid))
		}
	}
	c.Send("{tag} OK done\r\n")
	return true
}

// unsafeLogin opens no mailbox for a client that has not said who it is after it
// logged in.
func unsafeLogin() odd {
	var mu sync.Mutex
	known := make(map[*mailtest.Conn]bool)
	opening, hello := regexp.MustCompile(opens), regexp.MustCompile(` ID \("name" "poller"`)
	return func(_ *box, c *mailtest.Conn, line string) bool {
		mu.Lock()
		defer mu.Unlock()
		known[c] = known[c] || hello.MatchString(line)
		if known[c] || !opening.MatchString(line) {
			return false
		}
		c.Send("{tag} NO EXAMINE Unsafe Login. Please contact kefu@example.com for help\r\n")
		return true
	}
}

func has(caps string) func(*box) { return func(b *box) { b.caps = caps } }

func keep(c *mail.Connection) { c.Dispose = disposition.Keep }

func described(c *mail.Connection) { c.Metadata = true }

func first(c *mail.Connection) { c.Pull, c.MaxMessages = disposition.Pull{}, 1 }

func attached(c *mail.Connection) { c.Match = &match.Filter{HasAttachment: new(true)} }

// structured gives all messages a body structure.
func structured(structure string) func(*box) {
	return func(b *box) {
		for _, m := range b.messages {
			m.structure = structure
		}
	}
}

// filed gives all messages an attachment, and that body structure.
func filed(structure string) func(*box) {
	return func(b *box) {
		structured(structure)(b)
		for i, m := range b.messages {
			m.body = fmt.Sprintf("Subject: %d\r\nContent-Type: application/pdf; name=a.pdf\r\n\r\nx\r\n", i)
		}
	}
}

const notConnected = "{tag} BAD User is authenticated but not connected.\r\n"

// imapReports are servers that are read all the same.
func imapReports() []row {
	flags := `\Answered \Flagged \Draft \Deleted \Seen App-Seen-[Gmail]/Trash App-Seen-[Gmail]/All Mail $Phishing`
	netease := `(("text" "html" ("charset" "UTF-8") NIL NIL "quoted-printable" 1224 16)("application" "octet-stream" ("name" "1.pdf") NIL """" "base64" 65322) "MIXED")`
	return []row{
		// Opening a mailbox.
		{name: "flags of a mailbox with brackets and blanks", odd: opened("* FLAGS (" + flags + ")\r\n* OK [PERMANENTFLAGS (" + flags + ` \*)] Flags permitted.` + "\r\n"), saved: 3},
		{name: "flags of a mailbox with quotes, a literal and parentheses", odd: opened("* FLAGS (\\Seen \"a b\" {5}\r\n)(]\"\r y x(y $\"z)\r\n* OK [PERMANENTFLAGS (\\Seen \"a]b\" \\*)] ok\r\n"), saved: 3},
		{name: "flags of a mailbox that are NIL", odd: opened("* FLAGS NIL\r\n* OK [PERMANENTFLAGS] none\r\n"), saved: 3},
		{name: "numbers that cannot be", odd: opened("* -3 EXISTS\r\n* 99999999999999999999 EXISTS\r\n* 4294967295 RECENT\r\n* OK [UNSEEN 0] x\r\n* OK [UIDNEXT 99999999999999999999] x\r\n* OK [HIGHESTMODSEQ -1] x\r\n"), saved: 3},
		{name: "no UIDVALIDITY behind EXAMINE", with: keep, odd: on(` EXAMINE `, "* FLAGS (\\Seen \\Deleted)\r\n* 3 EXISTS\r\n{tag} OK [READ-ONLY] EXAMINE completed\r\n"), saved: 3},
		{name: "no UIDVALIDITY behind SELECT", odd: on(selects, "* 3 EXISTS\r\n{tag} OK [READ-WRITE] done\r\n"), saved: 3},
		{name: "UIDVALIDITY 0 behind EXAMINE, and STATUS is refused", with: keep, odd: all(on(` EXAMINE `, "* 3 EXISTS\r\n* OK [UIDVALIDITY 0] x\r\n{tag} OK done\r\n"), on(` STATUS `, "{tag} NO not of the open mailbox\r\n")), saved: 3},
		{name: "a mailbox that opens for who says ID", prepare: has("UIDPLUS ID"), odd: unsafeLogin(), saved: 3},
		{name: "a mailbox that opens for who says ID, which is there behind the login alone", prepare: has("UIDPLUS ID"), odd: all(on("^$", "* OK [CAPABILITY IMAP4rev1] ready\r\n"), unsafeLogin()), saved: 3},
		{name: "ID is refused", prepare: has("UIDPLUS ID"), odd: on(` ID `, "{tag} BAD what\r\n"), saved: 3},
		{name: "ID is answered with what cannot be", prepare: has("UIDPLUS ID"), odd: on(` ID `, "* ID (\"name\" {3}\r\nx\")\r\n* ID\r\n* ID NIL NIL ((\r\n{tag} OK ID\r\n"), saved: 3},

		// FETCH.
		{name: "a blank ahead of the parenthesis", odd: instead(` UID FETCH `, ")\r\n", " )\r\n"), saved: 3},
		{name: "blanks where none belong", odd: altered(` UID FETCH `, func(answer string) string {
			return strings.NewReplacer(" FETCH (", "  FETCH  ( ", " RFC822.SIZE ", "   RFC822.SIZE  ").Replace(answer)
		}), saved: 3},
		{name: "no blanks", odd: instead(` UID FETCH `, "BODY[] {", "BODY[]{"), saved: 3},
		{name: "the UID of every message behind it", odd: behind, saved: 3},
		{name: "items that nobody asked for", odd: beside(`X-GM-MSGID 1278455344230334865 X-GM-LABELS (\Inbox "a b" {1}` + "\r\n(" + `) EMAILID (M6d99ac3275bb4e) MODSEQ (12)`), saved: 3},
		{name: "an item with parentheses in parentheses", odd: beside("X-NEST " + strings.Repeat("(", 1000) + strings.Repeat(")", 1000)), saved: 3},
		{name: "an item with a literal ahead of the message", odd: instead(` UID FETCH `, " RFC822.SIZE ", " ENVELOPE (NIL {9}\r\nBODY[] {3 NIL) RFC822.SIZE "), saved: 3},
		{name: "RFC822 for the message, in lower case", odd: altered(` UID FETCH `, func(answer string) string {
			return strings.NewReplacer("BODY[]", "rfc822", " FETCH (UID", " Fetch (uid").Replace(answer)
		}), saved: 3},
		{name: "no date", with: described, odd: instead(facts, `"31-Jan-2026 08:30:00 +0000"`, "NIL"), saved: 3},
		{name: "a day that there is not", with: described, odd: instead(facts, "31-Jan", "31-Feb"), saved: 3},
		{name: "a date that is none", with: described, odd: instead(facts, "31-Jan-2026 08:30:00 +0000", "yesterday ("), saved: 3},
		{name: "a date without quotes", with: described, odd: instead(facts, `"31-Jan-2026 08:30:00 +0000"`, "31-Jan-2026"), saved: 3},
		{name: "flags of a message with brackets and quotes", with: described, odd: instead(facts, `\Recent`, `\Seen a]b "c d" [Gmail]/All Mail {x}`), saved: 3},
		{name: "the facts of messages are refused", with: described, odd: on(facts, "{tag} NO not today\r\n"), saved: 3},
		{name: "a body structure with bare quotes", with: attached, prepare: structured(netease), saved: 3},
		{name: "a body structure without an end, of messages with attachments", with: attached, prepare: filed(`(("application" "pdf" NIL NIL NIL "base64" 5 NIL ("attachment"`), saved: 3},
		{name: "an empty message, and the message when it is asked for alone", odd: altered(` UID FETCH 1[:,].*PEEK`, func(answer string) string {
			return regexp.MustCompile(`(?s)BODY\[\] \{\d+\}\r\n.*?\)\r\n`).ReplaceAllString(answer, "BODY[] \"\")\r\n")
		}), saved: 3},

		// In between.
		{name: "a removal that is misspelled", odd: instead(expunge, "EXPUNGE\r\n", "EXPUNGED\r\n* 2 EXISTS\r\n* 2 RECENT\r\n"), saved: 3},
		{name: "STORE that tells flags although it is to be silent", odd: altered(store, func(string) string { return "* 1 FETCH (FLAGS (\\Recent \\Deleted a]b) UID 1)\r\n" }), saved: 3},
		{name: "what is not asked for ahead of the login", odd: on("^$", "* OK hello\r\n* 3 EXISTS\r\n* XYZZY\r\n* LIST () NIL x\r\n* BAD [ALERT\r\n"), saved: 3},
		{name: "what is not asked for behind the login", odd: ahead(opens, "* STATUS x (MESSAGES 1\r\n* NAMESPACE ((\"\" \"/\")) NIL {2}\r\n)) NIL\r\n* VANISHED (EARLIER) 1:9\r\n* NO [X\r\n"), saved: 3},
		{name: "ESEARCH that is refused", prepare: has("UIDPLUS ESEARCH"), odd: on(`SEARCH RETURN`, "{tag} BAD what is RETURN\r\n"), saved: 3},
		{name: "ESEARCH that is refused without a reason", prepare: has("UIDPLUS ESEARCH"), odd: on(`SEARCH RETURN`, "{tag} NO Error in IMAP command received by server.\r\n"), saved: 3},
		{name: "ESEARCH that is there ahead of the login alone", odd: on("^$", "* OK [CAPABILITY IMAP4rev1 UIDPLUS ESEARCH] ready\r\n"), saved: 3, never: "RETURN"},
		{name: "a code that is none behind the login", odd: on(login, `{tag} OK [Error="a b" Proxy=X:1993:SSL] done.`+"\r\n"), saved: 3},
	}
}

// imapTold are servers that say in their own words why they cannot be read.
func imapTold() []row {
	wrongServer := `{tag} OK [Error="Microsoft.Exchange.Data.Storage.WrongServerException:Cross Server access is not allowed for mailbox 1111" Service=Imap4] AUTHENTICATE completed.` + "\r\n"
	enable := "Please enable IMAP access in your account settings first."
	rows := []row{
		{
			name: "OK with an error in it, and nothing works behind it", odd: all(on(login, wrongServer), on(opens+`| LIST `, notConnected)),
			op: mail.OpOpenMailbox, kind: mail.KindAuth, says: "authenticated but not connected", hint: "licence", leads: "existing mailbox",
		},
		{
			name: "a login to an account without a mailbox", odd: on(opens+`| LIST | STATUS `, notConnected),
			op: mail.OpOpenMailbox, kind: mail.KindAuth, says: "authenticated but not connected", hint: "username", leads: "existing mailbox",
		},
		{
			name: "a mailbox that is refused for the account, by NO", odd: on(opens, "{tag} NO [ALERT] user is authenticated but not connected\r\n"),
			op: mail.OpOpenMailbox, kind: mail.KindAuth, says: "not connected", hint: "access to its mailbox", leads: "existing mailbox",
		},
		{
			name: "an ALERT behind the login, and nothing works behind it",
			odd:  all(on(login, "{tag} OK [ALERT] "+enable+"\r\n"), on(`CAPABILITY|`+opens, "{tag} NO [ALERT] "+enable+"\r\n")),
			op:   mail.OpAuthenticate, kind: mail.KindAuth, says: "enable IMAP access", hint: "enable this protocol", leads: "password",
		},
		{
			name: "an ALERT ahead of a refusal that says nothing", odd: on(search, "* OK [ALERT] Your mailbox is being moved\r\n{tag} NO failed\r\n"),
			op: mail.OpPick, kind: mail.KindProtocol, says: "the server says: Your mailbox is being moved", never: changes,
		},
		{
			name: "an ALERT ahead of silence", odd: on(search, "* NO [ALERT] The disk is full\r\n", stall),
			op: mail.OpPick, kind: mail.KindTimeout, says: "the server says: The disk is full", never: changes,
		},
		{
			name: "BYE that says why, behind the login", odd: on(opens, "* BYE Server is going down for maintenance\r\n", hangUp),
			op: mail.OpOpenMailbox, kind: mail.KindNetwork, says: "the server says: Server is going down for maintenance", never: changes,
		},
		{
			name: "BYE that says why, within a message", odd: on(fetch2, "* BYE Session expired, please log in again\r\n", hangUp),
			op: mail.OpFetch, kind: mail.KindNetwork, says: "the server says: Session expired", saved: 2,
		},
		{
			name: "BYE that says why, for a greeting", odd: on("^$", "* BYE Too many connections from your address\r\n", hangUp),
			op: mail.OpGreeting, kind: mail.KindServer, says: "Too many connections from your address", hint: "poll less often", never: ".",
		},
		{
			name: "a mailbox that there is not, and a name that is no UTF-7", with: func(c *mail.Connection) { c.Mailbox = "Foo" },
			odd: all(on(opens, "{tag} NO no such mailbox\r\n"), on(` LIST `, "* LIST () \"/\" INBOX\r\n* LIST () \"/\" \"R&D\"\r\n* LIST () \"/\" \"Archive\"\r\n{tag} OK\r\n")),
			op:  mail.OpOpenMailbox, kind: mail.KindConfig, says: "no such mailbox", hint: "there are: Archive, INBOX, R&D",
		},
		{
			name: "a mailbox that there is not, and names of every kind", with: func(c *mail.Connection) { c.Mailbox = "Foo" },
			odd: all(on(opens, "{tag} NO no such mailbox\r\n"), on(` LIST `, "* LIST (\\Noselect \"/\" \"lost\r\n* LIST () NIL {6}\r\nArch\"i\r\n* LIST\r\n* LIST (\\HasNoChildren) \"/\" Entw&APw-rfe\r\n* LIST () \"/\" Sent Mail\r\n{tag} OK\r\n")),
			op:  mail.OpOpenMailbox, kind: mail.KindConfig, hint: `Arch"i, Entwürfe, Sent Mail`,
		},
		{
			name: "a mailbox that there is, and that is not opened", odd: all(on(opens, "{tag} NO cannot\r\n"), on(` LIST `, "* LIST () \"/\" INBOX\r\n{tag} OK\r\n")),
			op: mail.OpOpenMailbox, kind: mail.KindProtocol, says: "cannot", hint: "says why", leads: "existing mailbox",
		},
		{
			name: "a client that did not say who it is", with: func(c *mail.Connection) { c.ClientID.Disabled = true }, prepare: has("UIDPLUS ID"), odd: unsafeLogin(),
			op: mail.OpOpenMailbox, kind: mail.KindAuth, says: "Unsafe Login", hint: "client_id", leads: "existing mailbox", never: " ID ",
		},
	}
	for _, reply := range []string{
		"NO [ALERT] Too many simultaneous connections. (Failure)", "NO Maximum number of connections from user+IP exceeded",
		"NO LOGIN Rate limit hit.", "NO Server Unavailable. 15", "BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds",
		"NO [ALERT] Account exceeded command or bandwidth limits: quota", "NO [X-PROXYREUSE] Backend is temporarily overloaded, password was not checked", "NO mailbox is locked by another session",
	} {
		rows = append(rows, row{
			name: "a login refused for the load: " + reply, odd: on(login, "{tag} "+reply+"\r\n"),
			op: mail.OpAuthenticate, kind: mail.KindServer, says: words(reply), leads: "password", never: search,
		})
	}
	return rows
}

// pop3Reports are servers that are read all the same, or say why they cannot be.
func pop3Reports() []row {
	estimated := func(b *box) {
		for _, m := range b.messages {
			m.said = len(m.body)*105/100 + 20
		}
	}
	ahead := func(b *box) { b.caps = "USER, UIDL, TOP, PIPELINING" }
	large := func(b *box) {
		for i, m := range b.messages {
			m.body = fmt.Sprintf("Subject: invoice %d\r\n\r\n", i) + strings.Repeat(strings.Repeat("y", 76)+"\r\n", 20000)
		}
	}
	invoices := func(c *mail.Connection) { c.Match = &match.Filter{Subject: []string{"invoice"}} }
	both := func(first, then func(*box)) func(*box) { return func(b *box) { first(b); then(b) } }
	// bare is a server that adds no dots.
	bare := func(b *box, c *mailtest.Conn, line string) bool {
		if line != "RETR 2" {
			return false
		}
		c.Send("+OK\r\n" + b.messages[1].body + ".\r\n")
		return true
	}
	rows := []row{
		// Sizes.
		{name: "sizes that are estimates", prepare: estimated, saved: 3},
		{name: "sizes that are estimates, and commands ahead of their answers", prepare: both(ahead, estimated), saved: 3},
		{name: "sizes that are nothing", odd: all(on(`^LIST 2`, "+OK 2 0\r\n"), on(`^LIST 3`, "+OK 3\r\n"), on(`^LIST$`, "+OK\r\n.\r\n")), saved: 3},
		{name: "a size that is too small, and commands ahead of their answers", prepare: both(ahead, func(b *box) { b.messages[1].said = 3 }), saved: 3},
		{name: "a message that is cut off by a dot of its own, and sizes that are estimates", prepare: both(estimated, func(b *box) { b.messages[1].body = "Subject: 2\r\n\r\none\r\n.\r\ntwo\r\n" }), odd: bare, op: mail.OpFetch, kind: mail.KindProtocol, says: "and then", saved: 2, never: "^DELE 2"},
		{name: "a line that begins with a dot, to which none was added", odd: bare, saved: 3},
		{name: "a line that begins with a dot, to which none was added, and sizes that are estimates", prepare: estimated, odd: bare, saved: 3},

		// Listings.
		{name: "a listing that begins with an empty line", odd: on(`^UIDL$`, "+OK\r\n\r\n1 id1\r\n2 id2\r\n3 id3\r\n.\r\n"), saved: 3},
		{name: "a listing with a message that there cannot be", odd: on(`^UIDL$`, "+OK\r\n0 id0\r\n1 id1\r\n2 id2\r\n-3 id3\r\n.\r\n"), saved: 2, warns: "cannot be understood"},
		{name: "nothing for a unique-id, of the first message", with: first, odd: all(on(`^UIDL 1$`, "+OK 1\r\n"), on(`^UIDL$`, "+OK\r\n1\r\n2 id2\r\n3 id3\r\n.\r\n")), saved: 1, warns: "cannot be understood"},
		{name: "a listing with blanks at the ends of its lines", odd: on(`^UIDL$`, "+OK \r\n 1 id1 \r\n2  id2\r\n \r\n3  id3  \r\n.\r\n"), saved: 3},
		{name: "TOP that sends all of the message", prepare: large, with: invoices, saved: 3},
		{name: "TOP that sends all of the message, and no unique-ids", prepare: large, with: invoices, odd: on(`^UIDL`, "-ERR unknown\r\n"), saved: 3},
		{name: "TOP that sends no more than the header", prepare: large, with: invoices, odd: func(_ *box, c *mailtest.Conn, line string) bool {
			if !strings.HasPrefix(line, "TOP") {
				return false
			}
			c.Send("+OK\r\nSubject: invoice\r\n.\r\n")
			return true
		}, saved: 3},
		{name: "a code in brackets behind +OK", odd: all(on(`^PASS`, "+OK [X] in\r\n"), on(`^STAT`, "+OK 3 0 [weird] (more)\r\n")), saved: 3},
	}
	for _, reply := range []string{
		"[SYS/TEMP] Temporary authentication failure", "Maximum number of connections exceeded", "maildrop is locked by another session", "Server is too busy, try again later",
	} {
		rows = append(rows, row{
			name: "a login refused for the load: " + reply, odd: on(`^PASS`, "-ERR "+reply+"\r\n"),
			op: mail.OpAuthenticate, kind: mail.KindServer, says: words(reply), leads: "password", never: "^STAT",
		})
	}
	return append(rows, row{
		name: "an account that may not use POP3", odd: on(`^PASS`, "-ERR [SYS/PERM] Your account is not enabled for POP access.\r\n"),
		op: mail.OpAuthenticate, kind: mail.KindServer, says: "not enabled for POP access", never: "^STAT",
	})
}

func TestReportsFromTheField(t *testing.T) {
	t.Parallel()
	for store, rows := range map[mail.StoreType][]row{
		mail.IMAP: append(imapReports(), imapTold()...), mail.POP3: pop3Reports(),
	} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			playAll(t, store, rows)
		})
	}
}

// words are the words of a refusal, behind its code.
func words(reply string) string {
	return regexp.MustCompile(`^((NO|BAD) )?(\[.*\] )?`).ReplaceAllString(reply, "")
}
