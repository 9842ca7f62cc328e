package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCheck(c *cli) *cobra.Command {
	show := false
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Validate the configuration",
		Long: `Check reads the configuration as the daemon would and prints each fault with
its place on standard error. Warnings are things that work, but may not be meant.
The exit code is 1 when there is a fault.`,
		Args: cobra.NoArgs,
		RunE: action(func(*cobra.Command, []string) error {
			conf, err := c.load(false)
			if err != nil {
				return err
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
