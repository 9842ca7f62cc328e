package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
)

var clientKeyKeys = []key[mail.ClientKey]{
	of("label", "what client_key_label calls it", line(128), func(k *mail.ClientKey) *string { return &k.Label }),
	of("certificate", "its certificate, and those of its issuers behind it, PEM", path(), func(k *mail.ClientKey) *string { return &k.Certificate }),
	of("private_key", "its private key, PEM; it may be encrypted", path(), func(k *mail.ClientKey) *string { return &k.PrivateKey }),
	of("pkcs12", "both in one PKCS#12 file", path(), func(k *mail.ClientKey) *string { return &k.PKCS12 }),
	of("password", "the password of the private key or of the PKCS#12 file", secret(), func(k *mail.ClientKey) *mail.SecretSource { return &k.Password }),
}

// clientKeys is the key store.
func clientKeys() kind[[]mail.ClientKey] {
	one := mapping("key", clientKeyKeys)
	return kind[[]mail.ClientKey]{
		accepts: "a list, each of it " + one.accepts,
		schema:  orNothing(list(ref("key"))),
		set: func(l *loader, n node, dst *[]mail.ClientKey) error {
			if n.Kind != yaml.SequenceNode {
				return errNot
			}
			first := make(map[string]node)
			for _, item := range l.items(n) {
				var k mail.ClientKey
				if err := one.set(l, item, &k); err != nil {
					l.refuse(item, "keys", one.accepts, false, err)
					continue
				}
				l.clientKey(item, k)
				if earlier, taken := first[k.Label]; taken && k.Label != "" {
					l.fault(item, "label: found %q, which is taken by the key in line %d; accepted: a label of its own", k.Label, earlier.Line)
				}
				first[k.Label] = item
				*dst = append(*dst, k)
			}
			return nil
		},
		show: func(keys []mail.ClientKey) any {
			if len(keys) == 0 {
				return nil
			}
			all := make([]entries, len(keys))
			for i := range keys {
				all[i] = shown(clientKeyKeys, &keys[i])
			}
			return all
		},
	}
}

// expiresSoon is how long ahead of its end a certificate is warned of.
const expiresSoon = 30 * 24 * time.Hour

// clientKey judges what the settings of a key mean together. Its certificate
// is read, its private key is not.
func (l *loader) clientKey(n node, k mail.ClientKey) {
	switch pair := k.Certificate != "" || k.PrivateKey != ""; {
	case k.Label == "":
		l.fault(n, "label: missing; accepted: %s", clientKeyKeys[0].accepts)
	case pair == (k.PKCS12 != ""):
		l.fault(n, "keys: key %q has to have either certificate and private_key, or pkcs12", k.Label)
	case pair && (k.Certificate == "" || k.PrivateKey == ""):
		l.fault(n, "keys: key %q has only one of certificate and private_key", k.Label)
	case pair:
		c, err := readCertificate(k.Certificate)
		if err != nil {
			l.fault(n, "certificate: found %q, which cannot be used (%v); accepted: %s", clipped(k.Certificate), err, clientKeyKeys[1].accepts+" of a file of PEM certificates")
			return
		}
		if text := Expiry(c, time.Now()); text != "" {
			l.warn(n, "keys: the certificate of key %q %s", k.Label, text)
		}
	}
}

// Expiry says what there is to say of the end of a certificate: nothing when
// it is far off.
func Expiry(c *x509.Certificate, now time.Time) string {
	switch left := c.NotAfter.Sub(now); {
	case left <= 0:
		return "expired on " + c.NotAfter.UTC().Format(time.DateOnly)
	case left < expiresSoon:
		return fmt.Sprintf("expires in %d days, on %s", int(left/(24*time.Hour)), c.NotAfter.UTC().Format(time.DateOnly))
	}
	return ""
}

func readCertificate(path string) (*x509.Certificate, error) {
	rest, _, err := slurp(path)
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("it holds no PEM certificate")
		}
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
}
