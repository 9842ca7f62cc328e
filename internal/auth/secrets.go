// Package auth knows where secrets and client certificates come from.
package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"mailpoller/internal/mail"
)

// Secrets reads secrets from their sources, and each source once, until it is
// told that what it read is out of date. It may be used by many goroutines.
type Secrets struct {
	credentials string // directory of systemd's credentials; may be empty

	mu   sync.Mutex
	read map[string]*reading // by source
}

// reading is one reading of a source, which all who want it share.
type reading struct {
	done   chan struct{} // closed when it is over
	secret mail.Secret
	err    error
	cutOff bool // by the context of who read it
}

// NewSecrets reads nothing yet. Credentials are looked for where systemd says
// ($CREDENTIALS_DIRECTORY).
func NewSecrets() *Secrets {
	return &Secrets{credentials: os.Getenv("CREDENTIALS_DIRECTORY"), read: make(map[string]*reading)}
}

const (
	maxSecret      = 64 << 10 // octets; tokens are a few KiB
	commandTimeout = 30 * time.Second
)

var errTooMuch = tooMuch(maxSecret)

func tooMuch(most int) error { return fmt.Errorf("it is larger than %d KiB", most>>10) }

// Get is the secret behind a source; none for a source that names nothing. Its
// errors are *mail.Error, of kind config unless ctx ended. An error is not
// remembered, but those who wait for the same reading share it.
func (s *Secrets) Get(ctx context.Context, src mail.SecretSource) (mail.Secret, error) {
	if src.IsZero() || !src.Literal.IsZero() {
		return src.Literal, nil
	}
	id := identity(src)
	for {
		s.mu.Lock()
		r, ok := s.read[id]
		if !ok {
			r = &reading{done: make(chan struct{})}
			s.read[id] = r
			s.mu.Unlock()
			r.secret, r.err = s.from(ctx, src)
			r.cutOff = r.err != nil && ctx.Err() != nil
			s.mu.Lock()
			if r.err != nil && s.read[id] == r {
				delete(s.read, id)
			}
			s.mu.Unlock()
			close(r.done)
			return r.secret, r.err
		}
		s.mu.Unlock()
		select {
		case <-r.done:
		case <-ctx.Done():
			return mail.Secret{}, mail.AsError(context.Cause(ctx), mail.OpSecret, mail.KindConfig)
		}
		if !r.cutOff {
			return r.secret, r.err
		}
		// That is no failure of ours: again.
	}
}

// identity is equal for equal sources.
func identity(src mail.SecretSource) string {
	return fmt.Sprintf("%q %q %q %q", src.File, src.Env, src.Credential, src.Command)
}

// Forget makes the next Get read the source again: the secret was refused, and
// may have changed since it was read.
func (s *Secrets) Forget(src mail.SecretSource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.read, identity(src))
}

// Reset makes Get read every source again.
func (s *Secrets) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.read)
}

// from reads a source of one line.
func (s *Secrets) from(ctx context.Context, src mail.SecretSource) (mail.Secret, error) {
	value, hint, err := s.raw(ctx, src)
	if err == nil {
		if line, ended := strings.CutSuffix(value, "\n"); ended {
			value = strings.TrimSuffix(line, "\r")
		}
		switch {
		case value == "":
			err = errors.New("it is empty")
		case strings.ContainsAny(value, "\r\n\x00"):
			err = errors.New("it holds more than one line, or a NUL, which no server can be sent")
		}
	}
	return outcome(ctx, src, value, hint, err)
}

// Document is what a source holds, lines and all. It is read each time.
func (s *Secrets) Document(ctx context.Context, src mail.SecretSource) (mail.Secret, error) {
	if !src.Literal.IsZero() {
		return src.Literal, nil
	}
	value, hint, err := s.raw(ctx, src)
	return outcome(ctx, src, value, hint, err)
}

func outcome(ctx context.Context, src mail.SecretSource, value, hint string, err error) (mail.Secret, error) {
	switch {
	case err != nil && ctx.Err() != nil:
		return mail.Secret{}, mail.AsError(fmt.Errorf("%s: %w", src, context.Cause(ctx)), mail.OpSecret, mail.KindConfig)
	case err != nil:
		return mail.Secret{}, &mail.Error{Op: mail.OpSecret, Kind: mail.KindConfig, Err: fmt.Errorf("%s: %w", src, err), Hint: hint}
	}
	return mail.NewSecret(value), nil
}

// raw reads a source.
func (s *Secrets) raw(ctx context.Context, src mail.SecretSource) (value, hint string, err error) {
	switch {
	case src.File != "":
		hint = "write the secret into the file, and let the user that runs poller read it"
		var data []byte
		data, err = readFile(src.File, maxSecret)
		value = string(data)
	case src.Env != "":
		hint = "set the variable in the environment of poller (Environment= of its unit)"
		var set bool
		if value, set = os.LookupEnv(src.Env); !set {
			err = errors.New("it is not set")
		}
	case src.Credential != "":
		hint = "pass it with LoadCredential= in the unit of poller"
		value, err = s.credential(src.Credential)
	default:
		hint = "run the command by hand, as the user that runs poller"
		value, err = output(ctx, src.Command)
	}
	return value, hint, err
}

// readFile reads a file of up to so many octets.
func readFile(path string, most int) ([]byte, error) {
	// A pipe or a device must not make the poll wait.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	return readRegular(f, most)
}

func (s *Secrets) credential(name string) (string, error) {
	if s.credentials == "" {
		return "", errors.New("systemd passed no credentials")
	}
	root, err := os.OpenRoot(s.credentials)
	if err != nil {
		return "", cause(err)
	}
	defer func() { _ = root.Close() }() // only read
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", cause(err)
	}
	defer f.Close()
	data, err := readRegular(f, maxSecret)
	return string(data), err
}

func readRegular(f *os.File, most int) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, cause(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(most)+1))
	if err == nil && len(data) > most {
		err = tooMuch(most)
	}
	return data, cause(err)
}

// cause is what the system said, without the path.
func cause(err error) error {
	var e *os.PathError
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// output runs a command, without a shell, and returns what it prints.
func output(ctx context.Context, argv []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // G204: the operator names the command
	// The command may have started others: all go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out := bounded{full: errTooMuch}
	var complaint bounded
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("it did not end within %v", commandTimeout)
	case out.over:
		return "", errTooMuch // also when that ended it
	case err != nil:
		if line, _, _ := strings.Cut(strings.TrimSpace(string(complaint.kept)), "\n"); line != "" {
			return "", fmt.Errorf("%w: %.200q", err, line)
		}
		return "", err
	}
	return string(out.kept), nil
}

// bounded keeps the beginning of what is written to it. It embeds no buffer,
// whose ReadFrom would know no bound.
type bounded struct {
	kept []byte
	over bool
	full error // what a writer is told that goes on; nil to let it
}

func (b *bounded) Write(p []byte) (int, error) {
	room := maxSecret - len(b.kept)
	if len(p) <= room {
		b.kept = append(b.kept, p...)
		return len(p), nil
	}
	b.kept, b.over = append(b.kept, p[:room]...), true
	return len(p), b.full
}
