package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestEveryProviderOfTheDocumentationIsChecked: each block of docs/providers.md
// is a configuration that the program accepts, without a doubt about the file.
func TestEveryProviderOfTheDocumentationIsChecked(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/providers.md")
	if err != nil {
		t.Fatal(err)
	}
	ca := mailtest.NewCA(t).PEMFile(t)
	block := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	chapters := strings.Split(string(text), "\n## ")
	for _, chapter := range chapters[2:] { // behind the overview and that on tokens
		title, _, _ := strings.Cut(chapter, "\n")
		blocks := block.FindAllStringSubmatch(chapter, -1)
		if len(blocks) == 0 {
			t.Errorf("%s has no configuration", title)
		}
		for _, b := range blocks {
			s := rig.New(t)
			if err := os.WriteFile(s.Config, []byte(strings.ReplaceAll(b[1], "/etc/poller/ca.pem", ca)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, errs, code := s.Run("check")
			if code != 0 {
				t.Errorf("%s: exit code %d\n%s\n%s", title, code, b[1], errs)
			}
			// What is not there on this machine is doubted without a place.
			if doubt := regexp.MustCompile(`poller\.yaml:\d+:\d+: .*`).FindString(errs); doubt != "" {
				t.Errorf("%s: %s\n%s", title, doubt, b[1])
			}
		}
	}
	if n := len(chapters) - 2; n < 6 {
		t.Errorf("%d providers", n)
	}
}
