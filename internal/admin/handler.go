package admin

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mailpoller/internal/mail"
)

// Access is how much of the daemon can be reached over a listener. Each level
// holds those below it.
type Access int

// The levels.
const (
	Public  Access = iota // metrics and health: an address that other machines may reach
	Reader                // also what shows: a token for reading
	Local                 // also reload: only this machine reaches it
	Control               // everything: only the owner of the state directory reaches it, or a token for all
)

// Authorize is how much a token gives access to, from the Authorization header
// of a request. ok is false for one that is not known.
type Authorize func(ctx context.Context, token string) (access Access, ok bool)

// AccessOf is the level for the configured listen address. What counts is
// where the listener is bound, not how the address was written.
func AccessOf(bound net.Addr) Access {
	switch a := bound.(type) {
	case *net.UnixAddr:
		return Local
	case *net.TCPAddr:
		if a.IP.IsLoopback() {
			return Local
		}
	}
	return Public
}

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
func routes(d Daemon, metrics http.Handler) []route {
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
// gives, if that is more; authorize is nil where there are no tokens.
func Handler(d Daemon, metrics http.Handler, access Access, authorize Authorize) http.Handler {
	mux := http.NewServeMux()
	for _, route := range routes(d, metrics) {
		mux.HandleFunc(route.pattern, func(w http.ResponseWriter, r *http.Request) {
			if route.needs == Public {
				route.serve(w, r)
				return
			}
			granted := access
			header, presented := r.Header["Authorization"]
			if presented {
				token, isBearer := strings.CutPrefix(header[0], "Bearer ")
				given, known := Public, false
				if authorize != nil && isBearer {
					given, known = authorize(r.Context(), token)
				}
				if !known {
					deny(w, http.StatusUnauthorized, "the token is not known")
					return
				}
				granted = max(granted, given)
			}
			switch {
			case granted < route.needs:
				forbid(w, route.needs, presented, authorize != nil)
			case !presented && !sameMachine(w, r):
			default:
				route.serve(w, r)
			}
		})
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

// forbid refuses a request that would take more than it came with.
func forbid(w http.ResponseWriter, needs Access, presented, tokens bool) {
	switch {
	case presented:
		deny(w, http.StatusForbidden, "this takes a token with the role ADMIN")
	case tokens:
		deny(w, http.StatusUnauthorized, "this takes a token: send Authorization: Bearer TOKEN, one of api_tokens: of the configuration")
	case needs == Control:
		deny(w, http.StatusForbidden, "served on the control socket only: use the poller command, or configure api_tokens")
	default:
		deny(w, http.StatusForbidden, "not served on an address that other machines can reach: listen on loopback or a unix socket, or configure api_tokens")
	}
}

// deny refuses a request, as JSON.
func deny(w http.ResponseWriter, status int, reason string) {
	code := "forbidden"
	if status == http.StatusUnauthorized {
		code = "unauthorized"
		w.Header().Set("WWW-Authenticate", `Bearer realm="poller"`)
	}
	reply(w, status, problem{Code: code, Error: ErrorView{Message: reason}})
}

// sameMachine refuses what a web page makes a browser send: a request of a
// foreign origin, or one to a name which its owner has pointed at this machine
// (DNS rebinding). A token is nothing that a browser sends by itself.
func sameMachine(w http.ResponseWriter, r *http.Request) (ok bool) {
	switch {
	case r.Header.Get("Origin") != "":
		deny(w, http.StatusForbidden, "requests of web pages are refused")
	case !isAddress(r.Host):
		deny(w, http.StatusForbidden, "the Host of the request must be localhost or an IP address")
	default:
		return true
	}
	return false
}

// isAddress reports whether host, with or without a port, is localhost or an
// IP address.
func isAddress(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	_, err := netip.ParseAddr(host)
	return err == nil || strings.EqualFold(host, "localhost")
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

func reload(d Lifecycle) http.HandlerFunc {
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

type counted struct {
	Messages int `json:"messages"`
}

type reloaded struct {
	Reloaded bool     `json:"reloaded"`
	Warnings []string `json:"warnings"`
}

func reloadNow(r *http.Request, d Lifecycle) (reloaded, error) {
	warnings, err := d.Reload(r.Context())
	return reloaded{true, list(warnings)}, err
}

// versionView is what is running.
type versionView struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func version(r *http.Request, d Lifecycle) (versionView, error) {
	s, err := d.Status(r.Context())
	return versionView{s.Version, s.Commit, s.Go}, err
}

func count(act func(context.Context, string) (int, error)) http.HandlerFunc {
	return answer(func(r *http.Request) (any, error) {
		n, err := act(r.Context(), r.URL.Query().Get("connection"))
		return counted{n}, err
	})
}

func connections(r *http.Request, d Connections) ([]ConnectionView, error) {
	views, err := d.Connections(r.Context())
	return list(views), err
}

func certificates(r *http.Request, d Certificates) ([]CertificateView, error) {
	views, err := d.Certificates(r.Context())
	return list(views), err
}

func grants(r *http.Request, d Grants) ([]GrantView, error) {
	views, err := d.Grants(r.Context())
	return list(views), err
}

func judge(act func(ctx context.Context, fingerprint, server string) (TrustView, error)) http.HandlerFunc {
	return answer(func(r *http.Request) (any, error) {
		return act(r.Context(), r.URL.Query().Get("fingerprint"), r.URL.Query().Get("server"))
	})
}

func jobs(r *http.Request, d Connections) ([]PollView, error) {
	filter, err := parseJobFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	results, err := d.Jobs(r.Context(), filter)
	if err != nil {
		return nil, err
	}
	views := make([]PollView, len(results))
	for i, result := range results {
		views[i] = View(result)
	}
	return views, nil
}

// job is one job, with its log.
func job(r *http.Request, d Connections) (PollView, error) {
	results, err := d.Jobs(r.Context(), JobFilter{ID: r.PathValue("id"), Limit: 2})
	switch {
	case err != nil:
		return PollView{}, err
	case len(results) == 0:
		return PollView{}, ErrNoJob
	case len(results) > 1:
		return PollView{}, fmt.Errorf("%w: more than one job begins with %q", errBadRequest, r.PathValue("id"))
	}
	return View(results[0]), nil
}

func parseJobFilter(query url.Values) (JobFilter, error) {
	filter := JobFilter{Connection: query.Get("connection"), ID: query.Get("id"), Limit: defaultJobs}
	switch state := mail.State(strings.ToUpper(query.Get("state"))); state {
	case "", mail.Pending, mail.Running, mail.Retrying, mail.Succeeded, mail.Failed:
		filter.State = state
	default:
		return filter, fmt.Errorf("%w: state %q is not one of PENDING, RUNNING, RETRYING, SUCCEEDED, FAILED", errBadRequest, query.Get("state"))
	}
	if text := query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxJobs {
			return filter, fmt.Errorf("%w: limit %q is not a number from 1 to %d", errBadRequest, text, maxJobs)
		}
		filter.Limit = n
	}
	return filter, nil
}

func (f JobFilter) query() url.Values {
	query := url.Values{"connection": {f.Connection}, "state": {string(f.State)}, "id": {f.ID}}
	if f.Limit != 0 {
		query.Set("limit", strconv.Itoa(f.Limit))
	}
	return query
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
