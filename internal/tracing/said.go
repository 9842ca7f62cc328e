package tracing

import (
	"strings"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
)

// maxSaid is how much of what a collector answers goes to the log, in octets.
const maxSaid = 500

// brief is an error in one line that a log can hold: it may have a whole answer
// of the collector in it.
func brief(err error) string {
	text := err.Error()
	if len(text) > maxSaid {
		text = text[:maxSaid] + "..."
	}
	return strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
}

// sayings is what the library has to say of the variables that it reads. It says
// what is in them too, which may be a token, so only what it was about goes on.
type sayings struct{ log *zap.Logger }

var _ logr.LogSink = sayings{}

// Init implements logr.LogSink.
func (sayings) Init(logr.RuntimeInfo) {}

// Enabled implements logr.LogSink: for what is no error, not.
func (sayings) Enabled(int) bool { return false }

// Info implements logr.LogSink.
func (sayings) Info(int, string, ...any) {}

// Error implements logr.LogSink.
func (s sayings) Error(_ error, about string, _ ...any) {
	s.log.Warn("a variable of tracing cannot be read, and has no effect: see OTEL_EXPORTER_OTLP_* in the environment", zap.String("about", about))
}

// WithValues implements logr.LogSink.
func (s sayings) WithValues(...any) logr.LogSink { return s }

// WithName implements logr.LogSink.
func (s sayings) WithName(string) logr.LogSink { return s }
