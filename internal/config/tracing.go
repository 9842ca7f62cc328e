package config

import (
	"errors"
	"net/url"
)

// Tracing says where spans of polls go.
type Tracing struct{ Endpoint string }

var tracingKeys = []key[Tracing]{
	of("endpoint", "the base address of a collector that takes OTLP over HTTP; /v1/traces is added", collector(), func(t *Tracing) *string { return &t.Endpoint }),
}

// tracing is the block; one that says nothing is not shown.
func tracing() kind[Tracing] {
	k := mapping("tracing", tracingKeys)
	show := k.show
	k.show = func(t Tracing) any {
		if t.Endpoint == "" {
			return nil
		}
		return show(t)
	}
	return k
}

// collector is the address of one. It may stand in a network of one's own, so
// that it need not be https.
func collector() kind[string] {
	const accepts = "an address such as http://127.0.0.1:4318"
	return scalar(accepts, texts(`[Hh][Tt][Tt][Pp][Ss]?://[^/@?#].*`), func(s string) (string, error) {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return "", verdict{errors.New("found what is no http:// or https:// address; accepted: " + accepts)}
		case u.User != nil || u.RawQuery != "" || u.Fragment != "":
			// It may hold a secret, which is not repeated.
			return "", verdict{errors.New("found *** with a user, a query or a fragment; accepted: " + accepts + "; $OTEL_EXPORTER_OTLP_HEADERS can hold a token")}
		}
		return s, nil
	}, unlessEmpty)
}
