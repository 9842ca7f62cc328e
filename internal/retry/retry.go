// Package retry runs an operation until it succeeds, its attempts are used up
// or its context ends.
package retry

import (
	"context"
	"errors"
	"time"
)

// Policy says how often and how far apart a failed operation is tried again.
type Policy struct {
	Max      int           // further attempts after the first; 0 means none
	Interval time.Duration // between two attempts; 0 means no retry at all
}

// Attempts is how many attempts p allows in all. A policy in which either
// field is zero does not retry.
func (p Policy) Attempts() int {
	if p.Max <= 0 || p.Interval <= 0 {
		return 1
	}
	return 1 + p.Max
}

// Final is err, so that Do tries no further: a further attempt would come too soon,
// or change nothing.
func Final(err error) error { return &final{err} }

type final struct{ error }

// Unwrap is the error itself.
func (f *final) Unwrap() error { return f.error }

// Do runs op until it returns nil, at most p.Attempts() times, p.Interval
// apart, and returns how often it ran and its last error. op is told the
// number of the attempt, counted from 1. failed, unless nil, hears of each
// error that will be followed by another attempt, before the wait.
//
// When ctx ends, no attempt is started any more and a wait ends at once; the
// error is then the last one of op, or the context's when op never ran.
func (p Policy) Do(ctx context.Context, op func(attempt int) error, failed func(attempt int, err error)) (attempts int, err error) {
	for attempt := 1; ; attempt++ {
		if ctx.Err() != nil {
			if err == nil {
				err = context.Cause(ctx)
			}
			return attempt - 1, err
		}
		if err = op(attempt); err == nil || attempt >= p.Attempts() || ctx.Err() != nil || errors.As(err, new(*final)) {
			return attempt, err
		}
		if failed != nil {
			failed(attempt, err)
		}
		wait := time.NewTimer(p.Interval)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
}
