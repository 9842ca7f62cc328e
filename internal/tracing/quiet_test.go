package tracing

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// TestMain is also the daemon, whose environment the library reads.
func TestMain(m *testing.M) {
	if os.Getenv("POLLER_TEST_TRACING") == "" {
		os.Exit(m.Run())
	}
	log, err := zap.NewProduction()
	if err == nil {
		_, err = New(context.Background(), "", "1", func(int, int) {}, log)
	}
	if err != nil {
		os.Exit(1)
	}
}

// TestVariablesThatCannotBeReadAreNotShown: a token without the name of its
// header, say. That something is wrong with them is.
func TestVariablesThatCannotBeReadAreNotShown(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{
		"OTEL_EXPORTER_OTLP_HEADERS=canary",
		"OTEL_EXPORTER_OTLP_HEADERS=authorization=%zzcanary",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://user:canary@x y",
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = []string{"POLLER_TEST_TRACING=1", variable}
		said, err := cmd.CombinedOutput()
		if err != nil || strings.Contains(string(said), "canary") || !strings.Contains(string(said), "OTEL_EXPORTER_OTLP_") {
			t.Errorf("%s: %v, %q", variable, err, said)
		}
	}
}
