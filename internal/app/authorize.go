package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"

	"go.uber.org/zap"

	"mailpoller/internal/api"
	"mailpoller/internal/config"
)

// authorize implements admin.Authorize with the tokens of the configuration.
// All are compared, each in a time that says nothing about it.
// One token under several names is the first of those with the highest role.
func (a *App) authorize(ctx context.Context, token string) (who api.Identity, ok bool) {
	presented := sha256.Sum256([]byte(token))
	for _, t := range a.config.Load().APITokens {
		secret, err := a.secrets.Get(ctx, t.Secret)
		if err != nil || secret.IsZero() {
			a.log.Warn("token of the API cannot be read", zap.String("token", t.Name), zap.Error(err))
			continue
		}
		if known := sha256.Sum256([]byte(secret.Reveal())); subtle.ConstantTimeCompare(known[:], presented[:]) == 1 {
			role := map[config.Role]api.Role{config.RoleRead: api.RoleRead, config.RoleAdmin: api.RoleAdmin}[t.Role]
			if !ok || role == api.RoleAdmin && who.Role != api.RoleAdmin {
				who, ok = api.Identity{Name: "token " + t.Name, Role: role}, true
			}
		}
	}
	return who, ok
}
