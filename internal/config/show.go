package config

import (
	"fmt"
	"io"

	yaml "go.yaml.in/yaml/v4"
)

// item is a key and its value, as shown.
type item struct {
	Key   string
	Value any
}

// items keep their order.
type items []item

// shown is what a table shows of v.
func shown[T any](keys []key[T], v *T) items {
	var all items
	for _, k := range keys {
		if k.show == nil {
			continue
		}
		if value := k.show(v); value != nil {
			all = append(all, item{k.name, value})
		}
	}
	return all
}

// MarshalYAML makes a mapping of items, in their order.
func (i items) MarshalYAML() (any, error) {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, it := range i {
		var value yaml.Node
		if err := value.Encode(it.Value); err != nil {
			return nil, fmt.Errorf("show %s: %w", it.Key, err)
		}
		m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: it.Key}, &value)
	}
	return m, nil
}

// Show writes the settings in force as YAML: every default filled in, values
// spelled as the documentation spells them, secrets masked.
func (c *Config) Show(w io.Writer) error {
	all := shown(topKeys, &file{Config: c})
	connections := make([]items, len(c.drafts))
	for i, d := range c.drafts {
		connections[i] = shown(connectionKeys, d)
	}
	text, err := yaml.Dump(append(all, item{"connections", connections}))
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}
