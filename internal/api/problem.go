package api

import (
	"errors"

	"mailpoller/internal/mail"
)

// Problem is an error as it goes over the wire. Code names the one that a
// caller may want to recognise.
type Problem struct {
	Code  string    `json:"code,omitempty"`
	Error ErrorView `json:"error"`
}

type knownProblem struct {
	err  error
	code string
}

func knownProblems() []knownProblem {
	return []knownProblem{
		{ErrUnknown, "unknown"},
		{ErrBusy, "busy"},
		{ErrDisabled, "disabled"},
		{ErrNoJob, "no_job"},
		{ErrConfiguration, "configuration"},
		{ErrBadRequest, "bad_request"},
	}
}

// ProblemOf is err as JSON shows it.
func ProblemOf(err error) Problem {
	p := Problem{Error: ErrorView{Message: err.Error()}}
	for _, known := range knownProblems() {
		if errors.Is(err, known.err) {
			p.Code = known.code
		}
	}
	if e, ok := errors.AsType[*mail.Error](err); ok {
		p.Error = *viewError(e)
	}
	return p
}

// err is the error that the problem was made of, as far as it went over the
// wire: its text, its mail.Error and its code.
func (p Problem) err() error {
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
