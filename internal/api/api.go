// Package api is the daemon as seen from outside its process: what can be asked
// of it, the requests and answers, and the client of the control socket. Package
// admin serves the same over HTTP.
package api

import (
	"context"
	"errors"

	"mailpoller/internal/mail"
)

// Daemon is what can be asked of a daemon, as one value. The application
// implements its parts for the servers; Client implements them for everyone else.
// The methods may be called by many goroutines and end with their context.
type Daemon struct {
	Lifecycle
	Polling
	Review
	Logins
}

// Lifecycle is the process as a whole.
type Lifecycle interface {
	// Health reports what keeps the daemon from doing its work: scheduler,
	// state store or folders that do not answer.
	Health(ctx context.Context) error
	// Ready reports why no polls are started: still starting, or stopping.
	Ready(ctx context.Context) error
	// Reload puts the configuration file into force and returns when it is,
	// with its warnings. When the file has problems it fails with
	// ErrConfiguration, whose text is one line a problem, and the old
	// configuration stays.
	Reload(ctx context.Context) (warnings []string, err error)
	Status(ctx context.Context) (Status, error)
}

// Polling is what the daemon does for its connections. Methods with a name
// parameter fail with ErrUnknown for a connection that is not configured.
type Polling interface {
	Connections(ctx context.Context) ([]ConnectionView, error)
	// Jobs is the job history, newest first. Asked for one job by its id, it
	// has the log of the job, where it failed.
	Jobs(ctx context.Context, filter JobFilter) ([]mail.Result, error)
	// Poll runs one job now and reports its course to the mail.Trace of ctx.
	// A job that failed is a result; the error says that there was no job,
	// such as ErrBusy or ErrDisabled. A dry run changes nothing anywhere.
	Poll(ctx context.Context, name string, dryRun bool) (mail.Result, error)
	// Test is the connection test. Its steps are reported to the mail.Trace
	// of ctx as they end. A disabled connection can be tested.
	Test(ctx context.Context, name string) (mail.Test, error)
	// Retry gives the messages that were quarantined another chance and
	// returns how many there were.
	Retry(ctx context.Context, name string) (messages int, err error)
	// Forget drops the record of what was saved, so that what is still on
	// the server is delivered again, and returns how many messages it held.
	Forget(ctx context.Context, name string) (messages int, err error)
}

// Review is the review of certificates that servers presented and that were not
// trusted. A fingerprint may be cut to its first eight digits or more; server, as
// host:port, is needed only where several servers showed the same certificate.
type Review interface {
	Certificates(ctx context.Context) ([]CertificateView, error)
	// Trust accepts a certificate, the server's own or an issuer's, for one
	// server from its next poll on, for as long as it is valid.
	Trust(ctx context.Context, fingerprint, server string) (TrustView, error)
	Revoke(ctx context.Context, fingerprint, server string) (TrustView, error)
	// Remove drops a server's certificate from what is kept for review.
	Remove(ctx context.Context, fingerprint, server string) (TrustView, error)
}

// Logins is how connections get access tokens.
type Logins interface {
	// Grants are those of the connections that have one.
	Grants(ctx context.Context) ([]GrantView, error)
	// Login waits for a person to let the program into the mailbox of a
	// connection. What that takes is reported to the mail.Trace of ctx.
	Login(ctx context.Context, name string) (GrantView, error)
}

// JobFilter chooses from the job history.
type JobFilter struct {
	Connection string     // empty means all
	State      mail.State // empty means all
	ID         string     // how the id of a job begins; empty means all
	Limit      int        // at most this many; 0 means 100
}

// Why something cannot be done. They keep their identity over HTTP.
var (
	ErrUnknown  = errors.New("no connection of this name is configured")
	ErrBusy     = errors.New("the connection is being polled already")
	ErrDisabled = errors.New("the connection is disabled")
	ErrNoJob    = errors.New("there is no job of this id in the history")

	ErrConfiguration = errors.New("the configuration file has problems")
	ErrBadRequest    = errors.New("bad request")
)

// ErrNoDaemon is what a Client's methods fail with when nobody listens on the
// control socket.
var ErrNoDaemon = errors.New("no daemon is running on this state directory (state_dir: in the configuration)")
