package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"

	"mailpoller/internal/mail"
	"mailpoller/internal/tlspolicy"
)

// Keys reads client certificates, each once until Reset. It may be used by
// many goroutines.
type Keys struct {
	secrets *Secrets // for their passwords

	mu   sync.Mutex
	read map[string]*tls.Certificate // by what is read
}

// NewKeys reads nothing yet.
func NewKeys(secrets *Secrets) *Keys {
	return &Keys{secrets: secrets, read: make(map[string]*tls.Certificate)}
}

// Key is a client certificate with its private key. Its errors are
// *mail.Error, of kind config unless ctx ended; they are not remembered.
func (k *Keys) Key(ctx context.Context, key *mail.ClientKey) (*tls.Certificate, error) {
	id := fmt.Sprintf("%q %q %q %q %s", key.Certificate, key.PrivateKey, key.PKCS12, key.Password.Literal.Reveal(), identity(key.Password))
	k.mu.Lock()
	known := k.read[id]
	k.mu.Unlock()
	if known != nil {
		return known, nil
	}
	password, err := k.secrets.Get(ctx, key.Password)
	if err != nil {
		return nil, err
	}
	c, err := parse(key, password)
	if err != nil {
		e := mail.Errorf(mail.OpSecret, mail.KindConfig, "key %s: %w", key.Label, err)
		e.Hint = "see keys: in the configuration; the user that runs poller has to be able to read the files"
		if errors.Is(err, tlspolicy.ErrPassword) {
			k.secrets.Forget(key.Password)
			e.Hint = "see password: of the key in the configuration"
		}
		return nil, e
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.read[id] = &c
	return &c, nil
}

// Reset makes Key read everything again.
func (k *Keys) Reset() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.read)
}

// maxKey bounds the size of a key's file, in octets.
const maxKey = 1 << 20

func parse(key *mail.ClientKey, password mail.Secret) (tls.Certificate, error) {
	if key.PKCS12 != "" {
		data, err := readKey(key.PKCS12)
		if err != nil {
			return tls.Certificate{}, err
		}
		c, err := tlspolicy.ParsePKCS12(data, password.Reveal())
		return c, within(key.PKCS12, err)
	}
	certificate, err := readKey(key.Certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	private, err := readKey(key.PrivateKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	c, err := tlspolicy.ParsePEM(certificate, private, password.Reveal())
	return c, within(key.Certificate+" and "+key.PrivateKey, err)
}

func within(files string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", files, err)
}

func readKey(path string) ([]byte, error) {
	data, err := readFile(path, maxKey)
	return data, within(path, err)
}
