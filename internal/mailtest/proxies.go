package mailtest

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/elazarl/goproxy"
	"github.com/things-go/go-socks5"
)

// Hidden is a name of this machine that only the proxies know.
const Hidden = "mail.behind.the.proxy"

// Who the proxies let in.
const (
	ProxyUser     = "poller"
	ProxyPassword = "secret-of-the-proxy"
)

// Listen serves each connection to a port of its own, and returns that.
func Listen(t testing.TB, serve func(net.Conn)) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(Host, "0")) //nolint:noctx // closed below
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// hidden resolves the hidden name alone.
type hidden struct{}

func (hidden) Resolve(ctx context.Context, name string) (context.Context, net.IP, error) {
	if name != Hidden {
		return ctx, nil, errors.New("no such name")
	}
	return ctx, net.ParseIP(Host), nil
}

// Proxies starts a proxy of each kind, and returns their addresses by scheme.
func Proxies(t testing.TB) map[string]string {
	t.Helper()
	server := socks5.NewServer(
		socks5.WithResolver(hidden{}),
		socks5.WithAuthMethods([]socks5.Authenticator{socks5.UserPassAuthenticator{Credentials: socks5.StaticCredentials{ProxyUser: ProxyPassword}}}),
	)
	port := Listen(t, func(c net.Conn) { _ = server.ServeConn(c) }) // the client is told
	connect := goproxy.NewProxyHttpServer()
	connect.ConnectDial = func(network, address string) (net.Conn, error) {
		host, port, _ := net.SplitHostPort(address)
		if host != Hidden {
			return nil, errors.New("no such name")
		}
		return net.Dial(network, net.JoinHostPort(Host, port)) //nolint:noctx // of this machine
	}
	connect.OnRequest().HandleConnectFunc(func(host string, ctx *goproxy.ProxyCtx) (*goproxy.ConnectAction, string) {
		_, login, _ := strings.Cut(ctx.Req.Header.Get("Proxy-Authorization"), "Basic ")
		if login == base64.StdEncoding.EncodeToString([]byte(ProxyUser+":"+ProxyPassword)) {
			return goproxy.OkConnect, host
		}
		ctx.Resp = goproxy.NewResponse(ctx.Req, goproxy.ContentTypeText, http.StatusProxyAuthRequired, "") //nolint:bodyclose // the server closes it
		return goproxy.RejectConnect, host
	})
	over := httptest.NewServer(connect)
	t.Cleanup(over.Close)
	return map[string]string{"socks5": net.JoinHostPort(Host, port), "http": strings.TrimPrefix(over.URL, "http://")}
}
