package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailpoller/internal/mailtest"
	"mailpoller/internal/proxy"
)

// target is a server that greets and then repeats what it is told.
func target(t *testing.T) (port string) {
	t.Helper()
	return mailtest.Listen(t, func(c net.Conn) {
		io.WriteString(c, "hello\n") //nolint:errcheck // the client will miss it
		io.Copy(c, c)                //nolint:errcheck // as long as it lasts
	})
}

// proxies are a real one of each kind, and what they let in.
func proxies(t *testing.T) []proxy.Proxy {
	t.Helper()
	var all []proxy.Proxy
	for scheme, address := range mailtest.Proxies(t) {
		all = append(all, proxy.Proxy{Scheme: scheme, Address: address, Username: mailtest.ProxyUser, Password: mailtest.ProxyPassword})
	}
	return all
}

var dial = (&net.Dialer{}).DialContext

func TestThroughAProxy(t *testing.T) {
	t.Parallel()
	port := target(t)
	for _, p := range proxies(t) {
		t.Run(p.Scheme, func(t *testing.T) {
			t.Parallel()
			c, err := p.Connect(t.Context(), dial, mailtest.Hidden+":"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, "and back\n") //nolint:errcheck // the reads tell
			r := bufio.NewReader(c)
			for _, want := range []string{"hello\n", "and back\n"} {
				if got, err := r.ReadString('\n'); err != nil || got != want {
					t.Errorf("%q, %v", got, err)
				}
			}
		})
	}
}

func TestWhatAProxyRefuses(t *testing.T) {
	t.Parallel()
	port := target(t)
	for _, p := range proxies(t) {
		for name, row := range map[string]struct {
			password, target string
			login            bool
		}{
			"another password":        {"wrong", mailtest.Hidden + ":" + port, true},
			"no password":             {"", mailtest.Hidden + ":" + port, true},
			"a name it does not know": {mailtest.ProxyPassword, "nowhere.example:" + port, false},
			"nobody listens":          {mailtest.ProxyPassword, mailtest.Hidden + ":1", false},
		} {
			t.Run(p.Scheme+" "+name, func(t *testing.T) {
				t.Parallel()
				p := p
				if p.Password = row.password; p.Password == "" {
					p.Username = ""
				}
				_, err := p.Connect(t.Context(), dial, row.target)
				var e *proxy.Error
				if !errors.As(err, &e) || !e.Reached || errors.Is(err, proxy.ErrLogin) != row.login || strings.Contains(err.Error(), mailtest.ProxyPassword) {
					t.Errorf("%v", err)
				}
				if !row.login && !strings.Contains(err.Error(), "it cannot reach "+row.target) {
					t.Errorf("it does not say what it cannot reach: %v", err)
				}
			})
		}
	}
}

// TestOddProxies: what is no proxy, or a hostile one, ends at once, or with the
// context, and is read no further than a header.
func TestOddProxies(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	for name, row := range map[string]struct {
		scheme string
		serve  func(net.Conn)
		says   string
	}{
		"silent, socks5":  {proxy.SOCKS5, func(c net.Conn) { io.Copy(io.Discard, c) }, "does not answer"}, //nolint:errcheck // until it is gone
		"silent, http":    {proxy.HTTP, func(c net.Conn) { io.Copy(io.Discard, c) }, "does not answer"},   //nolint:errcheck // until it is gone
		"closes, socks5":  {proxy.SOCKS5, func(net.Conn) {}, ""},
		"closes, http":    {proxy.HTTP, func(net.Conn) {}, "no answer of an HTTP proxy"},
		"garbage, socks5": {proxy.SOCKS5, func(c net.Conn) { io.WriteString(c, "HTTP/1.1 400 no\r\n\r\n"); io.Copy(io.Discard, c) }, "cannot reach"},        //nolint:errcheck // it is garbage
		"garbage, http":   {proxy.HTTP, func(c net.Conn) { io.WriteString(c, "* OK IMAP4rev1\r\n"); io.Copy(io.Discard, c) }, "no answer of an HTTP proxy"}, //nolint:errcheck // it is garbage
		"a header without end": {
			proxy.HTTP, func(c net.Conn) {
				io.WriteString(c, "HTTP/1.1 200 OK\r\n") //nolint:errcheck // the next ones tell
				for {
					n, err := io.WriteString(c, "X: "+strings.Repeat("x", 1000)+"\r\n")
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
			}, "larger than 8 KiB",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			p := proxy.Proxy{Scheme: row.scheme, Address: "127.0.0.1:" + mailtest.Listen(t, row.serve), Username: "u", Password: mailtest.ProxyPassword}
			_, err := p.Connect(ctx, dial, mailtest.Hidden+":993")
			var e *proxy.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), mailtest.ProxyPassword) {
				t.Errorf("%v", err)
			}
		})
	}
	p := proxy.Proxy{Scheme: proxy.HTTP, Address: "127.0.0.1:1"}
	var e *proxy.Error
	if _, err := p.Connect(t.Context(), dial, mailtest.Hidden+":993"); !errors.As(err, &e) || e.Reached {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestTheBeginningComesWithTheAnswer: servers that greet first may be heard in
// the same packet in which the proxy answers.
func TestTheBeginningComesWithTheAnswer(t *testing.T) {
	t.Parallel()
	p := proxy.Proxy{Scheme: proxy.HTTP, Address: "127.0.0.1:" + mailtest.Listen(t, func(c net.Conn) {
		_, _ = bufio.NewReader(c).ReadString('\n')
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n+OK ready\r\n"+strings.Repeat("x", 20_000)) //nolint:errcheck // the reads tell
	})}
	c, err := p.Connect(t.Context(), dial, mailtest.Hidden+":110")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all, err := io.ReadAll(c)
	if len(all) != len("+OK ready\r\n")+20_000 || !strings.HasPrefix(string(all), "+OK ready\r\n") {
		t.Errorf("%d octets, %v", len(all), err)
	}
}
