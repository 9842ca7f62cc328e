package header

import (
	"bytes"
	"strings"
)

// Address is one of a header. Its name is empty where it has none.
type Address struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address"`
}

// Addresses are those of a field such as From (RFC 5322, section 3.4), decoded: at
// most 100 of them. Groups are taken apart. A name may lack its quotes, also around
// a comma. What has no address is left out.
func Addresses(value string) []Address {
	if strings.Contains(value, "\x1b") { // half a character may look like a comma, a quote or a bracket
		value = Legible(value)
	}
	l := &addressList{text: value, groupsEnd: strings.LastIndexByte(value, ';')}
	for l.at < len(l.text) && len(l.all) < maxList {
		l.token()
	}
	l.end()
	return l.all[:min(len(l.all), maxList)]
}

// addressList is how far a list is read.
type addressList struct {
	text      string
	at        int
	groupsEnd int // no group ends behind this
	all       []Address

	// The entry at hand.
	words    [][]byte // of its name, or what stands for its address without brackets
	joined   bool     // nothing stood between the last word and what comes
	address  string   // in brackets
	before   int      // how many of the words stand before it
	remark   string   // the last comment, which is where a name once stood
	nameless []string // entries before it without an address: most likely the name has commas in it

	// What was looked for in vain is not looked for again, so that the time is linear.
	noQuote              int // quotes before this mean nothing
	noNesting, noComment bool
}

// token reads one token.
func (l *addressList) token() {
	rest := l.text[l.at:]
	length := 0
	switch c := rest[0]; c {
	case ' ', '\t', '\r', '\n', '>':
		l.at++
		l.joined = false
		return
	case ',', ';':
		l.at++
		l.end()
		return
	case ':':
		if l.at < l.groupsEnd || isBlank(rest[1:]) { // what came before it is the name of a group
			l.at++
			if l.address != "" { // a comma is missing
				l.words = l.words[:l.before]
			}
			l.end()
			l.nameless = nil
			return
		}
	case '"':
		text, length := l.quoted(rest)
		l.at += length
		if length == 1 { // it is never closed
			return
		}
		l.word(text)
		return
	case '(':
		if length = l.comment(rest); length > 0 {
			l.at += length
			l.remark, l.joined = rest[1:length-1], false
			return
		}
	case '<':
		l.at++
		l.bracketed(rest[1:])
		return
	case '[': // a literal address in place of a domain
		if end := 1 + strings.IndexAny(rest[1:], "] \t,<["); rest[end] == ']' {
			length = end + 1
		}
	case '=':
		if strings.HasPrefix(rest, "=?") {
			if w, ok := wordAt(rest); ok {
				length = w.length
			}
		}
	}
	if length == 0 {
		if length = 1 + strings.IndexAny(rest[1:], " \t\r\n>,;:\"(<[="); length == 0 {
			length = len(rest)
		}
	}
	l.at += length
	l.word(rest[:length])
}

// word adds to the words at hand.
func (l *addressList) word(text string) {
	last := len(l.words) - 1
	// Blanks around the @ of an address are legal (RFC 5322, section 4.4).
	if !l.joined && (last < 0 || !strings.HasPrefix(text, "@") && !bytes.HasSuffix(l.words[last], []byte("@"))) {
		l.words = append(l.words, nil)
		last++
	}
	l.words[last] = append(l.words[last], text...)
	l.joined = true
}

// quoted is the contents of the quoted string that a text begins with, and its
// length. It is as long as its quote where another one opens before it is closed.
// A quoted local part keeps its quotes.
func (l *addressList) quoted(text string) (string, int) {
	if l.at < l.noQuote {
		return "", 1
	}
	const around = " \t,;:<>()@"
	var out []byte
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			out = append(out, text[i])
		case c != '"':
			out = append(out, c)
		case i+1 == len(text) || strings.IndexByte(around, text[i+1]) >= 0 || strings.IndexByte(around, text[i-1]) < 0:
			if strings.HasPrefix(text[i+1:], "@") {
				return text[:i+1], i + 1
			}
			return string(out), i + 1
		default:
			l.noQuote = l.at + i
			return "", 1
		}
	}
	l.noQuote = len(l.text)
	return "", 1
}

// comment is the length of the comment that a text begins with; 0 where it is not
// closed.
func (l *addressList) comment(text string) int {
	depth := 0
	for i := 0; i < len(text) && !l.noNesting; i++ {
		switch text[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	l.noNesting = true
	if l.noComment {
		return 0
	}
	length := 1 + strings.IndexByte(text, ')')
	l.noComment = length == 0
	return length
}

// bracketed reads the address in brackets that stands here. Where the end of it is
// missing, it goes up to the next mark.
func (l *addressList) bracketed(text string) {
	quoted := 0
	if strings.HasPrefix(text, `"`) {
		_, quoted = l.quoted(text)
	}
	end := quoted + strings.IndexAny(text[quoted:], "<>")
	if end < quoted || text[end] != '>' {
		if end = strings.IndexAny(text, ",;<"); end < 0 {
			end = len(text)
		}
	}
	inner := text[:end]
	l.at += end // the bracket itself means nothing more
	l.joined = false
	address := bare(inner)
	switch {
	case address == "":
		return
	case l.address != "": // a comma is missing
		behind := l.words[l.before:]
		l.words = l.words[:l.before]
		l.end()
		l.words = behind
	case !isAddress(address) && len(l.words) > 0 && isAddress(string(l.words[len(l.words)-1])): // they are the wrong way round
		l.address, l.words = bare(string(l.words[len(l.words)-1])), l.words[:len(l.words)-1]
		l.word(inner)
		l.joined = false
		return
	}
	l.address, l.before = address, len(l.words)
}

// bare is an address without what does not belong to it: a route, a scheme, blanks.
func bare(text string) string {
	text = Text(uncommented(text))
	if strings.HasPrefix(text, "@") { // a route (RFC 5322, section 4.4)
		_, text, _ = strings.Cut(text, ":")
	}
	if scheme := "mailto:"; len(text) > len(scheme) && strings.EqualFold(text[:len(scheme)], scheme) {
		text = text[len(scheme):]
	}
	if !strings.HasPrefix(text, `"`) {
		text = strings.Trim(strings.Join(strings.Fields(text), ""), "'")
	}
	return text
}

// isAddress reports whether a word looks like an address.
func isAddress(word string) bool {
	at := strings.LastIndexByte(word, '@')
	return at > 0 && at < len(word)-1 && (word[0] == '"' || !strings.ContainsAny(word, " \t"))
}

// end ends the entry at hand.
func (l *addressList) end() {
	var name []string
	addresses := []string{l.address}
	if l.address == "" {
		addresses = nil
	}
	for _, word := range l.words {
		if l.address == "" && isAddress(string(word)) {
			addresses = append(addresses, bare(string(word)))
			continue
		}
		name = append(name, string(word))
	}
	text := strings.Join(name, " ")
	switch {
	case len(addresses) > 0:
		if text != "" && len(l.nameless) > 0 {
			text = strings.Join(l.nameless, ", ") + ", " + text
		}
		if text = Text(text); text == "" {
			text = Text(l.remark)
		}
		for _, address := range addresses {
			if address != "" {
				l.all = append(l.all, Address{text, address})
				text = ""
			}
		}
		l.nameless = nil
	case text != "":
		l.nameless = append(l.nameless, text)
	}
	l.words, l.joined, l.address, l.before, l.remark = nil, false, "", 0, ""
}
