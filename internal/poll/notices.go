package poll

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

const (
	noticesAtOnce = 100                 // that are read from the journal at once
	noticeKept    = 30 * 24 * time.Hour // after which a command that always fails is given up
)

// notify runs the commands that are due for messages of the connection: those
// of this job, and those that failed in an earlier one, in the order in which
// the messages were saved. The first that fails ends it until the next job. That
// changes nothing about the messages, which are saved, and nothing about the
// result of the job but for a warning and HookError. Once
// nothing may be begun, the command at hand may still be finished.
func (j *job) notify(l lifetimes) {
	if j.c.Notify == nil || j.dry {
		return
	}
	ctx, cancel := context.WithTimeout(l.start, max(j.c.PollTimeout, j.c.Notify.Timeout))
	defer cancel()
	for ctx.Err() == nil {
		due, err := j.Journal.Notices(ctx, j.c.Name, noticesAtOnce)
		if err == nil && len(due) == 0 {
			return
		}
		hidden := 0
		for _, n := range due {
			if err != nil || ctx.Err() != nil {
				break
			}
			if n.Pending && !j.visible[n.Temp] {
				hidden++ // as far as is known: no job has come as far as to publish it
				continue
			}
			err = j.notice(l, n)
		}
		if err != nil {
			j.warn(fmt.Sprintf("notify: %v", err))
			return
		}
		if hidden > 0 {
			return
		}
	}
}

// notice runs one command. What becomes of it is recorded also when its time ends
// meanwhile.
func (j *job) notice(l lifetimes, n mail.Notice) error {
	err := j.Notify(l.finish, j.c, n)
	switch {
	case err == nil:
		j.result.Notified++
		return j.Journal.Noticed(l.commit, j.c.Name, n.ID)
	case l.finish.Err() != nil:
		return nil //nolint:nilerr // stopped, and not failed
	}
	j.result.Unheard++
	j.result.HookError = err.Error()
	j.log.Warn("command failed", zap.String("file", filepath.Join(n.Dir, n.Name)), zap.Int("tries", n.Tries+1), zap.Error(err))
	if time.Since(n.Saved) > noticeKept {
		j.log.Error("command is given up", zap.String("file", filepath.Join(n.Dir, n.Name)), zap.Time("saved", n.Saved))
		return j.Journal.Noticed(l.commit, j.c.Name, n.ID)
	}
	if failed := j.Journal.NoticeFailed(l.commit, j.c.Name, n.ID); failed != nil {
		return failed
	}
	return fmt.Errorf("%w; it is tried again with the next poll", err)
}

// show notes that messages are visible, for which a command may have to be run.
func (j *job) show(published []mail.Entry) {
	if j.c.Notify == nil {
		return
	}
	if j.visible == nil {
		j.visible = make(map[string]bool)
	}
	for _, e := range published {
		j.visible[e.Temp] = true
	}
}

// warn adds a warning to the result, once.
func (j *job) warn(text string) {
	if !slices.Contains(j.result.Warnings, text) {
		j.result.Warnings = append(j.result.Warnings, text)
	}
}
