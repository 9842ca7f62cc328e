package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func newInit(c *cli) *cobra.Command {
	s := &setup{cli: c}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a first configuration",
		Long: `Init writes a configuration with one connection, and tests it first, as poller
test does. On a terminal it asks for what no flag says; elsewhere flags have to say
it. To an answer of < or back it goes back to the question before, and it shows what
it will write before it does. A password that is typed goes into a file of its own in
secrets/ beside the configuration; there is no flag for one. When the test fails it
offers to trust the certificate, to take another password or port, to write the file
all the same, or to stop. Without a terminal nothing is written then, unless --keep
says otherwise, and the exit code is 1. A file that is there is not overwritten,
unless --force says so, which keeps a copy.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !s.quiet && term.IsTerminal(int(c.stdin.Fd())) {
				s.asker = newAsker(c.stdin, c.stderr)
			}
			return s.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Name, "name", "", "what the connection is called")
	f.StringVar(&s.Store, "store-type", "", "IMAP (default) or POP3")
	f.StringVar(&s.Host, "host", "", "the mail server, or `server:port`; known for the usual providers")
	f.StringVar(&s.Port, "port", "", "by default that of the protocol and its security")
	f.StringVar(&s.Security, "connection-security", "", "SSL_TLS (default), STARTTLS or NONE")
	f.StringVar(&s.Username, "username", "", "the account, as a rule an address")
	f.StringVar(&s.PasswordFile, "password-file", "", "a `file` that holds the password; it stays where it is")
	f.StringVar(&s.ClientID, "client-id", "", "OAuth client of your own, to log in with a token (Google, Microsoft)")
	f.StringVar(&s.ClientSecretFile, "client-secret-file", "", "a `file` that holds the secret of that client, if it has one")
	f.StringVar(&s.Folder, "folder", "", "where messages are saved")
	f.StringVar(&s.Disposition, "disposition", "", "what becomes of a saved message on the server: DELETE, KEEP or SEEN")
	f.StringVar(&s.MaxMessages, "max-messages", "", "how many messages one job takes: 1 (default), or 0 for all that there are")
	f.StringVar(&s.CAFile, "ca-file", "", "a `file` of roots that are trusted beside the system's, PEM")
	f.StringVar(&s.StateDir, "state-dir", "", "where the daemon keeps its journal; by default /var/lib/poller, without root below the home")
	f.BoolVar(&s.makeFolder, "make-folder", false, "make the folder, if it is missing")
	f.BoolVar(&s.keep, "keep", false, "write the file also when the test fails")
	f.BoolVar(&s.force, "force", false, "replace a file that is there, and keep a copy")
	f.BoolVar(&s.quiet, "non-interactive", false, "ask nothing, also on a terminal")
	return cmd
}

// setup is a first configuration in the making.
type setup struct {
	*cli
	*asker // nil: ask nothing
	account

	draft
	flags draft // what of it flags say
	asking
	provider               *provider // nil for one that is not known
	password, clientSecret string    // as typed
	force, keep            bool
	makeFolder, quiet      bool
	passwordAt, clientAt   string              // where they will be, if they were typed
	trusted                []*x509.Certificate // that a person trusts for this connection
	tested, grant          bool
}

func (s *setup) run(ctx context.Context) error {
	path, err := filepath.Abs(s.path)
	if err != nil {
		return &failedError{err: err}
	}
	s.path = path
	if _, err := os.Lstat(path); err == nil && !s.force {
		return &failedError{err: exists(path)}
	}
	if err := s.complete(ctx); err != nil {
		return err
	}
	return action(func(*cobra.Command, []string) error { return s.write(ctx) })(nil, nil)
}

// complete asks for what is missing, and completes the rest.
func (s *setup) complete(ctx context.Context) error {
	if s.questions == nil {
		s.account = daemonAccount()
		for _, path := range []*string{&s.PasswordFile, &s.ClientSecretFile, &s.CAFile, &s.Folder, &s.StateDir} {
			if *path != "" {
				absolute, err := filepath.Abs(*path)
				if err != nil {
					return &failedError{err: err}
				}
				*path = absolute
			}
		}
		if s.StateDir == "" && os.Geteuid() != 0 {
			if home, err := os.UserHomeDir(); err == nil {
				s.StateDir = filepath.Join(cmp.Or(os.Getenv("XDG_STATE_HOME"), filepath.Join(home, ".local", "state")), "poller")
			}
		}
		s.flags = s.draft
		s.questions, s.typed = s.toAsk(), make(map[string]string)
	}
	if err := s.put(ctx); err != nil {
		return err
	}
	return s.secrets()
}

// summary says what will be written, before it is.
func (s *setup) summary() {
	access := "typed, for " + s.secretFile("")
	switch {
	case s.byToken():
		access = "none: a token, after `poller oauth login`"
	case s.flags.PasswordFile != "":
		access = "in " + s.flags.PasswordFile
	}
	messages := s.MaxMessages
	if messages == "0" {
		messages = "all that there are"
	}
	fmt.Fprintln(s.stderr)
	for _, fact := range []struct{ name, value string }{
		{"connection", s.Name},
		{"server", net.JoinHostPort(s.Host, s.Port) + ", " + s.Store + ", " + s.Security},
		{"user name", s.Username},
		{"password", access},
		{"folder", s.Folder},
		{"on the server", s.Disposition},
		{"messages a job", messages},
		{"file", s.path},
	} {
		fmt.Fprintf(s.stderr, "  %-15s %s\n", fact.name, fact.value)
	}
	fmt.Fprintln(s.stderr)
}

// write tests the configuration, and puts it in its place.
func (s *setup) write(ctx context.Context) error {
	if err := makeDir(filepath.Dir(s.path), s.account); err != nil {
		return fmt.Errorf("%w; --config PATH names another place for the file", err)
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	files, failed, err := s.trial(ctx)
	defer files.discard()
	if err != nil {
		return err
	}
	for _, f := range files.all {
		backup, err := f.put(s.force)
		if err != nil {
			return err
		}
		if backup != "" {
			fmt.Fprintf(s.stdout, "%s was kept as %s\n", f.path, backup)
		}
		fmt.Fprintf(s.stdout, "wrote %s\n", f.path)
	}
	s.next()
	if failed {
		return errQuiet
	}
	return nil
}

// ready makes the folder, if that is wanted.
func (s *setup) ready(ctx context.Context) error {
	if _, err := os.Stat(s.Folder); !errors.Is(err, fs.ErrNotExist) {
		return nil // if there is anything wrong with it, the test says so
	}
	if !s.makeFolder && s.asker != nil {
		yes, err := s.agree(ctx, s.Folder+" does not exist. Make it?", true)
		if err != nil {
			return err
		}
		s.makeFolder = yes
	}
	if !s.makeFolder {
		return nil
	}
	if err := makeFolder(s.Folder, s.account); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	fmt.Fprintf(s.stdout, "made %s\n", s.Folder)
	return nil
}
