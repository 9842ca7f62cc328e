package folder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"mailpoller/internal/mail"
)

// errStopped is why a test ends a context.
var errStopped = errors.New("stopped")

// TestACallIntoAFolderIsGivenUp when nobody can wait any longer, and until it comes
// back nothing else is begun in that folder. What it did is undone then.
func TestACallIntoAFolderIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		stop time.Duration // when the context ends
		took time.Duration
		is   func(error) bool
	}{
		"its job is stopped": {time.Second, time.Second + moment, func(err error) bool { return errors.Is(err, errStopped) }},
		"it takes too long": {time.Hour, Patience, func(err error) bool {
			e := mail.AsError(err, "", "")
			return e.Op == mail.OpSave && e.Kind == mail.KindStorage && strings.Contains(err.Error(), "/a/b has not answered for 2m0s") && e.Hint != ""
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, answers, undone, began := Bound(New("i")), make(chan struct{}), "", time.Now()
				ctx, stop := context.WithCancelCause(t.Context())
				defer stop(nil)
				time.AfterFunc(row.stop, func() { stop(errStopped) })
				value, err := within(ctx, b, "/a/b/", func() (string, error) { <-answers; return "done", nil }, func(v string) { undone = v })
				if !row.is(err) || value != "" || time.Since(began) != row.took {
					t.Errorf("%q, %v, after %v", value, err, time.Since(began))
				}

				if _, err := within(t.Context(), b, "/a/c", func() (none, error) { return none{}, nil }, nil); err != nil {
					t.Errorf("another folder: %v", err)
				}
				began = time.Now()
				_, err = within(t.Context(), b, "/a/b", func() (none, error) { t.Error("more is begun there"); return none{}, nil }, nil)
				if mail.AsError(err, "", "").Kind != mail.KindStorage || time.Since(began) != Patience {
					t.Errorf("the same folder: %v, after %v", err, time.Since(began))
				}
				time.AfterFunc(time.Minute, func() { close(answers) })
				if _, err = within(t.Context(), b, "/a/b", func() (none, error) { return none{}, nil }, nil); err != nil {
					t.Errorf("the folder answers again: %v", err)
				}
				if undone != "done" || len(b.lost) != 0 {
					t.Errorf("undone is %q; %v", undone, b.lost)
				}
			})
		})
	}
}

// TestWhatIsGivenUpTouchesNothingOfTheSession: the body of a message is read by the
// caller alone.
func TestWhatIsGivenUpTouchesNothingOfTheSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, answers, undone := Bound(New("i")), make(chan struct{}), false
		ended := false // written by the body, which the race detector sees
		m := mail.Message{Body: writerTo(func(w io.Writer) (n int64, err error) {
			for err == nil {
				_, err = w.Write(make([]byte, 1000))
			}
			ended = true
			return 0, err
		})}
		_, err := b.feed(t.Context(), "/a", m, func(m mail.Message) (mail.Entry, error) {
			<-answers
			_, err := m.Body.WriteTo(io.Discard)
			return mail.Entry{}, err
		}, func(mail.Entry) { undone = true })
		if mail.AsError(err, "", "").Kind != mail.KindStorage || !ended {
			t.Errorf("%v, %t", err, ended)
		}
		close(answers)
		synctest.Wait()
		if undone || len(b.lost) != 0 {
			t.Errorf("a message that was cut short counts as whole: %t, %v", undone, b.lost)
		}
	})
}

// TestAMessageGoesThroughPiecesUnchanged, and what fails is told as it is.
func TestAMessageGoesThroughPiecesUnchanged(t *testing.T) {
	t.Parallel()
	b, dir := Bound(New("i")), t.TempDir()
	c := &mail.Connection{Name: "a", Folder: dir, FileMode: 0o600}
	for _, size := range []int{0, 1, 32<<10 - 1, 32 << 10, 32<<10 + 1, 1 << 20} {
		text := bytes.Repeat([]byte("0123456789\r\n"), size/12+1)[:size]
		for name, reader := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader} {
			m := mail.Message{Ref: mail.Ref{UID: 1}, Body: writerTo(func(w io.Writer) (int64, error) {
				return io.CopyBuffer(struct{ io.Writer }{w}, reader(struct{ io.Reader }{bytes.NewReader(text)}), make([]byte, 5000))
			})}
			e, err := b.Write(t.Context(), c, mail.Box{}, m)
			if err != nil {
				t.Fatal(size, name, err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, e.Temp)); err != nil || !bytes.Equal(got, text) || e.Octets != int64(size) {
				t.Errorf("%d octets, %s: %d in the file, %d counted, %v", size, name, len(got), e.Octets, err)
			}
			if err := b.Discard(t.Context(), e); err != nil {
				t.Error(err)
			}
		}
	}
	fails := func(n int, err error) mail.Message {
		return mail.Message{Body: writerTo(func(w io.Writer) (int64, error) {
			k, failed := w.Write(make([]byte, n))
			return int64(k), errors.Join(failed, err)
		})}
	}
	for _, n := range []int{0, 100, 1 << 20} {
		if _, err := b.Write(t.Context(), c, mail.Box{}, fails(n, errStopped)); !errors.Is(err, errStopped) {
			t.Errorf("a body that fails behind %d octets: %v", n, err)
		}
		missing := *c
		missing.Folder = filepath.Join(dir, "missing")
		if _, err := b.Write(t.Context(), &missing, mail.Box{}, fails(n, nil)); mail.AsError(err, "", "").Kind != mail.KindStorage {
			t.Errorf("a folder that is missing, and %d octets: %v", n, err)
		}
	}
	if names := all(t, dir); len(names) != 0 {
		t.Errorf("left: %v", names)
	}
	func() {
		defer func() {
			if fault := recover(); fault != "a fault" {
				t.Errorf("the panic of a body: %v", fault)
			}
		}()
		_, _ = b.Write(t.Context(), c, mail.Box{}, mail.Message{Body: writerTo(func(io.Writer) (int64, error) { panic("a fault") })})
	}()
	func() {
		defer func() {
			if fault := recover(); fault != "another fault" {
				t.Errorf("the panic of a call: %v", fault)
			}
		}()
		_, _ = within(t.Context(), b, dir, func() (none, error) { panic("another fault") }, nil)
	}()
}

// writerTo is a body made of a function.
type writerTo func(io.Writer) (int64, error)

func (f writerTo) WriteTo(w io.Writer) (int64, error) { return f(w) }
