package config

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
	"mailpoller/internal/tlspolicy"
)

// loader collects what is found while files are read.
type loader struct {
	faults, warnings Faults
	limit            string          // what was too much to go on; empty while nothing is
	values           int             // read so far
	exposed          map[string]bool // by file: users who are neither its owner nor of its group can read it
	roots            map[string]roots
	spoilt           map[*mail.OAuth2]bool // a part of it has a fault
}

// roots are certificates that are trusted beside the system's, and a digest of
// the files that they are from.
type roots struct {
	pool   *x509.CertPool
	digest string
}

func newLoader() *loader {
	return &loader{exposed: make(map[string]bool), roots: make(map[string]roots), spoilt: make(map[*mail.OAuth2]bool)}
}

// What a hostile file may cost. Both are far from what one written by hand, or
// for ten thousand connections by a program, comes to.
const (
	maxFaults = 1000
	maxValues = 1 << 22 // aliases make many values of few
)

func (l *loader) fault(n node, format string, args ...any) { l.add(place(n, format, args...)) }

func (l *loader) warn(n node, format string, args ...any) {
	l.warnings = append(l.warnings, place(n, format, args...))
}

func (l *loader) add(f Fault) {
	if len(l.faults) >= maxFaults {
		l.limit = cmp.Or(l.limit, fmt.Sprintf("there are more than %d faults", maxFaults))
		return
	}
	l.faults = append(l.faults, f)
}

func place(n node, format string, args ...any) Fault {
	f := Fault{File: n.file, Message: fmt.Sprintf(format, args...)}
	if n.Node != nil {
		f.Line, f.Column = n.Line, n.Column
	}
	return f
}

// tooMany reports whether to read so many values would be more than a file may
// cost.
func (l *loader) tooMany(further int) bool {
	if l.values += further; l.values <= maxValues {
		return false
	}
	l.limit = fmt.Sprintf("there are more than %d values, aliases counted as often as they are used", maxValues)
	return true
}

// items are those of a list.
func (l *loader) items(n node) []node {
	if l.tooMany(len(n.Content)) {
		return nil
	}
	items := make([]node, len(n.Content))
	for i, c := range n.Content {
		items[i] = node{c, n.file}.resolved()
	}
	return items
}

// pair is a key of a mapping and its value.
type pair struct{ key, value node }

// pairs are those of a mapping, and behind them those that it merges from
// other mappings (https://yaml.org/type/merge.html) and has not itself.
func (l *loader) pairs(n node) []pair {
	var all []pair
	has := make(map[string]bool, len(n.Content)/2)
	merged := make(map[*yaml.Node]bool) // each once: a second time adds nothing
	var collect func(node)
	collect = func(from node) {
		if merged[from.Node] || l.tooMany(len(from.Content)/2) {
			return
		}
		merged[from.Node] = true
		var merges []node
		var own []string
		for i := 0; i+1 < len(from.Content); i += 2 {
			p := pair{node{from.Content[i], n.file}.resolved(), node{from.Content[i+1], n.file}.resolved()}
			switch {
			case p.key.ShortTag() == "!!merge":
				merges = append(merges, p.value)
			case !has[p.key.Value]:
				all = append(all, p)
				own = append(own, p.key.Value)
			}
		}
		for _, name := range own { // only now, so that one given twice shows twice
			has[name] = true
		}
		for _, m := range merges {
			sources := []node{m}
			if m.Kind == yaml.SequenceNode {
				sources = l.items(m)
			}
			for _, s := range sources {
				if s.Kind != yaml.MappingNode {
					l.fault(s, "<<: found %s; accepted: an alias of a mapping, or a list of them", s.found())
					continue
				}
				collect(s)
			}
		}
	}
	collect(n)
	return all
}

// decode reads a mapping by a table of keys into dst, and returns where each
// value stands that is not empty.
func decode[T any](l *loader, n node, keys []key[T], dst *T) map[string]node {
	pairs := l.pairs(n)
	at := make(map[string]node, len(pairs))
	first := make(map[string]node, len(pairs))
	for _, p := range pairs {
		name := p.key.Value
		if p.key.Kind != yaml.ScalarNode {
			l.fault(p.key, "found %s; accepted: a key", p.key.found())
			continue
		}
		k := lookUp(keys, name)
		if k == nil {
			l.fault(p.key, "unknown key %q%s", clipped(name), suggestion(name, keys))
			continue
		}
		if earlier, twice := first[name]; twice {
			l.fault(p.key, "%s: given twice, first in line %d", name, earlier.Line)
			continue
		}
		first[name] = p.key
		if sign := l.sign(p, k.secret); sign != 0 {
			at[name] = p.value
			l.fault(p.value, "%s: %s", name, quoteIt(name, sign))
			continue
		}
		if p.value.empty() && !k.blank {
			continue // as if it were not there
		}
		at[name] = p.value
		if err := k.set(l, p.value, dst); err != nil {
			l.refuse(p.value, k.name, k.accepts, k.secret, err)
		}
	}
	return at
}

func lookUp[T any](keys []key[T], name string) *key[T] {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

func names[T any](keys []key[T]) []string {
	all := make([]string, len(keys))
	for i := range keys {
		all[i] = keys[i].name
	}
	return all
}

func suggestion[T any](name string, keys []key[T]) string {
	best := nearest(clipped(name), names(keys), 1, min(2, len(name)/2))
	if len(best) == 0 {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best[0])
}

// errNot refuses a value for no other reason than that it is not accepted.
var errNot = errors.New("not accepted")

// verdict is an error that says all there is to say of a value, what was found
// and what is accepted included.
type verdict struct{ error }

// misplaced is an error of a part of a value.
type misplaced struct {
	n node
	error
}

// several are the errors of the parts of a value, each of which is reported.
type several []error

// Error is all of them.
func (s several) Error() string { return errors.Join(s...).Error() }

// orNil is an error only where there are some.
func (s several) orNil() error {
	if len(s) == 0 {
		return nil
	}
	return s
}

// refuse reports that the value of a key is not accepted.
func (l *loader) refuse(n node, name, accepts string, secret bool, err error) {
	var all several
	if errors.As(err, &all) {
		for _, one := range all {
			l.refuse(n, name, accepts, secret, one)
		}
		return
	}
	var part misplaced
	if errors.As(err, &part) {
		l.refuse(part.n, name, accepts, secret, part.error)
		return
	}
	found := n.found()
	if secret && n.Kind == yaml.ScalarNode && !n.empty() {
		found = "***"
	}
	var whole verdict
	switch {
	case errors.As(err, &whole):
		l.fault(n, "%s: %v", name, whole.error)
	case errors.Is(err, errNot):
		l.fault(n, "%s: found %s; accepted: %s", name, found, accepts)
	default:
		l.fault(n, "%s: found %s, %v; accepted: %s", name, found, err, accepts)
	}
}

// trusted are the roots in the files: for any number of connections read once.
// No files are the zero value.
func (l *loader) trusted(files ...string) (roots, error) {
	id := strings.Join(files, "\x00")
	if r, ok := l.roots[id]; ok || len(files) == 0 {
		return r, nil
	}
	var r roots
	for _, f := range files {
		data, _, err := slurp(f)
		if err != nil {
			return roots{}, err
		}
		r.digest += fmt.Sprintf("%x ", sha256.Sum256(data))
	}
	pool, err := tlspolicy.Roots(files...)
	if err != nil {
		return roots{}, err
	}
	r.pool = pool
	l.roots[id] = r
	return r, nil
}
