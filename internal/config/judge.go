package config

import (
	"errors"
	"fmt"

	yaml "go.yaml.in/yaml/v4"
)

// Judge says what is wrong with a text as the value of a key of a connection,
// in the words of a fault without its place. It is for what a person types, or
// gives as a flag, before there is a file.
func Judge(name, value string) error {
	k := lookUp(connectionKeys, name)
	if k == nil {
		return fmt.Errorf("unknown key %q", name)
	}
	l, s := newLoader(), newSettings()
	n := node{Node: &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}}
	if err := k.set(l, n, &s); err != nil {
		l.refuse(n, k.name, k.accepts, k.secret, err)
	}
	if len(l.faults) > 0 {
		return errors.New(l.faults[0].Message)
	}
	return nil
}
