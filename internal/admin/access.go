package admin

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"mailpoller/internal/api"
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

// Authorize is whose a token is, from the Authorization header of a request. ok is
// false for one that is not known.
type Authorize func(ctx context.Context, token string) (who api.Identity, ok bool)

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

// guarded serves a route to those who may have it. The others are told why not.
func guarded(to route, access Access, authorize Authorize) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Of a Unix socket the remote address is the user: see peers.
		who, granted := api.Identity{Name: r.RemoteAddr}, access
		header, presented := r.Header["Authorization"]
		if presented {
			token, isBearer := strings.CutPrefix(header[0], "Bearer ")
			known := false
			if authorize != nil && isBearer {
				who, known = authorize(r.Context(), token)
			}
			if !known {
				deny(w, http.StatusUnauthorized, "the token is not known")
				return
			}
			granted = max(granted, accessOfRole(who.Role))
		}
		switch {
		case granted < to.needs:
			forbid(w, to.needs, presented, authorize != nil)
		case !presented && !sameMachine(w, r):
		default:
			who.Role = roleOf(granted)
			to.serve(w, r.WithContext(api.WithIdentity(r.Context(), who)))
		}
	}
}

func accessOfRole(role api.Role) Access {
	switch role {
	case api.RoleAdmin:
		return Control
	case api.RoleRead:
		return Reader
	}
	return Public
}

// roleOf is the role that comes nearest to an access.
func roleOf(access Access) api.Role {
	if access == Control {
		return api.RoleAdmin
	}
	return api.RoleRead
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
	reply(w, status, api.Problem{Code: code, Error: api.ErrorView{Message: reason}})
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
