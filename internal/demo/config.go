package demo

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
)

//go:embed poller.yaml.tmpl
var configTemplate string

// WriteConfig writes what the daemon needs to poll the servers into dir, which
// must exist: a configuration, whose path it returns, the certificate of the
// authority it trusts, and an empty folder per account. The state will be kept
// in dir as well.
func (s *Servers) WriteConfig(dir string) (path string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return "", fmt.Errorf("write demo configuration: %w", err)
	}
	path, ca := filepath.Join(dir, "poller.yaml"), filepath.Join(dir, "ca.pem")
	accounts := slices.Clone(s.accounts)
	for i := range accounts {
		a := &accounts[i]
		a.Folder = filepath.Join(dir, a.Name)
		if err := os.MkdirAll(a.Folder, 0o750); err != nil {
			return "", fmt.Errorf("write demo configuration: %w", err)
		}
	}
	var text strings.Builder
	// What quote makes is a double-quoted scalar to YAML as well.
	t := template.Must(template.New("").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(configTemplate))
	err = t.Execute(&text, map[string]any{
		"StateDir": filepath.Join(dir, "state"), "CAFile": ca,
		"Host": host, "Password": s.password, "Accounts": accounts,
	})
	if err != nil {
		return "", fmt.Errorf("write demo configuration: %w", err)
	}
	for file, content := range map[string]string{path: text.String(), ca: string(s.ca.PEM())} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return "", fmt.Errorf("write demo configuration: %w", err)
		}
	}
	return path, nil
}
