package app

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"mailpoller/internal/api"
	"mailpoller/internal/config"
)

// TestTheDaemonLogsWhoChangedWhat: by the name of the token on the configured
// address, and by the user on the control socket.
func TestTheDaemonLogsWhoChangedWhat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "poller.yaml")
	text := fmt.Sprintf(`{state_dir: %s, listen: "127.0.0.1:0", api_tokens: [{name: deploy, role: ADMIN, secret: canary}],
connections: [{name: a, status: DISABLED, host: 127.0.0.1, port: 1, username: u, password: p, folder: %s}]}`, filepath.Join(dir, "state"), dir)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conf, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	a, err := Open(t.Context(), conf, Build{}, zap.New(core), zap.NewAtomicLevel())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, stop := context.WithCancel(t.Context())
	addresses, ended := make(chan string, 1), make(chan error, 1)
	go func() { ended <- a.Run(ctx, nil, func(listen string) { addresses <- listen }) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var listen string
	select {
	case listen = <-addresses:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}

	if _, err := api.NewClient(SocketPath(conf.StateDir)).Retry(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, listen+"/api/v1/forget?connection=a", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer canary")
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()

	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range logs.FilterMessage("audit").All() {
		m := e.ContextMap()
		got = append(got, fmt.Sprint(m["who"], ": ", m["what"], " ", m["connection"], " ", m["outcome"]))
	}
	want := []string{fmt.Sprintf("user %s (uid %d): retry a done", me.Username, os.Getuid()), "token deploy: forget a done"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
