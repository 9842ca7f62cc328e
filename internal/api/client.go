package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"

	"mailpoller/internal/mail"
)

// maxProblem bounds what is read of a refusal, in bytes: a file may have a
// thousand problems.
const maxProblem = 8 << 20

// Client asks the daemon behind a control socket. Its methods are those of
// Daemon, fail with ErrNoDaemon when there is none, and may be called by many
// goroutines. Nothing of it has to be closed.
type Client struct{ http http.Client }

// NewClient is a client for the control socket at path. It does not connect
// yet.
func NewClient(socket string) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			conn, err := dialer.DialContext(ctx, "unix", socket)
			switch {
			case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
				err = fmt.Errorf("%w: %w", ErrNoDaemon, err)
			case errors.Is(err, fs.ErrPermission):
				err = fmt.Errorf("%w; run the command as root or as the user of the daemon", err)
			}
			return conn, err
		},
		DisableKeepAlives: true,
	}}}
}

// Daemon is the daemon that the client asks.
func (c *Client) Daemon() Daemon { return Daemon{c, c, c, c} }

// Health is Daemon's.
func (c *Client) Health(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/-/healthy", nil)
}

// Ready is Daemon's.
func (c *Client) Ready(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/-/ready", nil)
}

// Reload is Daemon's.
func (c *Client) Reload(ctx context.Context) ([]string, error) {
	var reply Reloaded
	err := c.call(ctx, http.MethodPost, "/api/v1/reload", &reply)
	return reply.Warnings, err
}

// Status is Daemon's.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	err := c.call(ctx, http.MethodGet, "/api/v1/status", &status)
	return status, err
}

// Connections is Daemon's.
func (c *Client) Connections(ctx context.Context) ([]ConnectionView, error) {
	var views []ConnectionView
	err := c.call(ctx, http.MethodGet, "/api/v1/connections", &views)
	return views, err
}

// Jobs is Daemon's.
func (c *Client) Jobs(ctx context.Context, filter JobFilter) ([]mail.Result, error) {
	var views []PollView
	if err := c.call(ctx, http.MethodGet, "/api/v1/jobs?"+filter.query().Encode(), &views); err != nil {
		return nil, err
	}
	results := make([]mail.Result, len(views))
	for i, view := range views {
		results[i] = Result(view)
	}
	return results, nil
}

// Poll is Daemon's. The trace of ctx hears of the poll by the goroutine that
// called Poll. When ctx ends, so does the job in the daemon.
func (c *Client) Poll(ctx context.Context, name string, dryRun bool) (mail.Result, error) {
	query := url.Values{"connection": {name}, "dry_run": {strconv.FormatBool(dryRun)}}
	e, err := c.follow(ctx, "/api/v1/poll?"+query.Encode())
	if err != nil || e.Result == nil {
		return mail.Result{}, err
	}
	return Result(*e.Result), nil
}

// Test is Daemon's. The trace of ctx hears of the steps by the goroutine that
// called Test.
func (c *Client) Test(ctx context.Context, name string) (mail.Test, error) {
	e, err := c.follow(ctx, "/api/v1/test?"+url.Values{"connection": {name}}.Encode())
	if err != nil || e.Test == nil {
		return mail.Test{}, err
	}
	return e.Test.test(), nil
}

// follow makes a request that is answered by a stream, tells the trace of ctx
// what comes with it, and returns the event that ends it.
func (c *Client) follow(ctx context.Context, path string) (last Event, err error) {
	body, err := c.open(ctx, http.MethodPost, path)
	if err != nil {
		return Event{}, err
	}
	defer body.Close()
	trace := mail.TraceOf(ctx)
	for lines := json.NewDecoder(body); ; {
		var e Event
		switch err := lines.Decode(&e); {
		case err != nil:
			lost := mail.Errorf(mail.OpPoll, mail.KindInternal, "lost the daemon before it was done: %w", err)
			lost.Hint = "a job is cut off safely; `poller jobs` shows what it came to"
			return Event{}, lost
		case e.Problem != nil:
			return Event{}, e.Problem.err()
		case e.Result != nil, e.Test != nil, e.Grant != nil:
			return e, nil
		}
		e.replay(trace)
	}
}

// Certificates is Daemon's.
func (c *Client) Certificates(ctx context.Context) ([]CertificateView, error) {
	var views []CertificateView
	err := c.call(ctx, http.MethodGet, "/api/v1/certificates", &views)
	return views, err
}

// Trust is Daemon's.
func (c *Client) Trust(ctx context.Context, fingerprint, server string) (TrustView, error) {
	return c.judge(ctx, "trust", fingerprint, server)
}

// Revoke is Daemon's.
func (c *Client) Revoke(ctx context.Context, fingerprint, server string) (TrustView, error) {
	return c.judge(ctx, "revoke", fingerprint, server)
}

// Remove is Daemon's.
func (c *Client) Remove(ctx context.Context, fingerprint, server string) (TrustView, error) {
	return c.judge(ctx, "remove", fingerprint, server)
}

func (c *Client) judge(ctx context.Context, verb, fingerprint, server string) (TrustView, error) {
	var view TrustView
	query := url.Values{"fingerprint": {fingerprint}, "server": {server}}
	err := c.call(ctx, http.MethodPost, "/api/v1/certificates/"+verb+"?"+query.Encode(), &view)
	return view, err
}

// Grants is Daemon's.
func (c *Client) Grants(ctx context.Context) ([]GrantView, error) {
	var views []GrantView
	err := c.call(ctx, http.MethodGet, "/api/v1/oauth", &views)
	return views, err
}

// Login is Daemon's. The trace of ctx hears what a person has to do by the
// goroutine that called Login. When ctx ends, so does the login.
func (c *Client) Login(ctx context.Context, name string) (GrantView, error) {
	e, err := c.follow(ctx, "/api/v1/oauth/login?"+url.Values{"connection": {name}}.Encode())
	if err != nil || e.Grant == nil {
		return GrantView{}, err
	}
	return *e.Grant, nil
}

// Retry is Daemon's.
func (c *Client) Retry(ctx context.Context, name string) (messages int, err error) {
	return c.count(ctx, name, "retry")
}

// Forget is Daemon's.
func (c *Client) Forget(ctx context.Context, name string) (messages int, err error) {
	return c.count(ctx, name, "forget")
}

func (c *Client) count(ctx context.Context, name, verb string) (int, error) {
	var reply Counted
	err := c.call(ctx, http.MethodPost, "/api/v1/"+verb+"?"+url.Values{"connection": {name}}.Encode(), &reply)
	return reply.Messages, err
}

// call makes a request and decodes the JSON of its reply into found, unless
// that is nil.
func (c *Client) call(ctx context.Context, method, path string, found any) error {
	body, err := c.open(ctx, method, path)
	if err != nil {
		return err
	}
	defer body.Close()
	if found == nil {
		return nil
	}
	if err := json.NewDecoder(body).Decode(found); err != nil {
		return fmt.Errorf("read the daemon's reply: %w", err)
	}
	return nil
}

// open makes a request and returns the body of its reply, for the caller to
// close. A refusal is an error.
func (c *Client) open(ctx context.Context, method, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		// What URL the client made up for the socket says nothing to anyone.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	return nil, refusal(response)
}

func refusal(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err != nil {
		return fmt.Errorf("read the daemon's reply: %w", err)
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind == "application/json" {
		var p Problem
		if err := json.Unmarshal(text, &p); err != nil {
			return fmt.Errorf("read the daemon's reply: %w", err)
		}
		return p.err()
	}
	return errors.New(strings.TrimSpace(string(text)))
}

func (f JobFilter) query() url.Values {
	query := url.Values{"connection": {f.Connection}, "state": {string(f.State)}, "id": {f.ID}}
	if f.Limit != 0 {
		query.Set("limit", strconv.Itoa(f.Limit))
	}
	return query
}
