package daemontest

import (
	"context"
	"net/http"
	"testing"

	"go.uber.org/zap"

	"mailpoller/internal/admin"
)

// Control serves the fake on a control socket at path until the test ends, as a
// daemon does. log gets the audit lines.
func (f *Fake) Control(t testing.TB, path string, log *zap.Logger) {
	t.Helper()
	socket, err := admin.ListenControl(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() {
		ended <- admin.Serve(ctx, socket, admin.Handler(admin.Audit(f.Daemon(), log), http.NotFoundHandler(), admin.Control, nil))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve the control socket: %v", err)
		}
	})
}
