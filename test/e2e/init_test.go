package e2e

import (
	"errors"
	"io/fs"
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

// initSite is a site that has no configuration yet, and a mailbox with a message.
func initSite(t *testing.T) (s *rig.Site, d *mailtest.Dovecot, user string) {
	t.Helper()
	d = mailtest.StartDovecot(t)
	user = d.NewUser(t)
	d.Deliver(t, user, rig.Numbered(1)...)
	return bareSite(t), d, user
}

func bareSite(t *testing.T) *rig.Site {
	t.Helper()
	s := rig.New(t)
	s.Config = filepath.Join(s.Dir, "etc", "poller.yaml")
	return s
}

// initFlags are those that say all of a mailbox on a Dovecot.
func initFlags(t *testing.T, s *rig.Site, d *mailtest.Dovecot, user, password string, store mail.StoreType, security mail.Security) []string {
	t.Helper()
	file := filepath.Join(s.Dir, "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"init", "--name", "invoices", "--host", mailtest.Host, "--port", strconv.Itoa(d.Port(store, security)),
		"--username", user, "--password-file", file, "--store-type", string(store), "--connection-security", string(security),
		"--folder", filepath.Join(s.Dir, "in", "invoices"), "--make-folder",
		"--ca-file", d.CA.PEMFile(t), "--state-dir", filepath.Join(s.Dir, "state"), "--non-interactive",
	}
}

// works holds that a configuration is accepted without a warning, passes the
// connection test, and fetches the message.
func works(t *testing.T, s *rig.Site) {
	t.Helper()
	if out, errs, code := s.Run("check"); code != 0 || strings.Contains(errs, "warning") {
		t.Errorf("check: %d: %s%s", code, out, errs)
	}
	if out, errs, code := s.Run("test", "invoices"); code != 0 {
		t.Errorf("test: %d: %s%s", code, out, errs)
	}
	if v := s.Poll("invoices")[0]; v.Outcome != "saved" || v.Messages != 1 {
		t.Errorf("poll: %+v", v)
	}
}

// filesBelow are the files below a directory, by their path in it.
func filesBelow(t *testing.T, dir string) map[string]fs.FileInfo {
	t.Helper()
	found := make(map[string]fs.FileInfo)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		found[strings.TrimPrefix(path, dir+"/")] = info
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return found
}

// TestAFirstConfigurationByFlags: what init writes works, over either protocol.
func TestAFirstConfigurationByFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		store    mail.StoreType
		security mail.Security
	}{{mail.IMAP, mail.SSLTLS}, {mail.IMAP, mail.StartTLS}, {mail.POP3, mail.SSLTLS}} {
		t.Run(string(c.store)+"-"+string(c.security), func(t *testing.T) {
			t.Parallel()
			s, d, user := initSite(t)
			out, errs, code := s.Run(initFlags(t, s, d, user, d.Password, c.store, c.security)...)
			if code != 0 || errs != "" || !strings.Contains(out, "wrote "+s.Config) || !strings.Contains(out, "poller poll invoices --config "+s.Config) {
				t.Fatalf("%d: %s%s", code, out, errs)
			}
			files := filesBelow(t, filepath.Dir(s.Config))
			if len(files) != 1 || files["poller.yaml"].Mode() != 0o640 {
				t.Errorf("files: %v", files)
			}
			if info, err := os.Stat(filepath.Join(s.Dir, "in", "invoices")); err != nil || info.Mode() != fs.ModeDir|fs.ModeSetgid|0o770 {
				t.Errorf("the folder: %v, %v", info, err)
			}
			if _, err := os.Stat(filepath.Join(s.Dir, "state")); !os.IsNotExist(err) {
				t.Errorf("init touched the state directory of the daemon: %v", err)
			}
			works(t, s)
		})
	}
}

// TestAConfigurationIsNotOverwritten: unless that is wanted, and then a copy is
// kept; one that does not work replaces nothing at all.
func TestAConfigurationIsNotOverwritten(t *testing.T) {
	t.Parallel()
	s, d, user := initSite(t)
	const before = "connections: []\n"
	if err := os.MkdirAll(filepath.Dir(s.Config), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Config, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	same := func() {
		t.Helper()
		text, err := os.ReadFile(s.Config)
		if files := filesBelow(t, filepath.Dir(s.Config)); err != nil || string(text) != before || len(files) != 1 {
			t.Errorf("%v: %q, in %v", err, text, files)
		}
	}
	right := initFlags(t, s, d, user, d.Password, mail.IMAP, mail.SSLTLS)
	if out, errs, code := s.Run(right...); code != 1 || !strings.Contains(errs, "--force") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	same()
	wrong := initFlags(t, s, d, user, "canary-wrong", mail.IMAP, mail.SSLTLS)
	if out, errs, code := s.Run(append(wrong, "--force")...); code != 1 || !strings.Contains(out, "✗ authenticate") || !strings.Contains(errs, "nothing was written") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	same()
	right = initFlags(t, s, d, user, d.Password, mail.IMAP, mail.SSLTLS)
	out, errs, code := s.Run(append(right, "--force")...)
	kept := regexp.MustCompile(`was kept as (\S+)`).FindStringSubmatch(out)
	if code != 0 || kept == nil {
		t.Fatalf("%d: %s%s", code, out, errs)
	}
	if text, err := os.ReadFile(kept[1]); err != nil || string(text) != before {
		t.Errorf("the copy: %v: %q", err, text)
	}
	works(t, s)
}

// TestAConfigurationThatFailsItsTest is written only on request, and the exit
// code tells.
func TestAConfigurationThatFailsItsTest(t *testing.T) {
	t.Parallel()
	s, d, user := initSite(t)
	flags := initFlags(t, s, d, user, "canary-wrong", mail.IMAP, mail.SSLTLS)
	if out, errs, code := s.Run(flags...); code != 1 || !strings.Contains(out, "✗ authenticate") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if files := filesBelow(t, filepath.Dir(s.Config)); len(files) != 0 {
		t.Errorf("was written: %v", files)
	}
	if out, errs, code := s.Run(append(flags, "--keep")...); code != 1 || !strings.Contains(out, "wrote "+s.Config) {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if out, errs, code := s.Run("check"); code != 0 {
		t.Errorf("check: %d: %s%s", code, out, errs)
	}
}

// TestInitMeetsACertificateThatIsNotTrusted: what it says to do can be done.
// Nothing keeps the certificate before there is a configuration.
func TestInitMeetsACertificateThatIsNotTrusted(t *testing.T) {
	t.Parallel()
	s, d, user := initSite(t)
	flags := initFlags(t, s, d, user, d.Password, mail.IMAP, mail.SSLTLS)
	at := slices.Index(flags, "--ca-file")
	flags = slices.Delete(flags, at, at+2)
	out, errs, code := s.Run(append(flags, "--keep")...)
	if code != 1 || !strings.Contains(out, "✗ certificate") || !strings.Contains(out, "--ca-file") || strings.Contains(out, "certs show") {
		t.Fatalf("%d: %s%s", code, out, errs)
	}
	out, _, _ = s.Run("test", "invoices")
	short := regexp.MustCompile("`poller certs trust ([0-9a-f]+)`").FindStringSubmatch(out)
	if short == nil {
		t.Fatal(out)
	}
	if out, errs, code := s.Run("certs", "trust", short[1]); code != 0 {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	works(t, s)
}

// TestInitHasNowhereToWrite: it says which flag names another place, and makes
// nothing meanwhile.
func TestInitHasNowhereToWrite(t *testing.T) {
	t.Parallel()
	s := bareSite(t)
	if err := os.WriteFile(filepath.Dir(s.Config), nil, 0o600); err != nil { // a file, where the directory would be
		t.Fatal(err)
	}
	s.Config = filepath.Join(filepath.Dir(s.Config), "poller", "poller.yaml")
	folder := filepath.Join(s.Dir, "in")
	out, errs, code := s.Run("init", "--username", "a", "--host", "h", "--password-file", "/p", "--folder", folder, "--make-folder")
	if code != 1 || !strings.Contains(errs, "--config PATH") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
}

// TestWithoutATerminalNothingIsAsked: what the flags do not say is named, and a
// flag that is wrong is told as a fault of the file would be.
func TestWithoutATerminalNothingIsAsked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flags []string
		says  string
	}{
		{nil, "missing --username, --name, --host, --folder"},
		{[]string{"--username", "a@example.com"}, "missing --host, --folder"},
		{[]string{"--username", "a@yahoo.com"}, "missing --folder"},
		{[]string{"--username", "a@yahoo.com", "--folder", "/srv/x"}, "missing --password-file"},
		{[]string{"--username", "a@outlook.com", "--folder", "/srv/x"}, "missing --client-id"},
		{[]string{"--username", "a@yahoo.com", "--port", "imap"}, "1 to 65535"},
		{[]string{"--username", "a", "--host", "h:imap"}, "1 to 65535"},
		{[]string{"--username", "a", "--host", "h:993", "--port", "994"}, "port: found 993, and --port says 994"},
		{[]string{"--username", "a", "--host", ":993"}, "host: missing"},
		{[]string{"--username", "a", "--max-messages", "all"}, "max_messages: found"},
		{[]string{"--username", "a@example.com", "--host", "h", "--folder", "/srv/x", "--client-id", "x"}, "--client-id is for"},
	} {
		s := bareSite(t)
		if out, errs, code := s.Run(append([]string{"init"}, c.flags...)...); code != 2 || !strings.Contains(errs, c.says) {
			t.Errorf("%q: %d: %s%s", c.flags, code, out, errs)
		}
		if files := filesBelow(t, filepath.Dir(s.Config)); len(files) != 0 {
			t.Errorf("%q: was written: %v", c.flags, files)
		}
	}
}

// TestAFirstConfigurationForATokenProvider: there is nothing to test before the
// user has consented, and init says how.
func TestAFirstConfigurationForATokenProvider(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ user, host, block string }{
		{"a@gmail.com", "imap.gmail.com", "provider: google\n"},
		{"a@outlook.com", "outlook.office365.com", "tenant: consumers\n"},
		{"a@contoso.onmicrosoft.com", "outlook.office365.com", "provider: microsoft\n"},
	} {
		t.Run(c.user, func(t *testing.T) {
			t.Parallel()
			s := bareSite(t)
			out, errs, code := s.Run("init", "--username", c.user, "--client-id", "66666666-7777", "--folder", s.Mkdir("in"), "--state-dir", s.Dir+"/state")
			if code != 0 || !strings.Contains(out, "poller oauth login a --config "+s.Config) {
				t.Fatalf("%d: %s%s", code, out, errs)
			}
			text, err := os.ReadFile(s.Config)
			if err != nil || !strings.Contains(string(text), c.host) || !strings.Contains(string(text), c.block) {
				t.Errorf("%v:\n%s", err, text)
			}
			if out, errs, code := s.Run("check", "--show"); code != 0 || strings.Contains(errs, "warning") {
				t.Errorf("check: %d: %s%s", code, out, errs)
			}
		})
	}
}

// TestTheServerWithItsPort is one answer, also of a flag.
func TestTheServerWithItsPort(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{
		"imap.example.com:1993":     "host: imap.example.com\n    port: 1993\n    # SSL_TLS, STARTTLS, or NONE for clear text\n    connection_security: SSL_TLS\n",
		"imap.example.com:143":      "port: 143\n    # SSL_TLS, STARTTLS, or NONE for clear text\n    connection_security: STARTTLS\n",
		"imap.example.com":          "port: 993\n",
		"192.0.2.1:994":             "host: 192.0.2.1\n    port: 994\n",
		"[2001:db8::1]:994":         "host: \"2001:db8::1\"\n    port: 994\n",
		"[2001:db8::1]":             "host: \"2001:db8::1\"\n    port: 993\n",
		"2001:db8::1":               "host: \"2001:db8::1\"\n    port: 993\n",
		"outlook.office365.com:993": "provider: microsoft\n",
	} {
		s := bareSite(t)
		out, errs, code := s.Run("init", "--username", "a@contoso.onmicrosoft.com", "--name", "in", "--host", server, "--folder", s.Mkdir("in"), "--keep",
			map[bool]string{true: "--client-id", false: "--password-file"}[strings.HasPrefix(server, "outlook")], "/nowhere", "--max-messages", "7", "--state-dir", s.Dir+"/state")
		text, err := os.ReadFile(s.Config)
		if err != nil || !strings.Contains(string(text), want) || !strings.Contains(string(text), "max_messages: 7\n") {
			t.Errorf("%s: %v, %d: %s%s\n%s", server, err, code, out, errs, text)
		}
	}
}
