package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
)

func newOAuth(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "oauth",
		Short: "Let poller into mailboxes that take a token instead of a password",
		Long: `Connections with an oauth2: block log in with an access token. Where its grant is
refresh_token, the user of the mailbox consents once, with "poller oauth login NAME";
from then on tokens are got and replaced without anybody. See docs/providers.md.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newOAuthLogin(c), newOAuthStatus(c))
	return cmd
}

func newOAuthLogin(c *cli) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "login NAME",
		Short: "Have the user of a mailbox consent, and keep the token that comes of it",
		Long: `Login prints an address, and where the provider has a device flow a code, and waits
until the user of the mailbox has opened the address, in whatever browser, and has
consented there. Google has no such flow for mail: there the browser has to run on
the machine that poller runs on, or to reach it through a tunnel. Ctrl-C gives up.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.names,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return c.connected(cmd.Context(), func(ctx context.Context, d api.Daemon) error {
				ctx = mail.WithTrace(ctx, &mail.Trace{Prompt: c.prompt})
				v, err := d.Login(ctx, args[0])
				switch {
				case err != nil && ctx.Err() != nil:
					return errors.New("given up; run the command again, and consent in a new browser window")
				case err != nil:
					return err
				}
				if asJSON {
					return printJSON(c, v)
				}
				fmt.Fprintf(c.stdout, "%s: consented; `poller test %s` shows whether the mail server agrees\n", v.Connection, v.Connection)
				return nil
			})
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object at the end")
	return cmd
}

// prompt tells a person what to do. It goes to standard error, which is a
// terminal also where the result goes elsewhere.
func (c *cli) prompt(p mail.Prompt) {
	fmt.Fprintf(c.stderr, "Open this address, as the user of the mailbox:\n\n    %s\n\n", p.Address)
	if p.Code != "" {
		fmt.Fprintf(c.stderr, "and enter the code\n\n    %s\n\n", p.Code)
	}
	if back, err := url.Parse(p.Redirect); err == nil && p.Redirect != "" {
		fmt.Fprintf(c.stderr, "in a browser on this machine. From another one, first: ssh -L %s:%s THIS-MACHINE\n\n", back.Port(), back.Host)
	}
	if !p.Expires.IsZero() {
		fmt.Fprintf(c.stderr, "until %s. ", clock(p.Expires))
	}
	fmt.Fprintln(c.stderr, "Waiting ...")
}

func newOAuthStatus(c *cli) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how connections get their tokens, and what went wrong",
		Args:  cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			var all []api.GrantView
			err := c.connected(cmd.Context(), func(ctx context.Context, d api.Daemon) (err error) {
				all, err = d.Grants(ctx)
				return err
			})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, append([]api.GrantView{}, all...))
			}
			return c.printGrants(all)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (c *cli) printGrants(all []api.GrantView) error {
	if len(all) == 0 {
		fmt.Fprintln(c.stdout, "No connection has an oauth2: block.")
		return nil
	}
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CONNECTION\tPROVIDER\tGRANT\tREFRESH TOKEN\tACCESS TOKEN UNTIL")
	for _, v := range all {
		refresh := v.Refresh
		switch {
		case v.Grant != mail.GrantRefreshToken:
			refresh = "-"
		case refresh == "":
			refresh = "none: poller oauth login " + v.Connection
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", v.Connection, v.Provider, v.Grant, refresh, clock(v.Expires))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, v := range all {
		if v.Error == nil {
			continue
		}
		fmt.Fprintf(c.stdout, "\n%s: %s, at %s: %s\n", v.Connection, v.Error.Op, clock(v.Failed), v.Error.Message)
		if v.Error.Hint != "" {
			fmt.Fprintf(c.stdout, "  hint: %s\n", v.Error.Hint)
		}
	}
	return nil
}
