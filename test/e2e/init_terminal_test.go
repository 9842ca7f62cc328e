package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestAFirstConfigurationByAsking: a person at a terminal answers, is asked
// again after an answer that is none, and types a password that nobody sees.
func TestAFirstConfigurationByAsking(t *testing.T) {
	t.Parallel()
	s, d, user := initSite(t)
	folder := filepath.Join(s.Dir, "in")
	x := onTerminal(t, "init", "--config", s.Config, "--ca-file", d.CA.PEMFile(t), "--state-dir", filepath.Join(s.Dir, "state"))
	x.answer("User name", user+"\n")
	x.answer("Name of the connection", "two words\n")
	x.answer("Name of the connection", "invoices\n")
	x.answer("IMAP or POP3 [IMAP]", "\n")
	x.answer("Mail server", mailtest.Host+"\n")
	x.answer("SSL_TLS", "starttls\n")
	x.answer("Port [143]", strconv.Itoa(d.Port(mail.IMAP, mail.StartTLS))+"\n")
	x.answer("Folder", folder+"\n")
	x.answer("Saved messages", "seen\n")
	x.answer("Messages in one job: 1", "all\n")
	x.answer("Messages in one job: 1", "0\n")
	x.answer("Password", d.Password+"\n")
	x.answer("write this down?", "\n")
	x.answer("does not exist. Make it?", "y\n")
	text, code := x.end()
	for _, fact := range []string{
		"connection      invoices", "server          " + mailtest.Host, "IMAP, STARTTLS", "user name       " + user,
		"password        typed, for " + filepath.Dir(s.Config) + "/secrets/invoices", "folder          " + folder,
		"on the server   SEEN", "messages a job  all that there are", "file            " + s.Config,
	} {
		if summary, _, _ := strings.Cut(text, "write this down?"); !strings.Contains(summary, fact) {
			t.Errorf("it does not say %q ahead of writing: %s", fact, text)
		}
	}
	if code != 0 || !strings.Contains(text, "✓") || strings.Contains(text, d.Password) {
		t.Fatalf("%d: %s", code, text)
	}
	files := filesBelow(t, filepath.Dir(s.Config))
	secret := files["secrets/invoices"]
	if len(files) != 2 || secret == nil || secret.Mode()&0o027 != 0 {
		t.Errorf("files: %v", files)
	}
	config, err := os.ReadFile(s.Config)
	if err != nil || bytes.Contains(config, []byte(d.Password)) || !bytes.Contains(config, []byte("disposition: SEEN")) || !bytes.Contains(config, []byte("max_messages: 0")) {
		t.Errorf("%v:\n%s", err, config)
	}
	works(t, s)
}

// TestAPersonGivesUp: with Ctrl-C at the password nothing was written, and with
// a no after a test that failed.
func TestAPersonGivesUp(t *testing.T) {
	t.Parallel()
	s, d, user := initSite(t)
	args := initFlags(t, s, d, user, "canary-wrong", mail.IMAP, mail.SSLTLS)
	args = append(args[:len(args)-1], "--config", s.Config, "--disposition", "KEEP", "--max-messages", "1") // without --non-interactive
	x := onTerminal(t, args...)
	x.answer("What now?", "stop\n")
	if text, code := x.end(); code != 1 || !strings.Contains(text, "nothing was written") {
		t.Errorf("%d: %s", code, text)
	}
	for i, arg := range args {
		if arg == "--password-file" {
			args = append(args[:i], args[i+2:]...)
			break
		}
	}
	x = onTerminal(t, args...)
	x.answer("Password", "half a pass\x03")
	if text, code := x.end(); code != 130 || !strings.Contains(text, "interrupted: given up; nothing was written") || strings.Contains(text, "half a") {
		t.Errorf("%d: %s", code, text)
	}
	if files := filesBelow(t, filepath.Dir(s.Config)); len(files) != 0 {
		t.Errorf("was written: %v", files)
	}
}

// asked starts init on a terminal, for all but the flags.
func asked(t *testing.T, s *rig.Site, d *mailtest.Dovecot, flags ...string) *terminal {
	t.Helper()
	return onTerminal(t, append([]string{"init", "--config", s.Config, "--ca-file", d.CA.PEMFile(t), "--state-dir", filepath.Join(s.Dir, "state"), "--name", "invoices"}, flags...)...)
}

// TestAPersonGoesBack to any question, finds what was answered there, and is not
// held to what followed from an answer that was taken back.
func TestAPersonGoesBack(t *testing.T) {
	t.Parallel()
	s, d, user := initSite(t)
	folder := s.Mkdir("in")
	x := asked(t, s, d)
	x.answer("User name", "<\n")
	x.answer("User name", "somebody\n")
	x.answer("IMAP or POP3 [IMAP]", "pop3\n")
	x.answer("Mail server, or server:port", "<\n")
	x.answer("IMAP or POP3 [pop3]", "Back\n")
	x.answer("User name or address of the mailbox [somebody]", user+"\n")
	x.answer("IMAP or POP3 [pop3]", "imap\n")
	x.answer("Mail server", mailtest.Host+"\n")
	x.answer("SSL_TLS", "none\n")
	x.answer("Port [143]", "<\n")
	x.answer("SSL_TLS, STARTTLS or NONE [none]", "ssl_tls\n")
	x.answer("Port [993]", "70000\n") // not 143, which followed from NONE
	x.answer("Port [993]", strconv.Itoa(d.Port(mail.IMAP, mail.SSLTLS))+"\n")
	x.answer("Folder to save messages in [/srv/inbound/invoices]", folder+"\n")
	x.answer("Saved messages on the server: KEEP, SEEN (mark as read) or DELETE [KEEP]", "\n")
	x.answer("Messages in one job", "\n")
	x.answer("Password", "<\n")
	x.answer("Messages in one job", "5\n")
	x.answer("Password", d.Password+"\n")
	x.answer("write this down? (y/n) [y]", "back\n")
	x.answer("Password, empty for the one typed before", "<\n")
	x.answer("Messages in one job: 1, or another number, or 0 for all that there are [5]", "\n")
	x.answer("Password, empty for the one typed before", "\n")
	x.answer("write this down?", "y\n")
	text, code := x.end()
	if code != 0 || strings.Contains(text, d.Password) || !strings.Contains(text, "This is the first question.") {
		t.Fatalf("%d: %s", code, text)
	}
	config, err := os.ReadFile(s.Config)
	if err != nil || !bytes.Contains(config, []byte("max_messages: 5")) || !bytes.Contains(config, []byte("store_type: IMAP")) || !bytes.Contains(config, []byte("connection_security: SSL_TLS")) {
		t.Errorf("%v: %s", err, config)
	}
	works(t, s)
}

// TestNothingIsWrittenWithoutConsent: a no to the summary is one, and so is the
// end of the input.
func TestNothingIsWrittenWithoutConsent(t *testing.T) {
	t.Parallel()
	s, d, user := initSite(t)
	for _, keys := range []string{"n\n", "\x04", "\x03"} {
		x := asked(t, s, d, "--username", user, "--store-type", "imap", "--folder", s.Mkdir("in"), "--disposition", "keep")
		x.answer("Mail server, or server:port", mailtest.Host+":"+strconv.Itoa(d.Port(mail.IMAP, mail.SSLTLS))+"\n")
		x.answer("SSL_TLS", "\n")
		x.answer("Messages in one job", "\n") // the port is known
		x.answer("Password", d.Password+"\n")
		x.answer("write this down?", keys)
		want := map[bool]int{true: 130, false: 1}[keys == "\x03"]
		if text, code := x.end(); code != want || !strings.Contains(text, "given up; nothing was written") || strings.Contains(text, "✓") {
			t.Errorf("%q: %d: %s", keys, code, text)
		}
		if files := filesBelow(t, filepath.Dir(s.Config)); len(files) != 0 {
			t.Errorf("%q: was written: %v", keys, files)
		}
	}
}

// TestWhatCanBeDoneAboutATestThatFailed: each remedy that is offered mends what
// it is for, and the file says what the test has found to work.
func TestWhatCanBeDoneAboutATestThatFailed(t *testing.T) {
	t.Parallel()
	type remedy struct {
		wrong   string // what is wrong at first: "password", "port", "ca"
		answers [][2]string
		code    int
		files   []string
		works   bool
	}
	good := mailtest.StartDovecot(t)
	other := mailtest.StartDovecot(t) // whose certificate has another issuer
	for name, r := range map[string]remedy{
		"another password": {"password", [][2]string{{"What now?", "password\n"}, {"Password", "PASSWORD\n"}}, 0, []string{"poller.yaml", "secrets/invoices"}, true},
		"after two that are wrong": {"password", [][2]string{
			{"What now?", "1\n"}, {"Password", "canary-wrong-again\n"}, {"What now?", "1\n"}, {"Password", "PASSWORD\n"},
		}, 0, []string{"poller.yaml", "secrets/invoices"}, true},
		"another port":    {"port", [][2]string{{"What now?", "Port\n"}, {"Port [1]", "PORT\n"}}, 0, []string{"poller.yaml", "secrets/invoices"}, true},
		"trust":           {"ca", [][2]string{{"What now?", "trust\n"}, {"Trust it? (y/n) [n]", "y\n"}}, 0, []string{"invoices-server.pem", "poller.yaml", "secrets/invoices"}, true},
		"trust, and then": {"ca password", [][2]string{{"What now?", "1\n"}, {"Trust it? (y/n) [n]", "y\n"}, {"What now?", "password\n"}, {"Password", "PASSWORD\n"}}, 0, []string{"invoices-server.pem", "poller.yaml", "secrets/invoices"}, true},
		"no trust":        {"ca", [][2]string{{"What now?", "trust\n"}, {"Trust it? (y/n) [n]", "\n"}, {"What now?", "stop\n"}}, 1, nil, false},
		"the questions": {"password", [][2]string{
			{"What now?", "questions\n"},
			{"User name or address of the mailbox [USER]", "\n"},
			{"Messages in one job", "\n"},
			{"Password, empty for the one typed before", "PASSWORD\n"},
			{"write this down?", "\n"},
		}, 0, []string{"poller.yaml", "secrets/invoices"}, true},
		"write": {"password", [][2]string{{"What now?", "write\n"}}, 1, []string{"poller.yaml", "secrets/invoices"}, false},
		"stop":  {"password", [][2]string{{"What now?", "perhaps\n"}, {"What now?", "9\n"}, {"What now?", "\n"}}, 1, nil, false},
		"back":  {"port", [][2]string{{"What now?", "port\n"}, {"Port [1]", "<\n"}, {"What now?", "stop\n"}}, 1, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := good.NewUser(t)
			good.Deliver(t, user, rig.Numbered(1)...)
			s := bareSite(t)
			port, password, trusted := strconv.Itoa(good.Port(mail.IMAP, mail.SSLTLS)), good.Password, good
			put := strings.NewReplacer("PASSWORD", good.Password, "PORT", port, "USER", user)
			for _, wrong := range strings.Fields(r.wrong) {
				switch wrong {
				case "port":
					port = "1"
				case "password":
					password = "canary-wrong"
				case "ca":
					trusted = other
				}
			}
			flags := []string{"--store-type", "imap", "--host", mailtest.Host, "--connection-security", "ssl_tls", "--port", port, "--folder", s.Mkdir("in"), "--disposition", "delete"}
			x := asked(t, s, trusted, flags...)
			x.answer("User name", user+"\n")
			x.answer("Messages in one job", "\n")
			x.answer("Password", password+"\n")
			x.answer("write this down?", "\n")
			for _, a := range r.answers {
				x.answer(put.Replace(a[0]), put.Replace(a[1]))
			}
			text, code := x.end()
			if code != r.code || strings.Contains(text, good.Password) || strings.Contains(text, "canary") {
				t.Fatalf("%d: %s", code, text)
			}
			if offered := strings.Contains(text, "trust this certificate"); offered != strings.Contains(r.wrong, "ca") {
				t.Errorf("trust is offered: %v: %s", offered, text)
			}
			var files []string
			for path := range filesBelow(t, filepath.Dir(s.Config)) {
				files = append(files, path)
			}
			if slices.Sort(files); !slices.Equal(files, r.files) {
				t.Errorf("files: %v, want %v", files, r.files)
			}
			if strings.HasPrefix(name, "trust") && !regexp.MustCompile(`fingerprint  [0-9a-f]{64} \(SHA-256\)`).MatchString(text) {
				t.Errorf("no fingerprint to compare: %s", text)
			}
			if r.works {
				works(t, s)
			}
		})
	}
}
