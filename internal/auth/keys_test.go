package auth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

func TestAKeyIsReadOnceUntilReset(t *testing.T) {
	t.Parallel()
	certificate, private := mailtest.KeyFiles(t, mailtest.NewCA(t).Client(t, "acme"))
	keys := NewKeys(NewSecrets())
	k := &mail.ClientKey{Label: "acme", Certificate: certificate, PrivateKey: private}
	first, err := keys.Key(t.Context(), k)
	if err != nil || first.Leaf.Subject.CommonName != "acme" {
		t.Fatalf("%+v, %v", first, err)
	}
	if err := os.Remove(private); err != nil {
		t.Fatal(err)
	}
	if again, err := keys.Key(t.Context(), k); err != nil || again != first {
		t.Errorf("read again: %v", err)
	}
	keys.Reset()
	if _, err := keys.Key(t.Context(), k); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after a reset: %v", err)
	}
}

func TestAKeyThatCannotBeUsedSaysWhy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate, private := mailtest.KeyFiles(t, mailtest.NewCA(t).Client(t, "acme"))
	_, other := mailtest.KeyFiles(t, mailtest.NewCA(t).Client(t, "acme"))
	rubbish := write("rubbish", "rubbish")
	for _, c := range []struct {
		name string
		key  mail.ClientKey
		want string
	}{
		{"a missing file", mail.ClientKey{Certificate: certificate, PrivateKey: dir + "/missing"}, "missing: no such file"},
		{"a directory", mail.ClientKey{Certificate: certificate, PrivateKey: dir}, "it is not a regular file"},
		{"rubbish", mail.ClientKey{PKCS12: rubbish}, rubbish + ": "},
		{"another one's private key", mail.ClientKey{Certificate: certificate, PrivateKey: other}, "private key does not match public key"},
		{"a password that is not there", mail.ClientKey{Certificate: certificate, PrivateKey: private, Password: mail.SecretSource{File: dir + "/missing"}}, "no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.key.Label = "acme"
			_, err := NewKeys(NewSecrets()).Key(t.Context(), &c.key)
			e, ok := errors.AsType[*mail.Error](err)
			if !ok || e.Op != mail.OpSecret || e.Kind != mail.KindConfig || e.Hint == "" || !strings.Contains(e.Error(), c.want) {
				t.Errorf("%v, %+v", err, e)
			}
		})
	}
}
