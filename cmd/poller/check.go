package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"mailpoller/internal/app"
	"mailpoller/internal/config"
)

func newCheck(c *cli) *cobra.Command {
	show := false
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration",
		Long: `Check reads the configuration as the daemon would and prints each fault with
its place on standard error. Warnings are things that work, but may not be meant,
and what would not work now: a folder that is missing, a secret or key that cannot
be read by the user who runs the command, a file of a secret or key that other users
can read or write, a program of notify that is not there, a certificate that expires
soon. The exit code is 1 when there is a fault.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			conf, err := c.load(false)
			if err != nil {
				return err
			}
			for _, text := range app.Doubts(cmd.Context(), conf) {
				fmt.Fprintln(c.stderr, app.Warning(config.Fault{File: conf.Path, Message: text}))
			}
			if show {
				return conf.Show(c.stdout)
			}
			enabled := 0
			for i := range conf.Connections {
				if conf.Connections[i].Enabled {
					enabled++
				}
			}
			fmt.Fprintf(c.stdout, "%s: ok, %s, %d enabled\n", conf.Path, quantity(len(conf.Connections), "connection"), enabled)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&show, "show", false, "print the effective settings, secrets masked")
	return cmd
}
