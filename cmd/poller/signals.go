package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"mailpoller/internal/mail"
)

// interrupted is why the context of a command ended.
type interrupted struct{ syscall.Signal }

func (i interrupted) Error() string { return "interrupted by " + i.String() }

// untilSignal is a context that ends with the first signal that ends a program.
// The second one ends the program as it stands, which loses nothing: unless a
// command listens for it.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case s := <-signals:
			cancel(interrupted{s.(syscall.Signal)})
		case <-ctx.Done():
		}
		signal.Stop(signals)
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// onlyTheFirst has only the first signal count, until stop is called.
func onlyTheFirst() (stop func()) {
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, os.Interrupt, syscall.SIGTERM)
	return func() { signal.Stop(ignored) }
}

// interruption is the exit code of a command that a signal ended, as a shell
// would have it.
func interruption(ctx context.Context) (code int, ok bool) {
	i, ok := errors.AsType[interrupted](context.Cause(ctx))
	return 128 + int(i.Signal), ok
}

// sayInterrupted says in plain words why a command ended with err.
func (c *cli) sayInterrupted(err error) {
	var failed *failedError
	if errors.As(err, &failed) {
		err = failed.err
	}
	c.interrupted.Do(func() {
		if e := mail.AsError(err, mail.OpPoll, mail.KindInternal); e == nil || e.Kind == mail.KindCanceled || errors.Is(err, context.Canceled) {
			fmt.Fprintln(c.stderr, "poller: interrupted: nothing was left half done, and nothing is lost")
			return
		}
		fmt.Fprintf(c.stderr, "poller: interrupted: %v\n", err)
	})
}

// whenInterrupted says at once what becomes of a command that a signal reached,
// for as long as the command runs.
func (c *cli) whenInterrupted(ctx context.Context, text string) (stop func()) {
	said := make(chan struct{})
	end := context.AfterFunc(ctx, func() {
		defer close(said)
		if _, ok := interruption(ctx); ok {
			c.interrupted.Do(func() { fmt.Fprintln(c.stderr, "poller: interrupted: "+text) })
		}
	})
	return func() {
		if !end() {
			<-said
		}
	}
}
