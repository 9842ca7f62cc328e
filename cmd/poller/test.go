package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
)

func newTest(c *cli) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "test NAME...",
		Short: "Test connections",
		Long: `Test goes the way of a poll, step by step, up to the message that would be
taken: it resolves, connects, makes TLS, logs in, opens the mailbox and picks. It
fetches nothing and changes nothing on the server. In the folder it does what a poll
does, under hidden names, and removes it again. Each step that fails says why, and
what to do next. The exit code is 1 then.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.names,
		RunE: action(func(cmd *cobra.Command, names []string) error {
			return c.connected(cmd.Context(), func(ctx context.Context, d api.Daemon) error {
				failed := false
				for _, name := range names {
					test, err := c.test(ctx, d, name, asJSON)
					if err != nil {
						return err
					}
					failed = failed || !test.OK()
				}
				if failed {
					return errQuiet
				}
				return nil
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a connection")
	return cmd
}

// test tests one connection and prints each step as it ends.
func (c *cli) test(ctx context.Context, d api.Polling, name string, asJSON bool) (mail.Test, error) {
	printed := 0
	show := func(s mail.Step) {
		if printed == 0 {
			fmt.Fprintln(c.stdout, name)
		}
		printed++
		printStep(c.stdout, s, isTerminal(c.stdout))
	}
	if !asJSON {
		ctx = mail.WithTrace(ctx, &mail.Trace{Step: show})
	}
	test, err := d.Test(ctx, name)
	if err != nil {
		return test, err
	}
	if asJSON {
		return test, json.NewEncoder(c.stdout).Encode(api.ViewTest(test))
	}
	for _, s := range test.Steps[min(printed, len(test.Steps)):] {
		show(s)
	}
	return test, nil
}

// printStep prints a step in a line, and in further ones why it failed and
// what to do next.
func printStep(w io.Writer, s mail.Step, colour bool) {
	mark, text := "✓", s.Detail
	begin, end := "\033[32m", "\033[0m" // green
	if s.Err != nil {
		mark, begin = "✗", "\033[31m" // red
		text = mail.AsError(s.Err, s.Name, mail.KindInternal).Err.Error()
	}
	if !colour {
		begin, end = "", ""
	}
	fmt.Fprintf(w, "  %s%s%s %-12s  %6s  %s\n", begin, mark, end, s.Name, took(s.Duration), text)
	if e := mail.AsError(s.Err, s.Name, mail.KindInternal); e != nil && e.Hint != "" {
		fmt.Fprintf(w, "    %12s  %6s  %s\n", "", "", "-> "+e.Hint)
	}
}

// took is a duration to three digits.
func took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}
