package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"
)

// verify checks what was negotiated, the chain, and the name when the policy
// demands it. Where it is the certificate that fails, the error is a
// *tls.CertificateVerificationError, as the library's would be.
func (p Policy) verify(peer Peer, cs tls.ConnectionState) error {
	if p.Suites != nil && !slices.Contains(p.Suites, cs.CipherSuite) {
		return &SuiteError{cs.Version, cs.CipherSuite}
	}
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server presented no certificate")
	}
	leaf := cs.PeerCertificates[0]
	refuse := func(err error) error {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	if err := p.verifyChain(peer.Trusted, cs.PeerCertificates); err != nil {
		return refuse(err)
	}
	if p.MatchHostname {
		if err := matchHost(leaf, peer.Host); err != nil {
			return refuse(err)
		}
	}
	return nil
}

// verifyChain verifies a chain up to one of the roots, or else up to what an
// operator trusted. The roots of the policy come first, since those of the
// system take 15 ms to read when they are first needed.
func (p Policy) verifyChain(trusted, chain []*x509.Certificate) error {
	options := x509.VerifyOptions{
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	leaf := chain[0]
	err := error(x509.UnknownAuthorityError{Cert: leaf})
	if p.Roots != nil {
		options.Roots = p.Roots
		_, err = leaf.Verify(options)
	}
	if unknown(err) {
		options.Roots = nil
		if _, bySystem := leaf.Verify(options); p.Roots == nil || !unknown(bySystem) {
			err = bySystem
		}
	}
	if err == nil || len(trusted) == 0 {
		return err
	}
	options.Roots = x509.NewCertPool()
	for _, c := range trusted {
		if c.Equal(leaf) {
			return current(leaf)
		}
		options.Roots.AddCert(c)
	}
	if _, again := leaf.Verify(options); again == nil {
		return nil
	}
	return err
}

// unknown reports whether a chain led nowhere.
func unknown(err error) bool {
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

// current reports why a certificate is not valid now.
func current(c *x509.Certificate) error {
	switch now := time.Now(); {
	case now.Before(c.NotBefore):
		return x509.CertificateInvalidError{Cert: c, Reason: x509.Expired, Detail: fmt.Sprintf("current time %s is before %s", now.UTC().Format(time.RFC3339), c.NotBefore.UTC().Format(time.RFC3339))}
	case now.After(c.NotAfter):
		return x509.CertificateInvalidError{Cert: c, Reason: x509.Expired, Detail: fmt.Sprintf("current time %s is after %s", now.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))}
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
