package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newVersion(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  cobra.NoArgs,
		RunE: action(func(*cobra.Command, []string) error {
			b := build()
			fmt.Fprintf(c.stdout, "poller %s\ncommit %s\n%s\n", b.Version, b.Commit, b.Go)
			return nil
		}),
	}
}
