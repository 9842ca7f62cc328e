package poll

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mailpoller/internal/mail"
)

// Bounds of the log that a job keeps of itself.
const (
	maxLines       = 200
	maxLinesOctets = 32 << 10
)

// lines is the log of one job: what it logs, whatever the level of the log is,
// and its steps. The first lines are kept.
type lines struct {
	mu     sync.Mutex
	all    []string
	octets int
	full   bool
}

// Write implements zapcore.WriteSyncer: the encoder hands over a line.
func (l *lines) Write(p []byte) (int, error) {
	l.add(string(p))
	return len(p), nil
}

// Sync implements zapcore.WriteSyncer.
func (l *lines) Sync() error { return nil }

func (l *lines) add(line string) {
	line = strings.TrimRight(line, "\n")
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.full:
	case len(l.all) == maxLines, l.octets+len(line) > maxLinesOctets:
		l.full = true
		l.all = append(l.all, "... there was more")
	default:
		l.all = append(l.all, line)
		l.octets += len(line)
	}
}

// taken is what there is.
func (l *lines) taken() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all
}

// lineEncoder spells a line for people: time, level, message, fields.
func lineEncoder() zapcore.Encoder {
	return zapcore.NewConsoleEncoder(zapcore.EncoderConfig{
		TimeKey: "time", LevelKey: "level", MessageKey: "message",
		EncodeTime:       zapcore.TimeEncoderOfLayout(time.TimeOnly + ".000"),
		EncodeLevel:      zapcore.CapitalLevelEncoder,
		EncodeDuration:   zapcore.StringDurationEncoder,
		ConsoleSeparator: " ",
	})
}

// tee is a logger whose lines are also kept here.
func (l *lines) tee(log *zap.Logger) *zap.Logger {
	own := zapcore.NewCore(lineEncoder(), l, zapcore.DebugLevel)
	return log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return zapcore.NewTee(core, own) }))
}

// listening is ctx with a trace whose steps are kept here, too.
func (l *lines) listening(ctx context.Context) context.Context {
	t := *mail.TraceOf(ctx)
	outer := t.Step
	t.Step = func(s mail.Step) {
		if outer != nil {
			outer(s)
		}
		line := time.Now().Format(time.TimeOnly+".000") + " STEP " + s.Name + " " + s.Duration.Round(10*time.Microsecond).String()
		if s.Detail != "" {
			line += " " + s.Detail
		}
		if s.Err != nil {
			line += " failed"
		}
		l.add(line)
	}
	return mail.WithTrace(ctx, &t)
}
