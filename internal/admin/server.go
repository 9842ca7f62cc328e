package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/netutil"
)

const (
	maxConns      = 128
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	idleTimeout   = time.Minute
	drainTimeout  = 5 * time.Second

	// maxSocketPath is what sun_path holds on Linux, without its final NUL.
	maxSocketPath = 107

	controlMode fs.FileMode = 0o600
	listenMode  fs.FileMode = 0o660
)

// Serve answers on ln with h until ctx ends and then closes ln. Requests in
// hand are given five seconds from there; then their contexts end, and Serve
// waits for their handlers. What should get longer, such as a poll, has to
// finish before ctx ends. The error is nil unless ln failed.
func Serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	if socket, ok := ln.(*net.UnixListener); ok {
		ln = peers{socket}
	}
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var conns sync.WaitGroup
	server := &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout, // for one write of a long reply: see extend
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// The server tells when the goroutine of a connection begins and
		// when its handler has returned, and offers no other way to wait.
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				conns.Done()
			}
		},
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(netutil.LimitListener(ln, maxConns)) }()

	var err error
	select {
	case <-ctx.Done():
		drain, cancel := context.WithTimeout(base, drainTimeout)
		defer cancel()
		_ = server.Shutdown(drain) // what it leaves is cut below
		err = <-served
	case err = <-served:
	}
	cut()
	_ = server.Close()
	conns.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
}

// Listen opens a configured listen address: "host:port", or "unix:PATH" for a
// socket that the daemon's user and group may use. It is nil for "".
func Listen(ctx context.Context, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil //nolint:nilnil // no address, no listener: not a failure
	}
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listenUnix(ctx, path, listenMode)
	}
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("open HTTP listener: %w", err)
	}
	return ln, nil
}

// ListenControl opens the control socket. Nobody but the daemon's user and
// root may use it.
func ListenControl(ctx context.Context, path string) (net.Listener, error) {
	return listenUnix(ctx, path, controlMode)
}

// listenUnix opens a socket at path that is at no moment open to more than
// mode says. What a daemon that crashed has left there is replaced, but only
// after it was seen that nobody answers; anything else that is there stays.
func listenUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("open socket %s: the path has %d octets, and a socket can have %d; choose a shorter directory", path, len(path), maxSocketPath)
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// Linux creates the socket's file with the mode of its descriptor.
		// Where a system does not, the Chmod below has to do.
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), uint32(mode.Perm())) })
	}}
	ln, err := config.Listen(ctx, "unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err = removeStale(ctx, path); err == nil {
			ln, err = config.Listen(ctx, "unix", path)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open socket %s: %w", path, err)
	}
	if err := os.Chmod(path, mode); err != nil { // undo the umask
		return nil, errors.Join(fmt.Errorf("open socket %s: %w", path, err), ln.Close())
	}
	return ln, nil
}

func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file of that name which is not a socket; move it away")
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(errors.New("another process answers on it; stop that one, or choose another path"), conn.Close())
	case !errors.Is(err, syscall.ECONNREFUSED):
		return err
	}
	return os.Remove(path)
}
