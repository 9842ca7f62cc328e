package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/tlspolicy"
)

// version is a protocol version as the product that this one replaces spells
// it.
type version struct {
	name  string
	id    uint16 // 0 for what is never negotiated
	doubt string
}

var versions = []version{
	{"TLSv1", tls.VersionTLS10, ""},
	{"TLSv1_1", tls.VersionTLS11, ""},
	{"TLSv1_2", tls.VersionTLS12, ""},
	{"TLSv1_3", tls.VersionTLS13, ""},
	{"SSLv3", 0, "SSLv3 is never negotiated (RFC 7568)"},
	{"SSLv2Hello", 0, "SSLv2Hello is the format of a message and no version, so it has no effect"},
}

func protocols() kind[[]uint16] {
	names := make([]string, len(versions))
	for i, v := range versions {
		names[i] = v.name
	}
	return idsOrAll("a list out of "+either(names), lists(names), tlspolicy.AllVersions(),
		func(l *loader, w word) (uint16, error) {
			i := slices.IndexFunc(versions, func(v version) bool { return strings.EqualFold(v.name, w.text) })
			if i < 0 {
				return 0, errNot
			}
			if v := versions[i]; v.doubt != "" {
				l.warn(w.at, "ssl_authentication_protocol: %s", v.doubt)
			}
			return versions[i].id, nil
		},
		func(id uint16) string {
			return versions[slices.IndexFunc(versions, func(v version) bool { return v.id == id })].name
		},
		errors.New("which leaves no version: SSLv3 is never negotiated (RFC 7568), and SSLv2Hello is none"))
}

// suites takes the names of the IANA registry, and those of JSSE, which begin
// with SSL_ where they are older than TLS.
func suites() kind[[]uint16] {
	all := slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
	known := make([]string, len(all))
	for i, s := range all {
		known[i] = s.Name
	}
	return idsOrAll("a list of names of cipher suites, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", lists(known), tlspolicy.AllSuites(),
		func(_ *loader, w word) (uint16, error) {
			name := strings.ToUpper(clipped(w.text))
			if rest, ok := strings.CutPrefix(name, "SSL_"); ok {
				name = "TLS_" + rest
			}
			i := slices.Index(known, name)
			if i < 0 {
				near := nearest(name, known, 3, len(name))
				return 0, fmt.Errorf("of which %q is unknown, the nearest known being %s", clipped(w.text), either(near))
			}
			return all[i].ID, nil
		},
		tls.CipherSuiteName, errNot)
}

// word is one out of a list, and where it stands.
type word struct {
	text string
	at   node
}

// idsOrAll is a kind of lists of names, which may also be one text with commas,
// or the one word ALL. Each name stands for a number, or with 0 for none; a
// list of nothing else is refused with the reason none.
func idsOrAll(accepts string, s schema, all []uint16, id func(*loader, word) (uint16, error), name func(uint16) string, none error) kind[[]uint16] {
	set := func(l *loader, n node, dst *[]uint16) error {
		words, err := l.words(n)
		if err != nil {
			return err
		}
		if len(words) == 1 && strings.EqualFold(words[0].text, "ALL") {
			*dst = all
			return nil
		}
		var ids []uint16
		for _, w := range words {
			v, err := id(l, w)
			if err != nil {
				return misplaced{w.at, err}
			}
			if v != 0 && !slices.Contains(ids, v) {
				ids = append(ids, v)
			}
		}
		if len(ids) == 0 {
			return none
		}
		*dst = ids
		return nil
	}
	show := func(ids []uint16) any {
		switch {
		case len(ids) == 0:
			return nil
		case slices.Equal(ids, all):
			return "ALL"
		}
		names := make([]string, len(ids))
		for i, id := range ids {
			names[i] = name(id)
		}
		return names
	}
	return kind[[]uint16]{accepts: "ALL, or " + accepts, schema: s, set: set, show: show}
}

// words are those of a list, or of one text with commas between them.
func (l *loader) words(n node) ([]word, error) {
	items := []node{n}
	if n.Kind == yaml.SequenceNode {
		items = l.items(n)
	}
	var words []word
	for _, item := range items {
		s, err := item.text()
		if err != nil {
			return nil, misplaced{item, err}
		}
		for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
			words = append(words, word{w, item})
		}
	}
	return words, nil
}
