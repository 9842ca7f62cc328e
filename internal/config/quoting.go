package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v4"
)

// Some characters mean something else to YAML at the beginning of a value. A
// password that begins with one and is not quoted is then no YAML, or worse, it
// is empty or a part of what was meant.

// sign is the character at the beginning of a value that took it away from what
// was written; 0 where there is none.
func (n node) sign() rune {
	if n.Node == nil {
		return 0
	}
	scalar := n.Kind == yaml.ScalarNode
	switch {
	case n.Tag == "!" || n.Style&yaml.TaggedStyle != 0 && !slices.Contains(coreTags, n.ShortTag()):
		return '!'
	case scalar && n.Anchor != "":
		return '&'
	case scalar && n.Value == "" && n.Style&yaml.LiteralStyle != 0:
		return '|'
	case scalar && n.Value == "" && n.Style&yaml.FoldedStyle != 0:
		return '>'
	}
	return 0
}

// coreTags are those that say nothing but what a value is anyway.
var coreTags = []string{"!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!merge", "!!map", "!!seq"}

// sign is that of a value, and for a secret also the # of a comment. A comment
// behind a secret is a doubt when it may be the rest of it.
func (l *loader) sign(p pair, secret bool) rune {
	sign := p.value.sign()
	switch {
	case sign != 0 || !secret:
	case p.value.empty() && cut(p.key.LineComment):
		return '#'
	case p.value.Kind == yaml.ScalarNode && p.value.Style == 0 && cut(p.value.LineComment):
		l.warn(p.value, "%s: what stands behind the # is a comment; quote the whole value if it belongs to it", p.key.Value)
	}
	return sign
}

// cut reports whether a comment looks like a part of a value: people write a
// blank behind the #.
func cut(comment string) bool { return len(comment) > 1 && comment[0] == '#' && comment[1] > ' ' }

// quoteIt says what to do about a value that begins with such a character, and
// does not repeat the value.
func quoteIt(key string, sign rune) string {
	if key != "" {
		key += ": "
	}
	return fmt.Sprintf("found a value that begins with %c, which means something else in YAML; quote it: %s'%[1]c...'", sign, key)
}

// dropAnchors removes the anchors that an alias refers to: those that are left
// name nothing.
func dropAnchors(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		n.Alias.Anchor = ""
	}
	for _, c := range n.Content {
		dropAnchors(c)
	}
}

// unquoted finds the value, before the place where the parser gave up, that
// begins with a character of YAML's own. The column is 0 where there is none.
func unquoted(data []byte, line, column int) (at int, text string) {
	lines := bytes.SplitN(data, []byte("\n"), line+1)
	if len(lines) < line {
		return 0, ""
	}
	runes := []rune(string(lines[line-1]))
	for i := min(column, len(runes)) - 1; i >= 0; i-- {
		if !strings.ContainsRune("!&*@`%|>,]}-?", runes[i]) {
			continue
		}
		before := string(runes[:i])
		key := strings.TrimRight(before, " ")
		if strings.HasSuffix(key, ":") && key != before {
			return i + 1, quoteIt(keyBefore(key), runes[i])
		}
		list := strings.Trim(before, " -") == "" || strings.HasSuffix(key, ",") || strings.HasSuffix(key, "[")
		if list && !strings.ContainsRune(",]}-?", runes[i]) {
			return i + 1, quoteIt("", runes[i])
		}
	}
	return 0, ""
}

// keyBefore is the key that ends a text, where it is one of this file's; a text
// of another kind may be a secret.
func keyBefore(text string) string {
	text = strings.TrimRight(text, " :")
	name := text[strings.LastIndexAny(text, " {,")+1:]
	for _, known := range [][]string{
		names(topKeys), names(connectionKeys), names(sourceKeys), names(clientKeyKeys), names(oauth2Keys), names(proxyKeys), names(apiTokenKeys),
	} {
		if slices.Contains(known, name) {
			return name
		}
	}
	return ""
}
