package main

import (
	"github.com/spf13/cobra"

	"mailpoller/internal/config"
)

// names completes the names of connections, with what they are for. A
// configuration with faults has none.
func (c *cli) names(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	conf, err := config.Load(c.path)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all := make([]cobra.Completion, len(conf.Connections))
	for i, connection := range conf.Connections {
		all[i] = cobra.CompletionWithDesc(connection.Name, connection.Description)
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}
