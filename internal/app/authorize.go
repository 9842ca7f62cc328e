package app

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"

	"go.uber.org/zap"

	"mailpoller/internal/admin"
	"mailpoller/internal/config"
)

// authorize implements admin.Authorize with the tokens of the configuration.
// All are compared, each in a time that says nothing about it.
func (a *App) authorize(ctx context.Context, token string) (access admin.Access, ok bool) {
	presented := sha256.Sum256([]byte(token))
	for _, t := range a.config.Load().APITokens {
		secret, err := a.secrets.Get(ctx, t.Secret)
		if err != nil || secret.IsZero() {
			a.log.Warn("token of the API cannot be read", zap.String("token", t.Name), zap.Error(err))
			continue
		}
		if known := sha256.Sum256([]byte(secret.Reveal())); subtle.ConstantTimeCompare(known[:], presented[:]) == 1 {
			ok = true
			access = max(access, map[config.Role]admin.Access{config.RoleRead: admin.Reader, config.RoleAdmin: admin.Control}[t.Role])
		}
	}
	return access, ok
}
