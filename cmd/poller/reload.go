package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"mailpoller/internal/api"
	"mailpoller/internal/app"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
)

func newReload(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Put a changed configuration into force",
		Long: `Reload has the running daemon read its configuration file again, and waits for the
answer. When the file has problems, reload prints them as check does, the
configuration in force stays, and the exit code is 1. "systemctl reload poller"
runs this command.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return c.reload(cmd.Context()) }),
	}
}

func (c *cli) reload(ctx context.Context) error {
	socket := app.SocketPath(config.StateDir(c.path))
	client := api.NewClient(socket)
	status, err := client.Status(ctx)
	switch {
	case errors.Is(err, api.ErrNoDaemon):
		return c.unreached("no daemon runs with %s: nothing answers on %s", c.path, socket)
	case err != nil:
		return err
	case !same(status.Config, c.path):
		return c.unreached("the daemon that answers on %s runs with %s, not with %s; nothing was reloaded", socket, status.Config, c.path)
	}
	warnings, err := client.Reload(ctx)
	if errors.Is(err, api.ErrConfiguration) {
		fmt.Fprintf(c.stderr, "%v\nnot reloaded: the configuration of %s stays in force\n", err, clock(status.Loaded))
		return errQuiet
	}
	for _, w := range warnings {
		fmt.Fprintln(c.stderr, w)
	}
	if err == nil {
		fmt.Fprintf(c.stdout, "%s: reloaded\n", c.path)
	}
	return err
}

// unreached says why no daemon could be asked. A file that cannot be read may
// not even name its state directory, so what is wrong with it is said first.
func (c *cli) unreached(format string, args ...any) error {
	if _, err := config.Load(c.path); err != nil {
		fmt.Fprintln(c.stderr, err)
	}
	e := mail.Errorf("reload", mail.KindConfig, format, args...)
	e.Hint = "start the daemon with `systemctl start poller` or `poller run --config " + shell(c.path) + "`, or name the file of the one that runs with --config"
	return e
}

// same reports whether both paths lead to one file.
func same(a, b string) bool {
	if a == b {
		return true
	}
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}
