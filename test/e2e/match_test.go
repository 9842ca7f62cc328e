package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"mailpoller/internal/mail"
	"mailpoller/internal/mailtest"
	"mailpoller/test/rig"
)

// TestTheFiltersOfTheDocumentation: the example is a configuration.
func TestTheFiltersOfTheDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/filters.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	s := rig.New(t)
	if err := os.WriteFile(s.Config, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := s.Run("check", "--show"); code != 0 || strings.Count(out, "  match:\n") != 2 || !strings.Contains(out, "since: 72h") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}

// TestMatching: what matches is saved and deleted, and what does not is left as
// it is, over both protocols, until the filter lets it through.
func TestMatching(t *testing.T) {
	t.Parallel()
	d := mailtest.StartDovecot(t)
	for _, store := range []mail.StoreType{mail.IMAP, mail.POP3} {
		t.Run(string(store), func(t *testing.T) {
			t.Parallel()
			u := d.NewUser(t)
			for i := range 6 {
				kind := "text/plain"
				if i >= 4 {
					kind = "multipart/mixed; boundary=b"
				}
				d.Deliver(t, u, fmt.Appendf(nil, "From: %s@example.com\r\nSubject: =?utf-8?q?Z=C3=BCrich?= %d\r\nContent-Type: %s\r\n\r\n"+
					"--b\r\n\r\nx\r\n--b\r\nContent-Disposition: attachment; filename=a\r\n\r\nx\r\n--b--\r\n", []string{"alice", "bob"}[i%2], i, kind))
			}
			c := rig.Connect(t, d, "m", u, store, mail.SSLTLS).With(rig.Settings{
				"disposition": "DELETE", "max_messages": 0,
				"match": map[string]any{"from": "ALICE", "subject": "zürich", "not": map[string]any{"has_attachment": true}},
			})
			s := rig.New(t, c)
			if out, errs, code := s.Run("test", "m"); code != 0 || !strings.Contains(out, "of 6 messages, 2 of which match") {
				t.Errorf("test: %d\n%s%s", code, out, errs)
			}
			if out, errs, code := s.Run("poll", "--dry-run", "m"); code != 0 || !strings.Contains(out, "would save 2 messages") {
				t.Errorf("dry run: %d\n%s%s", code, out, errs)
			}
			if v := s.Poll("m")[0]; v.State != "SUCCEEDED" || v.Messages != 2 {
				t.Errorf("%+v %+v", v, v.Error)
			}
			for name, m := range rig.Files(t, s.Dir+"/m") {
				if !strings.Contains(string(m), "alice") || !strings.Contains(string(m), "text/plain") {
					t.Errorf("%s does not match: %q", name, m)
				}
			}
			left := d.Messages(t, u)
			if len(left) != 4 {
				t.Errorf("%d messages are left, not 4", len(left))
			}
			for _, m := range left {
				if len(m.Flags) != 0 {
					t.Errorf("what does not match was touched: %v", m.Flags)
				}
			}
			if v := s.Poll("m")[0]; v.Outcome != "empty" {
				t.Errorf("nothing more matches: %+v", v)
			}
			s.Configure(c.With(rig.Settings{"match": map[string]any{"any": []any{map[string]any{"from": "bob"}, map[string]any{"has_attachment": true}}}}))
			if v := s.Poll("m")[0]; v.State != "SUCCEEDED" || v.Messages != 4 || len(d.Messages(t, u)) != 0 {
				t.Errorf("the rest matches now: %+v %+v", v, v.Error)
			}
		})
	}
}
