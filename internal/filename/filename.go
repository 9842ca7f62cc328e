// Package filename makes the names of messages in a folder out of a template.
package filename

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"time"
)

// Fields are what a template can name. Those that come out of the message's
// header are empty where it does not have them.
type Fields struct {
	Connection  string
	Mailbox     string    // IMAP
	UID         string    // of the message in its mailbox; with POP3 a digest of its unique-id
	UIDValidity string    // IMAP
	Digest      string    // of the octets: the first 16 hexadecimal digits of their SHA-256
	Received    time.Time // by the server, or where it does not say, by us; UTC
	Sequence    int       // of the message among those that one poll saves, from 1

	Date      time.Time // of the header, UTC; where it has none, that of Received
	Subject   string
	From      string // the address
	FromName  string // the name beside it
	To        string // the first address
	MessageID string
}

const (
	// MaxName bounds a name, in octets: what a file system takes, less what may
	// be added to tell it from others.
	MaxName     = 200
	maxTemplate = 1024    // octets
	maxOutput   = 1 << 16 // octets, before they are cut
)

// Template is one that was parsed. Any number of goroutines may use it.
type Template struct {
	text      string
	template  *template.Template
	extension string // that is added
}

// String is the template as it was written.
func (t *Template) String() string {
	if t == nil {
		return ""
	}
	return t.text
}

var functions = template.FuncMap{
	"date":  func(layout string, t time.Time) string { return t.UTC().Format(layout) },
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"truncate": func(most int, s string) string {
		if runes := []rune(s); len(runes) > max(0, most) {
			return string(runes[:max(0, most)])
		}
		return s
	},
	"replace": func(from, to, s string) string { return strings.ReplaceAll(s, from, to) },
	"default": func(instead, s string) string { return cmp.Or(s, instead) },
	"printf":  printf,
}

// wide finds what would make a text of any length.
var wide = regexp.MustCompile(`[0-9]{3}|\*`)

func printf(format string, args ...any) (string, error) {
	if wide.MatchString(format) {
		return "", errors.New("a width has at most two digits")
	}
	return fmt.Sprintf(format, args...), nil
}

// Parse reads a template and tries it on messages of all kinds. One that can
// come to an empty name, or that makes directories, is an error with an example.
func Parse(text string) (*Template, error) {
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("it is longer than %d characters", maxTemplate)
	}
	parsed, err := template.New("filename").Option("missingkey=error").Funcs(functions).Parse(text)
	if err != nil {
		return nil, plainly(err)
	}
	if len(parsed.Templates()) > 1 {
		return nil, errors.New("it defines a template of its own")
	}
	if err := check(parsed.Root); err != nil {
		return nil, err
	}
	t := &Template{text: text, template: parsed, extension: ".eml"}
	if nodes := parsed.Root.Nodes; len(nodes) > 0 {
		if last, ok := nodes[len(nodes)-1].(*parse.TextNode); ok && Extension("x"+string(last.Text)) != "" {
			t.extension = ""
		}
	}
	for _, example := range examples() {
		said, err := t.execute(&example.fields)
		if err != nil {
			return nil, fmt.Errorf("with %s it fails: %w", example.what, plainly(err))
		}
		if Safe(said, MaxName) == "" || Extension("x"+said) == said {
			return nil, fmt.Errorf("with %s it comes to %q; add what every message has, such as {{.UID}}, or another word: {{.Subject | default \"none\"}}", example.what, said)
		}
	}
	return t, nil
}

// check refuses what repeats, and what a name cannot hold.
func check(node parse.Node) error {
	switch node := node.(type) {
	case *parse.ListNode:
		if node == nil {
			return nil
		}
		for _, n := range node.Nodes {
			if err := check(n); err != nil {
				return err
			}
		}
	case *parse.TextNode:
		for _, r := range string(node.Text) {
			if safeRune(r) != r {
				return fmt.Errorf("it has %q in it, which a file name cannot hold", r)
			}
		}
	case *parse.IfNode:
		return errors.Join(check(node.List), check(node.ElseList))
	case *parse.WithNode:
		return errors.Join(check(node.List), check(node.ElseList))
	case *parse.ActionNode, *parse.CommentNode:
	default:
		return fmt.Errorf("%s is not for file names", node)
	}
	return nil
}

// example is a kind of message that a template has to do with.
type example struct {
	what   string
	fields Fields
}

func examples() []example {
	received := time.Date(2026, 1, 31, 8, 30, 0, 0, time.UTC)
	bare := Fields{
		Connection: "a", Mailbox: "INBOX", UID: "1", UIDValidity: "1", Digest: "ba7816bf8f01cfea",
		Received: received, Date: received, Sequence: 1,
	}
	full := bare
	full.Subject, full.From, full.FromName, full.To, full.MessageID = "Invoice 17", "ann@example.com", "Ann", "bob@example.com", "1@example.com"
	none := func(field *string) Fields {
		was := *field
		*field = ""
		f := full
		*field = was
		return f
	}
	long := full
	long.Subject, long.FromName, long.MessageID = strings.Repeat("ä", 1000), strings.Repeat("n", 1000), strings.Repeat("m", 1000)
	return []example{
		{"an ordinary message", full},
		{"a message without a subject", none(&full.Subject)},
		{"a message without a sender", none(&full.From)},
		{"a message whose sender has no name", none(&full.FromName)},
		{"a message without a recipient", none(&full.To)},
		{"a message without a Message-ID", none(&full.MessageID)},
		{"a message over POP3", func() Fields { f := full; f.Mailbox, f.UIDValidity = "", ""; return f }()},
		{"a message without a header", bare},
		{"a message with a long header", long},
	}
}

// FieldNames are the names of the fields.
var FieldNames = []string{
	"Connection", "Date", "Digest", "From", "FromName", "Mailbox", "MessageID", "Received", "Sequence", "Subject", "To", "UID", "UIDValidity",
}

// plainly is an error of the template without the parts that say where in a
// program it is, and with what there is instead of what there is not.
func plainly(err error) error {
	text := err.Error()
	if _, rest, ok := strings.Cut(text, ">: "); ok {
		text = rest
	}
	text = strings.TrimPrefix(text, "template: ")
	text = strings.TrimPrefix(text, "filename:1: ")
	text = strings.ReplaceAll(text, " in type *filename.Fields", "")
	switch {
	case strings.Contains(text, "can't evaluate field"):
		text += "; there are " + strings.Join(FieldNames, ", ")
	case strings.Contains(text, "function") && strings.Contains(text, "not defined"):
		names := make([]string, 0, len(functions))
		for name := range functions {
			names = append(names, name)
		}
		slices.Sort(names)
		text += "; there are " + strings.Join(names, ", ")
	}
	return errors.New(text)
}

// Name is the name of a message. It is what Safe makes of what the template
// comes to, and empty where nothing is left of that.
func (t *Template) Name(f *Fields) string {
	said, err := t.execute(f)
	name := Safe(said, MaxName-len(t.extension))
	if err != nil || name == "" {
		return ""
	}
	return name + t.extension
}

// Stem is the same for a directory, which gets no extension.
func (t *Template) Stem(f *Fields) string {
	said, err := t.execute(f)
	if err != nil {
		return ""
	}
	return Safe(said, MaxName)
}

func (t *Template) execute(f *Fields) (string, error) {
	var out limited
	err := t.template.Execute(&out, f)
	return strings.ToValidUTF8(out.String(), "_"), err
}

// limited is a text up to maxOutput.
type limited struct{ strings.Builder }

var _ io.Writer = (*limited)(nil)

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxOutput {
		return 0, errors.New("it comes to too long a text")
	}
	return l.Builder.Write(p)
}

func (l *limited) WriteString(s string) (int, error) { return l.Write([]byte(s)) }
