package config

import (
	"fmt"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
)

// What RFC 2971, section 3.3, lets a client send: 30 fields, of which name and
// version are the program's own.
const (
	maxIDFields = 30 - 2
	maxIDName   = 30   // bytes
	maxIDValue  = 1024 // bytes
)

// clientID is ENABLED, DISABLED, or the further fields of an ID.
func clientID() kind[mail.ClientID] {
	onOff := enabled()
	fieldsOf := func() object {
		return object{
			"type": "object", "maxProperties": maxIDFields,
			"propertyNames":        object{"pattern": fmt.Sprintf("^[ -~]{1,%d}$", maxIDName)},
			"additionalProperties": object{"type": written, "maxLength": maxIDValue},
		}
	}
	return kind[mail.ClientID]{
		accepts: fmt.Sprintf("ENABLED, DISABLED, or a mapping of up to %d names (1 to %d printable ASCII characters, not name or version) to values (1 to %d)", maxIDFields, maxIDName, maxIDValue),
		schema:  oneOf(onOff.schema, fieldsOf),
		set: func(l *loader, n node, dst *mail.ClientID) error {
			if n.Kind == yaml.MappingNode {
				fields, wrong := l.idFields(n)
				*dst = mail.ClientID{Fields: fields}
				return wrong.orNil()
			}
			var on bool
			err := onOff.set(l, n, &on)
			*dst = mail.ClientID{Disabled: !on}
			return err
		},
		show: func(id mail.ClientID) any {
			if len(id.Fields) == 0 {
				return onOff.show(!id.Disabled)
			}
			all := make(entries, len(id.Fields))
			for i, f := range id.Fields {
				all[i] = entry{f[0], f[1]}
			}
			return all
		},
	}
}

// idFields reads the fields of an ID.
func (l *loader) idFields(n node) (fields [][2]string, wrong several) {
	for _, p := range l.pairs(n) {
		name := p.key.Value
		value, err := p.value.text()
		taken := func(f [2]string) bool { return strings.EqualFold(f[0], name) }
		switch {
		case p.key.Kind != yaml.ScalarNode || !printable(name, maxIDName):
			wrong = append(wrong, misplaced{p.key, errNot})
		case strings.EqualFold(name, "name") || strings.EqualFold(name, "version"):
			wrong = append(wrong, misplaced{p.key, fmt.Errorf("which is the program's own and sent in any case")})
		case slices.ContainsFunc(fields, taken):
			wrong = append(wrong, misplaced{p.key, fmt.Errorf("which is given twice")})
		case err != nil:
			wrong = append(wrong, misplaced{p.value, err})
		case !printable(value, maxIDValue):
			wrong = append(wrong, misplaced{p.value, errNot})
		default:
			fields = append(fields, [2]string{name, value})
		}
	}
	if len(fields) > maxIDFields {
		wrong = append(wrong, fmt.Errorf("with %d names", len(fields)))
	}
	if len(n.Content) == 0 {
		wrong = append(wrong, errNot)
	}
	return fields, wrong
}

// printable reports whether a text is one of up to so many printable ASCII
// characters, and not empty.
func printable(s string, most int) bool {
	return s != "" && len(s) <= most && strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
