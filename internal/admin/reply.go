package admin

import (
	"encoding/json"
	"errors"
	"net/http"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
)

// statusOf is the status of a reply that says err.
func statusOf(err error) int {
	if e, ok := errors.AsType[*mail.Error](err); ok && e.Kind == mail.KindConfig {
		return http.StatusBadRequest // a mistake of who asks
	}
	for _, known := range []struct {
		err    error
		status int
	}{
		{api.ErrBadRequest, http.StatusBadRequest},
		{api.ErrConfiguration, http.StatusInternalServerError},
		{api.ErrNoJob, http.StatusNotFound},
		{api.ErrDisabled, http.StatusConflict},
		{api.ErrBusy, http.StatusConflict},
		{api.ErrUnknown, http.StatusNotFound},
	} {
		if errors.Is(err, known.err) {
			return known.status
		}
	}
	return http.StatusInternalServerError
}

func fail(w http.ResponseWriter, err error) { reply(w, statusOf(err), api.ProblemOf(err)) }

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only when the client is gone
}
