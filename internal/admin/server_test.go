package admin_test

import (
	"bufio"
	"context"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"mailpoller/internal/admin"
	"mailpoller/internal/api"
	"mailpoller/internal/mailtest/daemontest"
)

// abandon leaves a socket at path as a process does that was killed.
func abandon(t *testing.T, path string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSocketsAreOpenToNoMoreThanTheyShould(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		listen func(ctx context.Context, path string) (net.Listener, error)
		want   fs.FileMode
	}{
		{"control", admin.ListenControl, 0o600},
		{"configured", func(ctx context.Context, path string) (net.Listener, error) {
			return admin.Listen(ctx, "unix:"+path)
		}, 0o660},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			path := socketPath(t)
			abandon(t, path)
			ln, err := row.listen(t.Context(), path)
			if err != nil {
				t.Fatalf("over an abandoned socket: %v", err)
			}
			info, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != row.want {
				t.Errorf("mode %o, want %o", got, row.want)
			}
			if err := ln.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("after Close: %v, want the socket gone", err)
			}
		})
	}
}

func TestASocketThatIsInUseStays(t *testing.T) {
	t.Parallel()
	client, path := control(t, &daemontest.Fake{})
	if _, err := admin.ListenControl(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another process answers") {
		t.Errorf("Listen = %v", err)
	}
	if err := client.Ready(t.Context()); err != nil {
		t.Errorf("the first listener no longer answers: %v", err)
	}
}

func TestWhatIsNotASocketStays(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Listen(t.Context(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("Listen = %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file is now %q, %v", text, err)
	}
}

func TestListenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	taken, err := admin.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for addr, want := range map[string]string{
		"unix:" + filepath.Join("/", strings.Repeat("d", 200)): "a socket can have 107; choose a shorter directory",
		"unix:/nonexistent/x.sock":                             "open socket /nonexistent/x.sock: ",
		taken.Addr().String():                                  "address already in use",
		"9469":                                                 "missing port",
	} {
		if _, err := admin.Listen(t.Context(), addr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Listen(%q) = %v, want %q", addr, err, want)
		}
	}
}

func TestNoAddressIsNoListener(t *testing.T) {
	t.Parallel()
	if ln, err := admin.Listen(t.Context(), ""); ln != nil || err != nil {
		t.Errorf("Listen = %v, %v", ln, err)
	}
}

func TestServeWaitsForTheRequestsInHand(t *testing.T) {
	t.Parallel()
	path := socketPath(t)
	ln, err := admin.ListenControl(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	entered, finish := make(chan struct{}), make(chan struct{})
	stop := serve(t, ln, handler(&daemontest.Fake{OnReload: func(context.Context) error {
		close(entered)
		<-finish
		return nil
	}}, admin.Control, nil))
	replied := make(chan error, 1)
	go func() {
		_, err := api.NewClient(path).Reload(t.Context())
		replied <- err
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("Serve has returned before its handler")
	default:
	}
	close(finish)
	if err := <-replied; err != nil {
		t.Errorf("the request in hand failed: %v", err)
	}
	<-stopped
}

func TestServeEndsARequestThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		ended := make(chan time.Time, 1)
		stop := serve(t, ln, handler(&daemontest.Fake{OnReload: func(ctx context.Context) error {
			<-ctx.Done()
			ended <- time.Now()
			return ctx.Err()
		}}, admin.Control, nil))
		client, server := net.Pipe()
		defer client.Close()
		ln.conns <- server
		send(t, client, "POST /-/reload HTTP/1.1\r\nHost: localhost\r\n\r\n")
		synctest.Wait()

		stopped := time.Now()
		stop()
		if got := (<-ended).Sub(stopped); got != 5*time.Second {
			t.Errorf("the request was cut off after %s, want 5s", got)
		}
	})
}

// pipeListener is a listener without a network, for synctest.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func TestServeReportsAListenerThatFails(t *testing.T) {
	t.Parallel()
	ln, err := admin.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := admin.Serve(t.Context(), ln, http.NotFoundHandler()); err == nil {
		t.Error("Serve = nil")
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	_, path := control(t, &daemontest.Fake{})
	conn := dial(t, path)
	go func() { // the server stops reading somewhere in between
		_, _ = conn.Write([]byte("GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<20)))
	}()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestABodyThatNeverComesIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	_, path := control(t, &daemontest.Fake{})
	conn := dial(t, path)
	send(t, conn, "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nx")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestTheUmaskDoesNotNarrowAConfiguredSocket(t *testing.T) {
	// The umask belongs to the process: not parallel.
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	path := socketPath(t)
	ln, err := admin.Listen(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("mode %o, want 660", got)
	}
}
