package mail

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// Kind is what an operator has to look at first. The set is closed: it labels
// metrics.
type Kind string

// The kinds.
const (
	KindAuth     Kind = "auth"     // the server refused who we say we are
	KindTLS      Kind = "tls"      // no common version or suite, certificate not trusted
	KindNetwork  Kind = "network"  // resolve, connect, connection lost
	KindTimeout  Kind = "timeout"  // silence, or the bound on an attempt
	KindProtocol Kind = "protocol" // the server said no, or something that cannot be
	KindServer   Kind = "server"   // the server has trouble of its own, or limits how much it is asked
	KindStorage  Kind = "storage"  // the target folder
	KindState    Kind = "state"    // the state store
	KindConfig   Kind = "config"   // the connection cannot work as it is configured
	KindCanceled Kind = "canceled" // shutdown
	KindInternal Kind = "internal" // a fault of this program
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		KindAuth, KindTLS, KindNetwork, KindTimeout, KindProtocol, KindServer,
		KindStorage, KindState, KindConfig, KindCanceled, KindInternal,
	}
}

// The steps of a poll, in the order in which they happen. They are the Op of
// an Error, the name of a Step, and what the connection test lists.
const (
	OpSecret       = "read secret"
	OpToken        = "get token"
	OpResolve      = "resolve"
	OpConnect      = "connect"
	OpTLS          = "tls"
	OpCertificate  = "certificate"
	OpGreeting     = "greeting"
	OpAuthenticate = "authenticate"
	OpOpenMailbox  = "open mailbox"
	OpPick         = "pick"
	OpFetch        = "fetch"
	OpSave         = "save"
	OpRecord       = "record"
	OpDispose      = "dispose"
	OpClose        = "close"
	OpPoll         = "poll"   // none of the above in particular
	OpFolder       = "folder" // of the connection test: whether it can be written to
)

// Error is a failure as an operator reads it: at which step, of which kind,
// why, and what to do next. It wraps its cause.
type Error struct {
	Op   string // one of the steps above
	Kind Kind
	Err  error
	Hint string // the next thing to do; may be empty
	// Wait is how long the server wants to be left alone; 0 when it does not say.
	Wait time.Duration
	// Reopen says that the session asked in a way that this server does not
	// understand, and that the next session, to be opened at once, asks in a
	// plainer way. It is no failure of anything else.
	Reopen bool
}

// Error is the step and the cause. The hint is shown beside it, not in it.
func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error. Its hint can be set on the result.
func Errorf(op string, kind Kind, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Err: fmt.Errorf(format, args...)}
}

// AsError is err as an *Error. What is not one already is given op, and a
// kind by its nature: a context that ended or a deadline that passed, else
// fallback. It is nil for nil.
func AsError(err error, op string, fallback Kind) *Error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return &Error{Op: op, Kind: KindCanceled, Err: err, Hint: "the daemon was stopping; the next poll goes on from here"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return &Error{Op: op, Kind: KindTimeout, Err: err}
	}
	return &Error{Op: op, Kind: fallback, Err: err}
}
