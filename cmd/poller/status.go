package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mailpoller/internal/api"
	"mailpoller/internal/app"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
)

func newStatus(c *cli) *cobra.Command {
	asJSON, again := false, false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the connections of the running daemon",
		Args:  cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			client := api.NewClient(app.SocketPath(config.StateDir(c.path)))
			return c.watch(cmd.Context(), again, func(ctx context.Context) error {
				status, err := client.Status(ctx)
				if err != nil {
					return err
				}
				connections, err := client.Connections(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return printJSON(c, connections)
				}
				if status.ReloadError != "" {
					fmt.Fprintf(c.stdout, "The configuration file has faults; what was loaded at %s stays in force:\n%s\n", clock(status.Loaded), status.ReloadError)
				}
				c.printConnections(connections)
				return nil
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&again, "watch", false, "show it again every two seconds, until interrupted")
	return cmd
}

// watched is how often --watch looks.
const watched = 2 * time.Second

// watch shows something, once or again and again until ctx ends: on a terminal
// in the same place, elsewhere one below the other.
func (c *cli) watch(ctx context.Context, again bool, show func(context.Context) error) error {
	for {
		if again && isTerminal(c.stdout) {
			fmt.Fprint(c.stdout, "\x1b[H\x1b[2J") // to the first place, and clear
		}
		err := show(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // interrupted, as it was asked to be
		}
		if err != nil || !again {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watched):
		}
	}
}

func (c *cli) printConnections(connections []api.ConnectionView) {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CONNECTION\tSTATE\tLAST RESULT\tAT\tNEXT\tFAILURES IN A ROW")
	for _, v := range connections {
		last, at := "-", "-"
		if v.Last != nil && v.Enabled {
			last, at = string(v.Last.Outcome), clock(v.Last.Started)
			if v.Last.Messages > 0 {
				last += " " + quantity(v.Last.Messages, "message")
			}
		}
		if v.Hooks != nil && v.Hooks.Failing && v.Enabled {
			last = strings.TrimPrefix(last+", hooks failing", "-, ")
		}
		next := clock(v.Next)
		if v.BackingOffUntil.After(time.Now()) {
			next = "backing off until " + clock(v.BackingOffUntil)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", v.Name, v.State, last, at, next, v.FailuresInRow)
	}
	w.Flush() //nolint:errcheck // standard output; nobody is left to tell
	for _, v := range connections {
		if v.Last != nil && v.Last.Error != nil && v.Enabled {
			fmt.Fprintf(c.stdout, "\n%s: %s: %s\n", v.Name, v.Last.Error.Op, v.Last.Error.Message)
			if v.Last.Error.Hint != "" {
				fmt.Fprintf(c.stdout, "  hint: %s\n", v.Last.Error.Hint)
			}
		}
		if v.Hooks != nil && v.Hooks.Failing && v.Enabled {
			c.printHooks(v)
		}
		for _, m := range v.Quarantined {
			fmt.Fprintf(c.stdout, "\n%s: quarantined: %s: %s\n  hint: `poller retry %s` has it tried again\n", v.Name, described(m), m.Reason, shell(v.Name))
		}
		for _, m := range v.Oversized {
			fmt.Fprintf(c.stdout, "\n%s: oversized: %s: %s\n  hint: raise max_message_size if the message is wanted\n", v.Name, described(m), m.Reason)
		}
	}
}

// described is a message in one line, for people.
func described(m api.MessageView) string {
	text := "message " + m.ID
	if m.From != "" {
		text += " from " + short(m.From)
	}
	if m.Subject != "" {
		text += fmt.Sprintf(", %q", short(m.Subject))
	}
	if !m.Date.IsZero() {
		text += ", of " + m.Date.Local().Format("2006-01-02 15:04")
	}
	if m.Size > 0 {
		text += ", " + octets(m.Size)
	}
	return text
}

// printHooks says that hooks are failing, although the messages are saved.
func (c *cli) printHooks(v api.ConnectionView) {
	state := ""
	if v.Last != nil {
		state = string(v.Last.State) + ", "
	}
	why := "the next job tells why"
	if v.Hooks.Error != "" {
		why = "last error: " + short(v.Hooks.Error)
	}
	fmt.Fprintf(c.stdout, "\n%s: %shooks failing since %s: %s due; %s\n  hint: correct the program of notify, then run `poller poll %s`: it runs the hook again for each message\n",
		v.Name, state, clock(v.Hooks.FailingSince), quantity(v.Hooks.Due, "message"), why, shell(v.Name))
}

// short is as much of what a program wrote as a line of a table holds.
func short(text string) string {
	const most = 200 // bytes
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " ..."
}

func newJobs(c *cli) *cobra.Command {
	asJSON, again := false, false
	var filter api.JobFilter
	var state string
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "Show the job history, newest first",
		Long: `Jobs shows the jobs in progress and those that saved something, changed
something on a server or failed. A poll that found nothing new leaves no record.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			filter.State = mail.State(strings.ToUpper(state))
			return c.connected(cmd.Context(), func(ctx context.Context, d api.Daemon) error {
				return c.watch(ctx, again, func(ctx context.Context) error {
					jobs, err := d.Jobs(ctx, filter)
					if err != nil {
						return err
					}
					if asJSON {
						views := make([]api.PollView, len(jobs))
						for i, j := range jobs {
							views[i] = api.View(j)
						}
						return printJSON(c, views)
					}
					c.printJobs(jobs)
					return nil
				})
			})
		}),
	}
	cmd.AddCommand(newJobsShow(c))
	cmd.Flags().StringVar(&filter.Connection, "connection", "", "only those of this connection")
	cmd.Flags().StringVar(&state, "state", "", "only those in this `state`, such as FAILED")
	_ = cmd.RegisterFlagCompletionFunc("connection", c.names) // the flag is there
	cmd.Flags().IntVar(&filter.Limit, "limit", 20, "at most this many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&again, "watch", false, "show it again every two seconds, until interrupted")
	return cmd
}

func newJobsShow(c *cli) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "show JOB",
		Short: "Show all that is known of one job, and the log of one that failed",
		Args:  cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return c.connected(cmd.Context(), func(ctx context.Context, d api.Daemon) error {
				jobs, err := d.Jobs(ctx, api.JobFilter{ID: strings.ToUpper(args[0]), Limit: 2})
				switch {
				case err != nil:
					return err
				case len(jobs) == 0:
					return fmt.Errorf("%s: %w; `poller jobs` lists those that are", args[0], api.ErrNoJob)
				case len(jobs) > 1:
					return fmt.Errorf("%s: more than one job begins with this; give more of it", args[0])
				case asJSON:
					return printJSON(c, api.View(jobs[0]))
				}
				c.printJob(jobs[0])
				return nil
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

func (c *cli) printJob(j mail.Result) {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, fact := range []struct {
		name  string
		value any
	}{
		{"job", j.Job},
		{"connection", j.Connection},
		{"state", j.State},
		{"outcome", j.Outcome},
		{"started", clock(j.Started)},
		{"duration", j.Duration.Round(time.Millisecond)},
		{"attempts", j.Attempts},
		{"messages", j.Messages},
		{"size", octets(j.Bytes)},
		{"disposed of", j.Disposed},
		{"failures", j.Failures},
		{"quarantined", j.Quarantined},
		{"oversized", j.Oversized},
		{"without attachments", j.Unwanted},
		{"hooks run", j.Notified},
		{"hooks failed", j.Unheard},
	} {
		fmt.Fprintf(w, "%s\t%v\n", fact.name, fact.value)
	}
	w.Flush() //nolint:errcheck // standard output; nobody is left to tell
	for _, list := range []struct {
		title string
		lines []string
	}{{"files", j.Files}, {"warnings", j.Warnings}, {"log", j.Log}} {
		if len(list.lines) > 0 {
			fmt.Fprintf(c.stdout, "\n%s:\n  %s\n", list.title, strings.Join(list.lines, "\n  "))
		}
	}
	if j.Err != nil {
		fmt.Fprintf(c.stdout, "\n%s\n", describe(j.Err))
	}
}

// shortID is as much of the id of a job as tells it from others.
func shortID(id string) string { return id[:min(len(id), 8)] }

func (c *cli) printJobs(jobs []mail.Result) {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "JOB\tSTARTED\tCONNECTION\tSTATE\tATTEMPTS\tMESSAGES\tSIZE\tDURATION\tREASON")
	for _, j := range jobs {
		reason := ""
		if j.Err != nil {
			reason = j.Err.Error()
		} else if j.HookError != "" {
			reason = "hooks failing: " + short(j.HookError)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%v\t%s\n", shortID(j.Job), clock(j.Started), j.Connection, j.State,
			j.Attempts, j.Messages, octets(j.Bytes), j.Duration.Round(time.Millisecond), reason)
	}
	w.Flush() //nolint:errcheck // standard output; nobody is left to tell
}

func printJSON(c *cli, v any) error {
	encoder := json.NewEncoder(c.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// clock is a time as an operator reads it: local, without a date today.
func clock(t time.Time) string {
	switch t = t.Local(); {
	case t.IsZero():
		return "-"
	case t.Format(time.DateOnly) == time.Now().Format(time.DateOnly):
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}
