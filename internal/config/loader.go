package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/tlspolicy"
)

// loader collects what is found while files are read.
type loader struct {
	faults, warnings Faults
	roots            map[string]rootsResult // by the names of the files
	open             map[string]bool        // files that others may read, by name
}

type rootsResult struct {
	pool   *x509.CertPool
	digest string
	err    error
}

func newLoader(string) *loader {
	return &loader{roots: make(map[string]rootsResult), open: make(map[string]bool)}
}

// node is a YAML node and the file that it stands in.
type node struct {
	*yaml.Node
	file string
}

func (l *loader) fault(n node, format string, args ...any) {
	l.faults = append(l.faults, newFault(n, format, args...))
}

func (l *loader) warn(n node, format string, args ...any) {
	l.warnings = append(l.warnings, newFault(n, format, args...))
}

func newFault(n node, format string, args ...any) Fault {
	f := Fault{File: n.file, Message: fmt.Sprintf(format, args...)}
	if n.Node != nil {
		f.Line, f.Column = n.Line, n.Column
	}
	return f
}

// maxFile bounds a configuration file, in octets. Ten thousand connections
// fill about four MiB.
const maxFile = 64 << 20

// read reads a file that holds one mapping.
func (l *loader) read(path string) (node, bool) {
	whole := node{file: path}
	data, info, err := slurp(path)
	if err != nil {
		l.fault(whole, "%v", err)
		return node{}, false
	}
	l.open[path] = info.Mode().Perm()&0o077 != 0
	root := &yaml.Node{}
	if err := yaml.Load(data, root); err != nil {
		l.syntax(path, err)
		return node{}, false
	}
	n := node{root, path}
	if root.Kind == yaml.DocumentNode && len(root.Content) > 0 {
		n.Node = root.Content[0]
	}
	if n = n.resolved(); n.Kind != yaml.MappingNode {
		l.fault(n, "found %s; accepted: keys and their values, such as \"host: imap.example.com\"", n.found())
		return node{}, false
	}
	return n, true
}

func slurp(path string) ([]byte, fs.FileInfo, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, nil, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errors.New("this is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, reason(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("the file is larger than %d MiB", maxFile>>20)
	}
	return data, info, reason(err)
}

// reason is what the system said, without the path, which the fault names.
func reason(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}

// syntax reports what is no YAML. There is one such fault: what comes behind
// it has no meaning.
func (l *loader) syntax(path string, err error) {
	f := Fault{File: path, Message: "not YAML: " + err.Error()}
	var single *yaml.LoadError
	var several *yaml.LoadErrors
	switch {
	case errors.As(err, &single):
		f.Message = "not YAML: " + single.Message
		f.Line, f.Column = single.Mark.Line, single.Mark.Column
	case errors.As(err, &several) && len(several.Errors) > 0:
		f.Message = strings.TrimPrefix(several.Errors[0].Message, "yaml: ")
	}
	if f.Message == "no documents in stream" {
		f.Message = "the file is empty"
	}
	l.faults = append(l.faults, f)
}

// resolved is the node that an alias stands for.
func (n node) resolved() node {
	for n.Node != nil && n.Kind == yaml.AliasNode {
		n.Node = n.Alias
	}
	return n
}

// empty reports whether there is no value: null or "".
func (n node) empty() bool {
	return n.Kind == yaml.ScalarNode && (n.Value == "" || n.ShortTag() == "!!null")
}

// maxFound bounds what a fault repeats of a file, in octets.
const maxFound = 60

// found says what stands in the file.
func (n node) found() string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if n.empty() {
		return "nothing"
	}
	text := n.Value
	if len(text) > maxFound {
		text = strings.ToValidUTF8(text[:maxFound], "") + "..."
	}
	return fmt.Sprintf("%q", text)
}

// pair is a key of a mapping and its value.
type pair struct{ key, value node }

// pairs are those of a mapping, with those that it merges ("<<") from others
// where it has no such key itself. A mapping that merges itself ends there.
func (n node) pairs() []pair {
	var own, merged []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		p := pair{node{n.Content[i], n.file}, node{n.Content[i+1], n.file}.resolved()}
		if p.key.ShortTag() != "!!merge" {
			own = append(own, p)
			continue
		}
		from := []node{p.value}
		if p.value.Kind == yaml.SequenceNode {
			from = p.value.items()
		}
		for _, m := range from {
			for j := 0; m.Kind == yaml.MappingNode && j+1 < len(m.Content); j += 2 {
				merged = append(merged, pair{node{m.Content[j], n.file}, node{m.Content[j+1], n.file}.resolved()})
			}
		}
	}
	has := make(map[string]bool, len(own))
	for _, p := range own {
		has[p.key.Value] = true
	}
	for _, p := range merged {
		if !has[p.key.Value] {
			has[p.key.Value] = true
			own = append(own, p)
		}
	}
	return own
}

// items are those of a list.
func (n node) items() []node {
	items := make([]node, len(n.Content))
	for i, c := range n.Content {
		items[i] = node{c, n.file}.resolved()
	}
	return items
}

// decode reads a mapping by a table of keys into dst, and returns where each
// key's value stands.
func decode[T any](l *loader, n node, keys []key[T], dst *T) map[string]node {
	at := make(map[string]node)
	if n = n.resolved(); n.Kind != yaml.MappingNode {
		l.fault(n, "found %s; accepted: keys and their values", n.found())
		return at
	}
	for _, p := range n.pairs() {
		name := p.key.resolved().Value
		k := lookUp(keys, name)
		switch first, twice := at[name]; {
		case k == nil:
			l.fault(p.key, "unknown key %q%s", clipped(name), suggestion(name, keyNames(keys)))
			continue
		case twice:
			l.fault(p.key, "%s: given twice, first in line %d", name, first.Line)
			continue
		}
		at[name] = p.value
		if p.value.empty() && k.empty == nil {
			continue // as if it were not there
		}
		set := k.set
		if p.value.empty() {
			set = k.empty
		}
		if err := set(l, p.value, dst); err != nil {
			l.refuse(p.value, k.name, k.accepts, k.secret, err)
			continue
		}
		if k.later {
			l.fault(p.value, "%s: not supported by this version yet", k.name)
		}
	}
	return at
}

// errNot refuses a value for no other reason than that it is not accepted.
var errNot = errors.New("not accepted")

// errReported is a value whose faults are reported already.
var errReported = errors.New("reported")

func (l *loader) refuse(n node, name, accepts string, secret bool, err error) {
	found := n.found()
	if secret && n.Kind == yaml.ScalarNode {
		found = "***"
	}
	switch {
	case errors.Is(err, errReported):
	case errors.Is(err, errNot):
		l.fault(n, "%s: found %s; accepted: %s", name, found, accepts)
	default:
		l.fault(n, "%s: found %s, %v; accepted: %s", name, found, err, accepts)
	}
}

func lookUp[T any](keys []key[T], name string) *key[T] {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

func keyNames[T any](keys []key[T]) []string {
	names := make([]string, len(keys))
	for i := range keys {
		names[i] = keys[i].name
	}
	return names
}

func clipped(s string) string {
	if len(s) > maxFound {
		return strings.ToValidUTF8(s[:maxFound], "") + "..."
	}
	return s
}

// suggestion names the known word that is nearest to one that is not.
func suggestion(word string, known []string) string {
	const far = 3
	best, nearest := far, ""
	for _, k := range known {
		if d := distance(strings.ToLower(clipped(word)), k, best); d < best {
			best, nearest = d, k
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", nearest)
}

// distance is how many letters have to be changed, added or taken away to make
// one word of the other (Levenshtein), or far when it is at least that.
func distance(a, b string, far int) int {
	if len(a)-len(b) >= far || len(b)-len(a) >= far {
		return far
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			row[j+1] = min(cost, above+1, row[j]+1)
			diagonal = above
		}
	}
	return min(row[len(b)], far)
}

// certificates are the system's roots and those of the files, read once.
func (l *loader) certificates(files ...string) rootsResult {
	id := strings.Join(files, "\x00")
	if r, ok := l.roots[id]; ok {
		return r
	}
	var r rootsResult
	r.pool, r.err = tlspolicy.Roots(files...)
	for _, f := range files {
		if data, _, err := slurp(f); err == nil {
			r.digest += digest(string(data))
		}
	}
	l.roots[id] = r
	return r
}
