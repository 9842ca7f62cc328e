package tlspolicy

import (
	"crypto/tls"
	_ "embed"
	"slices"
	"strings"
)

// registry are the names of all cipher suites that there are, one a line.
//
//go:embed suites.txt
var registry string

// Suite is the cipher suite of that name, in any case: that of the IANA
// registry, or Java's, which begins with SSL_ where it is older than TLS. id is 0
// for one that the library never negotiates, known false for no name of a suite.
func Suite(name string) (id uint16, known bool) {
	name = strings.ToUpper(name)
	if rest, ok := strings.CutPrefix(name, "SSL_"); ok {
		name = "TLS_" + rest
	}
	for _, s := range allSuites() {
		if s.Name == name {
			return s.ID, true
		}
	}
	for line := range strings.Lines(registry) {
		if strings.EqualFold(strings.TrimSpace(line), name) {
			return 0, name != "" && name[0] != '#'
		}
	}
	return 0, false
}

// SuiteNames are the names of the suites that the library can negotiate.
func SuiteNames() []string {
	var names []string
	for _, s := range allSuites() {
		names = append(names, s.Name)
	}
	return names
}

// allSuites are those that the library can negotiate, weak ones included.
func allSuites() []*tls.CipherSuite {
	return slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
}

// AllSuites are the ids of those.
func AllSuites() []uint16 {
	var ids []uint16
	for _, s := range allSuites() {
		ids = append(ids, s.ID)
	}
	return ids
}
