//go:build bench

package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
)

// measured is one `poller poll`.
type measured struct {
	cost
	outcome  string
	messages int
	duration float64 // seconds, from the start of the first job to the end of the last one
	files    []string
}

// site is a configuration of one connection, with its state and its folder.
type site struct{ dir, config string }

func newSite(t *testing.T, c map[string]any) site {
	t.Helper()
	dir := t.TempDir()
	s := site{dir, filepath.Join(dir, "poller.yaml")}
	c["name"], c["folder"] = "bench", filepath.Join(dir, "in")
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o750); err != nil {
		t.Fatal(err)
	}
	s.configure(t, c)
	return s
}

// configure writes the configuration. JSON is YAML.
func (s site) configure(t *testing.T, connections ...map[string]any) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"listen": "", "state_dir": filepath.Join(s.dir, "state"), "connections": connections})
	if err = errors.Join(err, os.WriteFile(s.config, text, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// poll runs one job of each connection.
func (s site) poll(t *testing.T, names ...string) measured {
	t.Helper()
	if len(names) == 0 {
		names = []string{"bench"}
	}
	spent, out := execute(t, nil, append([]string{binary, "poll", "--json", "--config", s.config}, names...)...)
	m := measured{cost: spent}
	var first, last time.Time
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var view struct {
			Outcome  string
			Messages int
			Started  time.Time
			Duration float64 `json:"duration_seconds"`
			Files    []string
		}
		if err := d.Decode(&view); errors.Is(err, io.EOF) {
			return m
		} else if err != nil {
			t.Fatal(err)
		}
		m.outcome = view.Outcome
		m.messages += view.Messages
		if first.IsZero() || view.Started.Before(first) {
			first = view.Started
		}
		if end := view.Started.Add(time.Duration(view.Duration * float64(time.Second))); end.After(last) {
			last = end
		}
		m.duration = last.Sub(first).Seconds()
		m.files = append(m.files, view.Files...)
	}
}

func settings(d *mailtest.Dovecot, t *testing.T, user string, store mail.StoreType, security mail.Security) map[string]any {
	return map[string]any{
		"host": mailtest.Host, "port": d.Port(store, security), "username": user, "password": d.Password,
		"store_type": store, "connection_security": security, "ca_file": d.CA.PEMFile(t),
	}
}

func mebibytes(octets int64) string { return fmt.Sprintf("%.1f", float64(octets)/(1<<20)) }
