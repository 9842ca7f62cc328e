package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mailpoller/internal/app"
	"mailpoller/internal/config"
	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

func newInit(c *cli) *cobra.Command {
	s := &setup{cli: c}
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a first configuration",
		Long: `Init writes a configuration with one connection, and tests it first, as poller
test does. On a terminal it asks for what no flag says; elsewhere flags have to say
it. A password that is typed goes into a file of its own in secrets/ beside the
configuration; there is no flag for one. When the test fails nothing is written,
unless --keep or you say otherwise, and the exit code is 1. A file that is there is
not overwritten, unless --force says so, which keeps a copy.`,
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
	f.StringVar(&s.Host, "host", "", "the mail server; known for the usual providers")
	f.StringVar(&s.Port, "port", "", "by default that of the protocol and its security")
	f.StringVar(&s.Security, "connection-security", "", "SSL_TLS (default), STARTTLS or NONE")
	f.StringVar(&s.Username, "username", "", "the account, as a rule an address")
	f.StringVar(&s.PasswordFile, "password-file", "", "a `file` that holds the password; it stays where it is")
	f.StringVar(&s.ClientID, "client-id", "", "OAuth client of your own, to log in with a token (Google, Microsoft)")
	f.StringVar(&s.ClientSecretFile, "client-secret-file", "", "a `file` that holds the secret of that client, if it has one")
	f.StringVar(&s.Folder, "folder", "", "where messages are saved")
	f.StringVar(&s.Disposition, "disposition", "", "what becomes of a saved message on the server: DELETE, KEEP or SEEN")
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
	provider               *provider // nil for one that is not known
	password, clientSecret string    // as typed
	force, keep            bool
	makeFolder, quiet      bool
	passwordAt, clientAt   string // where they will be, if they were typed
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

// complete asks for what is missing, and completes the rest. What a flag says
// wrongly is a matter of usage.
func (s *setup) complete(ctx context.Context) error {
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
	var missing []string
	for _, q := range s.questions() {
		if *q.answer == "" {
			fallback := q.fallback()
			switch {
			case s.asker != nil && q.text != "":
				answer, err := s.ask(ctx, q.text, fallback, func(v string) error { return judge(q.key, v) })
				if err != nil {
					return &failedError{err: err}
				}
				*q.answer = answer
			case fallback == "":
				missing = append(missing, "--"+strings.ReplaceAll(q.key, "_", "-"))
				continue
			default:
				*q.answer = fallback
			}
		}
		if err := judge(q.key, *q.answer); err != nil {
			return err
		}
		if q.then != nil {
			q.then()
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("init: missing %s; without a terminal nothing is asked", strings.Join(missing, ", "))
	}
	return s.secrets(ctx)
}

func judge(key, value string) error {
	if value == "" {
		return fmt.Errorf("%s: missing", key)
	}
	return config.Judge(key, value)
}

// question is one about a key of the connection.
type question struct {
	key, text string
	answer    *string
	fallback  func() string
	then      func()
}

func (s *setup) questions() []question {
	upper := func(v *string) func() { return func() { *v = strings.ToUpper(*v) } }
	known := func() {
		if s.provider = providerOf(s.Host, s.Username); s.provider != nil && s.asker != nil {
			fmt.Fprintf(s.stderr, "  This is %s: %s.\n", s.provider.name, s.provider.hint)
		}
	}
	return []question{
		{"username", "User name or address of the mailbox", &s.Username, none, nil},
		{"name", "Name of the connection", &s.Name, s.nameOf, nil},
		{"store_type", "IMAP or POP3", &s.Store, func() string { return string(mail.IMAP) }, upper(&s.Store)},
		{"host", "Mail server", &s.Host, func() string {
			if p := providerOf("", s.Username); p != nil {
				return p.hosts[mail.StoreType(s.Store)]
			}
			return ""
		}, known},
		{"connection_security", "SSL_TLS, STARTTLS or NONE", &s.Security, func() string { return string(mail.SSLTLS) }, upper(&s.Security)},
		{"port", "Port", &s.Port, s.portOf, nil},
		{"folder", "Folder to save messages in", &s.Folder, func() string {
			if s.asker == nil {
				return "" // where mail goes is not guessed
			}
			return "/srv/inbound/" + fileName(s.Name)
		}, nil},
		{"disposition", "Saved messages on the server: KEEP, SEEN (mark as read) or DELETE", &s.Disposition, func() string {
			if s.Store == string(mail.POP3) {
				return string(disposition.Delete)
			}
			return string(disposition.Keep)
		}, upper(&s.Disposition)},
	}
}

func none() string { return "" }

// nameOf is a name made of the account's.
func (s *setup) nameOf() string {
	local, _, _ := strings.Cut(s.Username, "@")
	return fileName(local)
}

// portOf is the port that the protocol has with this security.
func (s *setup) portOf() string {
	secured, plain := 993, 143
	if s.Store == string(mail.POP3) {
		secured, plain = 995, 110
	}
	if s.Security == string(mail.SSLTLS) {
		return strconv.Itoa(secured)
	}
	return strconv.Itoa(plain)
}

// fileName is a text as the name of a file.
func fileName(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r) {
			return r
		}
		return '_'
	}, s)
	return strings.TrimLeft(s, ".")
}

// secrets asks for what to log in with, and says where it will be.
func (s *setup) secrets(ctx context.Context) error {
	tokens := s.provider != nil && s.provider.tokens != ""
	if s.ClientID == "" && s.PasswordFile == "" && tokens && s.asker != nil {
		text := "Client ID of your OAuth client"
		if !s.provider.only {
			text += " (- for an app password)"
		}
		id, err := s.ask(ctx, text, "", func(v string) error {
			if v == "" || v == "-" && s.provider.only {
				return errors.New("missing; docs/providers.md says how to get one")
			}
			return nil
		})
		if err != nil {
			return &failedError{err: err}
		}
		s.ClientID = strings.TrimPrefix(id, "-")
	}
	dir := filepath.Join(filepath.Dir(s.path), "secrets")
	switch {
	case s.ClientID != "" && !tokens:
		return errors.New("init: --client-id is for Google and Microsoft; docs/providers.md has the block of another provider")
	case s.ClientID != "":
		s.grant = true
		s.Provider = string(s.provider.tokens)
		if s.provider.tokens == mail.Microsoft && personal(s.Username) {
			s.Tenant = "consumers"
		}
		if s.ClientSecretFile != "" || s.asker == nil || s.provider.tokens != mail.Google {
			return nil
		}
		s.clientAt = filepath.Join(dir, fileName(s.Name)+"-client")
		s.ClientSecretFile = s.clientAt
		return s.typed(ctx, "Secret of the client", s.clientAt, &s.clientSecret)
	case s.PasswordFile != "":
		return nil
	case s.provider != nil && s.provider.only:
		return fmt.Errorf("init: %s takes no password: missing --client-id; docs/providers.md says how to get one", s.provider.name)
	case s.asker == nil:
		return errors.New("init: missing --password-file; without a terminal nothing is asked")
	}
	s.passwordAt = filepath.Join(dir, fileName(s.Name))
	s.PasswordFile = s.passwordAt
	return s.typed(ctx, "Password", s.passwordAt, &s.password)
}

// typed asks for a secret that will be in a file at path.
func (s *setup) typed(ctx context.Context, question, path string, dst *string) (err error) {
	if _, err := os.Lstat(path); err == nil && !s.force {
		return &failedError{err: exists(path)}
	}
	if *dst, err = s.secret(ctx, question, func(v string) error { return judge("password", v) }); err != nil {
		return &failedError{err: err}
	}
	return nil
}

// write tests the configuration, and puts it in its place.
func (s *setup) write(ctx context.Context) error {
	if err := makeDir(filepath.Dir(s.path), s.account); err != nil {
		return fmt.Errorf("%w; --config PATH names another place for the file", err)
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	var files []*staged
	defer func() {
		for _, f := range files {
			f.discard()
		}
	}()
	add := func(path string, data []byte, secret bool) (string, error) {
		f, err := stage(path, data, secret, s.account)
		if err != nil {
			return "", fmt.Errorf("write %s: %w", path, err)
		}
		files = append(files, f)
		return f.temp, nil
	}
	typed := make(map[string]string) // where a secret is meanwhile, by where it will be
	for path, secret := range map[string]string{s.passwordAt: s.password, s.clientAt: s.clientSecret} {
		if path == "" {
			continue
		}
		if err := makeDir(filepath.Dir(path), s.account); err != nil {
			return err
		}
		temp, err := add(path, []byte(secret+"\n"), true)
		if err != nil {
			return err
		}
		typed[path] = temp
	}
	text, err := s.render()
	if err != nil {
		return err
	}
	temp, err := add(s.path, text, false) // the last: what it names is there before it
	if err != nil {
		return err
	}
	conf, err := s.check(temp)
	if err != nil {
		return err
	}
	failed, err := s.try(ctx, conf, typed[s.passwordAt])
	if err != nil {
		return err
	}
	for _, f := range files {
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

// check reads the file as the daemon will.
func (s *setup) check(temp string) (*config.Config, error) {
	conf, err := config.Load(temp)
	var faults config.Faults
	if errors.As(err, &faults) {
		for i := range faults {
			faults[i].File = s.path
		}
		return nil, faults
	} else if err != nil {
		return nil, err
	}
	for _, w := range conf.Warnings {
		w.File = s.path
		fmt.Fprintln(s.stderr, app.Warning(w))
	}
	return conf, nil
}

// try tests the connection by itself, with a state directory of its own: the
// daemon's is not touched, which root must not make files in. It reports
// whether the test failed and the file is wanted all the same.
func (s *setup) try(ctx context.Context, conf *config.Config, password string) (failed bool, err error) {
	if s.grant {
		return false, nil // there is no token yet
	}
	dir, err := os.MkdirTemp("", "poller-init-")
	if err != nil {
		return false, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	conf.StateDir, conf.Log.Level = dir, cmp.Or(string(s.level), "fatal")
	if password != "" {
		conf.Connections[0].Password = mail.SecretSource{File: password}
	}
	log, level := s.logger(conf)
	a, err := app.Open(ctx, conf, build(), log, level)
	if err != nil {
		return false, err
	}
	a.KeepNoCertificates()
	test, err := s.test(ctx, a, s.Name, false)
	if err = errors.Join(err, a.Close()); err != nil {
		return false, err
	}
	s.tested = test.OK()
	if s.tested || s.keep {
		return !s.tested, nil
	}
	if s.asker != nil {
		yes, err := s.agree(ctx, "The test failed. Write the file all the same?", false)
		if err != nil {
			return false, err
		}
		if yes {
			return true, nil
		}
	}
	return false, errors.New("the test failed; nothing was written (--keep writes the file all the same)")
}
