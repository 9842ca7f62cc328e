package e2e

import (
	"crypto/tls"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// certificateView is what `poller certs list --json` promises.
type certificateView struct {
	Fingerprint, Subject, Issuer, Host, Reason string
	Port                                       int
	Trusted                                    bool
	Chain                                      []struct{ Fingerprint string }
}

// TestFromNothingToTrusted: an unknown authority fails the poll; an operator
// looks at the certificate and trusts it, and the next poll of the running
// daemon succeeds; it is revoked, and polls fail again.
func TestFromNothingToTrusted(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			user := d.NewUser(t)
			d.Deliver(t, user, rig.Numbered(2)...)
			settings := rig.Connect(t, d, "orders", user, store, mail.SSLTLS).With(rig.Settings{"schedule": "@every 1s", "back_off": "DISABLED"})
			delete(settings, "ca_file")
			s := rig.New(t, settings)
			p := s.Start().Ready()
			hint := p.Await(0, `"msg":"poll failed".*unknown authority.*poller certs trust ([0-9a-f]{16})`)[1]

			list := func() certificateView {
				t.Helper()
				out, errs, code := s.Run("certs", "list", "--json")
				var views []certificateView
				if err := json.Unmarshal([]byte(out), &views); err != nil || len(views) != 1 || code != 0 {
					t.Fatalf("%v, %s%s", err, out, errs)
				}
				return views[0]
			}
			v := list()
			if v.Trusted || v.Host != mailtest.Host || v.Port != d.Port(store, mail.SSLTLS) || !strings.Contains(v.Reason, "unknown authority") ||
				v.Issuer != "CN=Test CA" || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(v.Fingerprint) || !strings.HasPrefix(v.Fingerprint, hint) {
				t.Errorf("%+v, hint %s", v, hint)
			}
			shown, _, code := s.Run("certs", "show", hint)
			for _, want := range []string{"because: x509: certificate signed by unknown authority", "issuer       CN=Test CA", "names        localhost, 127.0.0.1", "valid ", v.Fingerprint} {
				if !strings.Contains(shown, want) || code != 0 {
					t.Errorf("show does not say %q:\n%s", want, shown)
				}
			}

			mark := p.Mark()
			if out, errs, code := s.Run("certs", "trust", v.Fingerprint); code != 0 || !strings.Contains(out, "trusted for 127.0.0.1:") {
				t.Fatalf("%d, %s%s", code, out, errs)
			}
			p.Await(mark, `"msg":"poll finished","connection":"orders".*"messages":1`)
			if !list().Trusted {
				t.Error("the list does not say that it is trusted")
			}
			if text, _ := p.Get("/metrics"); !strings.Contains(text, "poller_tls_server_certificate_expiry_timestamp_seconds{server=") || !strings.Contains(text, `version="TLS 1.3"`) {
				t.Errorf("no metrics of the server")
			}
			p.Await(mark, `"msg":"poll finished","connection":"orders".*"outcome":"empty"`)

			mark = p.Mark()
			if out, errs, code := s.Run("certs", "revoke", v.Fingerprint); code != 0 || !strings.Contains(out, "no longer trusted for 127.0.0.1:") {
				t.Fatalf("%d, %s%s", code, out, errs)
			}
			p.Await(mark, `"msg":"poll failed".*unknown authority`)
			if list().Trusted {
				t.Error("the list says that it is trusted")
			}
			if text, _ := p.Get("/metrics"); !regexp.MustCompile(`poller_tls_handshakes_total{resumed="true"} [1-9]`).MatchString(text) {
				t.Error("no session was resumed")
			}
			if p.Stop() != 0 {
				t.Error("the daemon did not end in order")
			}
			// Without a daemon, by the command itself.
			if out, errs, code := s.Run("certs", "trust", hint); code != 0 {
				t.Errorf("%d, %s%s", code, out, errs)
			}
			if out, errs, code := s.Run("certs", "remove", hint); code != 1 || !strings.Contains(errs, "hint: revoke it first") {
				t.Errorf("%d, %s%s", code, out, errs)
			}
			for _, verb := range []string{"revoke", "remove"} {
				if out, errs, code := s.Run("certs", verb, hint); code != 0 {
					t.Errorf("%s: %d, %s%s", verb, code, out, errs)
				}
			}
			if out, _, code := s.Run("certs", "list"); code != 0 || out != "No certificate was refused.\n" {
				t.Errorf("%d, %s", code, out)
			}
			if v := s.Poll("orders")[0]; v.Error == nil || v.Error.Op != "certificate" || v.Error.Kind != "tls" {
				t.Errorf("%+v", v)
			}
		})
	}
}

// TestTheNameCountsAlsoWhereTheCertificateIsTrusted.
func TestTheNameCountsAlsoWhereTheCertificateIsTrusted(t *testing.T) {
	t.Parallel()
	certificate := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{mailtest.NewCA(t).Server(t, "mail.test", "192.0.2.1")}}
	server := mailtest.Script(t, func(c *mailtest.Conn) { c.TLS(certificate) })
	s := rig.New(t, rig.Settings{
		"name": "orders", "host": mailtest.Host, "port": server.Port, "username": "u", "password": "canary", "match_server_hostname": "ENABLED",
	})
	before := s.Poll("orders")[0]
	if before.Error == nil || !strings.Contains(before.Error.Message, "unknown authority") {
		t.Fatalf("%+v", before.Error)
	}
	fingerprint := regexp.MustCompile(`[0-9a-f]{16}`).FindString(before.Error.Hint)
	if out, errs, code := s.Run("certs", "trust", fingerprint); code != 0 {
		t.Fatalf("%d, %s%s", code, out, errs)
	}
	after := s.Poll("orders")[0]
	if e := after.Error; e == nil || !strings.Contains(e.Message, "valid for 192.0.2.1, not 127.0.0.1") || !strings.Contains(e.Hint, "trusting a certificate does not give it another name") {
		t.Errorf("%+v", after.Error)
	}
}

// TestACertificateThatCannotBeUsedIsReviewed: it is listed with what can be read
// of it, nobody can trust it by mistake, and it goes when it is removed.
func TestACertificateThatCannotBeUsedIsReviewed(t *testing.T) {
	t.Parallel()
	for _, odd := range mailtest.OddCertificates(t) {
		switch odd.Name { // internal/mailbox knows them all
		case "a negative serial number", "an extension twice", "a key that cannot sign", "an RSA key that is too long", "no certificate at all":
		default:
			continue
		}
		t.Run(odd.Name, func(t *testing.T) {
			t.Parallel()
			config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{odd.Certificate}}
			server := mailtest.Script(t, func(c *mailtest.Conn) { c.TLS(config); c.Send("* BYE no\r\n") })
			s := rig.New(t, rig.Settings{"name": "orders", "host": mailtest.Host, "port": server.Port, "username": "u", "password": "canary"})
			e := s.Poll("orders")[0].Error
			if e == nil || e.Op != "certificate" || e.Kind != "tls" {
				t.Fatalf("%+v", e)
			}
			out, errs, code := s.Run("certs", "list", "--json")
			var views []struct {
				certificateView
				Size    int
				Problem string
			}
			if err := json.Unmarshal([]byte(out), &views); err != nil || len(views) != 1 || code != 0 {
				t.Fatalf("%v, %s%s", err, out, errs)
			}
			v := views[0]
			if v.Size != len(odd.Certificate.Certificate[0]) || v.Trusted || !odd.Bare && (!strings.Contains(v.Subject, "odd") || v.Issuer != "CN="+mailtest.OddIssuer) {
				t.Errorf("%+v", v)
			}
			listed, _, _ := s.Run("certs", "list")
			shown, _, code := s.Run("certs", "show", v.Fingerprint[:8])
			if code != 0 || !strings.Contains(shown, v.Fingerprint) || !strings.Contains(listed, v.Fingerprint[:16]) || strings.ContainsRune(listed+shown, '\x1b') {
				t.Errorf("%s%s", listed, shown)
			}
			if odd.Name == "a negative serial number" { // which everybody else takes
				trusted, errs, code := s.Run("certs", "trust", v.Fingerprint)
				if e := s.Poll("orders")[0].Error; code != 0 || v.Problem != "" || e == nil || e.Op != "greeting" {
					t.Errorf("%s%s, %s, %+v", trusted, errs, v.Problem, e)
				}
				return
			}
			if !strings.Contains(e.Message, odd.Reason) || !strings.Contains(e.Hint, "have the certificate made anew") || !strings.Contains(v.Reason, odd.Reason) {
				t.Errorf("%+v, %s", e, v.Reason)
			}
			if v.Problem != "" { // a key that is too long is a matter of a setting
				if _, errs, code := s.Run("certs", "trust", v.Fingerprint); code != 1 || !strings.Contains(errs, "cannot be trusted: "+v.Problem) || !strings.Contains(errs, "hint: have the server present another certificate") {
					t.Errorf("%d, %s", code, errs)
				}
				if !strings.Contains(shown, "PROBLEM      "+v.Problem) || !strings.Contains(shown, "TLS fails with this chain whatever is trusted") {
					t.Error(shown)
				}
			}
			if s.Start().Ready().Stop() != 0 {
				t.Error("the daemon does not start")
			}
			if out, errs, code := s.Run("certs", "remove", v.Fingerprint); code != 0 {
				t.Errorf("%d, %s%s", code, out, errs)
			}
			if out, _, code := s.Run("certs", "list"); code != 0 || out != "No certificate was refused.\n" {
				t.Errorf("%d, %s", code, out)
			}
		})
	}
}
