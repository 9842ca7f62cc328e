package prometheus_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v4"
)

// alert is one rule of the file.
type alert struct {
	Alert, Expr string
	Annotations map[string]string
}

// read reads a YAML file into v.
func read(t *testing.T, path string, v any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// alerts are those of the file.
func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct{ Groups []struct{ Rules []alert } }
	read(t, rules, &file)
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("%d alerts in %s", len(all), rules)
	}
	return all
}

func TestTheExamplesAreValid(t *testing.T) {
	t.Parallel()
	needsPrometheus(t)
	promtool(t, "", "check", "config", deploy+"/prometheus.yml")
	promtool(t, "", "check", "rules", rules)
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	needsPrometheus(t)
	promtool(t, "", "test", "rules", deploy+"/poller.rules.test.yml")
}

func TestEveryAlertIsSeenToFireAndNotToFire(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			Exprs []struct {
				Expr    string
				Samples []any `yaml:"exp_samples"`
			} `yaml:"promql_expr_test"`
		}
	}
	read(t, deploy+"/poller.rules.test.yml", &file)
	for _, a := range alerts(t) {
		var fires, quiet bool
		for _, test := range file.Tests {
			for _, e := range test.Exprs {
				if e.Expr == fmt.Sprintf(`ALERTS{alertname=%q, alertstate="firing"}`, a.Alert) {
					fires = fires || len(e.Samples) > 0
					quiet = quiet || len(e.Samples) == 0
				}
			}
		}
		if !fires || !quiet {
			t.Errorf("%s: it is seen to fire: %v, and not to: %v", a.Alert, fires, quiet)
		}
	}
}

func TestEveryAlertSaysWhatToDo(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^### (Poller\w+)$`).FindAllStringSubmatch(string(text), -1) {
		sections = append(sections, m[1])
	}
	var names []string
	for _, a := range alerts(t) {
		names = append(names, a.Alert)
		if want := "docs/operations.md#" + strings.ToLower(a.Alert); a.Annotations["runbook"] != want {
			t.Errorf("%s points to %q, not to %q", a.Alert, a.Annotations["runbook"], want)
		}
		if a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s does not say what is wrong and what to do", a.Alert)
		}
	}
	if !slices.Equal(sections, names) {
		t.Errorf("%s has sections for %v, and the alerts are %v", manual, sections, names)
	}
}
