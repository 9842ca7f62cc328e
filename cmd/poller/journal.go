package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mailpoller/internal/api"
)

func newForget(c *cli) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "forget NAME...",
		Short: "Forget what was saved, so that it is delivered again",
		Long: `Forget drops the record of the messages that a connection has saved: those
that are still on the server are delivered again. It asks first.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.names,
		RunE: action(func(cmd *cobra.Command, names []string) error {
			if !yes {
				fmt.Fprintf(c.stderr, "Messages of %s that are still on the server will be delivered again. Go on? [y/N] ", strings.Join(names, ", "))
				lines := &asker{lines: bufio.NewReader(c.stdin)}
				answer, _ := lines.read(cmd.Context(), func() (string, error) { return lines.lines.ReadString('\n') }) // none is a no
				if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
					return fmt.Errorf("nothing forgotten")
				}
			}
			return c.each(cmd.Context(), names, "forgot", api.Daemon.Forget)
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func newRetry(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:               "retry NAME...",
		Short:             "Try quarantined messages again",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: c.names,
		RunE: action(func(cmd *cobra.Command, names []string) error {
			return c.each(cmd.Context(), names, "will try again", api.Daemon.Retry)
		}),
	}
}

// each does something for every named connection and says for how many
// messages it did.
func (c *cli) each(ctx context.Context, names []string, did string, do func(api.Daemon, context.Context, string) (int, error)) error {
	return c.connected(ctx, func(ctx context.Context, d api.Daemon) error {
		for _, name := range names {
			n, err := do(d, ctx, name)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.stdout, "%s: %s %s\n", name, did, quantity(n, "message"))
		}
		return nil
	})
}
