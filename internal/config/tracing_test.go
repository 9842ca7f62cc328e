package config

import (
	"strings"
	"testing"
)

// TestTheAddressOfATraceCollector: a base address, which holds no secret.
func TestTheAddressOfATraceCollector(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ endpoint, says string }{
		{"http://127.0.0.1:4318", ""},
		{"https://collector.example.com/otlp", ""},
		{"127.0.0.1:4318", "accepted: an address such as"},
		{"grpc://127.0.0.1:4317", "accepted: an address such as"},
		{"https://user:canary@collector.example.com", "OTEL_EXPORTER_OTLP_HEADERS"},
		{"https://collector.example.com/?token=canary", "OTEL_EXPORTER_OTLP_HEADERS"},
	} {
		conf, err := Load(write(t, "tracing: {endpoint: \""+c.endpoint+"\"}\nconnections: []\n"))
		switch {
		case c.says == "" && (err != nil || conf.Tracing.Endpoint != c.endpoint):
			t.Errorf("%s: %v", c.endpoint, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "canary")):
			t.Errorf("%s: %v, and not %q", c.endpoint, err, c.says)
		}
	}
}
