package e2e

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

var update = flag.Bool("update", false, "write the golden files")

// TestTheConnectionTest: what `poller test` says when all is well, and of each
// failure, with its reason and the next step; and it changes nothing.
func TestTheConnectionTest(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	clients := mailtest.NewCA(t)
	demanding := mailtest.StartDovecot(t, "ssl_ca = <"+clients.PEMFile(t), "ssl_verify_client_cert = yes", "ssl_require_crl = no", "auth_ssl_require_client_cert = yes")
	noSTARTTLS := mailtest.StartDovecot(t, "ssl = no")
	good, stranger := newKey(t, "acme", clients), newKey(t, "acme", mailtest.NewCA(t))
	handshakes := func(config *tls.Config) rig.Settings {
		s := mailtest.Script(t, func(c *mailtest.Conn) { c.TLS(config) })
		return rig.Settings{"port": s.Port, "ca_file": d.CA.PEMFile(t)}
	}
	own := d.CA.Server(t, mailtest.Host)
	expired := d.CA.Issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}, NotBefore: time.Unix(1e9, 0), NotAfter: time.Unix(11e8, 0)})
	silent := mailtest.Script(t, func(c *mailtest.Conn) { c.Stall() })
	lost := filepath.Join(t.TempDir(), "missing")
	for _, c := range []struct {
		name     string
		at       *mailtest.Dovecot
		store    mail.StoreType
		security mail.Security // SSL_TLS unless it says otherwise
		set      rig.Settings
		keys     []rig.Settings
		ok       bool
	}{
		{name: "imap", at: d, store: mail.IMAP, ok: true},
		{name: "imap-starttls", at: d, store: mail.IMAP, security: mail.StartTLS, ok: true},
		{name: "pop3", at: d, store: mail.POP3, ok: true},
		{name: "client-certificate", at: demanding, store: mail.IMAP, set: rig.Settings{"client_key_label": "acme"}, keys: good, ok: true},
		{name: "host-unknown", at: d, store: mail.IMAP, set: rig.Settings{"host": "host.invalid"}},
		{name: "refused", at: d, store: mail.IMAP, set: rig.Settings{"port": closedPort}},
		{name: "connect-timeout", at: d, store: mail.IMAP, set: rig.Settings{"port": fullPort(t), "timeout": "1s"}},
		{name: "silent", at: d, store: mail.IMAP, set: rig.Settings{"port": silent.Port, "timeout": "1s", "connection_security": "NONE"}},
		{name: "clear-text-on-a-tls-port", at: d, store: mail.IMAP, set: rig.Settings{"port": d.Port(mail.IMAP, mail.NoTLS)}},
		{name: "tls-on-a-clear-text-port", at: d, store: mail.POP3, set: rig.Settings{"port": d.Port(mail.POP3, mail.SSLTLS), "connection_security": "STARTTLS", "timeout": "1s"}},
		{name: "certificate-unknown", at: d, store: mail.IMAP, set: rig.Settings{"ca_file": clients.PEMFile(t)}},
		{name: "certificate-expired", at: d, store: mail.IMAP, set: handshakes(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{expired}})},
		{name: "wrong-host", at: d, store: mail.IMAP, set: handshakes(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{d.CA.Server(t, "mail.test")}}).With(rig.Settings{"match_server_hostname": "ENABLED", "host": "localhost"})},
		{name: "no-common-version", at: d, store: mail.IMAP, set: handshakes(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11, Certificates: []tls.Certificate{own}})},
		{name: "no-common-suite", at: d, store: mail.IMAP, set: rig.Settings{"ssl_authentication_protocol": "TLSv1_2", "accepted_cipher_suites": "TLS_RSA_WITH_RC4_128_SHA"}},
		{name: "client-certificate-required", at: demanding, store: mail.IMAP},
		{name: "client-certificate-refused", at: d, store: mail.IMAP, keys: stranger, set: handshakes(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool()}).With(rig.Settings{"client_key_label": "acme"})},
		{name: "starttls-not-offered", at: noSTARTTLS, store: mail.IMAP, security: mail.StartTLS},
		{name: "stls-not-offered", at: noSTARTTLS, store: mail.POP3, security: mail.StartTLS},
		{name: "wrong-password", at: d, store: mail.IMAP, set: rig.Settings{"password": "canary-wrong"}},
		{name: "mailbox-missing", at: d, store: mail.IMAP, set: rig.Settings{"mailbox": "Nowhere"}},
		{name: "folder-missing", at: d, store: mail.IMAP, set: rig.Settings{"folder": lost}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			user := c.at.NewUser(t)
			c.at.Deliver(t, user, rig.Numbered(2)...)
			before := c.at.Messages(t, user)
			s := rig.New(t)
			s.Keys = c.keys
			s.Configure(rig.Connect(t, c.at, "orders", user, c.store, cmp.Or(c.security, mail.SSLTLS)).With(c.set))
			out, errs, code := s.Run("test", "orders")
			if (code == 0) != c.ok || errs != "" {
				t.Errorf("exit code %d, %s", code, errs)
			}
			compareGolden(t, "test/"+c.name+".txt", plainly(out, s.Dir, user, lost))
			if strings.Contains(out, "\033") || strings.Contains(out, c.at.Password) || strings.Contains(out, "canary-wrong") {
				t.Errorf("a colour or a secret: %q", out)
			}
			checkTestJSON(t, s, c.ok)
			ignored := []string{"UID"} // a server gives it when it first looks
			if c.store == mail.POP3 {
				ignored = append(ignored, "Recent") // POP3 knows no way to look without being noticed
			}
			same := []gocmp.Option{cmpopts.IgnoreUnexported(mailtest.Message{}), cmpopts.IgnoreFields(mailtest.Message{}, ignored...)}
			if diff := gocmp.Diff(before, c.at.Messages(t, user), same...); diff != "" {
				t.Errorf("the test changed something on the server:\n%s", diff)
			}
		})
	}
}

// TestTheConnectionTestTriesASmallerClientHello where the first is not answered,
// and a poll says that it can.
func TestTheConnectionTestTriesASmallerClientHello(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	config := ca.ServerTLS(t, mailtest.Host)
	server := mailtest.Script(t, func(c *mailtest.Conn) {
		if c.Hello() > 1400 {
			c.Cut()
		}
		c.TLS(config)
		c.Stall()
	})
	s := rig.New(t, rig.Settings{"name": "orders", "host": mailtest.Host, "port": server.Port, "username": "u", "password": "canary", "ca_file": ca.PEMFile(t)})
	if e := s.Poll("orders")[0].Error; e == nil || e.Op != "tls" || !strings.HasPrefix(e.Hint, "run `poller test orders`: it tries a smaller ClientHello") || server.Connections() != 1 {
		t.Errorf("%+v, on %d connections", e, server.Connections())
	}
	out, errs, code := s.Run("test", "orders")
	if want := "-> set ssl_authentication_protocol: [TLSv1_2], or Environment=GODEBUG=tlsmlkem=0 in the unit: "; code != 1 || !strings.Contains(out, want) {
		t.Errorf("%d, %s%s", code, out, errs)
	}
}

// checkTestJSON holds what other programs rely on.
func checkTestJSON(t *testing.T, s *rig.Site, ok bool) {
	t.Helper()
	out, _, _ := s.Run("test", "--json", "orders")
	var v struct {
		Connection string
		OK         bool
		Steps      []struct {
			Name     string
			OK       bool
			Duration *float64 `json:"duration_seconds"`
			Detail   *string
			Error    *struct{ Op, Kind, Message, Hint string }
		}
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil || v.Connection != "orders" || v.OK != ok || len(v.Steps) < 2 {
		t.Fatalf("%v in %s", err, out)
	}
	failed := 0
	for _, step := range v.Steps {
		if step.OK != (step.Error == nil) || step.Duration == nil || step.Detail == nil || step.Name == "" {
			t.Errorf("%+v", step)
		}
		if e := step.Error; e != nil {
			failed++
			if e.Op == "" || e.Kind == "" || e.Message == "" || e.Hint == "" {
				t.Errorf("%+v", e)
			}
		}
	}
	if (failed == 0) != ok {
		t.Errorf("%d steps failed", failed)
	}
}

// newKey is the keys: of a configuration with one key.
func newKey(t *testing.T, label string, ca *mailtest.CA) []rig.Settings {
	t.Helper()
	certificate, private := mailtest.KeyFiles(t, ca.Client(t, label))
	return []rig.Settings{{"label": label, "certificate": certificate, "private_key": private}}
}

// fullPort is a port that answers no more connections: its queue is full.
func fullPort(t *testing.T) (port int) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	// One fits into the queue of none.
	client, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(client) })
	if err := syscall.Connect(client, bound); err != nil {
		t.Fatal(err)
	}
	return bound.(*syscall.SockaddrInet4).Port
}

// varying is what differs from run to run.
var varying = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?m)^(  [✓✗] [a-z ]{12}  ) *[0-9.]+(µs|ms|s)`), "${1}  TIME"},
	{regexp.MustCompile(`(resolve {9}TIME  )127.*|(resolve {9}TIME  )::1.*`), "${1}${2}ADDRESSES"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
	{regexp.MustCompile(`\[::1\]:\d+`), "[::1]:PORT"},
	{regexp.MustCompile(`valid until \d{4}-\d\d-\d\d`), "valid until DATE"},
	{regexp.MustCompile(`message [0-9a-f]{16}`), "message UIDL"},
	{regexp.MustCompile(` \([0-9.]+ \+.*secs\)`), ""},
	{regexp.MustCompile(`\b[0-9a-f]{16}\b`), "FINGERPRINT"},
	{regexp.MustCompile(`(AUTH|by LOGIN command; the server has|USER/PASS; the server has) .*`), "${1} CAPABILITIES"},
	{regexp.MustCompile(`UIDVALIDITY \d+`), "UIDVALIDITY N"},
	{regexp.MustCompile(`current time \S+`), "current time NOW"},
	{regexp.MustCompile(`lookup host\.invalid.*`), "lookup host.invalid: REASON"},
}

// plainly is an output without what differs from run to run.
func plainly(out, dir, user, lost string) []byte {
	out = strings.NewReplacer(dir, "DIR", lost, "MISSING", user+" ", "USER ").Replace(out)
	for _, v := range varying {
		out = v.pattern.ReplaceAllString(out, v.instead)
	}
	return []byte(out)
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
