// Package prometheus_test holds what is in deploy/prometheus and deploy/grafana
// against a real Prometheus that scrapes the real binary.
package prometheus_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"mailpoller/test/rig"
)

// prometheusEnv is the environment variable that says that Prometheus is here:
// `make test` installs it and sets the variable to 1.
const prometheusEnv = "POLLER_TEST_PROMETHEUS"

const (
	deploy = "../../deploy/prometheus"
	rules  = deploy + "/poller.rules.yml"
	manual = "../../docs/operations.md"
)

func TestMain(m *testing.M) { os.Exit(rig.Main(m)) }

// needsPrometheus passes the test over where prometheusEnv is not set, so that
// the other tests need nothing but Go.
func needsPrometheus(t *testing.T) {
	t.Helper()
	if os.Getenv(prometheusEnv) == "" {
		t.Skipf("needs Prometheus: run make test, or set %s=1", prometheusEnv) //nolint:forbidigo // it excludes what needs a server, and nothing else
	}
}

// promtool runs it with input on its standard input.
func promtool(t *testing.T, input string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Stdin = bytes.NewBufferString(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	} else if input != "" && len(out) > 0 {
		t.Errorf("promtool %v says:\n%s", args, out)
	}
}

// server is a running Prometheus.
type server struct{ url string }

// start runs Prometheus with a configuration on a loopback port of its own; it
// is killed when the test ends.
func start(t *testing.T, config string) *server {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	// The kernel chooses the port, and the log says which one.
	cmd := exec.Command("prometheus", "--config.file="+path, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address=127.0.0.1:0", "--log.format=json")
	said := &rig.Log{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatalf("start prometheus: %v", err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed, as it should be
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		if text, _ := said.From(0); t.Failed() {
			t.Logf("prometheus said:\n%.5000s", text)
		}
	})
	late := time.After(rig.Patience)
	for {
		text, changed := said.From(0)
		for line := range bytes.Lines([]byte(text)) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg == "Listening on" {
				return &server{url: "http://" + entry.Address}
			}
		}
		select {
		case <-changed:
		case <-done:
			t.Fatal("prometheus ended")
		case <-late:
			t.Fatal("prometheus does not listen")
		}
	}
}

// query asks for an expression. The result is the number of series.
func (s *server) query(t *testing.T, expr string) (int, error) {
	t.Helper()
	r, err := http.Get(s.url + "/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, fmt.Errorf("%w: %.200s", err, body)
	}
	if answer.Status != "success" {
		return 0, fmt.Errorf("%s", answer.Error)
	}
	return len(answer.Data.Result), nil
}

// await asks until the expression has a result.
func (s *server) await(t *testing.T, expr string) {
	t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	late := time.After(rig.Patience)
	for {
		n, err := s.query(t, expr)
		if n > 0 {
			return
		}
		select {
		case <-again.C:
		case <-late:
			t.Fatalf("no result for %s: %v", expr, err)
		}
	}
}
