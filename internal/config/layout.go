package config

import (
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/disposition"
	"mailpoller/internal/filename"
	"mailpoller/internal/mail"
)

// template is a kind of templates of file names.
func template() kind[*filename.Template] {
	return scalar("a Go template such as '{{.Received | date \"2006-01-02\"}} {{.UID}}'", only(object{"type": written}), func(s string) (*filename.Template, error) {
		t, err := filename.Parse(s)
		if err != nil {
			return nil, verdict{err}
		}
		return t, nil
	}, func(t *filename.Template) any {
		if t == nil {
			return nil
		}
		return t.String()
	})
}

var notifyKeys = []key[mail.Notify]{
	of("command", "the program and its arguments; no shell", command(), func(n *mail.Notify) *[]string { return &n.Command }),
	of("timeout", "how long it may take", duration(time.Second, day), func(n *mail.Notify) *time.Duration { return &n.Timeout }),
}

// newNotify is a block of which nothing is given.
func newNotify() mail.Notify { return mail.Notify{Timeout: 30 * time.Second} }

// notification is a kind of programs that are run.
func notification() kind[*mail.Notify] {
	return kind[*mail.Notify]{
		accepts: "a mapping with the keys " + strings.Join(names(notifyKeys), ", "),
		schema:  orNothing(ref("notify")),
		set: func(l *loader, n node, dst **mail.Notify) error {
			if n.Kind != yaml.MappingNode {
				return errNot
			}
			out := newNotify()
			at := decode(l, n, notifyKeys, &out)
			if _, given := at["command"]; !given {
				l.fault(n, "notify: command: missing; accepted: a list of a program and its arguments")
			}
			*dst = &out
			return nil
		},
		show: func(n *mail.Notify) any {
			if n == nil {
				return nil
			}
			return shown(notifyKeys, n)
		},
	}
}

// laidOut judges what the keys of the folder mean together.
func (l *loader) laidOut(s *section) {
	if s.Filename != nil && s.Format == mail.Maildir {
		l.fault(s.place("filename"), "filename: a Maildir has names of its own; accepted: with format: EML or ATTACHMENTS")
	}
	for _, doubt := range []struct {
		key, message string
		applies      bool
	}{
		{"keep_original", "has no effect without format: ATTACHMENTS", s.KeepOriginal && s.Format != mail.Attachments},
		{"without_attachments", "has no effect without format: ATTACHMENTS", s.WithoutAttachments == mail.SetAside && s.Format != mail.Attachments},
		{
			"format", "ATTACHMENTS with disposition DELETE keeps nothing of the text of a message that has attachments; see keep_original",
			s.Format == mail.Attachments && s.Ending() == disposition.Delete && !s.KeepOriginal,
		},
	} {
		if doubt.applies {
			l.warn(s.place(doubt.key), "%s: %s", doubt.key, doubt.message)
		}
	}
}
