package config

import (
	"strings"
	"testing"
)

// TestAnAnswerIsHeldToTheTableOfKeys: what is typed is judged as a file would
// be, and a secret is not repeated.
func TestAnAnswerIsHeldToTheTableOfKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ key, value, says string }{
		{"name", "invoices", ""},
		{"name", "two words", "name: found"},
		{"host", "imap.example.com", ""},
		{"host", "imap example", "host: found"},
		{"port", "993", ""},
		{"port", "70000", "1 to 65535"},
		{"store_type", "pop3", ""},
		{"store_type", "POP", "IMAP or POP3"},
		{"disposition", "seen", ""},
		{"folder", "/srv/inbound", ""},
		{"folder", "inbound", "folder: found"},
		{"nothing", "at all", "unknown key"},
	} {
		err := Judge(c.key, c.value)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q: %v, and not %q", c.key, c.value, err, c.says)
		}
	}
	if err := Judge("password", "canary\nsecond line"); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a password of two lines: %v", err)
	}
}
