package deploy_test

import (
	"strings"
	"testing"

	"mailpoller/internal/mailtest"
)

// TestTheWayOfAnOperator: from the package, on a systemd that has just booted, to
// an alert that fires and resolves.
func TestTheWayOfAnOperator(t *testing.T) {
	t.Parallel()
	mailtest.Systemd(t)
	dir := t.TempDir()
	run(t, "../../scripts/package", "v1.2.3", dir, "amd64")
	said := run(t, "../e2e/walk/walk", one(t, dir, "*.deb"))
	if !strings.HasSuffix(said, "== all of it held\n") {
		t.Errorf("it ended early:\n%s", said)
	}
}
