package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
	"mailpoller/internal/match"
)

// matchKeys are those of a filter that lies so deep in others. They are made
// when they are needed: not and any hold filters again.
func matchKeys(depth int) []key[match.Filter] {
	return []key[match.Filter]{
		of("from", "a part of the field From, in any case; of several, any", parts(1), func(f *match.Filter) *[]string { return &f.From }),
		of("to", "likewise, of the field To", parts(1), func(f *match.Filter) *[]string { return &f.To }),
		of("subject", "likewise, of the field Subject", parts(1), func(f *match.Filter) *[]string { return &f.Subject }),
		of("header", "likewise, of other fields, each by its name; an empty text where the field is there at all", fields(), func(f *match.Filter) *[]match.Header { return &f.Header }),
		of("larger", "more octets than this", atLeastOne(), func(f *match.Filter) *int64 { return &f.Larger }),
		of("smaller", "fewer octets than this", atLeastOne(), func(f *match.Filter) *int64 { return &f.Smaller }),
		of("since", "received within this time, or on this day or later", since(), func(f *match.Filter) *match.Since { return &f.Since }),
		of("has_attachment", "whether there is an attachment", sign(), func(f *match.Filter) **bool { return &f.HasAttachment }),
		of("flagged", "whether it is flagged; IMAP only", sign(), func(f *match.Filter) **bool { return &f.Flagged }),
		of("not", "a filter that does not match", pointed(filter(depth+1)), func(f *match.Filter) **match.Filter { return &f.Not }),
		of("any", "filters of which at least one matches", filters(depth+1), func(f *match.Filter) *[]match.Filter { return &f.Any }),
	}
}

const filterAccepts = "a mapping with at least one of the keys from, to, subject, header, larger, smaller, since, has_attachment, flagged, not, any"

// matching is a filter. An empty one is none, also where the defaults have one.
func matching() kind[*match.Filter] { return orEmpty(pointed(filter(1))) }

// filter is one that lies so deep in others.
func filter(depth int) kind[match.Filter] {
	return kind[match.Filter]{
		accepts: filterAccepts,
		schema:  only(object{"type": []string{"object", "string", "null"}}),
		set: func(l *loader, n node, dst *match.Filter) error {
			if n.Kind != yaml.MappingNode {
				return errNot
			}
			if depth > match.MaxDepth { // an alias may lead into itself
				return verdict{fmt.Errorf("found filters that lie more than %d deep in each other; accepted: up to that", match.MaxDepth)}
			}
			var f match.Filter
			faults := len(l.faults)
			given := decode(l, n, matchKeys(depth), &f)
			switch {
			case len(l.faults) > faults:
				return nil
			case len(given) == 0:
				return errors.New("which is empty")
			}
			if depth == 1 {
				if err := f.Check(); err != nil {
					return verdict{err}
				}
			}
			*dst = f
			return nil
		},
		show: func(f match.Filter) any { return shown(matchKeys(depth), &f) },
	}
}

// filters is a list of some.
func filters(depth int) kind[[]match.Filter] {
	return kind[[]match.Filter]{
		accepts: "a list of filters, each " + filterAccepts,
		set: func(l *loader, n node, dst *[]match.Filter) error {
			if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
				return errNot
			}
			one := filter(depth)
			var all []match.Filter
			var wrong several
			for _, item := range l.items(n) {
				if l.limit != "" { // an alias may lead into itself, many times
					break
				}
				var f match.Filter
				if err := one.set(l, item, &f); err != nil {
					wrong = append(wrong, misplaced{item, err})
				}
				all = append(all, f)
			}
			*dst = all
			return wrong.orNil()
		},
		show: func(all []match.Filter) any {
			if len(all) == 0 {
				return nil
			}
			each := make([]entries, len(all))
			for i := range all {
				each[i] = shown(matchKeys(depth), &all[i])
			}
			return each
		},
	}
}

// pointed is a kind of values that may be missing.
func pointed[V any](k kind[V]) kind[*V] {
	return kind[*V]{
		accepts: k.accepts,
		schema:  k.schema,
		set: func(l *loader, n node, dst **V) error {
			var v V
			if err := k.set(l, n, &v); err != nil {
				return err
			}
			*dst = &v
			return nil
		},
		show: func(v *V) any {
			if v == nil {
				return nil
			}
			return k.show(*v)
		},
	}
}

func sign() kind[*bool] { return pointed(boolean()) }

// parts is one text or a list of texts, each of at least so many characters.
func parts(least int) kind[[]string] {
	one := line(match.MaxText)
	return kind[[]string]{
		accepts: fmt.Sprintf("a text of %d to %d characters without control characters, or a list of them", least, match.MaxText),
		set: func(l *loader, n node, dst *[]string) error {
			items := []node{n}
			if n.Kind == yaml.SequenceNode {
				items = l.items(n)
			}
			var all []string
			var wrong several
			for _, item := range items {
				var s string
				err := one.set(l, item, &s)
				if err == nil && len(s) < least {
					err = errNot
				}
				if err != nil {
					wrong = append(wrong, misplaced{item, err})
				}
				all = append(all, s)
			}
			if len(all) == 0 {
				return errNot
			}
			*dst = all
			return wrong.orNil()
		},
		show: func(all []string) any {
			switch len(all) {
			case 0:
				return nil
			case 1:
				return all[0]
			}
			return all
		},
	}
}

// fields is a mapping of the names of header fields to texts.
func fields() kind[[]match.Header] {
	values := parts(0)
	return kind[[]match.Header]{
		accepts: "a mapping of names of header fields, each to a part of the field, or to a list of them",
		set: func(l *loader, n node, dst *[]match.Header) error {
			if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
				return errNot
			}
			var all []match.Header
			var wrong several
			for _, p := range l.pairs(n) {
				h := match.Header{Name: p.key.Value}
				switch {
				case p.key.Kind != yaml.ScalarNode || !isField(h.Name):
					wrong = append(wrong, misplaced{p.key, errors.New("which is no name of a header field")})
				case slices.ContainsFunc(all, func(earlier match.Header) bool { return strings.EqualFold(earlier.Name, h.Name) }):
					wrong = append(wrong, misplaced{p.key, errors.New("which is given twice")})
				}
				if err := values.set(l, p.value, &h.Texts); err != nil {
					wrong = append(wrong, misplaced{p.value, err})
				}
				all = append(all, h)
			}
			*dst = all
			return wrong.orNil()
		},
		show: func(all []match.Header) any {
			if len(all) == 0 {
				return nil
			}
			var shown entries
			for _, h := range all {
				shown = append(shown, entry{h.Name, values.show(h.Texts)})
			}
			return shown
		},
	}
}

// isField reports whether a text is the name of a header field (RFC 5322,
// section 2.2).
func isField(name string) bool {
	return name != "" && len(name) <= 76 && strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' }) < 0
}

// atLeastOne is a size other than none.
func atLeastOne() kind[int64] {
	k := size()
	set := k.set
	k.accepts += ", and at least 1"
	k.set = func(l *loader, n node, dst *int64) error {
		var v int64
		if err := set(l, n, &v); err != nil {
			return err
		}
		if v < 1 {
			return errNot
		}
		*dst = v
		return nil
	}
	k.show = func(v int64) any {
		if v == 0 {
			return nil
		}
		return v
	}
	return k
}

// longest bounds how far back a filter looks.
const longest = 100 * 365 * day

// since is a time before now, or a day.
func since() kind[match.Since] {
	return scalar(fmt.Sprintf("a duration such as 72h, from %s to %s, or a day such as 2026-01-31", short(time.Minute), short(longest)), only(object{"type": written}),
		func(s string) (match.Since, error) {
			if at, err := time.Parse(time.DateOnly, s); err == nil && at.Year() >= 1970 {
				return match.Since{Day: at}, nil
			}
			ago, err := time.ParseDuration(s)
			if err != nil || ago < time.Minute || ago > longest {
				return match.Since{}, errNot
			}
			return match.Since{Ago: ago}, nil
		}, func(s match.Since) any {
			switch {
			case s.Ago > 0:
				return short(s.Ago)
			case s.Day.IsZero():
				return nil
			}
			return s.Day.Format(time.DateOnly)
		})
}

// matched judges what a filter asks for that the protocol does not know.
func (l *loader) matched(s *section) {
	if s.Match != nil && s.Store == mail.POP3 && s.Match.AsksForFlags() {
		l.fault(s.place("match"), "match: found flagged, but POP3 has no flags; accepted: a filter without it, or store_type: IMAP")
	}
}
