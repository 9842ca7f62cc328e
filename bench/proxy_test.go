//go:build bench

package bench

import (
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailpoller/internal/mailtest"
)

// traffic is what went over one connection. A round trip is a time when the
// client speaks after the server did.
type traffic struct{ sent, received, turns int64 }

// proxy passes connections on to a server, each octet after a delay, and hands
// out what each came to once both ends of it are closed.
type proxy struct {
	port    int
	delay   time.Duration // each way
	traffic chan traffic  // nil when nobody wants to know
}

func newProxy(t *testing.T, port int, delay time.Duration) *proxy {
	t.Helper()
	l, err := net.Listen("tcp4", mailtest.Host+":0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{port: l.Addr().(*net.TCPAddr).Port, delay: delay}
	if delay == 0 {
		p.traffic = make(chan traffic, 16)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wait.Go(func() { p.serve(t, client, port) })
		}
	})
	t.Cleanup(func() { l.Close(); wait.Wait() })
	return p
}

func (p *proxy) serve(t *testing.T, client net.Conn, port int) {
	defer client.Close()
	server, err := net.Dial("tcp4", net.JoinHostPort(mailtest.Host, strconv.Itoa(port)))
	if err != nil {
		t.Error(err)
		return
	}
	defer server.Close()
	var seen traffic
	var answered atomic.Bool
	var wait sync.WaitGroup
	wait.Go(func() {
		p.pass(client, server, func(n int) { seen.received += int64(n); answered.Store(true) })
	})
	p.pass(server, client, func(n int) {
		seen.sent += int64(n)
		if answered.Swap(false) {
			seen.turns++
		}
	})
	wait.Wait()
	if p.traffic != nil {
		p.traffic <- seen
	}
}

// parcel is what was read at once, and when it is to be passed on.
type parcel struct {
	octets []byte
	due    time.Time
}

// inFlight bounds the parcels on their way in one direction, each of up to 64
// KiB: much more than a connection carries in 10 ms.
const inFlight = 4096

// pass passes on what is read until there is no more. What is on its way does
// not hold up what comes behind it: the delay costs time and no bandwidth. The
// count comes ahead of the octets: nobody can answer what was not counted yet.
func (p *proxy) pass(to, from net.Conn, count func(n int)) {
	way := make(chan parcel, inFlight)
	var writer sync.WaitGroup
	writer.Go(func() {
		defer to.Close()
		for next := range way {
			if wait := time.Until(next.due); wait > 0 {
				<-time.After(wait)
			}
			count(len(next.octets))
			if _, err := to.Write(next.octets); err != nil {
				from.Close()
			}
		}
	})
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			way <- parcel{append([]byte(nil), b[:n]...), time.Now().Add(p.delay)}
		}
		if err != nil {
			break
		}
	}
	close(way)
	writer.Wait()
}
