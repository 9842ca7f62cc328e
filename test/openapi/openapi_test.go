// Package openapi_test holds that docs/api.yaml is OpenAPI as every tool reads
// it, and not only as the YAML library of this project does.
package openapi_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	yaml "go.yaml.in/yaml/v4"
)

// verify reports why a document is not OpenAPI.
func verify(t *testing.T, text []byte) error {
	t.Helper()
	var root yaml.Node
	if err := yaml.Load(text, &root); err != nil {
		return err
	}
	if err := plain(&root); err != nil {
		return err
	}
	d, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return err
	}
	return d.Validate(t.Context())
}

// plain reports what is YAML and has no form in JSON, which OpenAPI forbids
// (section 4.2 of OpenAPI 3.1): readers disagree about it.
func plain(n *yaml.Node) error {
	switch {
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		return fmt.Errorf("line %d: an anchor or alias", n.Line)
	case n.ShortTag() == "!!merge":
		return fmt.Errorf("line %d: a merge key", n.Line)
	case n.ShortTag() == "!!null":
		return fmt.Errorf("line %d: an empty value, as an unquoted comma makes one", n.Line)
	}
	for _, child := range n.Content {
		if err := plain(child); err != nil {
			return err
		}
	}
	return nil
}

func document(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheDescriptionOfTheAPIIsOpenAPI(t *testing.T) {
	t.Parallel()
	if err := verify(t, []byte(document(t))); err != nil {
		t.Error(err)
	}
}

// TestWhatIsNotOpenAPIIsNoticed breaks the document in the ways in which such
// documents break.
func TestWhatIsNotOpenAPIIsNoticed(t *testing.T) {
	t.Parallel()
	const text = "get:\n      summary: What is running\n"
	whole := document(t)
	for name, row := range map[string]struct{ right, wrong, says string }{
		"a comma without quotes in a parameter": {`description: "its id, or as much of it as tells it from others"`, `description: its id, or as much of it`, "unquoted comma"},
		"a comma without quotes in a schema":    {`description: "of a job that failed, where one job was asked for"`, `description: of a job, where asked for`, "unquoted comma"},
		"a merge key":                           {text, "get:\n      <<: {summary: x}\n", "merge key"},
		"an alias":                              {text, "get:\n      summary: &a x\n      description: *a\n", "alias"},
		"a key given twice":                     {text, text + "      summary: x\n", "already defined"},
		"a key that is not known":               {text, text + "      headline: x\n", "headline"},
		"a reference to nothing":                {`"#/components/responses/Version"`, `"#/components/responses/Versions"`, "Versions"},
		"a type that there is not":              {"port: {type: integer}", "port: {type: int}", `"int"`},
		"a pattern that is none":                {`"^[0-9a-f]{64}$"`, `"^[0-9a-f{64}$"`, "regexp"},
		"a parameter of the path without one":   {"{name: id, in: path", "{name: job, in: path", "path parameters"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := strings.Replace(whole, row.right, row.wrong, 1)
			if broken == whole {
				t.Fatalf("the document has no %q", row.right)
			}
			if err := verify(t, []byte(broken)); !strings.Contains(fmt.Sprint(err), row.says) {
				t.Errorf("%v", errors.Join(err, fmt.Errorf("want %q", row.says)))
			}
		})
	}
}
