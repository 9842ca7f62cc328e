package poll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailpoller/internal/mail"
)

// lateError is why the context of an attempt ended: poll_timeout.
type lateError struct{ after time.Duration }

func (l lateError) Error() string { return fmt.Sprintf("poll_timeout of %v is over", l.after) }

// Is has it count as a deadline that passed.
func (l lateError) Is(target error) bool { return target == context.DeadlineExceeded }

// explained is the error of an attempt in ctx. Where poll_timeout ended it, it
// says so, whatever was under way, and what to do about it.
func (l lateError) explained(ctx context.Context, err error) error {
	if err == nil || !errors.Is(context.Cause(ctx), l) {
		return err
	}
	e := *mail.AsError(err, mail.OpPoll, mail.KindInternal)
	if e.Kind != mail.KindTimeout {
		return err
	}
	if !errors.Is(e.Err, l) {
		e.Err = fmt.Errorf("%w: %w", l, e.Err)
	}
	e.Hint = "see why the server or the folder takes so long; poll_timeout bounds an attempt as a whole, max_messages how much it has to do"
	return &e
}
