package mailtest

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

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

// Client makes a client certificate for the CN name.
func (ca *CA) Client(t testing.TB, name string) tls.Certificate {
	t.Helper()
	return ca.Issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: time.Now().AddDate(1, 0, 0),
	})
}

// KeyFiles are the paths of PEM files with a certificate and its private key,
// until the test ends.
func KeyFiles(t testing.TB, c tls.Certificate) (certificate, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, f := range []struct {
		path *string
		name string
		pem.Block
	}{
		{&certificate, "client.crt", pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}},
		{&key, "client.key", pem.Block{Type: "PRIVATE KEY", Bytes: der}},
	} {
		*f.path = filepath.Join(dir, f.name)
		if err := os.WriteFile(*f.path, pem.EncodeToMemory(&f.Block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
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
