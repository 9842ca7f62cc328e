// Package admin is the daemon as seen from outside its process: an HTTP
// handler over which it answers, and a client that asks. The same handler
// serves the configured listen address, for monitoring, and the control socket
// in the state directory, for the other commands of the program.
//
//	GET  /metrics                               Prometheus
//	GET  /-/healthy                             200, or 503 and the reason
//	GET  /-/ready                               200, or 503 and the reason
//	POST /-/reload                              200 when the new configuration is in force, or 500 and its faults
//	POST /api/v1/reload                         likewise, as JSON
//	GET  /api/v1/version                        what is running
//	GET  /api/v1/status                         Status
//	GET  /api/v1/connections                    [ConnectionView, ...]
//	GET  /api/v1/jobs?connection=&state=&limit= [PollView, ...], newest first
//	GET  /api/v1/jobs/{id}                      PollView, with the log of a job that failed
//	POST /api/v1/poll?connection=&dry_run=      a stream of events, the result last
//	POST /api/v1/test?connection=               a stream of steps, the TestView last
//	POST /api/v1/retry?connection=              {"messages": n}
//	POST /api/v1/forget?connection=             {"messages": n}
//	GET  /api/v1/certificates                   [CertificateView, ...]
//	POST /api/v1/certificates/trust?fingerprint=&server=   TrustView; likewise revoke and remove
//	GET  /api/v1/oauth                          [GrantView, ...]
//	POST /api/v1/oauth/login?connection=        a stream: what a person has to do, the GrantView last
//
// A connection is named in the query because its name may hold anything: no
// path says "/" or ".." unambiguously. No endpoint takes a body.
package admin

import (
	"context"
	"errors"

	"mailpoller/internal/mail"
)

// Daemon is what can be asked of a daemon. The application implements it for
// the Handler; Client implements it for everyone else. Its methods may be
// called by many goroutines and end with their context.
type Daemon interface {
	Lifecycle
	Connections
	Certificates
	Grants
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

// Connections is what the daemon does for its connections. Those methods that
// take a name fail with ErrUnknown for a name that is not configured.
type Connections interface {
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

// Certificates is what servers presented and was not trusted. A fingerprint may
// be cut to its first eight digits or more; server, as host:port, is needed
// only where several servers showed the same certificate.
type Certificates interface {
	Certificates(ctx context.Context) ([]CertificateView, error)
	// Trust accepts a certificate, the server's own or an issuer's, for one
	// server from its next poll on, for as long as it is valid.
	Trust(ctx context.Context, fingerprint, server string) (TrustView, error)
	Revoke(ctx context.Context, fingerprint, server string) (TrustView, error)
	// Remove drops a server's certificate from what is kept for review.
	Remove(ctx context.Context, fingerprint, server string) (TrustView, error)
}

// Grants is how connections get access tokens.
type Grants interface {
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
)

// ErrNoDaemon is what a Client's methods fail with when nobody listens on the
// control socket.
var ErrNoDaemon = errors.New("no daemon is running on this state directory (state_dir: in the configuration)")
