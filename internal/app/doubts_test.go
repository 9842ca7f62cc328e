package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailpoller/internal/config"
	"mailpoller/internal/mail"
)

// TestFilesThatOthersReachAreDoubted: those of secrets and of keys. The group may
// read them, as the packaged daemon does.
func TestFilesThatOthersReachAreDoubted(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode os.FileMode
		says string // with the path behind it
	}{
		{0o600, ""},
		{0o640, ""},
		{0o660, ""},
		{0o644, "other users can read PATH; chmod o= PATH"},
		{0o604, "other users can read PATH; chmod o= PATH"},
		{0o666, "other users can read and write PATH; chmod o= PATH"},
		{0o602, "other users can write PATH; chmod o-w PATH"},
	} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte("hunter2\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		file := mail.SecretSource{File: path}
		conf := &config.Config{
			APITokens: []config.APIToken{{Name: "monitoring", Secret: file}},
			Keys:      []mail.ClientKey{{Label: "pair", Certificate: "/nowhere", PrivateKey: path}, {Label: "one", PKCS12: path, Password: file}},
			Connections: []mail.Connection{
				{Name: "a", Enabled: true, Password: file, Proxy: &mail.Proxy{Password: file}},
				{Name: "b", Enabled: true, OAuth2: &mail.OAuth2{ClientSecret: file, RefreshToken: file, ServiceAccount: file}},
				{Name: "disabled", Password: file},
			},
			StateDir: t.TempDir(),
		}
		var got []string
		for _, text := range Doubts(t.Context(), conf) {
			if strings.Contains(text, "other users") {
				got = append(got, strings.ReplaceAll(text, path, "PATH"))
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("%s shows the secret", text)
			}
		}
		var want []string
		if c.says != "" {
			for _, what := range []string{
				"key pair", "key one", "key one: password", "token monitoring of the API", "connection a: password", "connection a: proxy: password",
				"connection b: client_secret", "connection b: refresh_token", "connection b: service_account",
			} {
				want = append(want, what+": "+c.says)
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("mode %04o:\n%s\nwant\n%s", c.mode, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}
