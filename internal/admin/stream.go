package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"mailpoller/internal/api"
	"mailpoller/internal/mail"
)

const (
	queuedEvents     = 256
	progressInterval = 100 * time.Millisecond
)

// poll runs a job and streams its course, one JSON object a line. The job ends
// when the client goes away.
func poll(d api.Polling) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		dryRun, err := parseFlag(r, "dry_run")
		if err != nil {
			fail(w, err)
			return
		}
		stream(w, func(t *mail.Trace) (api.Event, error) {
			result, err := d.Poll(mail.WithTrace(r.Context(), t), r.URL.Query().Get("connection"), dryRun)
			view := api.View(result)
			return api.Event{Result: &view}, err
		})
	}
}

// test runs a connection test and streams its steps, one JSON object a line.
func test(d api.Polling) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(w, func(t *mail.Trace) (api.Event, error) {
			result, err := d.Test(mail.WithTrace(r.Context(), t), r.URL.Query().Get("connection"))
			view := api.ViewTest(result)
			return api.Event{Test: &view}, err
		})
	}
}

// login waits for a person and streams what that person has to do. It is given
// up when the client goes away.
func login(d api.Logins) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(w, func(t *mail.Trace) (api.Event, error) {
			view, err := d.Login(mail.WithTrace(r.Context(), t), r.URL.Query().Get("connection"))
			return api.Event{Grant: &view}, err
		})
	}
}

// stream replies with what run reports, and last with what it returns.
func stream(w http.ResponseWriter, run func(*mail.Trace) (api.Event, error)) {
	s := &events{w: w, queue: make(chan api.Event, queuedEvents)}
	last, err := s.follow(run)
	switch {
	case err == nil:
		s.write(last)
	case s.begun:
		p := api.ProblemOf(err)
		s.write(api.Event{Problem: &p})
	default:
		extend(w)
		fail(w, err)
	}
}

func parseFlag(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%w: %s %q is neither true nor false", api.ErrBadRequest, name, text)
	}
	return value, nil
}

// events writes to a client that may be slow without ever making the poll
// wait: a goroutine writes what fits into the queue, and what does not fit is
// lost to the client. Nothing of it is missing in the result.
type events struct {
	w      http.ResponseWriter
	queue  chan api.Event
	begun  bool // something was written
	failed bool // the client is gone, or reads nothing
}

// follow runs job and writes what it reports. When it returns, all that was
// queued is written and write is free for the caller. A report that comes
// later goes nowhere.
func (s *events) follow(job func(*mail.Trace) (api.Event, error)) (api.Event, error) {
	ended, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		for {
			select {
			case e := <-s.queue:
				s.write(e)
			case <-ended:
				for range len(s.queue) {
					s.write(<-s.queue)
				}
				return
			}
		}
	}()
	defer func() {
		close(ended)
		<-written
	}()
	return job(s.trace())
}

func (s *events) write(e api.Event) {
	if s.failed {
		return
	}
	if !s.begun {
		s.begun = true
		s.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	extend(s.w)
	err := json.NewEncoder(s.w).Encode(e)
	if err == nil {
		err = http.NewResponseController(s.w).Flush()
	}
	s.failed = err != nil
}

func (s *events) offer(e api.Event) {
	select {
	case s.queue <- e:
	default:
	}
}

func (s *events) trace() *mail.Trace {
	var shown time.Time // when the last progress was
	step := func(step mail.Step) {
		view := api.ViewStep(step)
		s.offer(api.Event{Step: &view})
	}
	return &mail.Trace{
		Step: step,
		Span: mail.Spans(step),
		Job: func(r mail.Result) {
			view := api.View(r)
			s.offer(api.Event{Job: &view})
		},
		Progress: func(ref mail.Ref, done, size int64) {
			if now := time.Now(); done == size || now.Sub(shown) >= progressInterval {
				shown = now
				s.offer(api.Event{Progress: &api.ProgressView{RefView: api.ViewRef(ref), Done: done, Size: size}})
			}
		},
		Saved: func(ref mail.Ref, path string, n int64) {
			s.offer(api.Event{Saved: &api.SavedView{RefView: api.ViewRef(ref), Path: path, Bytes: n}})
		},
		Prompt: func(p mail.Prompt) {
			view := api.PromptView(p)
			s.offer(api.Event{Prompt: &view})
		},
	}
}
