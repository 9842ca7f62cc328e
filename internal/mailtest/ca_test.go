package mailtest_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"os"
	"testing"
	"time"

	"mailpoller/internal/mailtest"
)

func TestCAIssuesWhatAClientAccepts(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	pem, err := os.ReadFile(ca.PEMFile(t))
	if err != nil {
		t.Fatal(err)
	}
	fromFile := x509.NewCertPool()
	fromFile.AppendCertsFromPEM(pem)
	if !fromFile.Equal(ca.Pool()) {
		t.Error("PEMFile and Pool differ")
	}
	leaf := ca.Server(t, "mail.example.com", "192.0.2.1").Leaf
	for _, name := range []string{"mail.example.com", "192.0.2.1"} {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: ca.Pool()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var unknown x509.UnknownAuthorityError
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: mailtest.NewCA(t).Pool()}); !errors.As(err, &unknown) {
		t.Errorf("another authority: %v; want it unknown", err)
	}
}

func TestCAIssuesOddCertificates(t *testing.T) {
	t.Parallel()
	ca := mailtest.NewCA(t)
	verify := func(cert tls.Certificate) error {
		_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool()})
		return err
	}
	expired := ca.Issue(t, &x509.Certificate{
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	})
	var invalid x509.CertificateInvalidError
	if err := verify(expired); !errors.As(err, &invalid) || invalid.Reason != x509.Expired {
		t.Errorf("expired certificate: %v", err)
	}
	cn := ca.Issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "mail.example.com"}})
	if err := verify(cn); err != nil || len(cn.Leaf.DNSNames) != 0 {
		t.Errorf("certificate with a CN alone: %v, names %v", err, cn.Leaf.DNSNames)
	}
	other := ca.Issue(t, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err := verify(other); !errors.As(err, &invalid) || invalid.Reason != x509.IncompatibleUsage {
		t.Errorf("certificate for clients: %v", err)
	}
}
