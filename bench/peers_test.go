//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// The peers, each with the settings that make it fastest without making it
// wrong.

// mbsync has no mode that takes messages away. What it does for it: it pulls
// them, they are moved out of its Maildir (all at once, by one rename), and a
// second run removes on the server what is gone here.
func mbsync(name, fsync string) program {
	return program{
		name:     name,
		settings: "PipelineDepth unlimited, FSync " + fsync + "; to delete, a second run after the messages were moved out of its Maildir",
		peer:     true,
		can: func(j *job) bool {
			return j.store == mail.IMAP && only(deleteAll, check)(j) && (fsync == "yes" || j.mode == deleteAll)
		},
		prepare: command(func(j *job) []string {
			var b strings.Builder
			fmt.Fprintf(&b, "FSync %s\n", fsync)
			security := "None"
			if j.ca != "" {
				security = "IMAPS\nCertificateFile " + j.ca
			}
			moved := ""
			for _, user := range j.users {
				maildir := j.mkdir(filepath.Join(j.dir, "near", user))
				j.mkdir(filepath.Join(maildir, "sub"))
				fmt.Fprintf(&b, "\nIMAPAccount %s\nHost localhost\nPort %d\nUser %[1]s\nPass %[3]s\nAuthMechs LOGIN\nSSLType %[4]s\n", user, j.port, j.password, security)
				fmt.Fprintf(&b, "\nIMAPStore %s-far\nAccount %[1]s\n\nMaildirStore %[1]s-near\nInbox %[2]s/\nPath %[2]s/sub/\n", user, maildir)
				fmt.Fprintf(&b, "\nChannel %s\nFar :%[1]s-far:\nNear :%[1]s-near:\nSync PullNew PushDelete\nCreate Near\nExpunge Far\nSyncState %[2]s/state-%[1]s\n", user, j.dir)
				moved += fmt.Sprintf("mv %[1]s/new %[2]s && mkdir %[1]s/new\n", maildir, filepath.Join(j.mkdir(j.outOf(user)), "new"))
			}
			run := "mbsync -q -q -c " + j.write("mbsyncrc", b.String()) + " -a"
			if j.mode == check {
				return strings.Fields(run)
			}
			return []string{"sh", "-ec", run + "\n" + moved + run}
		}),
	}
}

// fdm delivers while it fetches, and polls its accounts side by side.
func fdm() program {
	return program{
		name:     "fdm",
		settings: "no-received, no CRAM-MD5 or APOP (a round trip less), one process an account",
		peer:     true,
		can:      only(deleteAll, check),
		prepare: command(func(j *job) []string {
			var b strings.Builder
			fmt.Fprintf(&b, "set default-user \"root\"\nset no-received\nset lock-file %q\n", filepath.Join(j.dir, "fdm.lock"))
			for _, user := range j.users {
				kind, words := strings.ToLower(string(j.store)), "no-cram-md5"
				if j.store == mail.POP3 {
					words = "no-apop"
				}
				if j.ca == "" {
					words += " insecure"
				} else {
					kind += "s"
				}
				fresh := ""
				if j.mode == check {
					words += " keep"
					if fresh = " new-only"; j.store == mail.POP3 {
						fresh += fmt.Sprintf(" cache %q", writeKnown(j, "cache-"+user, user, "%[2]d %[1]s\n"))
					}
				}
				fmt.Fprintf(&b, "account %q %s server %q port %d user %q pass %q%s %s\n", user, kind, mailtest.Host, j.port, user, j.password, fresh, words)
				fmt.Fprintf(&b, "action %q maildir %q\nmatch account %q action %[1]q\n", "to-"+user, j.maildir(user), user)
			}
			return []string{"fdm", "-q", "-f", j.write("fdm.conf", b.String()), "fetch"}
		}),
	}
}

// writeKnown writes down, in the format of a peer, that all messages of a POP3
// mailbox are known already: fdm would stop after the first one that stays on
// the server, and getmail would take minutes to learn of them all.
func writeKnown(j *job, name, user, format string) (path string) {
	j.t.Helper()
	known := filepath.Join(j.dir, "known-"+user)
	execute(j.t, nil, floorBinary, "-protocol", "pop3", "-port", fmt.Sprint(j.port), "-ca", j.ca, "-password", j.password, "-mode", "check", "-known", known, user)
	ids, err := os.ReadFile(known)
	j.must(err)
	var b strings.Builder
	for id := range strings.Lines(string(ids)) {
		id = strings.TrimSuffix(id, "\n")
		fmt.Fprintf(&b, format, id, len(id))
	}
	return j.write(name, b.String())
}

func mpop() program {
	return program{
		name:     "mpop",
		settings: "pipelining on, received_header off, to a Maildir",
		peer:     true,
		can:      func(j *job) bool { return j.store == mail.POP3 && only(deleteAll, check)(j) },
		prepare: command(func(j *job) []string {
			return []string{"mpop", "-q", "-C", j.write("mpoprc", j.each(func(user string) string {
				security := "tls off\nauth user"
				if j.ca != "" {
					security = "tls on\ntls_starttls off\nauth user\ntls_trust_file " + j.ca
				}
				keep := map[bool]string{true: "on", false: "off"}[j.mode == check]
				return fmt.Sprintf("account %s\nhost %s\nport %d\nuser %[1]s\npassword %[4]s\n%s\nkeep %s\npipelining on\nreceived_header off\nuidls_file %s\ndelivery maildir %s\n\n",
					user, mailtest.Host, j.port, j.password, security, keep, filepath.Join(j.dir, "uidls-"+user), j.maildir(user))
			})), "-a"}
		}),
	}
}

// nobody is who getmail delivers as.
const nobody = 65534

// getmail takes the oldest of the messages that it is shown, and of those that
// an IMAP search finds. It forks for each message, and waits in vain for a child
// that ends before it listens (SIGCHLD): on one processor the child comes second.
func getmail() program {
	return program{
		name:     "getmail",
		settings: "verbose 0, no headers added, to a Maildir; imap_search = UNSEEN where not everything is taken",
		peer:     true,
		can:      only(deleteAll, check, oldest),
		prepare: command(func(j *job) []string {
			argv := []string{"taskset", "-c", "0", "getmail", "--quiet", "--getmaildir", j.mkdir(filepath.Join(j.dir, "getmail"))}
			for _, user := range j.users {
				kind := "Simple" + string(j.store)
				if j.ca != "" {
					kind += "SSL"
				}
				text := fmt.Sprintf("[retriever]\ntimeout = 30\ntype = %sRetriever\nserver = %s\nport = %d\nusername = %s\npassword = %s\n", kind, mailtest.Host, j.port, user, j.password)
				if j.ca != "" {
					text += "ca_certs = " + j.ca + "\n"
				}
				if j.store == mail.IMAP && j.mode != deleteAll {
					text += "imap_search = UNSEEN\n"
				}
				text += fmt.Sprintf("[destination]\ntype = Maildir\npath = %s/\n", j.maildir(user))
				if os.Getuid() == 0 { // it refuses to deliver as root
					text += "user = nobody\n"
					for _, dir := range []string{"", "tmp", "new", "cur"} {
						j.must(os.Chown(filepath.Join(j.outOf(user), dir), nobody, nobody))
					}
				}
				text += fmt.Sprintf("[options]\nverbose = 0\ndelivered_to = false\nreceived = false\ndelete = %t\nread_all = %t\n", j.mode == deleteAll, j.mode == deleteAll)
				if j.mode == check && j.store == mail.POP3 {
					writeKnown(j, fmt.Sprintf("getmail/oldmail-%s-%d-%s", mailtest.Host, j.port, user), user, "%[1]s\x001\n")
				}
				if j.mode == oldest {
					text += "max_messages_per_session = 1\n"
				}
				argv = append(argv, "--rcfile", j.write("getmailrc-"+user, text))
			}
			return argv
		}),
	}
}
