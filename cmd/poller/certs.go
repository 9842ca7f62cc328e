package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"mailpoller/internal/api"
)

func newCerts(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Review certificates that were not trusted",
		Long: `When a server's certificate is not trusted, its chain is kept for review. An
operator can trust the server's own certificate, or that of an issuer in its chain:
it is then accepted for this host and port alone, from the next poll on, for as long
as it is valid. Where match_server_hostname is ENABLED the certificate still has to
be valid for the host.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCertsList(c), newCertsShow(c))
	for _, verb := range []struct {
		name, short, done string
		do                func(api.Daemon, context.Context, string, string) (api.TrustView, error)
	}{
		{"trust", "Accept a certificate, the server's own or an issuer's", "trusted", api.Daemon.Trust},
		{"revoke", "End the trust in a certificate", "no longer trusted", api.Daemon.Revoke},
		{"remove", "Drop a certificate from what is kept", "removed", api.Daemon.Remove},
	} {
		server, asJSON := "", false
		sub := &cobra.Command{
			Use:   verb.name + " FINGERPRINT",
			Short: verb.short,
			Args:  cobra.ExactArgs(1),
			RunE: action(func(cmd *cobra.Command, args []string) error {
				return c.connected(cmd.Context(), func(ctx context.Context, d api.Daemon) error {
					v, err := verb.do(d, ctx, args[0], server)
					if err != nil {
						return err
					}
					if asJSON {
						return printJSON(c, v)
					}
					whose := "an issuer's"
					if v.Own {
						whose = "the server's own"
					}
					fmt.Fprintf(c.stdout, "%s for %s: %s (%s certificate), %s\n", verb.done, v.Server, v.Subject, whose, v.Fingerprint)
					return nil
				})
			}),
		}
		sub.Flags().StringVar(&server, "server", "", "the `host:port`, where several servers showed this certificate")
		sub.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
		cmd.AddCommand(sub)
	}
	return cmd
}

// certificates are those that are kept.
func (c *cli) certificates(ctx context.Context) (all []api.CertificateView, err error) {
	err = c.connected(ctx, func(ctx context.Context, d api.Daemon) error {
		all, err = d.Certificates(ctx)
		return err
	})
	return all, err
}

func newCertsList(c *cli) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the certificates that were not trusted, and those that are by now",
		Args:  cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			all, err := c.certificates(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c, append([]api.CertificateView{}, all...))
			}
			if len(all) == 0 {
				fmt.Fprintln(c.stdout, "No certificate was refused.")
				return nil
			}
			w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "FINGERPRINT\tSERVER\tSUBJECT\tTRUSTED\tLAST SEEN\tTIMES\tREASON")
			for _, v := range all {
				trusted := "no"
				if v.Trusted {
					trusted = "yes"
				}
				fmt.Fprintf(w, "%s\t%s:%d\t%s\t%s\t%s\t%d\t%s\n", v.Fingerprint[:16], v.Host, v.Port, cmp.Or(v.Subject, unreadable), trusted, clock(v.Last), v.Times, v.Reason)
			}
			return w.Flush()
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func newCertsShow(c *cli) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "show FINGERPRINT",
		Short: "Show a certificate and its chain, to decide on",
		Args:  cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			all, err := c.certificates(cmd.Context())
			if err != nil {
				return err
			}
			var found []api.CertificateView
			for _, v := range all {
				for _, one := range v.Chain {
					if strings.HasPrefix(one.Fingerprint, strings.ToLower(strings.ReplaceAll(args[0], ":", ""))) {
						found = append(found, v)
						break
					}
				}
			}
			switch {
			case len(found) == 0:
				return fmt.Errorf("no certificate with the fingerprint %s is kept; `poller certs list` shows what is", args[0])
			case asJSON:
				return printJSON(c, found)
			}
			for _, v := range found {
				c.printCertificate(v)
			}
			return nil
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	return cmd
}

func (c *cli) printCertificate(v api.CertificateView) {
	fmt.Fprintf(c.stdout, "%s:%d, connection %s\n", v.Host, v.Port, v.Connection)
	if v.Reason != "" {
		fmt.Fprintf(c.stdout, "refused %s, first %s, last %s\nbecause: %s\n", quantity(v.Times, "time"), clock(v.First), clock(v.Last), v.Reason)
	}
	for i, one := range v.Chain {
		title := "issuer, which the server sent with it"
		if i == 0 {
			title = "certificate of the server"
		}
		if one.Trusted {
			title += ": TRUSTED for this server"
		}
		fmt.Fprintf(c.stdout, "\n%s\n  subject      %s\n  issuer       %s\n", title, cmp.Or(one.Subject, unreadable), cmp.Or(one.Issuer, unreadable))
		if len(one.Names) > 0 {
			fmt.Fprintf(c.stdout, "  names        %s\n", strings.Join(one.Names, ", "))
		}
		fmt.Fprintf(c.stdout, "  valid        %s\n  fingerprint  %s\n", period(one), one.Fingerprint)
		if one.Problem != "" {
			fmt.Fprintf(c.stdout, "  size         %d bytes\n  PROBLEM      %s: it cannot be trusted\n", one.Size, one.Problem)
		} else if one.Authority {
			fmt.Fprintln(c.stdout, "  may issue certificates: to trust it is to trust all that it issues, for this server")
		}
	}
	if slices.ContainsFunc(v.Chain, func(one api.CertificateFacts) bool { return one.Problem != "" }) {
		fmt.Fprintln(c.stdout, "\nTLS fails with this chain whatever is trusted: the server has to present another one.")
		return
	}
	fmt.Fprintln(c.stdout, "\nCompare the fingerprint with one that you got in another way before you trust it.")
}

// unreadable stands for what cannot be read of a certificate.
const unreadable = "(cannot be read)"

// period is when a certificate is valid.
func period(one api.CertificateFacts) string {
	ends := [2]string{unreadable, unreadable}
	for i, t := range [2]time.Time{one.NotBefore, one.NotAfter} {
		if !t.IsZero() {
			ends[i] = t.Format(time.DateTime)
		}
	}
	text := ends[0] + " to " + ends[1]
	switch now := time.Now(); {
	case !one.NotAfter.IsZero() && now.After(one.NotAfter):
		text += "  EXPIRED"
	case now.Before(one.NotBefore):
		text += "  NOT VALID YET"
	}
	return text
}
