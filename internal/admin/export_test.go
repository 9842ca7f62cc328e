package admin

import "net/http"

// Routes are the requests that are answered, as METHOD PATH.
func Routes(d Daemon) []string {
	var all []string
	for _, route := range routes(d, http.NotFoundHandler()) {
		all = append(all, route.pattern)
	}
	return all
}
