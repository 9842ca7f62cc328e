package mailtest

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"mailpoller/internal/demo/mailserver"
)

// CA is a certificate authority of one test.
type CA struct{ ca *mailserver.CA }

// NewCA makes an authority with a fresh key.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca, err := mailserver.NewCA("Test CA")
	if err != nil {
		t.Fatal(err)
	}
	return &CA{ca}
}

// Server makes a certificate that is valid for the given host names and IP
// addresses.
func (ca *CA) Server(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	cert, err := ca.ca.IssueFor(names...)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Issue makes a server certificate out of a template, which may be as odd as
// it likes: expired, with a CN and no SAN, for another purpose. What it leaves
// open is filled in with what is right.
func (ca *CA) Issue(t testing.TB, leaf *x509.Certificate) tls.Certificate {
	t.Helper()
	cert, err := ca.ca.Issue(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// ServerTLS is what a server at these names needs to speak TLS.
func (ca *CA) ServerTLS(t testing.TB, names ...string) *tls.Config {
	t.Helper()
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.Server(t, names...)}}
}

// Pool holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.ca.Certificate)
	return pool
}

// PEMFile is the path of a file that holds the authority's certificate, until
// the test ends.
func (ca *CA) PEMFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, ca.ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
