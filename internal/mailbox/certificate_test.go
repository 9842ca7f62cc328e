package mailbox

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// TestACertificateThatCannotBeUsedIsKeptForReview: crypto/tls refuses it before
// anybody is asked, and hands out nothing.
func TestACertificateThatCannotBeUsedIsKeptForReview(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	for _, odd := range mailtest.OddCertificates(t) {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(fmt.Sprintf("%s, %s", odd.Name, tls.VersionName(version)), func(t *testing.T) {
				t.Parallel()
				port := listenTLS(t, &tls.Config{MinVersion: version, MaxVersion: version, Certificates: []tls.Certificate{odd.Certificate}})
				o, operator := opener(), &trust{}
				o.Trust = operator
				connection := mailtest.Connection(t, ca, mail.IMAP, mail.SSLTLS, port, "user", "in-process-canary")
				learned, e := outcome(t, o, connection)
				if len(learned) != 1 || !strings.HasPrefix(learned[0], tls.VersionName(version)+", TLS_") {
					t.Errorf("TLS itself: %q", learned)
				}
				if len(operator.kept) != 1 || len(operator.kept[0].Chain) != 1 {
					t.Fatalf("kept %+v", operator.kept)
				}
				kept := operator.kept[0]
				if string(kept.Chain[0].Raw) != string(odd.Certificate.Certificate[0]) || kept.Server != connection.Server() || kept.Reason != e.Err.Error() {
					t.Errorf("%+v", kept)
				}
				if e.Op != mail.OpCertificate || e.Kind != mail.KindTLS || !strings.HasPrefix(e.Error(), "certificate: server's certificate cannot be used: ") || !strings.Contains(e.Error(), odd.Reason) {
					t.Errorf("%s: %v", e.Kind, e)
				}
				if !strings.Contains(e.Hint, "have the certificate made anew") || !strings.HasSuffix(e.Hint, "`poller certs show "+kept.Chain[0].Fingerprint()[:16]+"` shows it") {
					t.Errorf("hint: %s", e.Hint)
				}
				o.Trust = nil // poller init
				if _, e := outcome(t, o, connection); strings.Contains(e.Hint, "poller certs") {
					t.Errorf("hint: %s", e.Hint)
				}
			})
		}
	}
}

// TestAnIssuerThatCannotBeUsed is named, since the server need not send it.
func TestAnIssuerThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	chain := ca.Server(t, mailtest.Host)
	odd := mailtest.OddCertificates(t)[0].Certificate.Certificate[0]
	chain.Certificate = append(chain.Certificate, odd, odd)
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{chain}}
	server := mailtest.Script(t, func(c *mailtest.Conn) {
		c.Send("+OK hi\r\n")
		c.Expect("STLS")
		c.Send("+OK go on\r\n")
		c.TLS(config)
	})
	o, operator := opener(), &trust{}
	o.Trust = operator
	_, e := outcome(t, o, mailtest.Connection(t, ca, mail.POP3, mail.StartTLS, server.Port, "user", "in-process-canary"))
	if e.Error() != "certificate: certificate 2 of 3 that the server sent cannot be used: x509: negative serial number" ||
		!strings.HasPrefix(e.Hint, "have the server leave this certificate of an issuer out of what it sends; or ") {
		t.Errorf("%v, hint %s", e, e.Hint)
	}
	if len(operator.kept) != 1 || len(operator.kept[0].Chain) != 3 || operator.kept[0].Chain[0].X509 == nil || string(operator.kept[0].Chain[1].Raw) != string(odd) {
		t.Errorf("kept %+v", operator.kept)
	}
}

// TestAWeakSignatureCountsForNoIssuer: to name the issuer does not help then, to
// trust the certificate itself does.
func TestAWeakSignatureCountsForNoIssuer(t *testing.T) {
	t.Parallel()
	ca, key := authority(t)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "old.test"}, SignatureAlgorithm: x509.ECDSAWithSHA1,
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	port := listenTLS(t, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	connection := mailtest.Connection(t, mailtest.NewCA(t), mail.IMAP, mail.SSLTLS, port, "user", "in-process-canary")
	connection.TLS.Roots = x509.NewCertPool()
	connection.TLS.Roots.AddCert(ca)
	o, operator := opener(), &trust{}
	o.Trust = operator
	_, e := outcome(t, o, connection)
	if e.Kind != mail.KindTLS || !strings.Contains(e.Error(), "insecure algorithm ECDSA-SHA1") || !strings.Contains(e.Hint, "made anew with SHA-256") || !strings.Contains(e.Hint, "`poller certs trust ") {
		t.Errorf("%v, hint %s", e, e.Hint)
	}
	operator.trusted = []*x509.Certificate{operator.kept[0].Chain[0].X509}
	if _, e := outcome(t, o, connection); e.Op != mail.OpGreeting {
		t.Errorf("trusted: %v", e)
	}
}

// authority is a certificate that may issue others, and its key.
func authority(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Old CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return ca, key
}
