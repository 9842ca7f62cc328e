package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mailpoller/internal/mailtest"
)

func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/*/*.yaml", "testdata/*/*/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("include")) || bytes.Contains(text, []byte("ca_file")) {
			return // what other files hold would decide
		}
		path := write(t, string(text))
		c, err := Load(path)
		var faults Faults
		if errors.As(err, &faults) {
			for _, fault := range faults {
				if fault.File != path || fault.Line < 0 || fault.Line > len(text)+1 || fault.Message == "" || strings.ContainsAny(fault.Message, "\r\n\x00\x1b") {
					t.Errorf("a fault without its place, or not fit to be shown: %q", fault)
				}
			}
		}
		if err != nil {
			return
		}
		shown := show(t, c)
		again := load(t, shown)
		if diff := cmp.Diff(shown, show(t, again)); diff != "" {
			t.Fatalf("what was shown reads differently (-first +second):\n%s", diff)
		}
		for i := range c.Connections {
			o := c.Connections[i].OAuth2
			if c.Connections[i].Password.Literal.IsZero() && (o == nil || !o.Literal()) && c.Connections[i].Fingerprint != again.Connections[i].Fingerprint {
				t.Fatalf("the fingerprint of\n%s\nchanges", shown)
			}
		}
	})
}

func BenchmarkTenThousandConnections(b *testing.B) {
	var text strings.Builder
	fmt.Fprintf(&text, "ca_file: %s\ndefaults: {max_retries: 3, retry_interval: 10}\nconnections:\n", mailtest.NewCA(b).PEMFile(b))
	for i := range 10_000 {
		fmt.Fprintf(&text, `  - name: connection-%d
    description: The mailbox of department %[1]d
    host: imap%[1]d.example.com
    port: 993
    username: user%[1]d@example.com
    password: {credential: connection-%[1]d}
    folder: /srv/inbound/connection-%[1]d
    disposition: DELETE
    pull_disposition: GET_FIRST_UNREAD_MESSAGE
    match_server_hostname: ENABLED
    schedule: "*/5 * * * *"
`, i)
	}
	path := write(b, text.String())
	b.ReportAllocs()
	for b.Loop() {
		if c, err := Load(path); err != nil || len(c.Connections) != 10_000 {
			b.Fatal(err)
		}
	}
}
