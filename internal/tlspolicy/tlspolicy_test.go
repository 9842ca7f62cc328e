package tlspolicy

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority issues certificates for a test. Its key is RSA, so that the old
// suites can be spoken too.
type authority struct {
	cert *x509.Certificate
	key  *rsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key}
	a.cert = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, &key.PublicKey)
	return a
}

func (a *authority) sign(t *testing.T, template, parent *x509.Certificate, public any) *x509.Certificate {
	t.Helper()
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-2 * time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (a *authority) issue(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return tls.Certificate{Certificate: [][]byte{a.sign(t, template, a.cert, &key.PublicKey).Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// connect tries the configurations of a policy in turn, as a mailbox does.
func connect(t *testing.T, server *tls.Config, p Policy, host string) (state tls.ConnectionState, err error) {
	t.Helper()
	err = errors.New("nothing to try")
	for _, config := range p.Configs(Peer{Host: host}) {
		if state, err = handshake(t, server, config); !VersionRefused(err) {
			break
		}
	}
	return state, err
}

func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		s := tls.Server(c, server)
		if _, err := s.Write([]byte{0}); err == nil {
			_, _ = s.Read(make([]byte, 1)) // until the client is gone
		}
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tc := tls.Client(c, client)
	err = tc.HandshakeContext(ctx)
	if err == nil { // with TLS 1.3 a refusal, or a ticket, comes with the first octets
		_, err = tc.Read(make([]byte, 1))
	}
	return tc.ConnectionState(), err
}

const (
	v10 = tls.VersionTLS10
	v11 = tls.VersionTLS11
	v12 = tls.VersionTLS12
	v13 = tls.VersionTLS13
)

// TestVersions: what the server speaks, what is accepted, and what comes of it.
func TestVersions(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert := ca.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}})
	for _, c := range []struct {
		name      string
		low, high uint16 // of the server
		accepted  []uint16
		version   uint16 // 0 for an error
	}{
		{"the default takes 1.3", v10, v13, nil, v13},
		{"the default takes 1.2", v10, v12, nil, v12},
		{"the default refuses 1.1", v10, v11, nil, 0},
		{"ALL takes 1.0", v10, v10, AllVersions(), v10},
		{"ALL takes the best", v10, v13, AllVersions(), v13},
		{"one version alone", v10, v13, []uint16{v12}, v12},
		{"one version that the server lacks", v10, v11, []uint16{v12}, 0},
		{"only 1.3 of a server without it", v10, v12, []uint16{v13}, 0},
		{"a gap, the newer one", v10, v13, []uint16{v10, v13}, v13},
		{"a gap, the older one", v10, v12, []uint16{v10, v13}, v10},
		{"a gap, and the server speaks what lies in it", v11, v12, []uint16{v10, v13}, 0},
		{"two gaps", v10, v10, []uint16{v10, v12}, v10},
		{"any order", v10, v11, []uint16{v13, v11}, v11},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: c.low, MaxVersion: c.high}
			state, err := connect(t, server, Policy{Roots: ca.pool(), Versions: c.accepted}, "mail.test")
			if (err == nil) != (c.version != 0) || err == nil && state.Version != c.version {
				t.Errorf("%s, %v", tls.VersionName(state.Version), err)
			}
			if err != nil && !VersionRefused(err) {
				t.Errorf("not known as a refused version: %v", err)
			}
		})
	}
}

func TestSuites(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert := ca.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}})
	gcm128, gcm256 := tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
	for _, c := range []struct {
		name     string
		high     uint16 // of the server
		suites   []uint16
		versions []uint16
		accepted []uint16
		version  uint16
		suite    uint16
		failure  string
	}{
		{name: "a list restricts 1.2", high: v12, accepted: []uint16{gcm256}, version: v12, suite: gcm256},
		{name: "an old suite that is listed", high: v12, suites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, accepted: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, version: v12, suite: tls.TLS_RSA_WITH_AES_128_CBC_SHA},
		{name: "an old suite that is not", high: v12, suites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}, failure: "handshake failure"},
		{name: "ALL takes an old suite", high: v12, suites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}, accepted: AllSuites(), version: v12, suite: tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA},
		{name: "no suite in common", high: v12, suites: []uint16{gcm128}, accepted: []uint16{gcm256}, failure: "handshake failure"},
		{name: "with suites of 1.2 alone, 1.3 is not offered", high: v13, accepted: []uint16{gcm256}, version: v12, suite: gcm256},
		{name: "1.3 with its suite listed", high: v13, accepted: []uint16{gcm256, tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}, version: v13},
		{name: "1.3 with another suite listed", high: v13, accepted: []uint16{tls.TLS_CHACHA20_POLY1305_SHA256}, versions: []uint16{v13}, failure: "which is not among the accepted cipher suites"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: c.high, CipherSuites: c.suites}
			state, err := connect(t, server, Policy{Roots: ca.pool(), Versions: c.versions, Suites: c.accepted}, "mail.test")
			switch {
			case c.failure != "":
				if err == nil || !strings.Contains(err.Error(), c.failure) {
					t.Errorf("%s, %v", tls.CipherSuiteName(state.CipherSuite), err)
				}
			case err != nil || state.Version != c.version || c.suite != 0 && state.CipherSuite != c.suite:
				t.Errorf("%s, %s, %v", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), err)
			}
		})
	}
	if err := (Policy{Versions: []uint16{v13}, Suites: []uint16{gcm256}}).Check(); err == nil {
		t.Error("a list that can never work is not noticed")
	}
	if err := (Policy{Suites: []uint16{gcm256}}).Check(); err != nil {
		t.Error(err)
	}
}

func TestTheChainIsAlwaysVerifiedAndTheNameWhereItIsAskedFor(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	yesterday := time.Now().Add(-time.Hour)
	for _, c := range []struct {
		name  string
		cert  tls.Certificate
		roots *authority
		host  string
		match bool
		fails string
	}{
		{"right in every way", ca.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}}), ca, "mail.test", true, ""},
		{"another name, not asked for", ca.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}}), ca, "other.test", false, ""},
		{"another name", ca.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}}), ca, "other.test", true, "not other.test"},
		{"an address", ca.issue(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}), ca, "127.0.0.1", true, ""},
		{"another address", ca.issue(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}), ca, "127.0.0.2", true, "not 127.0.0.2"},
		{"no SAN, the CN", ca.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "mail.test"}}), ca, "mail.test", true, ""},
		{"no SAN, a wildcard CN", ca.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "*.test"}}), ca, "mail.test", true, ""},
		{"no SAN, an address as CN", ca.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "127.0.0.1"}}), ca, "127.0.0.1", true, ""},
		{"no SAN, another CN", ca.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "mail.test"}}), ca, "other.test", true, "not other.test"},
		{"a SAN makes the CN count for nothing", ca.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "mail.test"}, DNSNames: []string{"x.test"}}), ca, "mail.test", true, "not mail.test"},
		{"an unknown issuer, no name asked for", ca.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}}), other, "mail.test", false, "unknown authority"},
		{"expired, no name asked for", ca.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}, NotAfter: yesterday}), ca, "mail.test", false, "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := connect(t, &tls.Config{Certificates: []tls.Certificate{c.cert}}, Policy{Roots: c.roots.pool(), MatchHostname: c.match}, c.host)
			if c.fails == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var verification *tls.CertificateVerificationError
			if err == nil || !strings.Contains(err.Error(), c.fails) || !errors.As(err, &verification) || len(verification.UnverifiedCertificates) == 0 {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestRootsAreAddedFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Roots(empty); err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("a file without certificates: %v", err)
	}
	if _, err := Roots(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	ca := newAuthority(t)
	odd := filepath.Join(dir, "odd.pem")
	if err := os.WriteFile(odd, encode(t, "CERTIFICATE", append(slices.Clone(ca.cert.Raw), 0), nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Roots(odd); err == nil || !strings.Contains(err.Error(), odd+" holds no certificate that can be used: x509: trailing data") {
		t.Errorf("a file with one that cannot be parsed: %v", err)
	}
	full := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(full, encode(t, "CERTIFICATE", ca.cert.Raw, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if pool, err := Roots(full); err != nil || !pool.Equal(ca.pool()) {
		t.Errorf("a file with one: %v", err)
	}
}
