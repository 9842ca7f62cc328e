package config

import (
	"errors"
	"strings"

	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
)

// sourceKeys are the sources of a secret other than the file itself.
var sourceKeys = []key[mail.SecretSource]{
	of("file", "a file that holds it", path(), func(s *mail.SecretSource) *string { return &s.File }),
	of("env", "an environment variable", variable(), func(s *mail.SecretSource) *string { return &s.Env }),
	of("command", "a program that prints it", command(), func(s *mail.SecretSource) *[]string { return &s.Command }),
	of("credential", "a systemd credential (LoadCredential=)", credential(), func(s *mail.SecretSource) *string { return &s.Credential }),
}

// secret is one, or the source of one.
func secret() kind[mail.SecretSource] {
	return kind[mail.SecretSource]{
		accepts: "the secret itself, or one of {file: PATH}, {env: NAME}, {command: [PROGRAM, ARGUMENT...]}, {credential: NAME}",
		schema:  oneOf(only(object{"type": written, "pattern": `^[^\r\n\x00]*$`}), ref("source")),
		secret:  true,
		set:     setSecret,
		show: func(s mail.SecretSource) any {
			switch {
			case s.IsZero():
				return nil
			case !s.Literal.IsZero():
				return s.Literal.String()
			}
			return shown(sourceKeys, &s)
		},
	}
}

func setSecret(l *loader, n node, dst *mail.SecretSource) error {
	if n.Kind != yaml.MappingNode {
		s, err := n.text()
		if err == nil && strings.ContainsAny(s, "\r\n\x00") {
			err = errors.New("which has a line break or a NUL in it")
		}
		*dst = mail.SecretSource{Literal: mail.NewSecret(s)}
		return err
	}
	// A password that begins with a brace is a mapping too, whose key no fault
	// may repeat.
	pairs := l.pairs(n)
	if len(pairs) != 1 || lookUp(sourceKeys, pairs[0].key.Value) == nil || pairs[0].value.empty() {
		return errNot
	}
	*dst = mail.SecretSource{}
	decode(l, n, sourceKeys, dst)
	return nil
}

// variable is the name of an environment variable.
func variable() kind[string] {
	return with(line(1024), ", no =", `[^=`+control+`]*`, func(s string) error {
		if strings.Contains(s, "=") {
			return errNot
		}
		return nil
	})
}

// credential is the name of a systemd credential: that of a file.
func credential() kind[string] {
	return with(line(255), ", no /", `[^/`+control+`]*`, func(s string) error {
		if strings.Contains(s, "/") || s == "." || s == ".." {
			return errNot
		}
		return nil
	})
}

// command is a program and its arguments.
func command() kind[[]string] {
	return kind[[]string]{
		accepts: "a list of a program and its arguments",
		schema:  orNothing(list(only(object{"type": written})).and(object{"minItems": 1})),
		set: func(l *loader, n node, dst *[]string) error {
			if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
				return errNot
			}
			var argv []string
			var wrong several
			for i, item := range l.items(n) {
				s, err := item.text()
				if err == nil && (i == 0 && s == "" || strings.Contains(s, "\x00")) {
					err = errNot
				}
				if err != nil {
					wrong = append(wrong, misplaced{item, err})
				}
				argv = append(argv, s)
			}
			*dst = argv
			return wrong.orNil()
		},
		show: func(argv []string) any {
			if len(argv) == 0 {
				return nil
			}
			return argv
		},
	}
}
