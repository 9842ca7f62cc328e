package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/tlspolicy"
)

// version is a protocol version as the product that this one replaces spells
// it.
type version struct {
	name string
	member
}

var versions = []version{
	{"TLSv1", member{id: tls.VersionTLS10}},
	{"TLSv1_1", member{id: tls.VersionTLS11}},
	{"TLSv1_2", member{id: tls.VersionTLS12}},
	{"TLSv1_3", member{id: tls.VersionTLS13}},
	{"SSLv3", member{doubt: "%s is never negotiated (RFC 7568)"}},
	{"SSLv2Hello", member{doubt: "%s is the format of a message and no version, so it has no effect"}},
}

func protocols() kind[[]uint16] {
	names := make([]string, len(versions))
	for i, v := range versions {
		names[i] = v.name
	}
	accepts := "ALL, or a list out of " + either(names)
	return idsOrAll("ssl_authentication_protocol", accepts, lists(names, anyOf(names)), tlspolicy.AllVersions(),
		func(w word) (member, error) {
			i := slices.IndexFunc(versions, func(v version) bool { return strings.EqualFold(v.name, w.text) })
			if i < 0 {
				return member{}, fmt.Errorf("found %q; accepted: %s", clipped(w.text), accepts)
			}
			return versions[i].member, nil
		},
		func(id uint16) string {
			return versions[slices.IndexFunc(versions, func(v version) bool { return v.id == id })].name
		},
		errors.New("which leaves no version: SSLv3 is never negotiated (RFC 7568), and SSLv2Hello is none"))
}

// suites takes the names of the IANA registry, and those of JSSE, which begin
// with SSL_ where they are older than TLS.
func suites() kind[[]uint16] {
	known := tlspolicy.SuiteNames()
	return idsOrAll("accepted_cipher_suites", "ALL, or a list of names of cipher suites, such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", lists(known, `([Tt][Ll][Ss]|[Ss][Ss][Ll])_[A-Za-z0-9_]+`), tlspolicy.AllSuites(),
		func(w word) (member, error) {
			id, found := tlspolicy.Suite(w.text)
			name := clipped(w.text)
			switch {
			case !found:
				likely := nearest(strings.Replace(strings.ToUpper(name), "SSL_", "TLS_", 1), known, 3, math.MaxInt)
				return member{}, fmt.Errorf("found %q, which is unknown; the nearest known are %s", name, either(likely))
			case id == 0 && strings.HasSuffix(strings.ToUpper(name), "_SCSV"):
				return member{doubt: "signals and no cipher suites, so without effect: %s"}, nil
			case id == 0:
				return member{doubt: "known, but never negotiated, since Go does not have them: %s"}, nil
			}
			return member{id: id}, nil
		},
		tls.CipherSuiteName, errors.New("which leaves no cipher suite that Go can negotiate; docs/tls.md lists those"))
}

// word is one out of a list, and where it stands.
type word struct {
	text string
	at   node
}

// member is what a word stands for: a number, or none and a doubt, which says why
// of all such words together.
type member struct {
	id    uint16
	doubt string
}

// maxWords bounds a list of names: there are fewer cipher suites.
const maxWords = 1000

// idsOrAll is a kind of lists of names, which may also be one text with commas,
// or the one word ALL. All names that are not accepted are reported. A list of
// which no number comes is refused with the reason none.
func idsOrAll(key, accepts string, s schema, all []uint16, of func(word) (member, error), name func(uint16) string, none error) kind[[]uint16] {
	set := func(l *loader, n node, dst *[]uint16) error {
		words, wrong := l.words(n)
		if len(words) == 1 && strings.EqualFold(words[0].text, "ALL") {
			*dst = all
			return nil
		}
		if len(words) > maxWords {
			return fmt.Errorf("which has more than %d names", maxWords)
		}
		var ids []uint16
		type place struct {
			at    node
			doubt string
		}
		doubtful := make(map[place][]string)
		for _, w := range words {
			m, err := of(w)
			switch {
			case err != nil:
				wrong = append(wrong, misplaced{w.at, verdict{err}})
			case m.doubt != "":
				doubtful[place{w.at, m.doubt}] = append(doubtful[place{w.at, m.doubt}], clipped(w.text))
			case !slices.Contains(ids, m.id):
				ids = append(ids, m.id)
			}
		}
		for p, names := range doubtful {
			l.warn(p.at, key+": "+p.doubt, strings.Join(names, ", "))
		}
		if len(ids) == 0 && len(wrong) == 0 {
			return none
		}
		*dst = ids
		return wrong.orNil()
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
	return kind[[]uint16]{accepts: accepts, schema: s, set: set, show: show}
}

// words are those of a list, or of one text with commas between them.
func (l *loader) words(n node) (words []word, wrong several) {
	items := []node{n}
	if n.Kind == yaml.SequenceNode {
		items = l.items(n)
	}
	for _, item := range items {
		s, err := item.text()
		if err != nil {
			wrong = append(wrong, misplaced{item, err})
		}
		for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
			words = append(words, word{w, item})
		}
	}
	return words, wrong
}
