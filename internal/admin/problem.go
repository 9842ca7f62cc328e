package admin

import (
	"encoding/json"
	"errors"
	"net/http"

	"mailpoller/internal/mail"
)

// problem is an error as it goes over the wire. Code names the one that a
// caller may want to recognise.
type problem struct {
	Code  string    `json:"code,omitempty"`
	Error ErrorView `json:"error"`
}

var errBadRequest = errors.New("bad request")

type knownProblem struct {
	err    error
	code   string
	status int
}

func knownProblems() []knownProblem {
	return []knownProblem{
		{ErrUnknown, "unknown", http.StatusNotFound},
		{ErrBusy, "busy", http.StatusConflict},
		{ErrDisabled, "disabled", http.StatusConflict},
		{ErrNoJob, "no_job", http.StatusNotFound},
		{ErrConfiguration, "configuration", http.StatusInternalServerError},
		{errBadRequest, "bad_request", http.StatusBadRequest},
	}
}

func problemOf(err error) (p problem, status int) {
	status = http.StatusInternalServerError
	for _, known := range knownProblems() {
		if errors.Is(err, known.err) {
			p.Code, status = known.code, known.status
		}
	}
	p.Error = ErrorView{Message: err.Error()}
	if e, ok := errors.AsType[*mail.Error](err); ok {
		p.Error = *viewError(e)
		if e.Kind == mail.KindConfig { // a mistake of who asks
			status = http.StatusBadRequest
		}
	}
	return p, status
}

// err is the error that the problem was made of, as far as it went over the
// wire: its text, its mail.Error and its code.
func (p problem) err() error {
	cause := &remoteError{text: p.Error.Message}
	for _, known := range knownProblems() {
		if p.Code == known.code {
			cause.known = known.err
		}
	}
	if p.Error.Op == "" {
		return cause
	}
	return p.Error.mailError(cause)
}

// remoteError reads as it did in the process where it happened and is still
// the known error that it was there, if any.
type remoteError struct {
	text  string
	known error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.known }

func fail(w http.ResponseWriter, err error) {
	p, status := problemOf(err)
	reply(w, status, p)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // fails only when the client is gone
}
