package prometheus_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"mailpoller/test/rig"
)

// docs/metrics.md promises it, for the start and for scrapes.
func TestTenThousandConnectionsFitInto300MiB(t *testing.T) {
	t.Parallel()
	const connections, most = 10_000, 300 << 20
	for _, c := range []struct {
		name   string
		all    string
		series int
	}{
		{"with series of their own", "ENABLED", connections},
		{"counted together", "DISABLED", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := rig.New(t)
			folder := s.Mkdir("folder")
			all := make([]rig.Settings, connections)
			for i := range all {
				all[i] = rig.Settings{
					"name": fmt.Sprintf("customer-%05d", i), "host": fmt.Sprintf("imap%d.invalid", i%100), "port": 993,
					"username": fmt.Sprintf("user%d@example.com", i), "password": map[string]any{"env": "SECRET"},
				}
			}
			s.Write(map[string]any{
				"listen": "127.0.0.1:0", "state_dir": s.Mkdir("state"), "metrics_per_connection": c.all,
				"defaults":    map[string]any{"folder": folder, "match_server_hostname": "ENABLED", "schedule": "@every 24h"},
				"connections": all,
			})
			d := s.Start().Ready()
			var text string
			for range 5 {
				text, _ = d.Get("/metrics")
			}
			if n := len(regexp.MustCompile(`(?m)^poller_attempts_total\{connection=`).FindAllString(text, -1)); n != c.series {
				t.Errorf("%d connections have series, not %d", n, c.series)
			}
			if peak := peak(t, d.Cmd.Process.Pid); peak > most {
				t.Errorf("it took %d MiB", peak>>20)
			} else {
				t.Logf("at most %d MiB", peak>>20)
			}
		})
	}
}

// peak is the most memory that a process ever had resident.
func peak(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`).FindSubmatch(status)
	if m == nil {
		t.Fatalf("no peak in %s", status)
	}
	kib, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
