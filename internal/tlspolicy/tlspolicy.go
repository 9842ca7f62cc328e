// Package tlspolicy turns what an operator says about TLS into client
// configurations: protocol versions, cipher suites, roots, host name match.
package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
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
	Versions      []uint16       // those that are accepted, and no other; nil means TLS 1.2 and 1.3
	Suites        []uint16       // those that are accepted, and no other; nil means Go's choice
}

// Configs are the client configurations for a connection to host, to be tried
// in turn, each with a connection of its own, until a server speaks one of
// their versions. There is one for each run of adjacent versions, from the
// newest down: the library speaks all versions between two, so a gap cannot be
// left out of one. There is none when no version can be spoken with any of the
// suites.
//
// The chain is always verified; the name only when the policy says so.
func (p Policy) Configs(host string) []*tls.Config {
	var configs []*tls.Config
	for _, run := range runs(p.usable()) {
		configs = append(configs, &tls.Config{
			MinVersion:   run.low,
			MaxVersion:   run.high,
			CipherSuites: p.Suites, // of TLS 1.2 and below; those of 1.3 are checked
			ServerName:   host,
			RootCAs:      p.Roots,
			// The library knows "chain and name" or nothing; chain without
			// name, and name by CN for certificates without SAN, are ours.
			InsecureSkipVerify: true, //nolint:gosec // G402: VerifyConnection verifies, also on resumption
			VerifyConnection:   func(cs tls.ConnectionState) error { return p.verify(host, cs) },
		})
	}
	return configs
}

// usable are the accepted versions that can be spoken with one of the accepted
// suites, ascending. A version that could only be negotiated to be refused is
// not offered: a server that speaks another one shall use that.
func (p Policy) usable() []uint16 {
	versions := slices.Clone(p.Versions)
	if versions == nil {
		versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}
	}
	slices.Sort(versions)
	if p.Suites == nil {
		return versions
	}
	return slices.DeleteFunc(versions, func(v uint16) bool {
		return !slices.ContainsFunc(allSuites(), func(s *tls.CipherSuite) bool {
			return slices.Contains(s.SupportedVersions, v) && slices.Contains(p.Suites, s.ID)
		})
	})
}

// run is adjacent versions.
type run struct{ low, high uint16 }

// runs are the runs of ascending versions, the newest first.
func runs(versions []uint16) []run {
	var all []run
	for _, v := range versions {
		if n := len(all); n > 0 && all[n-1].high+1 == v {
			all[n-1].high = v
		} else {
			all = append(all, run{v, v})
		}
	}
	slices.Reverse(all)
	return all
}

// allSuites are those that the library knows.
func allSuites() []*tls.CipherSuite {
	return slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
}

// AllVersions are the versions that the library can speak.
func AllVersions() []uint16 {
	return []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}
}

// AllSuites are the suites that the library can speak, weak ones included.
func AllSuites() []uint16 {
	var ids []uint16
	for _, s := range allSuites() {
		ids = append(ids, s.ID)
	}
	return ids
}

// Check reports why no connection can ever be made under the policy.
func (p Policy) Check() error {
	if len(p.usable()) == 0 {
		return errors.New("none of the accepted cipher suites exists in an accepted version of TLS")
	}
	return nil
}

// Alert is what the peer said when it refused a handshake, and "" when it did
// not. The library has no type for it.
func Alert(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return op.Err.Error()
	}
	return ""
}

// VersionRefused reports whether a handshake may have failed because server
// and client have no version in common: another configuration may succeed.
func VersionRefused(err error) bool {
	switch Alert(err) {
	case "tls: protocol version not supported", "tls: handshake failure":
		return true
	}
	return err != nil && strings.Contains(err.Error(), "tls: server selected unsupported protocol version")
}

// SuiteError is a handshake that ended with a suite that is not accepted.
type SuiteError struct{ Version, Suite uint16 }

// Error names both.
func (e *SuiteError) Error() string {
	return fmt.Sprintf("server chose %s with %s, which is not among the accepted cipher suites",
		tls.VersionName(e.Version), tls.CipherSuiteName(e.Suite))
}

// verify checks what was negotiated, the chain, and the name when the policy
// demands it. Where it is the certificate that fails, the error is a
// *tls.CertificateVerificationError, as the library's would be.
func (p Policy) verify(host string, cs tls.ConnectionState) error {
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
