package admin

import (
	"net/http"

	"mailpoller/internal/api"
)

// Routes are the requests that are answered, as METHOD PATH.
func Routes(d api.Daemon) []string {
	var all []string
	for _, route := range routes(d, http.NotFoundHandler()) {
		all = append(all, route.pattern)
	}
	return all
}
