package tlspolicy

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

func encode(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func TestKeysAreReadInEveryForm(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	one := ca.issue(t, &x509.Certificate{DNSNames: []string{"client"}})
	other := ca.issue(t, &x509.Certificate{DNSNames: []string{"other"}})
	leaf, err := x509.ParseCertificate(one.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	certificate := encode(t, "CERTIFICATE", leaf.Raw, nil)
	chain := append(append([]byte{}, certificate...), encode(t, "CERTIFICATE", ca.cert.Raw, nil)...)
	plainDER, err := x509.MarshalPKCS8PrivateKey(one.PrivateKey)
	plain := encode(t, "PRIVATE KEY", plainDER, err)
	encryptedDER, err := pkcs8.ConvertPrivateKeyToPKCS8(one.PrivateKey, []byte("secret"))
	encrypted := encode(t, "ENCRYPTED PRIVATE KEY", encryptedDER, err)
	old, err := x509.EncryptPEMBlock(rand.Reader, "PRIVATE KEY", plainDER, []byte("secret"), x509.PEMCipher3DES) //nolint:staticcheck // such files are in use
	if err != nil {
		t.Fatal(err)
	}
	otherDER, err := x509.MarshalPKCS8PrivateKey(other.PrivateKey)
	foreign := encode(t, "PRIVATE KEY", otherDER, err)

	type read func() (tls.Certificate, error)
	pair := func(certificate, key []byte, password string) read {
		return func() (tls.Certificate, error) { return ParsePEM(certificate, key, password) }
	}
	bundle := func(encoder *pkcs12.Encoder, key any, written, password string) read {
		return func() (tls.Certificate, error) {
			data, err := encoder.Encode(key, leaf, []*x509.Certificate{ca.cert}, written)
			if err != nil {
				t.Error(err)
			}
			return ParsePKCS12(data, password)
		}
	}
	for _, c := range []struct {
		name   string
		read   read
		length int // of the chain
		fails  string
	}{
		{"a pair", pair(certificate, plain, ""), 1, ""},
		{"a pair with its chain", pair(chain, plain, ""), 2, ""},
		{"a key that needs no password", pair(certificate, plain, "secret"), 1, ""},
		{"an encrypted key", pair(certificate, encrypted, "secret"), 1, ""},
		{"an encrypted key, the wrong password", pair(certificate, encrypted, "Secret"), 0, "password"},
		{"an encrypted key, no password", pair(certificate, encrypted, ""), 0, "password"},
		{"a key encrypted as OpenSSL did", pair(certificate, pem.EncodeToMemory(old), "secret"), 1, ""},
		{"likewise, the wrong password", pair(certificate, pem.EncodeToMemory(old), "x"), 0, "password"},
		{"the key of another certificate", pair(certificate, foreign, ""), 0, "does not match"},
		{"no key", pair(certificate, certificate, ""), 0, "rather than a key"},
		{"no certificate", pair(plain, plain, ""), 0, "failed to find"},
		{"nothing", pair(nil, nil, ""), 0, "failed to find"},
		{"PKCS#12, modern", bundle(pkcs12.Modern2023, one.PrivateKey, "secret", "secret"), 2, ""},
		{"PKCS#12, 3DES", bundle(pkcs12.LegacyDES, one.PrivateKey, "secret", "secret"), 2, ""},
		{"PKCS#12, RC2", bundle(pkcs12.LegacyRC2, one.PrivateKey, "secret", "secret"), 2, ""},
		{"PKCS#12, an empty password", bundle(pkcs12.LegacyRC2, one.PrivateKey, "", ""), 2, ""},
		{"PKCS#12, the wrong password", bundle(pkcs12.Modern2023, one.PrivateKey, "secret", "Secret"), 0, "password"},
		{"PKCS#12, the key of another certificate", bundle(pkcs12.Modern2023, other.PrivateKey, "s", "s"), 0, "not that of the certificate"},
		{"PKCS#12, rubbish", func() (tls.Certificate, error) { return ParsePKCS12(plain, "") }, 0, "pkcs12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.read()
			switch {
			case c.fails != "":
				if err == nil || !strings.Contains(err.Error(), c.fails) || errors.Is(err, ErrPassword) != (c.fails == "password") {
					t.Errorf("got %v, want %q", err, c.fails)
				}
			case err != nil:
				t.Error(err)
			case len(got.Certificate) != c.length || got.Leaf == nil || !got.Leaf.Equal(leaf):
				t.Errorf("a chain of %d", len(got.Certificate))
			}
		})
	}
}

// TestTheKeyIsPresentedWhenTheServerAsks, also when the server names issuers
// of which it has none: what it does not like it can say.
func TestTheKeyIsPresentedWhenTheServerAsks(t *testing.T) {
	t.Parallel()
	ca, clients := newAuthority(t), newAuthority(t)
	key := clients.issue(t, &x509.Certificate{DNSNames: []string{"client"}})
	for _, c := range []struct {
		name  string
		auth  tls.ClientAuthType
		key   *tls.Certificate
		known *authority
		ok    bool
	}{
		{"asked for and there", tls.RequireAnyClientCert, &key, clients, true},
		{"asked for and not there", tls.RequireAnyClientCert, nil, clients, false},
		{"not asked for", tls.NoClientCert, &key, clients, true},
		{"of an issuer that the server does not know", tls.RequireAndVerifyClientCert, &key, ca, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := &tls.Config{
				Certificates: []tls.Certificate{ca.issue(t, &x509.Certificate{DNSNames: []string{"mail.test"}})},
				ClientAuth:   c.auth, ClientCAs: c.known.pool(),
			}
			p := Policy{Roots: ca.pool()}
			_, err := handshake(t, server, p.Configs(Peer{Host: "mail.test", Key: c.key})[0])
			if (err == nil) != c.ok || err != nil && Alert(err) == "" {
				t.Errorf("%v", err)
			}
		})
	}
}
