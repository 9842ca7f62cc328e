package config

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"unicode"
)

// schema makes what JSON Schema (draft 7) can tell of a value, for editors. It may
// accept what Load refuses, and never the other way round. A keyword for one
// type of values says nothing of the others. Commands have no use for it, and are
// not to wait for it: therefore it is a function.
type schema func() object

type object map[string]any

// only is a schema of a few keywords.
func only(keywords object) schema {
	return func() object { return maps.Clone(keywords) }
}

// and is a schema with some keywords more.
func (s schema) and(more object) schema {
	return func() object {
		all := s()
		maps.Copy(all, more)
		return all
	}
}

// Patterns are regular expressions for Go and for JavaScript.
const (
	control = `\x00-\x1f\x7f-\x9f` // what unicode.IsControl has
	printed = `[^` + control + `]`
)

// written are the types of a text that need not be quoted; null is an empty
// one.
var written = []string{"string", "number", "boolean", "null"}

// nothing is an empty value, which is the default.
func nothing() object { return object{"type": []string{"string", "null"}, "maxLength": 0} }

// oneOf is a value of one of some shapes.
func oneOf(schemas ...schema) schema {
	return func() object {
		all := make([]object, len(schemas))
		for i, s := range schemas {
			all[i] = s()
		}
		return object{"anyOf": all}
	}
}

// orNothing is a value of some shape, or an empty one.
func orNothing(s schema) schema { return oneOf(s, nothing) }

// list is one of such values.
func list(of schema) schema {
	return func() object { return object{"type": "array", "items": of()} }
}

// ref is a mapping with a table of keys.
func ref(name string) schema { return only(object{"$ref": "#/definitions/" + name}) }

// texts are those of a pattern.
func texts(pattern string) schema {
	return only(object{"type": []string{"string", "null"}, "pattern": "^(" + pattern + ")?$"})
}

// numbers are whole ones, and texts of a pattern, such as those with a unit.
func numbers(least, most int64, pattern string) schema {
	return only(object{"type": []string{"integer", "string", "null"}, "minimum": least, "maximum": most, "pattern": "^(" + pattern + ")?$"})
}

// words are some, in any case. An editor proposes them as they are spelled here.
func words(values ...any) schema {
	return func() object {
		spelled := make([]string, len(values))
		for i, v := range values {
			spelled[i] = fmt.Sprint(v)
		}
		return oneOf(only(object{"enum": values}), texts(anyOf(spelled)))()
	}
}

// lists are ALL, lists of words of a pattern, or one text with commas or blanks
// between them. An editor proposes some words.
func lists(proposed []string, pattern string) schema {
	return func() object {
		one := oneOf(only(object{"enum": append([]string{"ALL"}, proposed...)}), texts(`[\s,]*((`+anyCase("ALL")+`|`+pattern+`)([\s,]+|$))*`))
		return oneOf(one, list(one))()
	}
}

// anyOf is a pattern for some words.
func anyOf(words []string) string {
	patterns := make([]string, len(words))
	for i, w := range words {
		patterns[i] = anyCase(w)
	}
	return strings.Join(patterns, "|")
}

// anyCase is a pattern for a word.
func anyCase(word string) string {
	var pattern strings.Builder
	for _, r := range word {
		if upper, lower := unicode.ToUpper(r), unicode.ToLower(r); upper != lower {
			fmt.Fprintf(&pattern, "[%c%c]", upper, lower)
		} else {
			pattern.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	return pattern.String()
}
