// A negative serial number is no reason to refuse a certificate: browsers, OpenSSL
// and Java take it (docs/decisions/0027). GODEBUG in the environment says otherwise.
//go:debug x509negativeserial=1

// Command poller polls mailboxes over IMAP and POP3 and puts their messages
// into folders. See README.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	_ "time/tzdata" // CRON_TZ= works on a host without time zones

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/term"

	"mailpoller/internal/app"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
)

// version is set by the linker.
var version = "devel"

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
	// run alone: its configuration has a fault, so that starting again is no use
	// (sysexits.h: EX_CONFIG). It is not exitUsage, which is also how a Go
	// program ends that crashes, and then it has to be started again.
	exitConfig = 78
)

func main() {
	ctx, stop := untilSignal(context.Background())
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program; what it returns is its exit code.
func run(ctx context.Context, args []string, stdin *os.File, stdout, stderr io.Writer) int {
	c := &cli{stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRoot(c)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if code, ok := interruption(ctx); ok {
		c.sayInterrupted(err)
		return code
	}
	var failed *failedError
	switch {
	case errors.As(err, &failed):
		if failed.err != nil {
			fmt.Fprintln(stderr, describe(failed.err))
		}
		return max(failed.code, exitFailed)
	}
	fmt.Fprintf(stderr, "poller: %v\nRun 'poller help' for usage.\n", err)
	return exitUsage
}

// failedError is a command that was used rightly and failed. Without an error
// in it, the command has said all there is to say.
type failedError struct {
	err  error
	code int // the exit code, unless it is exitFailed
}

func (f *failedError) Error() string { return fmt.Sprint(f.err) }
func (f *failedError) Unwrap() error { return f.err }

// describe is what an operator reads of an error.
func describe(err error) string {
	var faults config.Faults
	if errors.As(err, &faults) {
		return err.Error() // one line a fault, each with its place
	}
	text := "poller: " + err.Error()
	var e *mail.Error
	if errors.As(err, &e) && e.Hint != "" {
		text += "\n  hint: " + e.Hint
	}
	return text
}

// cli is what the subcommands share.
type cli struct {
	stdin          *os.File
	stdout, stderr io.Writer
	path           string    // of the configuration
	level          logLevel  // of the log, whatever the configuration says; empty for what it says
	logged         bool      // the log shows on standard error what goes on
	interrupted    sync.Once // said that a signal ended the command
}

// logLevel is a level of the log, as the configuration has it.
type logLevel string

// logLevels are all of them.
var logLevels = []string{"debug", "info", "warn", "error"}

// Set implements pflag.Value.
func (l *logLevel) Set(text string) error {
	if text = strings.ToLower(text); !slices.Contains(logLevels, text) {
		return fmt.Errorf("accepted: %s", strings.Join(logLevels, ", "))
	}
	*l = logLevel(text)
	return nil
}

// String implements pflag.Value.
func (l *logLevel) String() string { return string(*l) }

// Type implements pflag.Value.
func (l *logLevel) Type() string { return "level" }

const defaultConfig = "/etc/poller/poller.yaml"

func newRoot(c *cli) *cobra.Command {
	root := &cobra.Command{
		Use:   "poller",
		Short: "Poll mailboxes over IMAP and POP3 into folders",
		Long: `poller looks into mailboxes on a schedule, puts the messages that are asked for
into folders, whole, and then deletes them on the server, moves them, keeps them or
marks them as seen. It never loses a message and never delivers one twice.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version,
	}
	path := os.Getenv("POLLER_CONFIG")
	if path == "" {
		path = defaultConfig
	}
	root.PersistentFlags().StringVar(&c.path, "config", path, "configuration `file` (or $POLLER_CONFIG)")
	root.PersistentFlags().Var(&c.level, "log-level", "the least `level` that is logged, whatever the configuration says: "+strings.Join(logLevels, ", "))
	_ = root.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions(logLevels, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	_ = root.MarkPersistentFlagFilename("config", "yaml", "yml", "json")                                                    // the flag is there
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)                                 // no command takes files
	root.AddCommand(
		newInit(c), newRun(c), newReload(c), newCheck(c), newTest(c), newPoll(c), newCerts(c), newOAuth(c), newForget(c), newRetry(c),
		newStatus(c), newJobs(c), newDemo(c), newVersion(c), newMan(c),
	)
	return root
}

// action makes a command's function out of one whose errors are failures, not
// wrong usage.
func action(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := do(cmd, args)
		var failed *failedError
		if err == nil || errors.As(err, &failed) {
			return err
		}
		return &failedError{err: err}
	}
}

// errQuiet fails a command that has said all there is to say.
var errQuiet error = &failedError{}

func build() app.Build {
	b := app.Build{Version: version, Commit: "unknown", Go: runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Commit = s.Value
			}
		}
	}
	return b
}

// load reads the configuration and says what is doubtful about it.
func (c *cli) load(quiet bool) (*config.Config, error) {
	conf, err := config.Load(c.path)
	if err != nil {
		return nil, err
	}
	conf.Log.Level = cmp.Or(string(c.level), conf.Log.Level)
	if !quiet {
		for _, w := range conf.Warnings {
			fmt.Fprintln(c.stderr, app.Warning(w))
		}
	}
	return conf, nil
}

// logger writes to standard error: JSON, or for a person at a terminal lines.
func (c *cli) logger(conf *config.Config) (*zap.Logger, zap.AtomicLevel) {
	level, err := zap.ParseAtomicLevel(conf.Log.Level)
	if err != nil {
		level = zap.NewAtomicLevel() // validated when it was loaded
	}
	encoding := zap.NewProductionEncoderConfig()
	encoding.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoding.EncodeDuration = zapcore.SecondsDurationEncoder
	encoder := zapcore.NewJSONEncoder(encoding)
	if conf.Log.Format == "console" || conf.Log.Format == "auto" && isTerminal(c.stderr) {
		encoding.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z07:00")
		encoding.EncodeDuration = zapcore.StringDurationEncoder
		encoder = zapcore.NewConsoleEncoder(encoding)
	}
	core := zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(c.stderr)), level)
	log := zap.New(core)
	zap.RedirectStdLog(log)
	return log, level
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// quantity is a number and what is counted.
func quantity(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// octets is a size as people read it.
func octets(n int64) string {
	const step = 1024
	if n < step {
		return fmt.Sprintf("%d B", n)
	}
	size, units := float64(n)/step, "KMGT"
	for size >= step && len(units) > 1 {
		size, units = size/step, units[1:]
	}
	return strings.Replace(fmt.Sprintf("%.1f %ciB", size, units[0]), ".0 ", " ", 1)
}
