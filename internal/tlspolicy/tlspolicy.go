// Package tlspolicy turns what an operator says about TLS into client
// configurations: protocol versions, cipher suites, roots, host name match.
package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
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
	Roots         *x509.CertPool // trusted beside the system's; nil for none
	MatchHostname bool           // the certificate must be valid for the host
	Versions      []uint16       // those that are accepted, and no other; nil means TLS 1.2 and 1.3
	Suites        []uint16       // those that are accepted, and no other; nil means Go's choice

	// Identity is equal only for equal policies, the content of Roots
	// included: TLS sessions are resumed among those alone.
	Identity string
}

// Peer is the server of a handshake, and what goes with it beside the policy.
type Peer struct {
	Host     string
	Trusted  []*x509.Certificate    // accepted as the server's own, or as an issuer of it, while they are valid
	Key      *tls.Certificate       // presented when the server asks; nil for none
	Sessions tls.ClientSessionCache // of this policy and key; nil for none
}

// Configs are the client configurations for a connection to a peer, to be tried
// in turn, each with a connection of its own, until a server speaks one of
// their versions. There is one for each run of adjacent versions, from the
// newest down: the library speaks all versions between two, so a gap cannot be
// left out of one. There is none when no version can be spoken with any of the
// suites.
//
// The chain is always verified; the name only when the policy says so.
func (p Policy) Configs(peer Peer) []*tls.Config {
	var configs []*tls.Config
	for _, run := range runs(p.usable()) {
		configs = append(configs, &tls.Config{
			MinVersion:         run.low,
			MaxVersion:         run.high,
			CipherSuites:       p.Suites, // of TLS 1.2 and below; those of 1.3 are checked
			ServerName:         peer.Host,
			ClientSessionCache: peer.Sessions,
			// Presented whatever issuers the server names: if it does not take
			// it, it says so, and an operator can act on that.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if peer.Key == nil {
					return &tls.Certificate{}, nil
				}
				return peer.Key, nil
			},
			// The library knows "chain and name" or nothing; chain without
			// name, and name by CN for certificates without SAN, are ours.
			InsecureSkipVerify: true, //nolint:gosec // G402: VerifyConnection verifies, also on resumption
			VerifyConnection:   func(cs tls.ConnectionState) error { return p.verify(peer, cs) },
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

// AllVersions are the versions that the library can speak.
func AllVersions() []uint16 {
	return []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}
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

// Roots holds the certificates of the given PEM files. An error names the file.
func Roots(files ...string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if pool.AppendCertsFromPEM(text) {
			continue
		}
		if block, _ := pem.Decode(text); block != nil && block.Type == "CERTIFICATE" {
			if _, err := x509.ParseCertificate(block.Bytes); err != nil {
				return nil, fmt.Errorf("%s holds no certificate that can be used: %w", file, err)
			}
		}
		return nil, fmt.Errorf("%s holds no PEM certificate", file)
	}
	return pool, nil
}
