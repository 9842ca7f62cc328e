package api_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"mailpoller/internal/api"
	"mailpoller/internal/mailtest/daemontest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func socketPath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "poller.sock")
}

// control is a client of a fake that is served until the test ends.
func control(t *testing.T, f *daemontest.Fake) *api.Client {
	t.Helper()
	path := socketPath(t)
	f.Control(t, path, zap.NewNop())
	return api.NewClient(path)
}
