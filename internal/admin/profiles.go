package admin

import (
	"context"
	"net/http"
	"net/http/pprof"
	"time"
)

// profileTimeout is how long a profile may take to be made and read.
const profileTimeout = 5 * time.Minute

// Profiles serves the profiles of the process under /debug/pprof/, to this
// machine alone, and all else with next. They show the inside of the process,
// though no secret by name: they are for listeners that no other machine
// reaches, and for when somebody looks.
func Profiles(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]http.HandlerFunc{
		"GET /debug/pprof/":        pprof.Index,
		"GET /debug/pprof/profile": pprof.Profile,
		"GET /debug/pprof/trace":   pprof.Trace,
		"GET /debug/pprof/symbol":  pprof.Symbol,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if !sameMachine(w, r) {
				return
			}
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(profileTimeout))
			// pprof would compare the time with the server's own deadline.
			serve(w, r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, nil)))
		})
	}
	mux.Handle("/", next)
	return mux
}
