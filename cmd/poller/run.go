package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"mailpoller/internal/app"
)

func newRun(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run polls the configured mailboxes until it gets SIGTERM or SIGINT. Polls in
progress then finish the message at hand. SIGHUP reloads the configuration, as
poller reload does; one with a fault leaves the old one in force. At the start it
ends the daemon with exit code 78.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) (err error) {
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			defer onlyTheFirst()() // what a stop lets finish, a second signal does not cut off
			conf, err := c.load(false)
			if err != nil {
				return &failedError{err: err, code: exitConfig}
			}
			log, level := c.logger(conf)
			a, err := app.Open(cmd.Context(), conf, build(), log, level)
			if err != nil {
				return err
			}
			defer func() {
				if closed := a.Close(); err == nil {
					err = closed
				}
			}()
			if c.level != "" {
				a.KeepLogLevel()
			}
			return a.Run(cmd.Context(), hangups, nil)
		}),
	}
}
