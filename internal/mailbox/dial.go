package mailbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"strings"
	"time"

	"mailpoller/internal/mail"
	"mailpoller/internal/proxy"
)

// dial resolves the host and connects to the first of its addresses that
// answers. The dialer does both; the steps are told apart by its trace.
func (w *wire) dial(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.c.Timeout, fmt.Errorf("%w for %v", errSilent, w.c.Timeout))
	defer cancel()
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	start := time.Now()
	report := func(name, detail string, err error) error {
		if w.trace.Step != nil {
			w.trace.Step(mail.Step{Name: name, Duration: time.Since(start), Detail: detail, Err: err})
		}
		start = time.Now()
		return err
	}
	if w.proxy != nil {
		_ = report(mail.OpResolve, "left to the proxy "+w.c.Proxy.String(), nil)
		c, err := w.proxy.Connect(ctx, dial, w.c.Addr())
		if err != nil {
			return report(mail.OpConnect, "", w.proxyFailure(ctx, err))
		}
		w.over(c)
		return report(mail.OpConnect, w.c.Addr()+" through "+w.c.Proxy.String(), nil)
	}
	if net.ParseIP(w.c.Host) != nil {
		_ = report(mail.OpResolve, w.c.Host+" is an address", nil)
	}
	c, err := dial(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSDone: func(info httptrace.DNSDoneInfo) {
			if info.Err == nil {
				_ = report(mail.OpResolve, addresses(info.Addrs), nil)
			}
		},
	}), "tcp", w.c.Addr())
	var name *net.DNSError
	switch {
	case err == nil:
		w.over(c)
		return report(mail.OpConnect, c.RemoteAddr().String(), nil)
	case errors.As(err, &name) && ctx.Err() == nil:
		return report(mail.OpResolve, "", &mail.Error{
			Op: mail.OpResolve, Kind: mail.KindNetwork, Err: name,
			Hint: "check host:, and the name servers of this machine",
		})
	}
	return report(mail.OpConnect, "", connectFailure(ctx, err))
}

// over puts the session over a connection.
func (w *wire) over(c net.Conn) {
	w.conn = newConn(c, w.c.Timeout)
	w.top, w.r = w.conn, bufio.NewReaderSize(w.conn, readBuffer)
}

// proxyFailure makes an Error out of why there is no connection through the
// proxy.
func (w *wire) proxyFailure(ctx context.Context, err error) error {
	e := mail.AsError(connectFailure(ctx, fmt.Errorf("proxy %s: %w", w.c.Proxy, err)), mail.OpConnect, mail.KindNetwork)
	if e.Kind == mail.KindCanceled {
		return e
	}
	var failed *proxy.Error
	errors.As(err, &failed)
	switch {
	case failed != nil && !failed.Reached:
		e.Hint = "check proxy:, and whether the proxy is running"
	case errors.Is(err, proxy.ErrLogin):
		e.Kind, e.Hint = mail.KindAuth, "check the user name and password in proxy:"
	case e.Kind == mail.KindTimeout:
		e.Hint = "see whether the proxy is what proxy: says, and whether it can reach the mail server"
	default:
		e.Hint = "check host: and port:, and whether the proxy lets connections through to them"
	}
	return w.cleaned(e)
}

// addresses lists what a host name stands for.
func addresses(all []net.IPAddr) string {
	words := make([]string, len(all))
	for i, a := range all {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

func connectFailure(ctx context.Context, err error) error {
	var timeout net.Error
	switch {
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled):
		return mail.AsError(context.Canceled, mail.OpConnect, mail.KindCanceled)
	case ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout():
		return &mail.Error{
			Op: mail.OpConnect, Kind: mail.KindTimeout, Err: err,
			Hint: "no answer: check host: and port:, and whether a firewall is in between",
		}
	}
	return &mail.Error{
		Op: mail.OpConnect, Kind: mail.KindNetwork, Err: err,
		Hint: "check host: and port:, and whether the server is running",
	}
}
