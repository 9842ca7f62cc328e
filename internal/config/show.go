package config

import (
	"io"

	yaml "go.yaml.in/yaml/v4"
)

// entry is a key and its value, as they are shown.
type entry struct {
	key   string
	value any
}

// entries are a mapping that keeps its order.
type entries []entry

// shown is what a table shows of v.
func shown[T any](keys []key[T], v *T) entries {
	all := make(entries, 0, len(keys))
	for i := range keys {
		if value := keys[i].show(v); value != nil {
			all = append(all, entry{keys[i].name, value})
		}
	}
	return all
}

// MarshalYAML is the mapping.
func (e entries) MarshalYAML() (any, error) {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, entry := range e {
		var key, value yaml.Node
		key.SetString(entry.key)
		if err := value.Encode(entry.value); err != nil {
			return nil, err
		}
		m.Content = append(m.Content, &key, &value)
	}
	return m, nil
}

// Show writes the settings in force as YAML that can be loaded again: every
// default filled in, values spelled as the documentation spells them, secrets
// masked.
func (c *Config) Show(w io.Writer) error {
	connections := make([]entries, len(c.Connections))
	for i := range connections {
		s := settings{Connection: c.Connections[i], caFile: c.caFiles[i]}
		if s.Key != nil {
			s.keyLabel = s.Key.Label
		}
		connections[i] = shown(connectionKeys, &s)
	}
	all := append(shown(topKeys, &top{Config: c}), entry{"connections", connections})
	text, err := yaml.Dump(all)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
