package auth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailpoller/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func shell(script string) mail.SecretSource {
	return mail.SecretSource{Command: []string{"sh", "-c", script}}
}

func TestEachSourceIsRead(t *testing.T) {
	t.Setenv("POLLER_TEST_SECRET", "hunter2")
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Dir(write(t, "hunter2\n")))
	s := NewSecrets()
	for _, c := range []struct {
		name string
		src  mail.SecretSource
		want string
	}{
		{"none", mail.SecretSource{}, ""},
		{"literal", mail.SecretSource{Literal: mail.NewSecret("hunter2")}, "hunter2"},
		{"file", mail.SecretSource{File: write(t, "hunter2")}, "hunter2"},
		{"file that ends with a line feed", mail.SecretSource{File: write(t, "hunter2\n")}, "hunter2"},
		{"file that ends with CRLF", mail.SecretSource{File: write(t, "hunter2\r\n")}, "hunter2"},
		{"blanks belong to the secret", mail.SecretSource{File: write(t, " hunter 2 \n")}, " hunter 2 "},
		{"as large as may be", mail.SecretSource{File: write(t, strings.Repeat("x", maxSecret))}, strings.Repeat("x", maxSecret)},
		{"variable", mail.SecretSource{Env: "POLLER_TEST_SECRET"}, "hunter2"},
		{"credential", mail.SecretSource{Credential: "secret"}, "hunter2"},
		{"command", mail.SecretSource{Command: []string{"echo", "hunter2"}}, "hunter2"},
		{"no shell", mail.SecretSource{Command: []string{"echo", "$HOME; true"}}, "$HOME; true"},
		{"command that also complains", shell("echo careful >&2; echo hunter2"), "hunter2"},
		{"command that complains at length", shell("head -c 200000 /dev/zero >&2; echo hunter2"), "hunter2"},
		{"environment of the command", shell("echo $POLLER_TEST_SECRET"), "hunter2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := s.Get(t.Context(), c.src)
			if err != nil || got.Reveal() != c.want {
				t.Errorf("got %q, %v", got.Reveal(), err)
			}
		})
	}
}

func TestWhatIsWrongWithASourceIsSaid(t *testing.T) {
	credentials := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", credentials)
	t.Setenv("POLLER_TEST_EMPTY", "")
	pipe := filepath.Join(credentials, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	outside := write(t, "hunter2")
	if err := os.Symlink(outside, filepath.Join(credentials, "link")); err != nil {
		t.Fatal(err)
	}
	s := NewSecrets()
	for _, c := range []struct {
		name string
		src  mail.SecretSource
		want string
	}{
		{"no file", mail.SecretSource{File: credentials + "/none"}, "file " + credentials + "/none: no such file or directory"},
		{"directory", mail.SecretSource{File: credentials}, "it is not a regular file"},
		{"pipe", mail.SecretSource{File: pipe}, "it is not a regular file"},
		{"device", mail.SecretSource{File: "/dev/zero"}, "it is not a regular file"},
		{"empty file", mail.SecretSource{File: write(t, "")}, "it is empty"},
		{"empty line", mail.SecretSource{File: write(t, "\r\n")}, "it is empty"},
		{"two lines", mail.SecretSource{File: write(t, "hunter2\nhunter2\n")}, "more than one line"},
		{"a line to follow", mail.SecretSource{File: write(t, "hunter2\n\n")}, "more than one line"},
		{"NUL", mail.SecretSource{File: write(t, "hunter2\x00")}, "a NUL"},
		{"too large", mail.SecretSource{File: write(t, strings.Repeat("x", maxSecret+1))}, "it is larger than 64 KiB"},
		{"no variable", mail.SecretSource{Env: "POLLER_TEST_UNSET"}, "environment variable POLLER_TEST_UNSET: it is not set"},
		{"empty variable", mail.SecretSource{Env: "POLLER_TEST_EMPTY"}, "it is empty"},
		{"no credential", mail.SecretSource{Credential: "none"}, "credential none: no such file or directory"},
		{"credential that is a pipe", mail.SecretSource{Credential: "pipe"}, "it is not a regular file"},
		{"credential that leads outside", mail.SecretSource{Credential: "../" + filepath.Base(outside)}, "path escapes"},
		{"link that leads outside", mail.SecretSource{Credential: "link"}, "path escapes"},
		{"no program", mail.SecretSource{Command: []string{"/nonexistent/program"}}, "no such file or directory"},
		{"program that fails", shell("echo hunter2; echo locked >&2; echo hunter2 >&2; exit 3"), `command sh: exit status 3: "locked"`},
		{"program that fails without a word", shell("exit 3"), "exit status 3"},
		{"program that prints nothing", mail.SecretSource{Command: []string{"true"}}, "it is empty"},
		{"program that prints too much", shell("head -c 70000 /dev/zero"), "it is larger than 64 KiB"},
		{"program that never stops printing", mail.SecretSource{Command: []string{"yes", "hunter2"}}, "it is larger than 64 KiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.Get(t.Context(), c.src)
			var e *mail.Error
			if !errors.As(err, &e) || e.Op != mail.OpSecret || e.Kind != mail.KindConfig || e.Hint == "" {
				t.Fatalf("got %#v", err)
			}
			if !strings.Contains(e.Error(), c.want) {
				t.Errorf("got %v, want %s", e, c.want)
			}
			if strings.Contains(e.Error()+e.Hint, "hunter2") {
				t.Errorf("the secret is in %v", e)
			}
		})
	}
}

func TestNoCredentialsWithoutSystemd(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := NewSecrets().Get(t.Context(), mail.SecretSource{Credential: "a"}); err == nil || !strings.Contains(err.Error(), "systemd passed no credentials") {
		t.Errorf("got %v", err)
	}
}

func TestASecretIsReadOnceUntilItIsForgotten(t *testing.T) {
	t.Parallel()
	s := NewSecrets()
	path := write(t, "one")
	src, other := mail.SecretSource{File: path}, shell("cat "+path)
	get := func(src mail.SecretSource, want string) {
		t.Helper()
		if got, err := s.Get(t.Context(), src); err != nil || got.Reveal() != want {
			t.Errorf("%v is %q, %v; want %q", src, got.Reveal(), err, want)
		}
	}
	change := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	get(src, "one")
	get(other, "one")
	change("two")
	get(src, "one")
	s.Forget(src)
	get(src, "two")
	get(other, "one")
	change("three")
	s.Reset()
	get(src, "three")
	get(other, "three")
}

func TestAnErrorIsNotRemembered(t *testing.T) {
	t.Parallel()
	s := NewSecrets()
	path := write(t, "")
	src := mail.SecretSource{File: path}
	if _, err := s.Get(t.Context(), src); err == nil {
		t.Fatal("an empty file is a secret")
	}
	if err := os.WriteFile(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(t.Context(), src); err != nil || got.Reveal() != "one" {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
}

// gate is a command that says that it runs, on the pipe at path, and then waits
// until it can read from the same pipe.
func gate(t *testing.T, then string) (src mail.SecretSource, path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "gate")
	for _, p := range []string{path, path + ".running"} {
		if err := syscall.Mkfifo(p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return shell(fmt.Sprintf("echo run >> %s/runs; echo $$ > %[2]s.running; read x < %[2]s; %s", dir, path, then)), path
}

// running waits until the command runs, and is its process.
func running(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path + ".running")
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func runs(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "runs"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "run")
}

func TestManyWhoWantOneSecretRunItsCommandOnce(t *testing.T) {
	t.Parallel()
	s := NewSecrets()
	src, path := gate(t, "echo hunter2")
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := s.Get(t.Context(), src); err != nil || got.Reveal() != "hunter2" {
				t.Errorf("got %q, %v", got.Reveal(), err)
			}
		})
	}
	running(t, path)
	if err := os.WriteFile(path, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if n := runs(t, path); n != 1 {
		t.Errorf("the command ran %d times", n)
	}
}

func TestOneWhoIsCutOffFailsAlone(t *testing.T) {
	t.Parallel()
	s := NewSecrets()
	src, path := gate(t, "echo hunter2")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := s.Get(ctx, src)
		var e *mail.Error
		if !errors.As(err, &e) || e.Kind != mail.KindCanceled {
			t.Errorf("who was cut off got %v", err)
		}
	})
	first := running(t, path)
	wg.Go(func() {
		if got, err := s.Get(t.Context(), src); err != nil || got.Reveal() != "hunter2" {
			t.Errorf("the other got %q, %v", got.Reveal(), err)
		}
	})
	cancel()
	if second := running(t, path); second == first {
		t.Error("the command was not run again")
	}
	if err := os.WriteFile(path, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func TestAWaitForAnotherEndsWithItsOwnContext(t *testing.T) {
	t.Parallel()
	s := NewSecrets()
	src, path := gate(t, "echo hunter2")
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.Get(t.Context(), src); err != nil {
			t.Error(err)
		}
	})
	running(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := s.Get(ctx, src)
	var e *mail.Error
	if !errors.As(err, &e) || e.Op != mail.OpSecret || e.Kind != mail.KindTimeout {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(path, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func TestACommandThatIsCutOffTakesWhatItStartedWithIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := NewSecrets().Get(ctx, shell("(exec sleep 1000 > "+pipe+") & wait")); err == nil {
			t.Error("it ended well")
		}
	})
	f, err := os.Open(pipe) // the child has it open for as long as it lives
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cancel()
	if _, err := f.Read(make([]byte, 1)); err == nil {
		t.Error("the child writes")
	}
	wg.Wait()
}
