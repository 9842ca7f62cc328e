package app

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"mailpoller/internal/api"
	"mailpoller/internal/auth"
	"mailpoller/internal/config"
	"mailpoller/internal/folder"
	"mailpoller/internal/mail"
)

// Doubts are what would keep the connections of a configuration from working
// here and now, although the file is right: folders, secrets, keys and programs. What
// only the daemon can know (its environment, its credentials, what a command
// prints) is not looked at.
func Doubts(ctx context.Context, c *config.Config) []string {
	var doubts []string
	doubt := func(format string, args ...any) { doubts = append(doubts, fmt.Sprintf(format, args...)) }
	secrets := auth.NewSecrets()
	keys := auth.NewKeys(secrets)
	open := func(what, path string) {
		if text := exposed(path); text != "" {
			doubt("%s: %s", what, text)
		}
	}
	for i := range c.Keys {
		k := &c.Keys[i]
		open("key "+k.Label, k.PrivateKey)
		open("key "+k.Label, k.PKCS12)
		open("key "+k.Label+": password", k.Password.File)
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
	readable := func(what string, src mail.SecretSource, read func(context.Context, mail.SecretSource) (mail.Secret, error)) {
		open(what, src.File)
		if src.IsZero() || !knowable(src) {
			return
		}
		if _, err := read(ctx, src); err != nil {
			doubt("%s: %v", what, mail.AsError(err, mail.OpSecret, mail.KindConfig).Err)
		}
	}
	for _, t := range c.APITokens {
		readable("token "+t.Name+" of the API", t.Secret, secrets.Get)
	}
	folders := folder.Bound(folder.New(""))
	folders.Patience = 10 * time.Second // somebody waits
	for i := range c.Connections {
		conn := &c.Connections[i]
		if !conn.Enabled {
			continue
		}
		of := "connection " + conn.Name + ": "
		if err := folders.Ready(ctx, conn.Folder); err != nil {
			doubt("%sfolder: %v", of, mail.AsError(err, mail.OpSave, mail.KindStorage).Err)
		}
		readable(of+"password", conn.Password, secrets.Get)
		if conn.Proxy != nil {
			readable(of+"proxy: password", conn.Proxy.Password, secrets.Get)
		}
		if o := conn.OAuth2; o != nil {
			readable(of+"client_secret", o.ClientSecret, secrets.Get)
			readable(of+"refresh_token", o.RefreshToken, secrets.Get)
			readable(of+"service_account", o.ServiceAccount, secrets.Document)
		}
		if conn.Notify != nil {
			// A name alone is looked for in the PATH of the daemon.
			if program := conn.Notify.Command[0]; filepath.IsAbs(program) {
				if _, err := exec.LookPath(program); err != nil {
					doubt("%snotify: %v", of, err)
				}
			}
		}
	}
	for _, name := range strangers(ctx, c) {
		doubt("connection %s: oauth2: there is no refresh token yet; run `poller oauth login %s`", name, name)
	}
	return doubts
}

// exposed says what users who are neither the owner of a file nor in its group can
// do with it. Its group may read it: the packaged daemon does by that.
func exposed(path string) string {
	if path == "" {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return "" // whoever reads it says so
	}
	for _, access := range []struct {
		bits         os.FileMode
		what, remedy string
	}{{0o006, "read and write", "o="}, {0o004, "read", "o="}, {0o002, "write", "o-w"}} {
		if info.Mode()&access.bits == access.bits {
			return fmt.Sprintf("other users can %s %s; chmod %s %s", access.what, path, access.remedy, path)
		}
	}
	return ""
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
	grants, err := api.NewClient(SocketPath(c.StateDir)).Grants(ctx)
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
