package certificate_test

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"mailpoller/internal/certificate"
	"mailpoller/internal/mailtest"
)

// TestWhatGoRefusesIsReadAllTheSame, as far as there is anything to read.
func TestWhatGoRefusesIsReadAllTheSame(t *testing.T) {
	t.Parallel()
	for _, odd := range mailtest.OddCertificates(t) {
		t.Run(odd.Name, func(t *testing.T) {
			t.Parallel()
			der := odd.Certificate.Certificate[0]
			c := certificate.Read(der)
			sum := sha256.Sum256(der)
			if c.Fingerprint() != hex.EncodeToString(sum[:]) || string(c.Raw) != string(der) || c.String() == "" {
				t.Errorf("%s, %s", c.Fingerprint(), c)
			}
			if strings.Contains(odd.Reason, "RSA key larger") != (c.Problem == nil) { // crypto/x509 can read that one
				t.Errorf("the problem is %v", c.Problem)
			}
			switch {
			case odd.Bare:
				if c.Subject+c.Issuer != "" || c.Names != nil || !c.NotBefore.IsZero() || !c.NotAfter.IsZero() {
					t.Errorf("%+v", c)
				}
				return
			case c.Issuer != "CN="+mailtest.OddIssuer || !strings.HasPrefix(c.Subject, "CN=odd") || c.Authority:
				t.Errorf("%+v", c)
			}
			if soon := time.Now().AddDate(1, 0, -1); c.NotAfter.Before(soon) && !strings.HasPrefix(odd.Name, "a time that is an integer") {
				t.Errorf("valid until %v", c.NotAfter)
			}
			if len(c.Names) == 0 && !strings.HasPrefix(odd.Name, "a URI") {
				t.Error("no names")
			}
		})
	}
}

// TestAParsedCertificateIsReadTheSameWay as one that is not.
func TestAParsedCertificateIsReadTheSameWay(t *testing.T) {
	t.Parallel()
	good := mailtest.NewCA(t).Issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "mail.test", Organization: []string{"Acme\x1b[31m, Inc."}}, DNSNames: []string{"mail.test", "*.test"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.ParseIP("2001:db8::1")}, IsCA: true, BasicConstraintsValid: true,
	})
	der := good.Certificate[0]
	c := certificate.Read(der)
	if c.Problem != nil || c.X509 == nil {
		t.Fatal(c.Problem)
	}
	broken := certificate.Read(append(slices.Clone(der), 0))
	if broken.Problem == nil || broken.X509 != nil {
		t.Fatal("trailing data is taken")
	}
	if broken.Equal(c) || broken.Fingerprint() == c.Fingerprint() {
		t.Error("another certificate is taken for the same")
	}
	broken.Raw, broken.Problem, broken.X509 = c.Raw, nil, c.X509
	if !broken.Equal(c) || broken.Subject != c.Subject || broken.Issuer != c.Issuer || !slices.Equal(broken.Names, c.Names) ||
		!broken.NotBefore.Equal(c.NotBefore) || !broken.NotAfter.Equal(c.NotAfter) || broken.Authority != c.Authority {
		t.Errorf("%+v\n%+v", broken, c)
	}
	if c.Subject != `CN=mail.test,O=Acme [31m\, Inc.` || len(c.Names) != 4 {
		t.Errorf("%q, %q", c.Subject, c.Names)
	}
	if unnamed := certificate.Of(&x509.Certificate{DNSNames: []string{"only.test"}}); unnamed.String() != "only.test" {
		t.Errorf("%s", unnamed)
	}
}

// FuzzRead: whatever a server presents is shown without control characters, and
// stops nothing.
func FuzzRead(f *testing.F) {
	for _, odd := range mailtest.OddCertificates(f) {
		f.Add(odd.Certificate.Certificate[0])
	}
	f.Add(mailtest.NewCA(f).Server(f, "mail.test").Certificate[0])
	f.Fuzz(func(t *testing.T, der []byte) {
		c := certificate.Read(der)
		for _, text := range append([]string{c.Subject, c.Issuer, c.String()}, c.Names...) {
			if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q", text)
			}
		}
		if _, err := x509.ParseCertificate(der); err != nil && (c.Problem == nil || c.X509 != nil) {
			t.Errorf("%v", err)
		}
	})
}
