package mailbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// conn is the wire under every session: all of the limits that the protocol
// libraries lack stand here. While a call is in progress (begin) the wire ends
// with the call's context, after too long a silence, or when the server has
// sent more than the call allows. Between two calls it waits for ever, since
// nobody waits for it.
//
// The libraries' own deadlines are ignored. One goroutine may read while
// another writes.
type conn struct {
	net.Conn
	idle time.Duration // the longest silence in a call that asks for nothing else

	mu     sync.Mutex
	ctx    context.Context // of the call in progress; nil between two
	silent time.Duration   // the longest silence from here on
	budget int64           // octets that the server may still send
	first  error           // what broke the wire
	read   int64           // octets received so far
	stop   func() bool
}

// errSilent is the cause of a failure after the server said nothing for the
// connection's timeout.
var errSilent = errors.New("server is silent")

// errTooMuch is the cause of a failure after the server sent more than the
// answer to a call may be.
var errTooMuch = errors.New("server sent more than an answer may hold")

func newConn(c net.Conn, idle time.Duration) *conn {
	return &conn{Conn: c, idle: idle}
}

// begin starts a call: from now on the server may send budget octets, plus
// what allow adds. The returned function ends the call.
func (c *conn) begin(ctx context.Context, budget int64) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ctx, c.budget, c.silent = ctx, budget, c.idle
	c.deadline(time.Now().Add(c.silent))
	c.stop = context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.ctx == ctx {
			c.deadline(time.Unix(1, 0))
		}
	})
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.stop()
		c.ctx = nil
		if ctx.Err() == nil {
			c.deadline(time.Time{})
		}
	}
}

// deadline moves the deadline of reads and writes, also of those in progress.
// A wire that does not take one is closed already, and says so when it is
// used.
func (c *conn) deadline(t time.Time) { _ = c.Conn.SetDeadline(t) }

// allow lets the server send n more octets in this call.
func (c *conn) allow(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget += n
}

// limit lets the server send n octets from now on in this call, and no more.
func (c *conn) limit(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budget = n
}

// wait lets the server be silent for so long, from now on to the end of the call.
func (c *conn) wait(silent time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = silent
	if c.ctx != nil && c.ctx.Err() == nil {
		c.deadline(time.Now().Add(silent))
	}
}

// err is what broke the wire. The libraries replace it by what they made of
// it, so it has to be asked for here.
func (c *conn) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

// prepare moves the deadline ahead of a read or write.
func (c *conn) prepare() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.first != nil:
		return c.first
	case c.ctx == nil:
		return nil
	case c.ctx.Err() != nil:
		c.first = context.Cause(c.ctx)
		return c.first
	case c.budget <= 0:
		c.first = errTooMuch
		return c.first
	}
	c.deadline(time.Now().Add(c.silent))
	return nil
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.prepare(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	c.budget -= int64(n)
	c.read += int64(n)
	c.mu.Unlock()
	return n, c.note(err)
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if err := c.prepare(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	return n, c.note(err)
}

// note keeps the first error, by its cause.
func (c *conn) note(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var timeout net.Error
	switch {
	case c.ctx != nil && c.ctx.Err() != nil:
		err = context.Cause(c.ctx)
	case errors.As(err, &timeout) && timeout.Timeout():
		err = fmt.Errorf("%w for %v", errSilent, c.silent)
	}
	if c.first == nil {
		c.first = err
	}
	return err
}

// The libraries' deadlines are replaced by ours.

// SetDeadline does nothing.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }
