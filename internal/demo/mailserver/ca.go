package mailserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"net"
	"time"
)

// CA is a certificate authority that nobody trusts unless told to. Its key
// never leaves the memory of this process.
type CA struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// validity is how long certificates are good for, and backdate how long they
// have been already: clocks differ.
const (
	validity = 24 * time.Hour
	backdate = time.Hour
)

// NewCA makes an authority with a fresh key.
func NewCA(commonName string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the authority's key: %w", err)
	}
	ca := &CA{key: key, Certificate: &x509.Certificate{
		Subject:               pkix.Name{CommonName: commonName},
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}}
	ca.Certificate, err = ca.sign(ca.Certificate, key)
	return ca, err
}

// Issue makes a server certificate with a fresh key. What leaf leaves open is
// filled in: serial number, validity, key usage.
func (ca *CA) Issue(leaf *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the server's key: %w", err)
	}
	if leaf.ExtKeyUsage == nil {
		leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	signed, err := ca.sign(leaf, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: key, Leaf: signed}, nil
}

// IssueFor makes a certificate for a server of these host names and IP
// addresses.
func (ca *CA) IssueFor(names ...string) (tls.Certificate, error) {
	leaf := new(x509.Certificate)
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, name)
		}
	}
	return ca.Issue(leaf)
}

// PEM is the authority's certificate, as a ca_file holds it.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw})
}

func (ca *CA) sign(c *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-backdate)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(validity)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca.Certificate, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
