package poll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap/zapcore"

	"mailpoller/internal/disposition"
	"mailpoller/internal/mail"
	"mailpoller/internal/retry"
)

// within makes the message take so long to arrive.
func (l *letter) within(d time.Duration) {
	l.body = func(ctx context.Context, w io.Writer) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		_, err := io.WriteString(w, l.text)
		return err
	}
}

// TestShutdownWhileAMessageIsFetched: within the grace it is finished,
// published and disposed of, and the next one is not begun; when the grace is
// over it is cut off, and the next poll takes it.
func TestShutdownWhileAMessageIsFetched(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for _, row := range []struct {
			name      string
			grace     time.Duration
			delivered []string
			left      []string
		}{
			{"within the grace", 10 * time.Second, []string{"1", "2"}, []string{"3"}},
			{"for too long", 3 * time.Second, []string{"1"}, []string{"1", "2", "3"}},
			{"with no grace", 0, []string{"1"}, []string{"1", "2", "3"}},
		} {
			t.Run(fmt.Sprint(store, " ", row.name), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, store, disposition.Delete)
					r.mailbox("123")
					r.grace = row.grace
					r.letters[1].within(5 * time.Second)
					ctx, cancel := context.WithCancel(t.Context())
					timer := time.AfterFunc(time.Second, cancel)
					defer timer.Stop()
					result := r.Poll(ctx, r.c)
					if result.State != mail.Failed || result.Err.Kind != mail.KindCanceled || result.Duration.Round(time.Second) != 1*time.Second+min(row.grace, 4*time.Second) {
						t.Errorf("the result is %+v (%v)", result, result.Err)
					}
					r.delivered(row.delivered...)
					r.faults(nil)
					r.left(row.left...)
					for _, l := range r.letters {
						l.body = nil
					}
					r.poll(mail.OutcomeSaved)
					r.delivered("1", "2", "3")
					r.left()
				})
			})
		}
	}
}

// TestShutdownWhileAServerTakesMessagesBack: what ends is the job, and not for
// a fault of theirs.
func TestShutdownWhileAServerTakesMessagesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Delete)
	r.mailbox("12")
	r.c.MaxMessages = 0
	r.retracts = true
	ctx, cancel := context.WithCancel(t.Context())
	r.at = func(point string) error {
		if point == "middle of a message" {
			cancel()
		}
		return nil
	}
	if result := r.Poll(ctx, r.c); result.Err == nil || result.Err.Kind != mail.KindCanceled || r.opened != 1 {
		t.Errorf("after %d sessions: %+v", r.opened, result)
	}
	r.faults(nil)
	r.left("1", "2")
	r.unhindered()
	r.poll(mail.OutcomeSaved)
	r.delivered("1", "2")
}

// TestShutdownWhileWaiting for a retry, or for the server, ends the job at
// once: nothing is at hand that the grace is for.
func TestShutdownWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, point := range map[string]string{"for a retry": "", "for a session": "open", "for a pick": "pick"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, mail.IMAP, disposition.Delete)
				r.mailbox("1")
				r.c.Retry = retry.Policy{Max: 5, Interval: time.Hour}
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, context.Canceled)
				defer cancel()
				r.at = func(at string) error {
					switch {
					case point == "":
						return errWire
					case at == point:
						<-ctx.Done()
					}
					return nil
				}
				result := r.Poll(ctx, r.c)
				if result.State != mail.Failed || result.Attempts != 1 || result.Duration != time.Minute {
					t.Errorf("the result is %+v", result)
				}
				r.delivered()
				r.left("1")
			})
		})
	}
}

// TestPollTimeout bounds an attempt, and the next one has as long again.
func TestPollTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mail.IMAP, disposition.Delete)
		r.c.PollTimeout = 10 * time.Minute
		r.c.Retry = retry.Policy{Max: 1, Interval: time.Minute}
		r.mailbox("12")
		r.letters[1].within(time.Hour)
		result := r.fails(mail.KindTimeout)
		if want := "fetch: poll_timeout of 10m0s is over"; result.Attempts != 2 || result.Duration != 21*time.Minute || result.Err.Error() != want {
			t.Errorf("the result is %+v (%v)", result, result.Err)
		}
		r.delivered("1")
		r.left("2") // the second attempt has deleted the other one
		r.faults(map[string]int{"2": 1})
	})
}

// TestAJobTellsHowItStands: the states in their order, and a warning in the
// log only when the reason is another one.
func TestAJobTellsHowItStands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, mail.IMAP, disposition.Keep)
		r.mailbox("12")
		r.c.Retry = retry.Policy{Max: 4, Interval: time.Minute}
		reasons := []error{errWire, errWire, errNo, nil}
		r.at = func(point string) error {
			if point == "open" {
				reason := reasons[0]
				reasons = reasons[1:]
				return reason
			}
			return nil
		}
		var states, saved []string
		ctx := mail.WithTrace(t.Context(), &mail.Trace{
			Job: func(result mail.Result) {
				states = append(states, fmt.Sprintf("%s %d %d %s", result.State, result.Attempts, result.Messages, result.Duration))
			},
			Saved: func(ref mail.Ref, path string, n int64) {
				saved = append(saved, fmt.Sprintf("%s %s %d", ref.ID(), r.text(path), n))
			},
		})
		result := r.Poll(ctx, r.c)
		if result.Attempts != 4 || result.Err != nil || result.Job == "" || result.Connection != "a" {
			t.Errorf("the result is %+v", result)
		}
		r.same("states", []string{
			"RUNNING 1 0 0s", "RETRYING 1 0 0s", "RUNNING 2 0 1m0s", "RETRYING 2 0 1m0s",
			"RUNNING 3 0 2m0s", "RETRYING 3 0 2m0s", "RUNNING 4 0 3m0s", "RUNNING 4 2 3m0s", "SUCCEEDED 4 2 3m0s",
		}, states)
		r.same("saved", []string{"1 1 1", "2 2 1"}, saved)
		var warnings []string
		for _, entry := range r.logs.FilterLevelExact(zapcore.WarnLevel).All() {
			warnings = append(warnings, fmt.Sprint(entry.Message, ": ", entry.ContextMap()["error"]))
		}
		r.same("warnings", []string{
			"attempt failed, trying again: fetch: connection reset",
			"attempt failed, trying again: fetch: server refused: no",
		}, warnings)
	})
}

// TestProgress counts the octets of a message as they arrive.
func TestProgress(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Keep)
	r.add(7, "abcd")
	var got []string
	ctx := mail.WithTrace(t.Context(), &mail.Trace{Progress: func(ref mail.Ref, done, size int64) {
		got = append(got, fmt.Sprintf("%s %d %d", ref.ID(), done, size))
	}})
	if result := r.Poll(ctx, r.c); result.Err != nil {
		t.Fatal(result.Err)
	}
	r.same("progress", []string{"7 2 4", "7 4 4"}, got)
	r.delivered("abcd")
}

// TestPreviewChangesNothing, and names what the next poll makes.
func TestPreviewChangesNothing(t *testing.T) {
	t.Parallel()
	for _, store := range everyStore {
		for _, limit := range []int{0, 1, 2} {
			t.Run(fmt.Sprint(store, limit), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, store, disposition.Delete)
				r.mailbox("1")
				r.at = once("commit", errWire) // so that there is something pending
				r.fails(mail.KindNetwork)
				r.mailbox("2345")
				r.letters[2].size = 100
				r.c.MaxMessages, r.c.MaxMessageSize = limit, 50
				r.at = func(point string) error {
					switch point {
					case "open", "pick", "load", "loaded":
						return nil
					}
					t.Errorf("a dry run comes by %q", point)
					return errors.New("no")
				}
				before, fetched := r.ledger(), fmt.Sprint(r.fetched)
				r.c.Retry = retry.Policy{Max: 3, Interval: time.Hour}
				preview := r.Preview(t.Context(), r.c)
				if preview.Outcome != mail.OutcomeSaved || preview.Attempts != 1 || !preview.DryRun {
					t.Fatalf("the dry run came to %+v", preview)
				}
				r.same("then", []string{
					"finish what an earlier poll saved (1), and delete them from the server",
					fmt.Sprintf("delete them from the server (%d)", preview.Messages),
				}, preview.Then)
				r.left("1", "2", "3", "4", "5")
				r.delivered("1")
				r.same("fetched", fetched, fmt.Sprint(r.fetched))
				if diff := cmp.Diff(before, r.ledger()); diff != "" {
					t.Errorf("the journal (-before +after):\n%s", diff)
				}
				r.unhindered()
				result := r.poll(mail.OutcomeSaved)
				r.same("files", result.Files, preview.Files)
				if preview.Messages != result.Messages || preview.Bytes != result.Bytes || preview.Quarantined != result.Quarantined {
					t.Errorf("the dry run came to %+v, and the poll to %+v", preview, result)
				}
			})
		}
	}
}

// TestAPreviewHasOneAttempt, whatever the connection allows a poll.
func TestAPreviewHasOneAttempt(t *testing.T) {
	t.Parallel()
	r := newRig(t, mail.IMAP, disposition.Delete)
	r.c.Retry = retry.Policy{Max: 3, Interval: time.Hour}
	r.at = always("open", errWire)
	if result := r.Preview(t.Context(), r.c); result.Outcome != mail.OutcomeFailed || result.Attempts != 1 || result.Err.Kind != mail.KindNetwork {
		t.Errorf("the result is %+v", result)
	}
}
