// Package certificate reads the certificates that a server presents, also those
// that crypto/x509 refuses to parse: an operator can look at them all the same.
package certificate

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// Certificate is a certificate as a server sent it. What cannot be read of it is
// left empty.
type Certificate struct {
	Raw       []byte            // may be anything
	X509      *x509.Certificate // nil where crypto/x509 does not parse it
	Problem   error             // why TLS cannot work with it; nil where it can
	Subject   string
	Issuer    string
	Names     []string // DNS names and addresses
	NotBefore time.Time
	NotAfter  time.Time
	Authority bool // it may issue certificates
}

// errKey says that TLS has no use for the public key of a certificate.
var errKey = errors.New("x509: unsupported public key algorithm")

// Read reads a certificate as far as it can be read.
func Read(der []byte) Certificate {
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		c := decode(der)
		c.Problem = errors.New(clean(err.Error()))
		return c
	}
	return Of(parsed)
}

// Of is a certificate that was parsed.
func Of(parsed *x509.Certificate) Certificate {
	c := Certificate{
		Raw: parsed.Raw, X509: parsed, Subject: clean(parsed.Subject.String()), Issuer: clean(parsed.Issuer.String()),
		NotBefore: parsed.NotBefore.UTC(), NotAfter: parsed.NotAfter.UTC(), Authority: parsed.IsCA,
	}
	for _, name := range parsed.DNSNames {
		c.Names = append(c.Names, clean(name))
	}
	for _, ip := range parsed.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	switch parsed.PublicKeyAlgorithm {
	case x509.RSA, x509.ECDSA, x509.Ed25519:
	case x509.UnknownPublicKeyAlgorithm:
		c.Problem = errKey
	default:
		c.Problem = fmt.Errorf("%w %s", errKey, parsed.PublicKeyAlgorithm)
	}
	return c
}

// All reads the certificates of a chain.
func All(chain [][]byte) []Certificate {
	all := make([]Certificate, len(chain))
	for i, der := range chain {
		all[i] = Read(der)
	}
	return all
}

// Fingerprint is the SHA-256 of a certificate, in hex.
func (c Certificate) Fingerprint() string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Equal reports whether both are the same certificate, byte for byte.
func (c Certificate) Equal(other Certificate) bool { return string(c.Raw) == string(other.Raw) }

// String names the holder: by its subject, or else by its first name.
func (c Certificate) String() string {
	switch {
	case c.Subject == "" && len(c.Names) > 0:
		return c.Names[0]
	case c.Subject == "" && c.X509 == nil:
		return fmt.Sprintf("a certificate of %d bytes", len(c.Raw))
	}
	return c.Subject
}

// clean makes a text of a certificate fit to be shown.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// refusals begin what crypto/tls says when it ends a handshake because of the
// server's certificate, before anybody else can verify it. It has no type for it.
var refusals = []string{
	"tls: failed to parse certificate from server: ",
	"tls: server's certificate contains an unsupported type of public key: ",
	"tls: server sent certificate containing RSA key larger than ",
	"tls: invalid signature by the server certificate: crypto/rsa: ", // by a key that is too short
}

// Refused is why crypto/tls refused the server's certificate, where that is what
// ended a handshake; else it is empty.
func Refused(err error) (reason string) {
	if err == nil {
		return ""
	}
	for _, text := range refusals {
		if at := strings.Index(err.Error(), text); at >= 0 {
			return clean(strings.TrimPrefix(err.Error()[at+len("tls: "):], "failed to parse certificate from server: "))
		}
	}
	return ""
}
