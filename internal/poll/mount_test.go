package poll

import (
	"context"
	"errors"
	"slices"
	"testing"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
)

// lacking is a folder on a file system that lacks something, which it tells once.
type lacking struct {
	Folder
	warnings []string
	fails    error
}

func (f *lacking) Warnings(string) []string {
	told := f.warnings
	f.warnings = nil
	return told
}

func (f *lacking) Try(context.Context, *mail.Connection) ([]string, error) {
	return []string{"no modes", "no times"}, f.fails
}

// TestWhatAFolderLacksIsAWarningOfTheJob that finds it, and of a job that fails
// too; a dry run does not use it up.
func TestWhatAFolderLacksIsAWarningOfTheJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Keep)
	r.mailbox("1")
	f := &lacking{Folder: r.Folder, warnings: []string{"no modes"}}
	r.Folder = f
	if got := r.Preview(t.Context(), r.c); len(got.Warnings) > 0 {
		t.Errorf("a dry run warns of %q", got.Warnings)
	}
	if got := r.poll(mail.OutcomeSaved); !slices.Equal(got.Warnings, []string{"no modes"}) {
		t.Errorf("warnings: %q", got.Warnings)
	}
	if got := r.poll(mail.OutcomeUnchanged); len(got.Warnings) > 0 {
		t.Errorf("warnings again: %q", got.Warnings)
	}
	f.warnings = []string{"no times"}
	r.at = once("open", errWire)
	if got := r.fails(mail.KindNetwork); !slices.Equal(got.Warnings, []string{"no times"}) {
		t.Errorf("warnings of a job that fails: %q", got.Warnings)
	}
}

// TestTheConnectionTestTriesTheFolder, and says what a poll would warn of.
func TestTheConnectionTestTriesTheFolder(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Keep)
	f := &lacking{Folder: r.Folder}
	r.Folder = f
	for _, fails := range []error{nil, errors.New("cannot rename")} {
		f.fails = fails
		test := r.Test(t.Context(), r.c)
		step := test.Steps[len(test.Steps)-1]
		if step.Name != mail.OpFolder || step.Detail != "no modes; no times" || !errors.Is(step.Err, fails) || test.OK() != (fails == nil) {
			t.Errorf("%+v", test)
		}
	}
}
