package config

import (
	yaml "go.yaml.in/yaml/v4"

	"mailpoller/internal/mail"
)

// Role is what a token of the API may do.
type Role string

// The roles, spelled as the file spells them.
const (
	RoleRead  Role = "READ"  // look
	RoleAdmin Role = "ADMIN" // all that the commands can do
)

// APIToken lets a program use the API over HTTP.
type APIToken struct {
	Name   string // for people, and the log
	Role   Role
	Secret mail.SecretSource
}

var apiTokenKeys = []key[APIToken]{
	of("name", "what the token is called in the log", line(128), func(t *APIToken) *string { return &t.Name }),
	of("role", "READ to look, ADMIN for all that the commands can do", choice(RoleRead, RoleAdmin), func(t *APIToken) *Role { return &t.Role }),
	of("secret", "the token itself, or better where it comes from", secret(), func(t *APIToken) *mail.SecretSource { return &t.Secret }),
}

// apiTokens is a list of them.
func apiTokens() kind[[]APIToken] {
	one := mapping("api_token", apiTokenKeys)
	return kind[[]APIToken]{
		accepts: "a list, each of it " + one.accepts,
		schema:  orNothing(list(ref("api_token"))),
		set: func(l *loader, n node, dst *[]APIToken) error {
			if n.Kind != yaml.SequenceNode {
				return errNot
			}
			for _, item := range l.items(n) {
				t := newAPIToken()
				if err := one.set(l, item, &t); err != nil {
					l.refuse(item, "api_tokens", one.accepts, false, err)
					continue
				}
				switch {
				case t.Name == "":
					l.fault(item, "name: missing; accepted: %s", apiTokenKeys[0].accepts)
				case t.Secret.IsZero():
					l.fault(item, "secret: missing; accepted: %s", apiTokenKeys[2].accepts)
				}
				if !t.Secret.Literal.IsZero() && l.exposed[item.file] {
					l.warn(item, "api_tokens: a token %s", readByOthers(item))
				}
				*dst = append(*dst, t)
			}
			return nil
		},
		show: func(tokens []APIToken) any {
			if len(tokens) == 0 {
				return nil
			}
			all := make([]entries, len(tokens))
			for i := range tokens {
				all[i] = shown(apiTokenKeys, &tokens[i])
			}
			return all
		},
	}
}

// newAPIToken is one of which nothing is given.
func newAPIToken() APIToken { return APIToken{Role: RoleRead} }
