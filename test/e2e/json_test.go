package e2e

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailpoller/internal/mailtest"
	"mailpoller/internal/state"
	"mailpoller/test/rig"
)

// TestAPollThatCannotBeginIsAnObjectToo: a program that reads poll --json finds an
// object for each connection, whatever kept the command from running a job.
func TestAPollThatCannotBeginIsAnObjectToo(t *testing.T) {
	t.Parallel()
	disabled := rig.Settings{"name": "off", "host": mailtest.Host, "port": 1, "username": "u", "password": "canary-password", "status": "DISABLED"}
	for _, row := range []struct {
		name                    string
		spoil                   func(t *testing.T, s *rig.Site)
		args                    []string
		op, kind, message, hint string
	}{
		{"a mistake in the file", func(_ *testing.T, s *rig.Site) {
			s.Write(rig.Settings{"connections": []rig.Settings{disabled.With(rig.Settings{"port": "none", "folder": s.Dir, "disposition": "SHRED"})}})
		}, []string{"off"}, "read configuration", "config", `port: found "none"`, "poller check --config "},
		{"no file", func(t *testing.T, s *rig.Site) {
			if err := os.Remove(s.Config); err != nil {
				t.Fatal(err)
			}
		}, []string{"off", "other", "off"}, "read configuration", "config", "no such file", "poller check --config "},
		{"a value that YAML takes for something else", func(t *testing.T, s *rig.Site) {
			if err := os.WriteFile(s.Config, []byte("connections:\n  - {name: off, password: !canary-password }\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"off"}, "read configuration", "config", "quote it: password: '!...'", "poller check --config "},
		{"a state directory in use", func(t *testing.T, s *rig.Site) {
			store, err := state.Open(t.Context(), filepath.Join(s.Dir, "state"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
		}, []string{"off"}, "open state", "state", "is in use by process ", "run this again"},
		{"a state directory that is none", func(t *testing.T, s *rig.Site) {
			if err := os.WriteFile(filepath.Join(s.Dir, "state"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"off"}, "poll", "state", "not a directory", "state_dir"},
		{"an unknown name", func(*testing.T, *rig.Site) {}, []string{"nobody", "nobody-else"}, "read configuration", "config", "no connection of this name", "name a connection of "},
		{"a disabled connection", func(*testing.T, *rig.Site) {}, []string{"off"}, "read configuration", "config", "disabled", "status: ENABLED"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := rig.New(t, disabled.With(nil))
			row.spoil(t, s)
			out, errs, code := s.Run(append([]string{"poll", "--json"}, row.args...)...)
			var got []rig.PollView
			for d := json.NewDecoder(strings.NewReader(out)); ; {
				var v rig.PollView
				if err := d.Decode(&v); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%v in %s%s", err, out, errs)
				}
				got = append(got, v)
			}
			want := row.args
			if len(want) == 3 { // each name once
				want = want[:2]
			}
			if code != 1 || len(got) != len(want) || errs == "" {
				t.Fatalf("exit code %d\n%s%s", code, out, errs)
			}
			for i, v := range got {
				if e := v.Error; v.Connection != want[i] || v.State != "FAILED" || v.Outcome != "failed" || v.Attempts != 0 || v.Files == nil || e == nil ||
					e.Op != row.op || e.Kind != row.kind || !strings.Contains(e.Message, row.message) || !strings.Contains(e.Hint, row.hint) || strings.Contains(out+errs, "canary") {
					t.Errorf("%+v, %+v\n%s%s", v, e, out, errs)
				}
			}
		})
	}
}
