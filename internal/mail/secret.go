package mail

import (
	"log/slog"
	"strings"
)

// Secret is a password or token. Whatever prints it prints three asterisks;
// only Reveal gives it away.
type Secret struct{ value string }

const masked = "***"

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal is the secret itself, for the wire and nothing else.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == "" }

// String masks the secret; so do the methods below, one for each way of
// printing a value.
func (s Secret) String() string { return masked }

// GoString masks the secret under %#v.
func (s Secret) GoString() string { return masked }

// MarshalText masks the secret in JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// LogValue masks the secret in structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// SecretSource says where a secret comes from. At most one field is set; none
// means that there is no secret.
type SecretSource struct {
	Literal    Secret   // written in the configuration itself
	File       string   // path of a file that holds it
	Env        string   // name of an environment variable
	Credential string   // name of a systemd credential
	Command    []string // program and arguments that print it
}

// IsZero reports whether no source is named.
func (s SecretSource) IsZero() bool {
	return s.Literal.IsZero() && s.File == "" && s.Env == "" && s.Credential == "" && len(s.Command) == 0
}

// String names the source, never the secret.
func (s SecretSource) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Env != "":
		return "environment variable " + s.Env
	case s.Credential != "":
		return "credential " + s.Credential
	case len(s.Command) > 0:
		return "command " + s.Command[0]
	case s.Literal.IsZero():
		return "none"
	}
	return masked
}

// Redact replaces every occurrence of the secrets in text, also in the
// spellings a protocol sends them in, so that a server that echoes what it was
// told cannot put it into a log.
func Redact(text string, spellings ...string) string {
	for _, s := range spellings {
		if s != "" {
			text = strings.ReplaceAll(text, s, masked)
		}
	}
	return text
}
