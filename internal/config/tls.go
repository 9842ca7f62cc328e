package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
)

// clientKey is a client certificate and its private key.
type clientKey struct {
	label, certificate, privateKey, pkcs12 string
	password                               mail.SecretSource
}

var clientKeyKeys = []key[clientKey]{
	of("label", "what client_key_label calls it", line(128), func(k *clientKey) *string { return &k.label }),
	of("certificate", "its certificate, PEM", path(), func(k *clientKey) *string { return &k.certificate }),
	of("private_key", "its private key, PEM", path(), func(k *clientKey) *string { return &k.privateKey }),
	of("pkcs12", "both in one PKCS#12 file", path(), func(k *clientKey) *string { return &k.pkcs12 }),
	of("password", "the password of the PKCS#12 file", secret(), func(k *clientKey) *mail.SecretSource { return &k.password }),
}

// validated is the value of a key of which nothing is kept.
type validated struct{}

func clientKeys() kind[validated] {
	one := mapping(clientKeyKeys)
	return kind[validated]{
		accepts: "a list, each of it " + one.accepts,
		set: func(l *loader, n node, _ *validated) error {
			if n.Kind != yaml.SequenceNode {
				return errNot
			}
			for _, item := range l.items(n) {
				if err := one.set(l, item, &clientKey{}); err != nil {
					return misplaced{item, err}
				}
			}
			return nil
		},
	}
}

// versions are the protocol versions as the product that this one replaces
// spells them. SSLv2Hello is the format of a message, and SSLv3 is never
// negotiated (RFC 7568).
var versions = []string{"TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3", "SSLv3", "SSLv2Hello"}

func protocols() kind[validated] {
	return wordsOrAll("a list out of "+either(versions), func(words []word) error {
		usable := false
		for _, w := range words {
			i := slices.IndexFunc(versions, func(v string) bool { return strings.EqualFold(v, w.text) })
			if i < 0 {
				return misplaced{w.at, errNot}
			}
			usable = usable || strings.HasPrefix(versions[i], "TLS")
		}
		if !usable {
			return errors.New("which leaves no version: SSLv3 is never negotiated (RFC 7568), and SSLv2Hello is none")
		}
		return nil
	})
}

// suites takes the names of the IANA registry, and those of JSSE, which begin
// with SSL_ where they are older than TLS.
func suites() kind[validated] {
	var known []string
	for _, s := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		known = append(known, s.Name)
	}
	return wordsOrAll("a list of names of cipher suites, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", func(words []word) error {
		for _, w := range words {
			name := strings.ToUpper(clipped(w.text))
			if rest, ok := strings.CutPrefix(name, "SSL_"); ok {
				name = "TLS_" + rest
			}
			if !slices.Contains(known, name) {
				near := nearest(name, known, 3, len(name))
				return misplaced{w.at, fmt.Errorf("of which %q is unknown, the nearest known being %s", clipped(w.text), either(near))}
			}
		}
		return nil
	})
}

// word is one out of a list, and where it stands.
type word struct {
	text string
	at   node
}

// wordsOrAll is a kind of lists of words, which may also be one text with
// commas, or the one word ALL.
func wordsOrAll(accepts string, check func([]word) error) kind[validated] {
	return kind[validated]{accepts: "ALL, or " + accepts, set: func(l *loader, n node, _ *validated) error {
		items := []node{n}
		if n.Kind == yaml.SequenceNode {
			items = l.items(n)
		}
		var words []word
		for _, item := range items {
			s, err := item.text()
			if err != nil {
				return misplaced{item, err}
			}
			for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
				words = append(words, word{w, item})
			}
		}
		switch {
		case len(words) == 0:
			return errNot
		case len(words) == 1 && strings.EqualFold(words[0].text, "ALL"):
			return nil
		}
		return check(words)
	}}
}
