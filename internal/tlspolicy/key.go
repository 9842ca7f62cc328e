package tlspolicy

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/youmark/pkcs8"
	"software.sslmate.com/src/go-pkcs12"
)

// ErrPassword means that a key could not be decrypted with the password given.
var ErrPassword = errors.New("the password does not fit, or there is none")

// ParsePEM is a client certificate, with its chain where the file has it, and
// its private key, which may be encrypted in the ways of PKCS #8 or of old
// OpenSSL. It fails when they do not belong together.
func ParsePEM(certificate, key []byte, password string) (tls.Certificate, error) {
	plain, err := decrypted(key, password)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, plain)
}

// decrypted is a PEM file with its private key in clear.
func decrypted(file []byte, password string) ([]byte, error) {
	for rest := file; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return file, nil // whatever is wrong with it is said by who reads it
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY": // RFC 7468, section 11
			key, err := pkcs8.ParsePKCS8PrivateKey(block.Bytes, []byte(password))
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrPassword, err)
			}
			der, err := x509.MarshalPKCS8PrivateKey(key)
			return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
		case x509.IsEncryptedPEMBlock(block): //nolint:staticcheck // as weak as it is, such files are in use
			der, err := x509.DecryptPEMBlock(block, []byte(password)) //nolint:staticcheck // likewise
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrPassword, err)
			}
			return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
		}
	}
}

// ParsePKCS12 is the one client certificate of a PKCS #12 file, with its chain
// and its private key. The weak ciphers of old files are read too.
func ParsePKCS12(file []byte, password string) (tls.Certificate, error) {
	key, leaf, chain, err := pkcs12.DecodeChain(file, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return tls.Certificate{}, fmt.Errorf("%w: %w", ErrPassword, err)
	case err != nil:
		return tls.Certificate{}, err
	}
	c := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, issuer := range chain {
		if !bytes.Equal(issuer.Raw, leaf.Raw) {
			c.Certificate = append(c.Certificate, issuer.Raw)
		}
	}
	return c, belongs(c)
}

// belongs reports whether the key of a certificate is its own.
func belongs(c tls.Certificate) error {
	signer, ok := c.PrivateKey.(interface{ Public() crypto.PublicKey })
	if !ok {
		return fmt.Errorf("a private key of type %T cannot sign", c.PrivateKey)
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(c.Leaf.PublicKey) {
		return errors.New("the private key is not that of the certificate")
	}
	return nil
}
