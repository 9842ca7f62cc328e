package app

import (
	"testing"

	"go.uber.org/zap"

	"mailpoller/internal/api"
	"mailpoller/internal/auth"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
)

// TestATokenIsKnownByItsName: in the audit log, and never by itself.
func TestATokenIsKnownByItsName(t *testing.T) {
	t.Parallel()
	literal := func(text string) mail.SecretSource { return mail.SecretSource{Literal: mail.NewSecret(text)} }
	a := &App{secrets: auth.NewSecrets(), log: zap.NewNop()}
	a.config.Store(newLoaded(&config.Config{APITokens: []config.APIToken{
		{Name: "gone", Role: config.RoleAdmin, Secret: mail.SecretSource{File: "/nonexistent"}},
		{Name: "monitoring", Role: config.RoleRead, Secret: literal("looks")},
		{Name: "deploy", Role: config.RoleAdmin, Secret: literal("rules")},
		{Name: "twice, to read", Role: config.RoleRead, Secret: literal("both")},
		{Name: "twice, for all", Role: config.RoleAdmin, Secret: literal("both")},
		{Name: "thrice, to read", Role: config.RoleRead, Secret: literal("both")},
	}}))
	for token, want := range map[string]api.Identity{
		"looks": {Name: "token monitoring", Role: api.RoleRead},
		"rules": {Name: "token deploy", Role: api.RoleAdmin},
		"both":  {Name: "token twice, for all", Role: api.RoleAdmin},
		"other": {},
		"":      {},
	} {
		got, ok := a.authorize(t.Context(), token)
		if got != want || ok != (want.Name != "") {
			t.Errorf("%q: %+v, %v; want %+v", token, got, ok, want)
		}
	}
}
