// Package tlspolicy turns what an operator says about TLS into a tls.Config:
// protocol versions, cipher suites, roots, host name match, client key.
package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
)

// Policy is what one connection demands of TLS. The zero value trusts the
// system's roots, speaks TLS 1.2 and 1.3 with Go's suites, verifies the chain
// and does not match the host name.
//
// A Policy is never changed once a configuration holds it and may be used by
// many goroutines.
type Policy struct {
	Roots         *x509.CertPool // nil means the system's
	MatchHostname bool           // the certificate must be valid for the host
}

// Config is the client configuration for a connection to host. The chain is
// always verified; the name only when the policy says so.
func (p Policy) Config(host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: host,
		RootCAs:    p.Roots,
		// The library knows "chain and name" or nothing; chain without name,
		// and name by CN for certificates without SAN, are ours to verify.
		InsecureSkipVerify: true, //nolint:gosec // G402: VerifyConnection below verifies, also on resumption
		VerifyConnection:   func(cs tls.ConnectionState) error { return p.verify(host, cs) },
	}
}

// verify checks the chain, and the name when the policy demands it. Its
// errors are *tls.CertificateVerificationError, as the library's would be.
func (p Policy) verify(host string, cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return fmt.Errorf("the server presented no certificate")
	}
	leaf := cs.PeerCertificates[0]
	refuse := func(err error) error {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	options := x509.VerifyOptions{
		Roots:         p.Roots,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, c := range cs.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(options); err != nil {
		return refuse(err)
	}
	if p.MatchHostname {
		if err := matchHost(leaf, host); err != nil {
			return refuse(err)
		}
	}
	return nil
}

// matchHost matches host against the names of a certificate: its SAN entries,
// or the CN of its subject when it has no SAN at all.
func matchHost(leaf *x509.Certificate, host string) error {
	hasSAN := len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses)+len(leaf.URIs) > 0
	if hasSAN || leaf.Subject.CommonName == "" {
		return leaf.VerifyHostname(host)
	}
	// Let the library's own matching rules judge the CN as if it were a SAN.
	named := &x509.Certificate{Raw: leaf.Raw, Subject: leaf.Subject}
	if ip := net.ParseIP(leaf.Subject.CommonName); ip != nil {
		named.IPAddresses = []net.IP{ip}
	} else {
		named.DNSNames = []string{leaf.Subject.CommonName}
	}
	return named.VerifyHostname(host)
}

// Roots is the system's roots with the certificates of the given PEM files
// added. An error names the file.
func Roots(files ...string) (*x509.CertPool, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("read the system's roots: %w", err)
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", file)
		}
	}
	return pool, nil
}
