package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"
)

// TestWhatAnOperatorTrusts: a leaf, or an issuer out of the chain, is accepted
// beside the roots, and for nothing else than it stands for.
func TestWhatAnOperatorTrusts(t *testing.T) {
	t.Parallel()
	root, stranger := newAuthority(t), newAuthority(t)
	middle := &authority{key: newAuthority(t).key}
	middle.cert = root.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "middle CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, root.cert, &middle.key.PublicKey)
	good := middle.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}})
	good.Certificate = append(good.Certificate, middle.cert.Raw) // and not the root, as servers do
	alone := tls.Certificate{Certificate: good.Certificate[:1], PrivateKey: good.PrivateKey}
	expired := middle.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}, NotAfter: time.Now().Add(-time.Hour)})
	leafOf := func(c tls.Certificate) *x509.Certificate {
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	for _, c := range []struct {
		name    string
		server  tls.Certificate
		trusted []*x509.Certificate
		host    string // matched unless empty
		fails   string
	}{
		{"nothing is trusted", good, nil, "", "unknown authority"},
		{"the leaf", good, []*x509.Certificate{leafOf(good)}, "mail.test", ""},
		{"the leaf of an incomplete chain", alone, []*x509.Certificate{leafOf(good)}, "mail.test", ""},
		{"the issuer, which is no root", good, []*x509.Certificate{middle.cert}, "mail.test", ""},
		{"the issuer, which the server does not send", alone, []*x509.Certificate{middle.cert}, "mail.test", ""},
		{"the root", good, []*x509.Certificate{root.cert}, "mail.test", ""},
		{"something else", good, []*x509.Certificate{stranger.cert, leafOf(expired)}, "", "unknown authority"},
		{"the leaf, and the name is another", good, []*x509.Certificate{leafOf(good)}, "other.test", "not other.test"},
		{"the issuer, and the name is another", good, []*x509.Certificate{middle.cert}, "other.test", "not other.test"},
		{"the leaf, which has expired", expired, []*x509.Certificate{leafOf(expired)}, "", "expired"},
		{"the issuer of one that has expired", expired, []*x509.Certificate{middle.cert}, "", "expired"},
		{"a leaf does not stand for others", good, []*x509.Certificate{leafOf(middle.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}}))}, "", "unknown authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := Policy{Roots: stranger.pool(), MatchHostname: c.host != ""}
			if strings.Contains(c.name, "something else") {
				p.Roots = x509.NewCertPool()
			}
			var err error
			for _, config := range p.Configs(Peer{Host: c.host, Trusted: c.trusted}) {
				_, err = handshake(t, &tls.Config{Certificates: []tls.Certificate{c.server}}, config)
			}
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("got %v, want %q", err, c.fails)
			}
		})
	}
}

// TestASessionIsVerifiedAgainWhenItIsResumed: trust that was revoked does not
// live on in a session.
func TestASessionIsVerifiedAgainWhenItIsResumed(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	server := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}})}}
	for _, version := range []uint16{v12, v13} {
		sessions := tls.NewLRUClientSessionCache(1)
		peer := Peer{Host: "mail.test", Trusted: []*x509.Certificate{ca.cert}, Sessions: sessions}
		p := Policy{Roots: x509.NewCertPool(), Versions: []uint16{version}}
		for round := range 2 {
			state, err := handshake(t, server, p.Configs(peer)[0])
			if err != nil || state.DidResume != (round == 1) {
				t.Fatalf("%s, round %d: resumed %v, %v", tls.VersionName(version), round, state.DidResume, err)
			}
		}
		peer.Trusted = nil
		if _, err := handshake(t, server, p.Configs(peer)[0]); err == nil || !strings.Contains(err.Error(), "unknown authority") {
			t.Errorf("%s: revoked, and resumed: %v", tls.VersionName(version), err)
		}
	}
}
