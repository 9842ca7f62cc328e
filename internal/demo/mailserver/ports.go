// Package mailserver runs small, honest IMAP and POP3 servers inside a
// process, over mailboxes in memory: for the demonstration and for tests. They
// listen on the loopback interface only.
package mailserver

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"

	"mailpoller/internal/mail"
)

// ports are the listening ports of a server and the connections they led to.
// They own the goroutines that serve those, so that close can wait for them.
type ports struct {
	wg     sync.WaitGroup
	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
	listen []net.Listener
}

// add opens a port on 127.0.0.1, chosen by the kernel, and calls serve, which
// runs until the listener fails. Over SSL_TLS the connections it accepts speak
// TLS from the first octet.
func (p *ports) add(security mail.Security, config *tls.Config, serve func(net.Listener)) (port int, err error) {
	if security != mail.NoTLS && config == nil {
		return 0, fmt.Errorf("listen with %s: the server has no certificate", security)
	}
	bare, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // does not block
	if err != nil {
		return 0, fmt.Errorf("listen: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		bare.Close()
		return 0, fmt.Errorf("listen: %w", net.ErrClosed)
	}
	p.listen = append(p.listen, bare)
	var l net.Listener = &tracked{Listener: bare, ports: p}
	if security == mail.SSLTLS {
		l = tls.NewListener(l, config)
	}
	p.wg.Go(func() { serve(l) })
	return bare.Addr().(*net.TCPAddr).Port, nil
}

// close closes all ports and connections and returns when nothing serves them
// any more.
func (p *ports) close() {
	p.mu.Lock()
	p.closed = true
	for _, l := range p.listen {
		l.Close()
	}
	for c := range p.open {
		c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// tracked is a listener whose connections are known to their ports. Whoever
// serves a connection says that it is done by closing it.
type tracked struct {
	net.Listener
	ports *ports
}

func (l *tracked) Accept() (net.Conn, error) {
	bare, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	p := l.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		bare.Close()
		return nil, net.ErrClosed
	}
	if p.open == nil {
		p.open = make(map[net.Conn]struct{})
	}
	p.open[bare] = struct{}{}
	p.wg.Add(1)
	return &connection{Conn: bare, done: sync.OnceFunc(func() {
		p.mu.Lock()
		delete(p.open, bare)
		p.mu.Unlock()
		p.wg.Done()
	})}, nil
}

type connection struct {
	net.Conn
	done func()
}

func (c *connection) Close() error {
	defer c.done()
	return c.Conn.Close()
}
