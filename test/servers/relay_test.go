package servers

import (
	"bufio"
	"io"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"testing"

	"mailpoller/internal/mailtest"
)

// relay stands between the program and a server, and drops the first connection on
// which the program says a certain line: before the server hears of it, or when it
// answers.
type relay struct {
	port   int
	at     *regexp.Regexp
	behind bool        // the server hears the line, and the program hears nothing more
	cut    atomic.Bool // it was said
	wg     sync.WaitGroup
}

// startRelay starts a relay to the port of a server.
func startRelay(t *testing.T, server int, at string, behind bool) *relay {
	t.Helper()
	l, err := net.Listen("tcp4", net.JoinHostPort(mailtest.Host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{port: l.Addr().(*net.TCPAddr).Port, at: regexp.MustCompile(at), behind: behind}
	r.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.serve(client, server) })
		}
	})
	t.Cleanup(func() { // the program is gone by then
		l.Close()
		r.wg.Wait()
	})
	return r
}

// serve relays a connection until one side ends it, or the relay does.
func (r *relay) serve(client net.Conn, port int) {
	defer client.Close()
	server, err := net.Dial("tcp4", address(port))
	if err != nil {
		return
	}
	defer server.Close()
	var deaf atomic.Bool // the client hears nothing more
	answers := make(chan struct{})
	go func() {
		defer close(answers)
		defer client.Close()
		_, _ = io.Copy(&unlessDeaf{client, &deaf}, server) // either side may end it
	}()
	for lines := bufio.NewReader(client); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		if r.at.Match(line) && r.cut.CompareAndSwap(false, true) {
			if !r.behind {
				break
			}
			deaf.Store(true)
		}
		if _, err := server.Write(line); err != nil {
			break
		}
	}
	server.Close()
	<-answers
}

// unlessDeaf is a writer that fails once nothing more is to be heard.
type unlessDeaf struct {
	io.Writer
	deaf *atomic.Bool
}

func (w *unlessDeaf) Write(p []byte) (int, error) {
	if w.deaf.Load() {
		return 0, io.ErrClosedPipe
	}
	return w.Writer.Write(p)
}
