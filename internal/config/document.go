package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v4"
)

// node is a YAML node and the file that it stands in.
type node struct {
	*yaml.Node
	file string
}

// resolved is the node that an alias stands for.
func (n node) resolved() node {
	if n.Kind == yaml.AliasNode {
		n.Node = n.Alias
	}
	return n
}

// empty reports whether there is no value: null or "".
func (n node) empty() bool {
	return n.Kind == yaml.ScalarNode && n.sign() == 0 && (n.Value == "" || n.ShortTag() == "!!null")
}

// found says what stands in the file.
func (n node) found() string {
	switch sign := n.sign(); {
	case sign != 0:
		return fmt.Sprintf("a value that begins with %c", sign)
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.empty():
		return "nothing"
	}
	return fmt.Sprintf("%q", clipped(n.Value))
}

// clipped bounds what a fault repeats of a file.
func clipped(s string) string {
	const most = 60 // octets
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// maxFile bounds a configuration file, in octets. Ten thousand connections
// fill about four MiB.
const maxFile = 64 << 20

// read reads a file that holds one mapping. What is wrong with it is reported,
// and nil returned.
func (l *loader) read(path string) *node {
	data, mode, err := slurp(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; --config PATH or $POLLER_CONFIG name another file", err)
	}
	if err != nil {
		l.fault(node{file: path}, "%v", err)
		return nil
	}
	l.exposed[path] = mode.Perm()&0o004 != 0
	if mode.Perm()&0o002 != 0 {
		l.warn(node{file: path}, "other users can write this file, and so run programs as poller: chmod o-w %s", path)
	}
	root, fault := parse(data)
	if fault != nil {
		fault.File = path
		l.add(*fault)
		return nil
	}
	n := node{root, path}.resolved()
	if n.Kind != yaml.MappingNode {
		l.fault(n, `found %s; accepted: keys and their values, such as "host: imap.example.com"`, n.found())
		return nil
	}
	return &n
}

// slurp reads a file into memory. Its errors do not name the file.
func slurp(path string) ([]byte, fs.FileMode, error) {
	// A pipe must not keep the program waiting.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, reason(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, reason(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	return data, info.Mode(), reason(err)
}

// reason is what the system said, without the path, which the fault names.
func reason(err error) error {
	var e *fs.PathError
	if errors.As(err, &e) {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}

// parse reads the one document of a file. What is no YAML has one fault: what
// comes behind it has no meaning.
func parse(data []byte) (*yaml.Node, *Fault) {
	var document, second yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err == nil {
		err = loader.Load(&document)
	}
	if errors.Is(err, io.EOF) {
		return nil, &Fault{Message: "the file is empty"}
	}
	if err == nil {
		if err = loader.Load(&second); err == nil {
			return nil, &Fault{Line: second.Line, Column: second.Column, Message: "found a second document; accepted: one"}
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, notYAML(data, err)
	}
	dropAnchors(&document)
	return document.Content[0], nil
}

// advice replaces what the parser says. Its own words about an anchor would
// repeat a password that begins with a star.
var advice = []struct{ says, instead string }{
	{"unknown anchor", "found * and no anchor of that name"},
	{"cannot start any token", "found a character that begins no value; indent with blanks, not with tabs"},
	{"mapping values are not allowed", `found a ":" where none is expected; look at the indentation, and quote values that hold ": "`},
}

// notYAML is the fault of a file that is no YAML.
func notYAML(data []byte, err error) *Fault {
	f := &Fault{Message: err.Error()}
	var e *yaml.LoadError
	if errors.As(err, &e) {
		f.Message, f.Line, f.Column = e.Message, e.Mark.Line, e.Mark.Column
		if e.ContextMsg != "" {
			f.Message = e.ContextMsg + ": " + e.Message
		}
	}
	for _, a := range advice {
		if strings.Contains(f.Message, a.says) {
			f.Message = a.instead
		}
	}
	if f.Line == 0 {
		f.Line, f.Column = unreadable(data)
	} else if column, text := unquoted(data, f.Line, f.Column); column > 0 {
		f.Column, f.Message = column, text
	}
	f.Message = "not YAML: " + f.Message
	return f
}

// unreadable is the place of the first character that YAML does not allow at
// all, for which the parser has none.
func unreadable(data []byte) (line, column int) {
	line, column = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1, r < ' ' && r != '\t' && r != '\n' && r != '\r', r == 0x7f:
			return line, column
		case r == '\n':
			line, column = line+1, 0
		}
		data, column = data[size:], column+1
	}
	return 0, 0
}
