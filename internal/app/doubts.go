package app

import (
	"context"
	"fmt"
	"os"
	"time"

	"mailpoller/internal/admin"
	"mailpoller/internal/auth"
	"mailpoller/internal/config"
	"mailpoller/internal/folder"
	"mailpoller/internal/mail"
)

// Doubts are what would keep the connections of a configuration from working
// here and now, although the file is right: folders, secrets and keys. What
// only the daemon can know (its environment, its credentials, what a command
// prints) is not looked at.
func Doubts(ctx context.Context, c *config.Config) []string {
	var doubts []string
	doubt := func(format string, args ...any) { doubts = append(doubts, fmt.Sprintf(format, args...)) }
	secrets := auth.NewSecrets()
	keys := auth.NewKeys(secrets)
	for i := range c.Keys {
		k := &c.Keys[i]
		if !knowable(k.Password) {
			continue
		}
		certificate, err := keys.Key(ctx, k)
		if err != nil {
			doubt("%v", mail.AsError(err, mail.OpSecret, mail.KindConfig).Err)
		} else if text := config.Expiry(certificate.Leaf, time.Now()); text != "" && k.PKCS12 != "" { // a PEM file's is among the warnings
			doubt("key %s: the certificate %s", k.Label, text)
		}
	}
	folders := folder.New("")
	for i := range c.Connections {
		conn := &c.Connections[i]
		if !conn.Enabled {
			continue
		}
		if err := folders.Ready(conn.Folder); err != nil {
			doubt("connection %s: folder: %v", conn.Name, mail.AsError(err, mail.OpSave, mail.KindStorage).Err)
		}
		if knowable(conn.Password) {
			if _, err := secrets.Get(ctx, conn.Password); err != nil {
				doubt("connection %s: password: %v", conn.Name, mail.AsError(err, mail.OpSecret, mail.KindConfig).Err)
			}
		}
		if o := conn.OAuth2; o != nil {
			for _, s := range []struct {
				key  string
				src  mail.SecretSource
				read func(context.Context, mail.SecretSource) (mail.Secret, error)
			}{
				{"client_secret", o.ClientSecret, secrets.Get},
				{"refresh_token", o.RefreshToken, secrets.Get},
				{"service_account", o.ServiceAccount, secrets.Document},
			} {
				if s.src.IsZero() || !knowable(s.src) {
					continue
				}
				if _, err := s.read(ctx, s.src); err != nil {
					doubt("connection %s: %s: %v", conn.Name, s.key, mail.AsError(err, mail.OpSecret, mail.KindConfig).Err)
				}
			}
		}
	}
	for _, name := range strangers(ctx, c) {
		doubt("connection %s: oauth2: there is no refresh token yet; run `poller oauth login %s`", name, name)
	}
	return doubts
}

// askTimeout bounds what a check asks of the daemon.
const askTimeout = 5 * time.Second

// strangers are the connections that nobody has let in yet, as far as the
// running daemon knows: it alone reads the state directory.
func strangers(ctx context.Context, c *config.Config) []string {
	needed := make(map[string]bool)
	for i := range c.Connections {
		if conn := &c.Connections[i]; conn.Enabled && conn.OAuth2 != nil {
			needed[conn.Name] = conn.OAuth2.Grant == mail.GrantRefreshToken && conn.OAuth2.RefreshToken.IsZero()
		}
	}
	if len(needed) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	grants, err := admin.NewClient(SocketPath(c.StateDir)).Grants(ctx)
	if err != nil {
		return nil // no daemon, or one that does not answer
	}
	var names []string
	for _, g := range grants {
		if needed[g.Connection] && g.Grant == mail.GrantRefreshToken && g.Refresh == "" {
			names = append(names, g.Connection)
		}
	}
	return names
}

// knowable reports whether this process finds the secret that the daemon finds.
func knowable(s mail.SecretSource) bool {
	return s.Env == "" && len(s.Command) == 0 && (s.Credential == "" || os.Getenv("CREDENTIALS_DIRECTORY") != "")
}
