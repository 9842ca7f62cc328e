package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
)

const schemaFile = "../../configs/poller.schema.json"

// TestTheSchemaIsThatOfTheTables: configs/poller.schema.json says what the tables
// of keys say.
func TestTheSchemaIsThatOfTheTables(t *testing.T) {
	t.Parallel()
	golden(t, schemaFile, encoded(t).String())
}

// encoded is the schema as it stands in the file.
func encoded(t *testing.T) *bytes.Buffer {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(assembled(t)); err != nil {
		t.Fatal(err)
	}
	return &text
}

// assembled is the schema as a whole.
func assembled(t *testing.T) object {
	t.Helper()
	definitions := make(map[string]object)
	for _, table := range tables() {
		definitions[table.name] = table.mapping()
	}
	definitions["source"]["minProperties"], definitions["source"]["maxProperties"] = 1, 1
	definitions["connection"]["required"] = []string{"name"}

	properties := make(map[string]object)
	for _, name := range named(t, "connection").names() {
		if name != "name" {
			properties[name] = object{"$ref": "#/definitions/connection/properties/" + name}
		}
	}
	definitions["defaults"] = object{"type": "object", "additionalProperties": false, "properties": properties}

	root := definitions[""]
	delete(definitions, "")
	var conditions []object
	for _, name := range required[1:] {
		conditions = append(conditions, object{
			"if":   object{"required": []string{"defaults"}, "properties": object{"defaults": object{"required": []string{name}}}},
			"else": object{"properties": object{"connections": object{"items": object{"required": []string{name}}}}},
		})
	}
	// A password, or what does without one, by the connection or the defaults.
	without := object{"anyOf": []object{
		{"required": []string{"password"}},
		{"required": []string{"oauth2"}},
		{"required": []string{"auth"}, "properties": object{"auth": texts(anyCase(string(mail.AuthExternal)))()}},
	}}
	conditions = append(conditions, object{
		"if":   object{"required": []string{"defaults"}, "properties": object{"defaults": without}},
		"else": object{"properties": object{"connections": object{"items": without}}},
	})
	maps.Copy(root, object{
		"$schema": "http://json-schema.org/draft-07/schema#", "title": "The configuration of poller",
		"allOf": conditions, "definitions": definitions,
	})
	return root
}

// mapping is the schema of a mapping with the keys of a table.
func (t table) mapping() object {
	properties := make(map[string]object, len(t.rows))
	for _, r := range t.rows {
		s := maps.Clone(r.schema)
		s["description"] = r.about + ". Accepted: " + r.accepts + "."
		if r.standard != nil {
			s["default"] = r.standard
		}
		properties[r.name] = s
	}
	s := object{"type": "object", "additionalProperties": false, "properties": properties}
	if t.required != nil {
		s["required"] = t.required
	}
	return s
}

// compiled is the schema, or a part of it.
func compiled(t *testing.T, part string) *jsonschema.Schema {
	t.Helper()
	text, err := jsonschema.UnmarshalJSON(encoded(t))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("poller.schema.json", text); err != nil {
		t.Fatal(err)
	}
	s, err := compiler.Compile("poller.schema.json#" + part)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// plain is a value as an editor sees it. One that holds itself is cut off.
func plain(n node, depth int) any {
	l := newLoader()
	switch {
	case depth > 8:
		return nil
	case n.Kind == yaml.MappingNode:
		m := make(map[string]any)
		for _, p := range l.pairs(n) {
			m[p.key.Value] = plain(p.value, depth+1)
		}
		return m
	case n.Kind == yaml.SequenceNode:
		all := []any{}
		for _, item := range l.items(n) {
			all = append(all, plain(item, depth+1))
		}
		return all
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err == nil {
			if f, ok := v.(float64); !ok || !math.IsInf(f, 0) && !math.IsNaN(f) {
				return v
			}
		}
	}
	return n.Value
}

// root is the document of a file; ok is false for what is none.
func root(text []byte) (n node, ok bool) {
	parsed, fault := parse(text)
	if fault != nil || parsed == nil {
		return node{}, false
	}
	return node{parsed, ""}.resolved(), true
}

// block is a configuration within a page.
var block = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

// examples are the configurations that people are shown, by their place.
func examples(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"../../configs/*.yaml", "testdata/good/*.yaml", "../../*.md", "../../docs/*.md", "../../docs/*/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if filepath.Ext(file) == ".yaml" {
				all[file] = string(text)
				all[file+", with what is commented out"] = commented.ReplaceAllString(string(text), "$1$2")
				continue
			}
			for i, b := range block.FindAllStringSubmatch(string(text), -1) {
				all[fmt.Sprintf("%s, block %d", file, i+1)] = b[1]
			}
		}
	}
	if len(all) < 10 {
		t.Errorf("only %d examples", len(all))
	}
	return all
}

// TestAnEditorAcceptsEveryExample: those of configs/ and of the documentation.
func TestAnEditorAcceptsEveryExample(t *testing.T) {
	t.Parallel()
	s := compiled(t, "")
	for place, text := range examples(t) {
		n, ok := root([]byte(text))
		if !ok {
			t.Errorf("%s is not YAML", place)
			continue
		}
		if err := s.Validate(plain(n, 0)); err != nil {
			t.Errorf("%s: %v", place, err)
		}
	}
}

// TestAnEditorAcceptsWhatLoadDoes: no value that a key takes is wrong by the
// schema. Every value of every file is tried with every key.
func TestAnEditorAcceptsWhatLoadDoes(t *testing.T) {
	t.Parallel()
	var pool []node
	var gather func(node, int)
	gather = func(n node, depth int) {
		if depth > 8 {
			return
		}
		pool = append(pool, n)
		switch n.Kind {
		case yaml.MappingNode:
			for _, p := range newLoader().pairs(n) {
				gather(p.value, depth+1)
			}
		case yaml.SequenceNode:
			for _, item := range newLoader().items(n) {
				gather(item, depth+1)
			}
		}
	}
	files, err := filepath.Glob("testdata/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := root(text); ok && filepath.Base(file) != "deep.yaml" {
			gather(n, 0)
		}
	}
	odd, _ := root([]byte(`[0, 1, 10, 010, 0600, 0777, 400, "+5", 1h2m, .5s, 1.5h, 1m 30s, 25 mib, 1gb, yes, true, ~, "",
		"::1", "[::1]", "fe80::1%eth0", ":9469", "[::1]:9469", "unix:/x", all, "tlsv1,TLSV1_3", "ssl_rsa_with_rc4_128_sha", [TLS_AES_128_GCM_SHA256],
		"  @daily ", "TZ=UTC 0 0 * * *", "*/5\t* * * *", HTTPS://x.example/t, consumers, "a b c", "größe.example", a, A, é]`))
	gather(odd, 0)
	taken := 0
	for _, table := range tables() {
		for _, r := range table.rows {
			if r.name == "defaults" || r.name == "connections" {
				continue // what is in them has rows of its own
			}
			s := compiled(t, part(table, r.name))
			for _, n := range pool {
				if !r.takes(n) {
					continue
				}
				taken++
				if err := s.Validate(plain(n, 0)); err != nil {
					t.Errorf("%s: %s is taken, and wrong by the schema: %v", r.name, n.found(), err)
				}
			}
		}
	}
	if taken < 1000 {
		t.Errorf("%d values are taken of %d", taken, len(pool))
	}
}

// part is where a key stands in the schema.
func part(t table, key string) string {
	if t.name == "" {
		return "/properties/" + key
	}
	return "/definitions/" + t.name + "/properties/" + key
}

// TestWhatAnEditorCannotTell is a list: all else that is wrong with the files of
// faults, it tells. A file stands there when it is right as a whole.
func TestWhatAnEditorCannotTell(t *testing.T) {
	t.Parallel()
	whole := compiled(t, "")
	parts := make(map[string]*jsonschema.Schema)
	var found []string
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n, ok := root(text)
		if !ok {
			continue // no editor takes it for YAML
		}
		name := filepath.Base(file)
		if whole.Validate(plain(n, 0)) == nil {
			found = append(found, name)
		}
		judge := func(in table, n node) {
			if n.Kind != yaml.MappingNode {
				return
			}
			for _, p := range newLoader().pairs(n) {
				i := slices.Index(in.names(), p.key.Value)
				if i < 0 || in.rows[i].takes(p.value) {
					continue
				}
				place := part(in, p.key.Value)
				if parts[place] == nil {
					parts[place] = compiled(t, place)
				}
				if parts[place].Validate(plain(p.value, 0)) == nil {
					found = append(found, fmt.Sprintf("%s: %s: %s", name, p.key.Value, p.value.found()))
				}
			}
		}
		judge(named(t, ""), n)
		if n.Kind != yaml.MappingNode {
			continue
		}
		for _, p := range newLoader().pairs(n) {
			switch p.key.Value {
			case "defaults":
				judge(named(t, "connection"), p.value)
			case "connections":
				for _, item := range newLoader().items(p.value) {
					judge(named(t, "connection"), item)
				}
			}
		}
	}
	golden(t, "testdata/beyond-the-schema.golden", strings.Join(found, "\n")+"\n")
}
