// Package admin serves the daemon over HTTP: listeners, who is asking, how much
// they may do, routes, streams, and the audit line of each change. The same
// handler serves the configured listen address, for monitoring, and the control
// socket in the state directory, for the other commands of the program.
//
//	GET  /metrics                               Prometheus
//	GET  /-/healthy                             200, or 503 and the reason
//	GET  /-/ready                               200, or 503 and the reason
//	POST /-/reload                              200 when the new configuration is in force, or 500 and its faults
//	POST /api/v1/reload                         likewise, as JSON
//	GET  /api/v1/version                        what is running
//	GET  /api/v1/status                         api.Status
//	GET  /api/v1/connections                    [api.ConnectionView, ...]
//	GET  /api/v1/jobs?connection=&state=&limit= [api.PollView, ...], newest first
//	GET  /api/v1/jobs/{id}                      api.PollView, with the log of a job that failed
//	POST /api/v1/poll?connection=&dry_run=      a stream of events, the result last
//	POST /api/v1/test?connection=               a stream of steps, the api.TestView last
//	POST /api/v1/retry?connection=              {"messages": n}
//	POST /api/v1/forget?connection=             {"messages": n}
//	GET  /api/v1/certificates                   [api.CertificateView, ...]
//	POST /api/v1/certificates/trust?fingerprint=&server=   api.TrustView; likewise revoke and remove
//	GET  /api/v1/oauth                          [api.GrantView, ...]
//	POST /api/v1/oauth/login?connection=        a stream: what a person has to do, the api.GrantView last
//
// A connection is named in the query because its name may hold anything: no
// path says "/" or ".." unambiguously. No endpoint takes a body.
package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
)

const (
	healthTimeout = 10 * time.Second // a check that takes longer has failed
	writeTimeout  = 30 * time.Second // how long a reply may wait for its reader
	bodyTimeout   = 5 * time.Second  // how long a body that is refused may take to arrive

	defaultJobs = 100
	maxJobs     = 10_000
)

// route is a request that is answered.
type route struct {
	pattern string
	needs   Access
	serve   http.HandlerFunc
}

// routes are all of them. docs/api.yaml describes those below /api/v1/.
func routes(d api.Daemon, metrics http.Handler) []route {
	return []route{
		{"GET /metrics", Public, metrics.ServeHTTP},
		{"GET /-/healthy", Public, probe("healthy", d.Health)},
		{"GET /-/ready", Public, probe("ready", d.Ready)},
		{"POST /-/reload", Local, reload(d)},
		{"POST /api/v1/reload", Local, answer(func(r *http.Request) (any, error) { return reloadNow(r, d) })},
		{"GET /api/v1/version", Reader, answer(func(r *http.Request) (any, error) { return version(r, d) })},
		{"GET /api/v1/status", Reader, answer(func(r *http.Request) (any, error) { return d.Status(r.Context()) })},
		{"GET /api/v1/connections", Reader, answer(func(r *http.Request) (any, error) { return connections(r, d) })},
		{"GET /api/v1/jobs", Reader, answer(func(r *http.Request) (any, error) { return jobs(r, d) })},
		{"GET /api/v1/jobs/{id}", Reader, answer(func(r *http.Request) (any, error) { return job(r, d) })},
		{"POST /api/v1/poll", Control, poll(d)},
		{"POST /api/v1/test", Control, test(d)},
		{"GET /api/v1/certificates", Reader, answer(func(r *http.Request) (any, error) { return certificates(r, d) })},
		{"POST /api/v1/certificates/trust", Control, judge(d.Trust)},
		{"POST /api/v1/certificates/revoke", Control, judge(d.Revoke)},
		{"POST /api/v1/certificates/remove", Control, judge(d.Remove)},
		{"GET /api/v1/oauth", Reader, answer(func(r *http.Request) (any, error) { return grants(r, d) })},
		{"POST /api/v1/oauth/login", Control, login(d)},
		{"POST /api/v1/retry", Control, count(d.Retry)},
		{"POST /api/v1/forget", Control, count(d.Forget)},
	}
}

// Handler answers for d, over a listener that gives access. metrics serves
// /metrics. A request with a token that authorize knows gets what the token
// gives, if that is more; authorize is nil where there are no tokens. The context
// of each request that is not for everyone has its api.Identity.
func Handler(d api.Daemon, metrics http.Handler, access Access, authorize Authorize) http.Handler {
	mux := http.NewServeMux()
	for _, route := range routes(d, metrics) {
		serve := route.serve
		if route.needs > Public {
			serve = guarded(route, access, authorize)
		}
		mux.HandleFunc(route.pattern, serve)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if r.ContentLength != 0 {
			// The server would wait for the rest of the body; not for long.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
			w.Header().Set("Connection", "close")
			http.Error(w, "no request here takes a body", http.StatusRequestEntityTooLarge)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func probe(good string, check func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthTimeout)
		defer cancel()
		if err := check(ctx); err != nil {
			http.Error(w, "not "+good+": "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		plain(w, good)
	}
}

func reload(d api.Lifecycle) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, err := d.Reload(r.Context())
		extend(w)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		plain(w, "reloaded")
	}
}

// answer serves what find returns as JSON.
func answer(find func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		found, err := find(r)
		extend(w)
		if err != nil {
			fail(w, err)
			return
		}
		reply(w, http.StatusOK, found)
	}
}

func reloadNow(r *http.Request, d api.Lifecycle) (api.Reloaded, error) {
	warnings, err := d.Reload(r.Context())
	return api.Reloaded{Reloaded: true, Warnings: append([]string{}, warnings...)}, err
}

// versionView is what is running.
type versionView struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func version(r *http.Request, d api.Lifecycle) (versionView, error) {
	s, err := d.Status(r.Context())
	return versionView{s.Version, s.Commit, s.Go}, err
}

func count(act func(context.Context, string) (int, error)) http.HandlerFunc {
	return answer(func(r *http.Request) (any, error) {
		n, err := act(r.Context(), r.URL.Query().Get("connection"))
		return api.Counted{Messages: n}, err
	})
}

func connections(r *http.Request, d api.Polling) ([]api.ConnectionView, error) {
	views, err := d.Connections(r.Context())
	return append([]api.ConnectionView{}, views...), err
}

func certificates(r *http.Request, d api.Review) ([]api.CertificateView, error) {
	views, err := d.Certificates(r.Context())
	return append([]api.CertificateView{}, views...), err
}

func grants(r *http.Request, d api.Logins) ([]api.GrantView, error) {
	views, err := d.Grants(r.Context())
	return append([]api.GrantView{}, views...), err
}

func judge(act func(ctx context.Context, fingerprint, server string) (api.TrustView, error)) http.HandlerFunc {
	return answer(func(r *http.Request) (any, error) {
		return act(r.Context(), r.URL.Query().Get("fingerprint"), r.URL.Query().Get("server"))
	})
}

func jobs(r *http.Request, d api.Polling) ([]api.PollView, error) {
	filter, err := parseJobFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	results, err := d.Jobs(r.Context(), filter)
	if err != nil {
		return nil, err
	}
	views := make([]api.PollView, len(results))
	for i, result := range results {
		views[i] = api.View(result)
	}
	return views, nil
}

// job is one job, with its log.
func job(r *http.Request, d api.Polling) (api.PollView, error) {
	results, err := d.Jobs(r.Context(), api.JobFilter{ID: r.PathValue("id"), Limit: 2})
	switch {
	case err != nil:
		return api.PollView{}, err
	case len(results) == 0:
		return api.PollView{}, api.ErrNoJob
	case len(results) > 1:
		return api.PollView{}, fmt.Errorf("%w: more than one job begins with %q", api.ErrBadRequest, r.PathValue("id"))
	}
	return api.View(results[0]), nil
}

func parseJobFilter(query url.Values) (api.JobFilter, error) {
	filter := api.JobFilter{Connection: query.Get("connection"), ID: query.Get("id"), Limit: defaultJobs}
	switch state := mail.State(strings.ToUpper(query.Get("state"))); state {
	case "", mail.Pending, mail.Running, mail.Retrying, mail.Succeeded, mail.Failed:
		filter.State = state
	default:
		return filter, fmt.Errorf("%w: state %q is not one of PENDING, RUNNING, RETRYING, SUCCEEDED, FAILED", api.ErrBadRequest, query.Get("state"))
	}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxJobs {
			return filter, fmt.Errorf("%w: limit %q is not a number from 1 to %d", api.ErrBadRequest, text, maxJobs)
		}
		filter.Limit = n
	}
	return filter, nil
}

func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, text) // fails only when the client is gone
}

// extend gives the client time to read a reply, however long the reply took to
// come about. A writer without deadlines does not need it.
func extend(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
}
