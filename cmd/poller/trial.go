package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailpoller/internal/app"
	"mailpoller/internal/certificate"
	"mailpoller/internal/config"
	"mailpoller/internal/mail"
)

// files are those that will be written, beside where they will be.
type files struct {
	all      []*staged
	password string         // where it is meanwhile; empty where none was typed
	config   *config.Config // as the daemon will read it, once they are in their places
}

func (f *files) discard() {
	if f == nil {
		return
	}
	for _, one := range f.all {
		one.discard()
	}
}

// trial tests the connection until it works, or until the file is wanted all
// the same. A person can mend what a test found.
func (s *setup) trial(ctx context.Context) (f *files, failed bool, err error) {
	for {
		if f, err = s.stage(); err != nil {
			return f, false, err
		}
		test, err := s.try(ctx, f)
		if err != nil {
			return f, false, err
		}
		s.tested = test.OK() && !s.grant
		switch {
		case test.OK(), s.keep:
			return f, !test.OK(), nil
		case s.asker == nil:
			return f, false, errors.New("the test failed; nothing was written (--keep writes the file all the same)")
		}
		again, err := s.mend(ctx, test)
		if err != nil || !again {
			return f, true, err
		}
		f.discard()
	}
}

// stage writes all files, beside where they will be.
func (s *setup) stage() (f *files, err error) {
	f = &files{}
	add := func(path string, data []byte, secret bool) (string, error) {
		one, err := stage(path, data, secret, s.account)
		if err != nil {
			return "", fmt.Errorf("write %s: %w", path, err)
		}
		f.all = append(f.all, one)
		return one.temp, nil
	}
	for _, secret := range []struct {
		path, text string
		temp       *string
	}{{s.passwordAt, s.password, &f.password}, {s.clientAt, s.clientSecret, new(string)}} {
		if secret.path == "" {
			continue
		}
		if err := makeDir(filepath.Dir(secret.path), s.account); err != nil {
			return f, err
		}
		if *secret.temp, err = add(secret.path, []byte(secret.text+"\n"), true); err != nil {
			return f, err
		}
	}
	now := s.draft // as it has to be for as long as nothing is in its place
	if len(s.trusted) > 0 {
		data, err := s.roots()
		if err != nil {
			return f, err
		}
		s.CAFile = filepath.Join(filepath.Dir(s.path), fileName(s.Name)+"-server.pem")
		if now.CAFile, err = add(s.CAFile, data, false); err != nil {
			return f, err
		}
	}
	text, err := now.render()
	if err != nil {
		return f, err
	}
	temp, err := add(s.path, text, false)
	if err != nil {
		return f, err
	}
	if f.config, err = s.check(temp); err != nil || now == s.draft {
		return f, err
	}
	f.all[len(f.all)-1].discard()
	f.all = f.all[:len(f.all)-1]
	if text, err = s.render(); err == nil {
		_, err = add(s.path, text, false) // the last: what it names is there before it
	}
	return f, err
}

// roots are the certificates that are trusted beside the system's, as PEM.
func (s *setup) roots() ([]byte, error) {
	var b bytes.Buffer
	if s.flags.CAFile != "" {
		data, err := os.ReadFile(s.flags.CAFile)
		if err != nil {
			return nil, err
		}
		b.Write(data)
		b.WriteString("\n")
	}
	for _, c := range s.trusted {
		fmt.Fprintf(&b, "# %s, SHA-256 %s\n", c.Subject, certificate.Of(c).Fingerprint())
		if err := pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
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
// daemon's is not touched, which root must not make files in. Where there is no
// token yet, there is nothing to test.
func (s *setup) try(ctx context.Context, f *files) (test mail.Test, err error) {
	if s.grant {
		return mail.Test{}, nil
	}
	dir, err := os.MkdirTemp("", "poller-init-")
	if err != nil {
		return mail.Test{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	conf := f.config
	conf.StateDir, conf.Log.Level = dir, cmp.Or(string(s.level), "fatal")
	if f.password != "" {
		conf.Connections[0].Password = mail.SecretSource{File: f.password}
	}
	log, level := s.logger(conf)
	a, err := app.Open(ctx, conf, build(), log, level)
	if err != nil {
		return mail.Test{}, err
	}
	a.KeepNoCertificates()
	test, err = s.test(ctx, a, s.Name, false)
	err = errors.Join(err, a.Close())
	if err == nil && ctx.Err() != nil {
		err = errGivenUp
	}
	return test, err
}

// remedy is what a person can do about a test that failed.
type remedy struct {
	word, text string
	do         func(ctx context.Context) error
}

// mend asks what to do about a test that failed, and reports whether to test
// again. Otherwise the file is wanted as it is.
func (s *setup) mend(ctx context.Context, test mail.Test) (again bool, err error) {
	var remedies []remedy
	if c := untrusted(test); c != nil {
		remedies = append(remedies, remedy{"trust", "trust this certificate, for this connection alone", func(ctx context.Context) error { return s.trust(ctx, c) }})
	}
	remedies = append(remedies, remedy{"password", "another password", s.anotherPassword}, remedy{"port", "another port", s.anotherPort})
	if len(s.asked) > 0 {
		remedies = append(remedies, remedy{"questions", "back to the questions", func(ctx context.Context) error {
			s.trusted, s.CAFile = nil, s.flags.CAFile // it may be another server
			s.again()
			if err := s.complete(ctx); err != nil {
				return err
			}
			return s.ready(ctx)
		}})
	}
	remedies = append(remedies, remedy{word: "write", text: "write the file all the same"}, remedy{word: "stop", text: "stop; nothing is written"})
	for {
		fmt.Fprintln(s.stderr, "\nThe test failed.")
		for i, r := range remedies {
			fmt.Fprintf(s.stderr, "  %d  %-10s %s\n", i+1, r.word, r.text)
		}
		at := func(answer string) int {
			return slices.IndexFunc(remedies, func(r remedy) bool { return strings.EqualFold(r.word, answer) })
		}
		answer, err := s.ask(ctx, "What now? A number or a word", "stop", func(v string) error {
			if n, err := strconv.Atoi(v); (err != nil || n < 1 || n > len(remedies)) && at(v) < 0 {
				return fmt.Errorf("a number from 1 to %d, or a word out of the list", len(remedies))
			}
			return nil
		})
		if err != nil {
			return false, err
		}
		chosen := at(answer)
		if n, err := strconv.Atoi(answer); err == nil {
			chosen = n - 1
		}
		switch r := remedies[chosen]; r.word {
		case "stop":
			return false, errors.New("the test failed; nothing was written")
		case "write":
			return false, nil
		default:
			if err := r.do(ctx); !errors.Is(err, errBack) {
				return true, err
			}
		}
	}
}

// orBack lets an answer of < go back.
func orBack(judge func(string) error) func(string) error {
	return func(v string) error {
		if v == "<" {
			return errBack
		}
		return judge(v)
	}
}

func (s *setup) anotherPort(ctx context.Context) (err error) {
	port, err := s.ask(ctx, "Port", s.Port, orBack(func(v string) error { return judge("port", v) }))
	if err == nil {
		s.Port, s.typed["port"] = port, port
	}
	return err
}

func (s *setup) anotherPassword(ctx context.Context) error {
	path := s.secretFile("")
	if err := s.free(path); err != nil {
		return err
	}
	password, err := s.secret(ctx, "Password", orBack(func(v string) error { return judge("password", v) }))
	if err == nil {
		s.password, s.passwordAt, s.PasswordFile = password, path, path
	}
	return err
}

// free reports whether something is in the place of a file.
func (s *setup) free(path string) error {
	if _, err := os.Lstat(path); err == nil && !s.force {
		return &failedError{err: exists(path)}
	}
	return nil
}

// untrusted is the certificate of a server, if that nobody vouches for it is all
// that is wrong with it.
func untrusted(test mail.Test) *x509.Certificate {
	for _, step := range test.Steps {
		if e, ok := errors.AsType[x509.UnknownAuthorityError](step.Err); ok {
			return e.Cert
		}
	}
	return nil
}

// trust has a person look at a certificate, and decide.
func (s *setup) trust(ctx context.Context, c *x509.Certificate) error {
	fmt.Fprintf(s.stderr, "\n  subject      %s\n  issuer       %s\n  names        %s\n  valid        %s to %s\n  fingerprint  %s (SHA-256)\n\n",
		c.Subject, c.Issuer, strings.Join(c.DNSNames, ", "), c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly), certificate.Of(c).Fingerprint())
	sure, err := s.agree(ctx, "Compare the fingerprint with one that you got in another way. Trust it?", false)
	switch {
	case err != nil:
		return err
	case !sure:
		return errBack
	}
	s.trusted = append(s.trusted, c)
	return nil
}
