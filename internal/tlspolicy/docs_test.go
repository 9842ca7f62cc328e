package tlspolicy

import (
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table of the documentation")

const page = "../../docs/tls.md"

func TestEverySuiteIsDocumented(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	table.WriteString("| suite | versions | by default |\n| --- | --- | --- |\n")
	secure := tls.CipherSuites()
	for _, s := range allSuites() {
		var versions []string
		for _, v := range s.SupportedVersions {
			versions = append(versions, strings.TrimPrefix(tls.VersionName(v), "TLS "))
		}
		byDefault := "no"
		if slices.ContainsFunc(secure, func(c *tls.CipherSuite) bool { return c.ID == s.ID }) {
			byDefault = "yes"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", s.Name, strings.Join(versions, ", "), byDefault)
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- the suites -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", page)
	}
	want := before + begin + table.String() + end + after
	if *update {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Errorf("%s is not what the library knows; go test ./internal/tlspolicy -update writes it", page)
	}
}
