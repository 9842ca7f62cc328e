package lenient

import "strings"

// Attached says whether a message has an attachment.
type Attached int

// What a structure tells.
const (
	Unknown Attached = iota // it could not be understood, or was not said
	With
	Without
)

// Bounds of a structure that is understood.
const (
	maxDepth = 32
	maxNodes = 10_000
)

// node is a value of a structure: a text, or a list.
type node struct {
	text string
	list []*node // nil for a text, and for NIL
	none bool    // NIL
}

// structure reads a BODYSTRUCTURE (RFC 9051, section 7.5.2).
func (l *lexer) structure() (Attached, error) {
	kind, _ := l.token()
	if kind != list {
		if kind == literal {
			_, err := l.literal()
			return Unknown, err
		}
		return Unknown, nil
	}
	root := &node{list: []*node{}}
	open := []*node{root}
	nodes, odd := 0, false
	add := func(n *node) {
		if nodes++; nodes > maxNodes || len(open) > maxDepth {
			odd = true
			return
		}
		top := open[len(open)-1]
		top.list = append(top.list, n)
	}
	for depth := 1; depth > 0; { // open is as deep, but for what lies too deep
		kind, value := l.token()
		switch kind {
		case list:
			n := &node{list: []*node{}}
			add(n)
			if depth++; depth <= maxDepth {
				open = append(open, n)
			}
		case closed:
			if l.over() && depth > 1 {
				return Unknown, nil // it has no end
			}
			if depth <= maxDepth {
				open = open[:len(open)-1]
			}
			depth--
		case literal:
			value, err := l.literal()
			if err != nil {
				return Unknown, err
			}
			add(&node{text: string(value)})
		case atom:
			add(&node{text: string(value), none: strings.EqualFold(string(value), "NIL")})
		case text:
			add(&node{text: string(value)})
		}
	}
	if odd {
		return Unknown, nil
	}
	return root.attached(), nil
}

// attached tells it of a part: it is marked as an attachment, or has the name of
// a file and is not marked as shown in the text.
func (n *node) attached() Attached {
	if len(n.list) == 0 {
		return Unknown
	}
	if n.list[0].list != nil { // a multipart
		all := Without
		for _, part := range n.list {
			if part.list == nil {
				break
			}
			switch part.attached() {
			case With:
				return With
			case Unknown:
				all = Unknown
			}
		}
		return all
	}
	// type, subtype, parameters, id, description, encoding, size and more
	if len(n.list) < 7 || n.list[1].list != nil || n.list[2].list == nil && !n.list[2].none {
		return Unknown
	}
	named := n.list[2].has("name")
	marked := ""
	for _, more := range n.list[7:] {
		if len(more.list) != 2 || more.list[0].list != nil || more.list[1].list == nil && !more.list[1].none {
			continue
		}
		marked = strings.ToLower(more.list[0].text)
		named = named || more.list[1].has("filename")
	}
	if marked == "attachment" || named && marked != "inline" {
		return With
	}
	return Without
}

// has reports whether a list of parameters has a name, also as RFC 2231 spells
// it, with a value.
func (n *node) has(name string) bool {
	for i := 0; i+1 < len(n.list); i += 2 {
		key, _, _ := strings.Cut(n.list[i].text, "*")
		if strings.EqualFold(key, name) && n.list[i+1].text != "" && !n.list[i+1].none {
			return true
		}
	}
	return false
}
