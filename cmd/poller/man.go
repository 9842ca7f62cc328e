package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newMan is the manual page of all commands, made of what they say of
// themselves. `make package` asks for it.
func newMan(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:    "man",
		Short:  "Print the manual page",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			return manual(c.stdout, cmd.Root())
		}),
	}
}

// manual writes poller(1) in the macros of mdoc(7). It bears no date of its
// own, so that the same version is always the same page.
func manual(w io.Writer, root *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".Dd January 1, 2026\n.Dt POLLER 1\n.Os poller\n.Sh NAME\n.Nm poller\n.Nd %s\n", roff(root.Short))
	b.WriteString(".Sh SYNOPSIS\n.Nm\n.Ar command\n.Op Ar flags\n")
	fmt.Fprintf(&b, ".Sh DESCRIPTION\n%s\n", roff(root.Long))
	b.WriteString(".Pp\nEvery command takes these flags:\n")
	writeFlags(&b, root.PersistentFlags())
	b.WriteString(".Sh COMMANDS\n")
	writeCommands(&b, root)
	b.WriteString(`.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/poller/poller.yaml
The configuration:
.Xr poller.yaml 5 .
.It Pa /var/lib/poller
The journal of what was saved, the job history, and the socket for commands.
.El
.Sh EXIT STATUS
0 when all is well, 1 when a command failed, 2 when it was used wrongly, 130 and 143
when it was interrupted by SIGINT or SIGTERM.
.Cm run
ends with 0 when a signal stops it, and with 78 when its configuration has a fault.
.Sh SEE ALSO
.Xr poller.yaml 5
`)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeCommands(b *strings.Builder, parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if !c.IsAvailableCommand() || c.Name() == "completion" {
			continue
		}
		if c.HasSubCommands() {
			writeCommands(b, c)
			continue
		}
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		use := strings.TrimPrefix(c.CommandPath()+strings.TrimPrefix(c.Use, c.Name()), c.Root().Name()+" ")
		fmt.Fprintf(b, ".Ss %s\n%s\n", roff(use), roff(text))
		writeFlags(b, c.LocalNonPersistentFlags())
	}
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	b.WriteString(".Bl -tag -width Ds\n")
	flags.VisitAll(func(f *pflag.Flag) {
		name, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(b, ".It Fl -%s", f.Name)
		if name != "" {
			fmt.Fprintf(b, " Ar %s", name)
		}
		fmt.Fprintf(b, "\n%s\n", roff(usage))
	})
	b.WriteString(".El\n")
}

// roff is text without a meaning to roff: no escapes, no requests, no
// paragraphs by empty lines, and a line for each sentence.
func roff(text string) string {
	text = strings.ReplaceAll(text, `\`, `\e`)
	text = strings.ReplaceAll(text, ". ", ".\n")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case line == "":
			line = ".Pp"
		case line[0] == '.' || line[0] == '\'':
			line = `\&` + line
		}
		lines[i] = line
	}
	return strings.Join(lines, "\n")
}
