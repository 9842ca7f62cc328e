package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mailpoller/internal/admin"
	"mailpoller/internal/app"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
)

func newStatus(c *cli) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the connections of the running daemon",
		Args:  cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			client := admin.NewClient(app.SocketPath(config.StateDir(c.path)))
			status, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			connections, err := client.Connections(cmd.Context())
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
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (c *cli) printConnections(connections []admin.ConnectionView) {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CONNECTION\tSTATE\tLAST RESULT\tAT\tNEXT\tFAILURES IN A ROW")
	for _, v := range connections {
		last, at := "-", "-"
		if v.Last != nil {
			last, at = string(v.Last.Outcome), clock(v.Last.Started)
			if v.Last.Messages > 0 {
				last += " " + quantity(v.Last.Messages, "message")
			}
		}
		next := clock(v.Next)
		if v.BackingOffUntil.After(time.Now()) {
			next = "backing off until " + clock(v.BackingOffUntil)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", v.Name, v.State, last, at, next, v.FailuresInRow)
	}
	w.Flush() //nolint:errcheck // standard output; nobody is left to tell
	for _, v := range connections {
		if v.Last != nil && v.Last.Error != nil {
			fmt.Fprintf(c.stdout, "\n%s: %s: %s\n", v.Name, v.Last.Error.Op, v.Last.Error.Message)
			if v.Last.Error.Hint != "" {
				fmt.Fprintf(c.stdout, "  hint: %s\n", v.Last.Error.Hint)
			}
		}
		for _, m := range v.Aside {
			fmt.Fprintf(c.stdout, "\n%s: passes over message %s (%s): %s\n", v.Name, m.ID, octets(m.Size), m.Reason)
		}
	}
}

func newJobs(c *cli) *cobra.Command {
	asJSON := false
	var filter admin.JobFilter
	var state string
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "Show the job history, newest first",
		Long: `Jobs shows the jobs in progress and those that saved something, changed
something on a server or failed. A poll that found nothing new leaves no record.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			filter.State = mail.State(strings.ToUpper(state))
			return c.connected(cmd.Context(), func(ctx context.Context, d admin.Daemon) error {
				jobs, err := d.Jobs(ctx, filter)
				if err != nil {
					return err
				}
				if asJSON {
					views := make([]admin.PollView, len(jobs))
					for i, j := range jobs {
						views[i] = admin.View(j)
					}
					return printJSON(c, views)
				}
				c.printJobs(jobs)
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&filter.Connection, "connection", "", "only those of this connection")
	cmd.Flags().StringVar(&state, "state", "", "only those in this `state`, such as FAILED")
	_ = cmd.RegisterFlagCompletionFunc("connection", c.names) // the flag is there
	cmd.Flags().IntVar(&filter.Limit, "limit", 20, "at most this many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (c *cli) printJobs(jobs []mail.Result) {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STARTED\tCONNECTION\tSTATE\tATTEMPTS\tMESSAGES\tSIZE\tDURATION\tREASON")
	for _, j := range jobs {
		reason := ""
		if j.Err != nil {
			reason = j.Err.Error()
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%v\t%s\n", clock(j.Started), j.Connection, j.State,
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
