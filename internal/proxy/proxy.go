// Package proxy connects through SOCKS5 (RFC 1928, 1929) and HTTP CONNECT (RFC
// 9110, section 9.3.6) proxies. The name of the target is resolved by the proxy.
package proxy

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/proxy"
)

// Proxy is one, and what it is logged in to with.
type Proxy struct {
	Scheme   string // SOCKS5 or HTTP
	Address  string // host and port
	Username string // empty for none
	Password string
}

// The schemes.
const (
	SOCKS5 = "socks5"
	HTTP   = "http"
)

// Dial connects to an address.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// ErrLogin is the cause of an Error when the proxy does not let us in.
var ErrLogin = errors.New("it does not take the user name and password")

// Error is why there is no connection through a proxy.
type Error struct {
	Reached bool // the proxy answered
	Err     error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Connect connects to a target, a host and port, over a connection to the proxy
// that dial makes. It ends with ctx, and reads no more than a header. Its errors
// are *Error.
func (p Proxy) Connect(ctx context.Context, dial Dial, target string) (net.Conn, error) {
	c, err := dial(ctx, "tcp", p.Address)
	if err != nil {
		return nil, &Error{Err: err}
	}
	// Whatever comes of it, ctx ends it, and nothing does before.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	through, err := p.through(ctx, c, target)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = c.Close() // what went wrong is known
		if ctx.Err() != nil {
			err = fmt.Errorf("it does not answer: %w", err)
		}
		return nil, &Error{Reached: true, Err: err}
	}
	_ = c.SetDeadline(time.Time{})
	return through, nil
}

func (p Proxy) through(ctx context.Context, c net.Conn, target string) (net.Conn, error) {
	if p.Scheme == SOCKS5 {
		return p.socks(ctx, c, target)
	}
	return p.connect(c, target)
}

// connected is a dialer of a connection that exists already.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

func (c connected) DialContext(context.Context, string, string) (net.Conn, error) { return c.Conn, nil }

func (p Proxy) socks(ctx context.Context, c net.Conn, target string) (net.Conn, error) {
	var auth *proxy.Auth
	if p.Username != "" {
		auth = &proxy.Auth{User: p.Username, Password: p.Password}
	}
	dialer, err := proxy.SOCKS5("tcp", p.Address, auth, connected{c})
	if err == nil {
		// Without ctx, of which it would make a deadline of its own.
		_, err = dialer.(proxy.ContextDialer).DialContext(context.WithoutCancel(ctx), "tcp", target)
	}
	if err == nil {
		return c, nil
	}
	var op *net.OpError
	if errors.As(err, &op) { // which names this connection, and not what was asked for
		err = op.Err
	}
	// The library has no types for what a proxy answers.
	switch text := err.Error(); {
	case strings.Contains(text, "authentication failed"), strings.Contains(text, "no acceptable authentication methods"):
		return nil, fmt.Errorf("%w: %w", ErrLogin, err)
	default:
		text = strings.TrimPrefix(text, "unknown error ")
		return nil, fmt.Errorf("it cannot reach %s: %s", target, text)
	}
}

// maxHeader bounds the answer to CONNECT, in octets.
const maxHeader = 8 << 10

func (p Proxy) connect(c net.Conn, target string) (net.Conn, error) {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: make(http.Header)}
	request.Header.Set("User-Agent", "") // none
	if p.Username != "" {
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.Username+":"+p.Password)))
	}
	if err := request.Write(c); err != nil {
		return nil, err
	}
	limit := &io.LimitedReader{R: c, N: maxHeader}
	r := bufio.NewReader(limit)
	response, err := http.ReadResponse(r, request) //nolint:bodyclose // the body is the tunnel
	switch {
	case err != nil && limit.N == 0:
		return nil, fmt.Errorf("its answer is larger than %d KiB", maxHeader>>10)
	case err != nil:
		return nil, fmt.Errorf("this is no answer of an HTTP proxy: %w", err)
	case response.StatusCode == http.StatusProxyAuthRequired:
		return nil, fmt.Errorf("%w: %.100s", ErrLogin, response.Status)
	case response.StatusCode/100 != 2:
		return nil, fmt.Errorf("it cannot reach %s: %.100s", target, response.Status)
	}
	limit.N = math.MaxInt64
	return &tunnel{c, r}, nil
}

// tunnel is a connection of which the beginning may have come with the answer of
// the proxy.
type tunnel struct {
	net.Conn
	r io.Reader
}

func (t *tunnel) Read(p []byte) (int, error) { return t.r.Read(p) }
