package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"mailpoller/internal/api"
	"mailpoller/internal/app"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
)

func newPoll(c *cli) *cobra.Command {
	asJSON, dryRun := false, false
	cmd := &cobra.Command{
		Use:   "poll NAME...",
		Short: "Poll connections now",
		Long: `Poll runs one job of each named connection in the foreground: through the
daemon where one is running, so that no mailbox is polled by two at once, else by
itself. Several are polled at the same time. The exit code is 1 when one of them
failed, or the hook (notify) of one did: then the messages are saved, and the next
job runs the hook again. Ctrl-C has the message at hand finished, and ends with 130;
nothing is lost.

With --dry-run it says what would be saved, under which name, and what would be
done on the server, and does none of it. With --json there is an object for each
connection also when no job could be run, as with a mistake in the configuration.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.names,
		RunE: action(func(cmd *cobra.Command, names []string) error {
			began := false
			err := c.connected(cmd.Context(), func(ctx context.Context, d api.Daemon) error {
				began = true
				return c.poll(ctx, d, names, dryRun, asJSON)
			})
			if err == nil || began || !asJSON {
				return err
			}
			errs := []error{err}
			for _, name := range once(names) {
				errs = append(errs, c.encode(c.notRun(name, err)))
			}
			return errors.Join(errs...)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a connection")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

// atOnce is how many connections a command polls at the same time.
const atOnce = 8

// poll polls connections and prints what each came to, in the order of their
// names.
func (c *cli) poll(ctx context.Context, d api.Daemon, names []string, dryRun, asJSON bool) error {
	names = once(names)
	type polled struct {
		result mail.Result
		err    error
	}
	results := make([]chan polled, len(names))
	for i := range results {
		results[i] = make(chan polled, 1)
	}
	defer c.whenInterrupted(ctx, "the message at hand is finished, and nothing is lost: what was saved stays saved, and the next job goes on from there; Ctrl-C again ends at once")()
	ctx, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	group.SetLimit(atOnce)
	started := make(chan struct{})
	go func() {
		defer close(started)
		for i, name := range names {
			group.Go(func() error {
				bar := newProgress(c, asJSON || len(names) > 1 || c.logged)
				trace := bar.trace()
				trace.Job = func(r mail.Result) {
					if r.State == mail.Retrying {
						bar.clear()
						c.printAttempt(r)
					}
				}
				result, err := d.Poll(mail.WithTrace(ctx, trace), name, dryRun)
				bar.clear()
				results[i] <- polled{result, err}
				return nil
			})
		}
	}()
	defer func() {
		cancel()
		<-started
		_ = group.Wait() // its functions return no errors
	}()
	failed := false
	var errs []error
	for i, result := range results {
		p := <-result
		if p.err != nil {
			if ctx.Err() != nil {
				return errQuiet
			}
			errs = append(errs, p.err) // which is no reason to stop the others
			if asJSON {
				errs = append(errs, c.encode(c.notRun(names[i], p.err)))
			}
			continue
		}
		failed = failed || p.result.State == mail.Failed || p.result.Unheard > 0
		if asJSON {
			if err := c.encode(p.result); err != nil {
				return err
			}
			continue
		}
		c.printResult(p.result, dryRun, ctx.Err() != nil)
		for _, then := range p.result.Then {
			fmt.Fprintf(c.stdout, "  then would %s\n", then)
		}
		if dryRun {
			fmt.Fprintln(c.stdout, "  nothing was done")
		}
	}
	if ctx.Err() != nil || failed && len(errs) == 0 {
		return errQuiet
	}
	return errors.Join(errs...)
}

// once is each name once, in the order in which they are given.
func once(names []string) []string {
	seen := make(map[string]bool)
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		again := seen[name]
		seen[name] = true
		return again
	})
}

// encode prints a result as a JSON object.
func (c *cli) encode(r mail.Result) error { return json.NewEncoder(c.stdout).Encode(api.View(r)) }

// notRun is the result of a connection that no job was run of.
func (c *cli) notRun(name string, err error) mail.Result {
	r := mail.Result{Connection: name, State: mail.Failed, Outcome: mail.OutcomeFailed}
	var faults config.Faults
	switch {
	case errors.As(err, &faults):
		r.Err = &mail.Error{Op: opConfigure, Kind: mail.KindConfig, Err: err, Hint: "correct the file; `poller check --config " + shell(c.path) + "` finds every mistake"}
	case errors.Is(err, api.ErrUnknown):
		r.Err = &mail.Error{Op: opConfigure, Kind: mail.KindConfig, Err: err, Hint: "name a connection of " + c.path}
	case errors.Is(err, api.ErrDisabled):
		r.Err = &mail.Error{Op: opConfigure, Kind: mail.KindConfig, Err: err, Hint: "set status: ENABLED to have it polled"}
	case errors.Is(err, api.ErrBusy):
		r.Err = &mail.Error{Op: mail.OpPoll, Kind: mail.KindState, Err: err, Hint: "run this again when the job, dry run or test that has the connection is over; `poller status` shows it"}
	default:
		e := *mail.AsError(err, mail.OpPoll, mail.KindState)
		e.Hint = cmp.Or(e.Hint, "check state_dir of "+c.path+", and run this as root or as the user of the daemon")
		r.Err = &e
	}
	return r
}

// opConfigure is the step at which a mistake in the configuration is found.
const opConfigure = "read configuration"

// connected calls do with the daemon, or with what stands in for it.
func (c *cli) connected(ctx context.Context, do func(context.Context, api.Daemon) error) error {
	conf, err := c.load(true)
	if err != nil {
		client, running := c.daemon(ctx)
		if !running {
			return err
		}
		fmt.Fprintf(c.stderr, "%v\nThe file has faults; this is the daemon, with the one before:\n", err)
		return do(ctx, client.Daemon())
	}
	if conf.Log.Level == "info" && c.level == "" {
		conf.Log.Level = "fatal" // the command itself says what happens
	}
	c.logged = conf.Log.Level == "debug" || conf.Log.Level == "info"
	log, level := c.logger(conf)
	d, done, err := app.Connect(ctx, conf, build(), log, level)
	if err != nil {
		return err
	}
	err = do(ctx, d)
	if failed := done(); err == nil {
		err = failed
	}
	return err
}

// daemon is the daemon that runs with the configuration file, as it is or as
// it was.
func (c *cli) daemon(ctx context.Context) (client *api.Client, running bool) {
	client = api.NewClient(app.SocketPath(config.StateDir(c.path)))
	_, err := client.Status(ctx)
	return client, err == nil
}

// printAttempt says that an attempt failed, and when the next one is made.
func (c *cli) printAttempt(r mail.Result) {
	fmt.Fprintf(c.stderr, "%s: attempt %d failed: %v; trying again in %v, at %s\n",
		r.Connection, r.Attempts, r.Err, time.Until(r.RetryAt).Round(time.Second), r.RetryAt.Local().Format(time.TimeOnly))
}

// printResult says what a job came to, for a person, who may have interrupted
// it.
func (c *cli) printResult(r mail.Result, dryRun, interrupted bool) {
	saved := "saved"
	if dryRun {
		saved = "would save"
	}
	switch r.Outcome {
	case mail.OutcomeFailed:
		if interrupted && r.Err.Kind == mail.KindCanceled {
			fmt.Fprintf(c.stdout, "%s: interrupted\n", r.Connection)
			break
		}
		fmt.Fprintf(c.stdout, "%s: FAILED after %s: %v\n", r.Connection, quantity(r.Attempts, "attempt"), r.Err)
		if r.Err.Hint != "" {
			fmt.Fprintf(c.stdout, "  hint: %s\n", r.Err.Hint)
		}
	case mail.OutcomeEmpty:
		fmt.Fprintf(c.stdout, "%s: nothing to take\n", r.Connection)
	case mail.OutcomeUnchanged:
		fmt.Fprintf(c.stdout, "%s: unchanged: what would be taken was saved before and stays\n", r.Connection)
	}
	if r.Messages > 0 {
		fmt.Fprintf(c.stdout, "%s: %s %s, %s, in %v\n", r.Connection, saved, quantity(r.Messages, "message"), octets(r.Bytes), r.Duration.Round(time.Millisecond))
	}
	for _, f := range r.Files {
		fmt.Fprintf(c.stdout, "  %s\n", f)
	}
	if r.Quarantined > 0 {
		fmt.Fprintf(c.stdout, "%s: skips %s that failed; see `poller status`, and `poller retry %s`\n", r.Connection, quantity(r.Quarantined, "message"), shell(r.Connection))
	}
	if r.Unwanted > 0 {
		fmt.Fprintf(c.stdout, "%s: skips %s without attachments\n", r.Connection, quantity(r.Unwanted, "message"))
	}
	if r.Oversized > 0 {
		fmt.Fprintf(c.stdout, "%s: skips %s larger than max_message_size\n", r.Connection, quantity(r.Oversized, "message"))
	}
	if r.NotMatching > 0 {
		fmt.Fprintf(c.stdout, "%s: %s passed over, for match:\n", r.Connection, quantity(r.NotMatching, "message"))
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(c.stdout, "%s: warning: %s\n", r.Connection, w)
	}
	if r.Unheard > 0 {
		fmt.Fprintf(c.stdout, "%s: hooks failing: the messages are saved, and the next job runs the hook again\n", r.Connection)
	}
}

// progress shows on a terminal how a poll goes on, in a line of its own.
type progress struct {
	c     *cli
	width int
	last  time.Time
}

func newProgress(c *cli, quiet bool) *progress {
	if quiet || !isTerminal(c.stderr) {
		return &progress{}
	}
	return &progress{c: c}
}

// barWidth is how many characters the bar itself has.
const barWidth = 30

func (p *progress) trace() *mail.Trace {
	if p.c == nil {
		return &mail.Trace{}
	}
	return &mail.Trace{
		Step: func(s mail.Step) { p.show(s.Name) },
		Progress: func(ref mail.Ref, done, size int64) {
			if done < size && time.Since(p.last) < 100*time.Millisecond {
				return
			}
			p.last = time.Now()
			full := 0
			if size > 0 {
				full = int(min(done, size) * barWidth / size)
			}
			p.show(fmt.Sprintf("message %.20s [%s%s] %s of %s", ref.ID(), strings.Repeat("#", full), strings.Repeat(".", barWidth-full), octets(done), octets(size)))
		},
	}
}

func (p *progress) show(text string) {
	fmt.Fprintf(p.c.stderr, "\r%-*s", p.width, text)
	p.width = len(text)
}

func (p *progress) clear() {
	if p.width > 0 {
		fmt.Fprintf(p.c.stderr, "\r%*s\r", p.width, "")
		p.width = 0
	}
}
