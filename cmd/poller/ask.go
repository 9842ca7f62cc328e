package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// asker asks a person at a terminal.
type asker struct {
	terminal *os.File
	lines    *bufio.Reader
	out      io.Writer
}

func newAsker(terminal *os.File, out io.Writer) *asker {
	return &asker{terminal: terminal, lines: bufio.NewReader(terminal), out: out}
}

var errGivenUp = errors.New("given up; nothing was written")

// errBack is the judgement on an answer that asks for the question before.
var errBack = errors.New("back")

// ask asks until the answer is a good one. An empty answer is the fallback.
func (a *asker) ask(ctx context.Context, question, fallback string, judge func(string) error) (string, error) {
	if fallback != "" {
		question += " [" + fallback + "]"
	}
	for {
		fmt.Fprintf(a.out, "%s: ", question)
		answer, err := a.read(ctx, func() (string, error) { return a.lines.ReadString('\n') })
		if err != nil {
			return "", err
		}
		if answer = strings.TrimSpace(answer); answer == "" {
			answer = fallback
		}
		if err := judge(answer); errors.Is(err, errBack) {
			return "", err
		} else if err != nil {
			fmt.Fprintf(a.out, "  %v\n", err)
			continue
		}
		return answer, nil
	}
}

// agree asks for a yes or a no.
func (a *asker) agree(ctx context.Context, question string, usual bool) (bool, error) {
	fallback := "n"
	if usual {
		fallback = "y"
	}
	answer, err := a.ask(ctx, question+" (y/n)", fallback, yesOrNo)
	return yes(answer), err
}

func yesOrNo(answer string) error {
	switch strings.ToLower(answer) {
	case "y", "yes", "n", "no":
		return nil
	}
	return errors.New("y or n")
}

func yes(answer string) bool { return strings.HasPrefix(strings.ToLower(answer), "y") }

// secret asks for what must not be seen: the terminal does not echo it.
func (a *asker) secret(ctx context.Context, question string, judge func(string) error) (string, error) {
	fd := int(a.terminal.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("read terminal: %w", err)
	}
	for {
		read, prompted := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(prompted)
			awaitSilence(fd, before, read)
			fmt.Fprintf(a.out, "%s (not shown): ", question)
		}()
		answer, err := a.read(ctx, func() (string, error) {
			b, err := term.ReadPassword(fd)
			return string(b), err
		})
		close(read)
		<-prompted
		fmt.Fprintln(a.out)
		if err != nil {
			return "", errors.Join(err, term.Restore(fd, before)) // Ctrl-C must not leave it without echo
		}
		if err := judge(answer); errors.Is(err, errBack) {
			return "", err
		} else if err != nil {
			fmt.Fprintf(a.out, "  %v\n", err)
			continue
		}
		return answer, nil
	}
}

// awaitSilence waits until term.ReadPassword has changed the terminal, so that
// it echoes no more: what is pasted as soon as the question appears must not be
// seen either. It ends with the reading, and where there is no change since the
// terminal did not echo before.
func awaitSilence(fd int, before *term.State, read <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range 200 {
		if now, err := term.GetState(fd); err != nil || *now != *before {
			return
		}
		select {
		case <-read:
			return
		case <-tick.C:
		}
	}
}

// read reads an answer, or gives up with the context. A terminal cannot be
// interrupted: what still reads from it then ends with the program, which does
// nothing else any more.
func (a *asker) read(ctx context.Context, line func() (string, error)) (string, error) {
	type answer struct {
		text string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		text, err := line()
		answers <- answer{text, err}
	}()
	select {
	case got := <-answers:
		if errors.Is(got.err, io.EOF) {
			return "", errGivenUp
		}
		return got.text, got.err
	case <-ctx.Done():
		return "", errGivenUp
	}
}
