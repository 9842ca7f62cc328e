package admin_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"mailpoller/internal/admin"
	"mailpoller/internal/api"
	"mailpoller/internal/mailtest/daemontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("poller_build_info 1\n"))
	})
}

func socketPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "poller.sock")
}

// handler is admin.Handler for a fake.
func handler(f *daemontest.Fake, access admin.Access, authorize admin.Authorize) http.Handler {
	return admin.Handler(f.Daemon(), metrics(), access, authorize)
}

// control serves d on a control socket until the test ends.
func control(t *testing.T, d *daemontest.Fake) (client *api.Client, path string) {
	t.Helper()
	path = socketPath(t)
	ln, err := admin.ListenControl(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, ln, handler(d, admin.Control, nil))
	return api.NewClient(path), path
}

// serve runs Serve until stop is called, at the latest when the test ends.
func serve(t *testing.T, ln net.Listener, h http.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- admin.Serve(ctx, ln, h); close(ended) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}
