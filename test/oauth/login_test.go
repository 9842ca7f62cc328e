package oauth

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"mailpoller/test/rig"
)

// login begins a login and returns what the person is told to open, or to
// enter where there is a code; and how it ends.
func login(t *testing.T, s *rig.Site) (told string, ended <-chan error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), rig.Binary, "oauth", "login", "orders", "--config", s.Config)
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(errs)
	var all []string
	for lines.Scan() {
		line := lines.Text()
		all = append(all, line)
		if strings.HasPrefix(line, "    ") {
			told = strings.TrimSpace(line)
		}
		if strings.HasSuffix(line, "Waiting ...") {
			break
		}
	}
	if told == "" {
		t.Fatalf("login said:\n%s", strings.Join(all, "\n"))
	}
	end := make(chan error, 1)
	go func() {
		var rest []string
		for lines.Scan() {
			rest = append(rest, lines.Text())
		}
		if err := cmd.Wait(); err != nil {
			end <- fmt.Errorf("login: %w: %s", err, strings.Join(rest, "\n"))
			return
		}
		end <- nil
	}()
	return told, end
}
