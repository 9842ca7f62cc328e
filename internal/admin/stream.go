package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"mailpoller/internal/mail"
)

const (
	queuedEvents     = 256
	progressInterval = 100 * time.Millisecond
)

// event is one line of the reply to a poll, a connection test or a login.
// Exactly one field is set. Result, Test, Grant or Problem is the last line; a
// reply without any was cut off.
type event struct {
	Step     *StepView     `json:"step,omitempty"`
	Job      *PollView     `json:"job,omitempty"`
	Progress *progressView `json:"progress,omitempty"`
	Saved    *savedView    `json:"saved,omitempty"`
	Prompt   *PromptView   `json:"prompt,omitempty"`
	Result   *PollView     `json:"result,omitempty"`
	Test     *TestView     `json:"test,omitempty"`
	Grant    *GrantView    `json:"grant,omitempty"`
	Problem  *problem      `json:"problem,omitempty"`
}

// refView is what a message is known by.
type refView struct {
	UID  uint32 `json:"uid,omitempty"`
	UIDL string `json:"uidl,omitempty"`
}

func viewRef(r mail.Ref) refView { return refView{UID: r.UID, UIDL: r.UIDL} }
func (v refView) ref() mail.Ref  { return mail.Ref{UID: v.UID, UIDL: v.UIDL} }

type progressView struct {
	refView
	Done int64 `json:"done"`
	Size int64 `json:"size"` // 0 when unknown
}

type savedView struct {
	refView
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// poll runs a job and streams its course, one JSON object a line. The job ends
// when the client goes away.
func poll(d Connections) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		dryRun, err := parseFlag(r, "dry_run")
		if err != nil {
			fail(w, err)
			return
		}
		stream(w, func(t *mail.Trace) (event, error) {
			result, err := d.Poll(mail.WithTrace(r.Context(), t), r.URL.Query().Get("connection"), dryRun)
			view := View(result)
			return event{Result: &view}, err
		})
	}
}

// test runs a connection test and streams its steps, one JSON object a line.
func test(d Connections) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(w, func(t *mail.Trace) (event, error) {
			result, err := d.Test(mail.WithTrace(r.Context(), t), r.URL.Query().Get("connection"))
			view := ViewTest(result)
			return event{Test: &view}, err
		})
	}
}

// login waits for a person and streams what that person has to do. It is given
// up when the client goes away.
func login(d Grants) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		stream(w, func(t *mail.Trace) (event, error) {
			view, err := d.Login(mail.WithTrace(r.Context(), t), r.URL.Query().Get("connection"))
			return event{Grant: &view}, err
		})
	}
}

// stream replies with what run reports, and last with what it returns.
func stream(w http.ResponseWriter, run func(*mail.Trace) (event, error)) {
	s := &events{w: w, queue: make(chan event, queuedEvents)}
	last, err := s.follow(run)
	switch {
	case err == nil:
		s.write(last)
	case s.begun:
		p, _ := problemOf(err)
		s.write(event{Problem: &p})
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
		return false, fmt.Errorf("%w: %s %q is neither true nor false", errBadRequest, name, text)
	}
	return value, nil
}

// events writes to a client that may be slow without ever making the poll
// wait: a goroutine writes what fits into the queue, and what does not fit is
// lost to the client. Nothing of it is missing in the result.
type events struct {
	w      http.ResponseWriter
	queue  chan event
	begun  bool // something was written
	failed bool // the client is gone, or reads nothing
}

// follow runs job and writes what it reports. When it returns, all that was
// queued is written and write is free for the caller. A report that comes
// later goes nowhere.
func (s *events) follow(job func(*mail.Trace) (event, error)) (event, error) {
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

func (s *events) write(e event) {
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

func (s *events) offer(e event) {
	select {
	case s.queue <- e:
	default:
	}
}

func (s *events) trace() *mail.Trace {
	var shown time.Time // when the last progress was
	step := func(step mail.Step) {
		view := ViewStep(step)
		s.offer(event{Step: &view})
	}
	return &mail.Trace{
		Step: step,
		Span: mail.Spans(step),
		Job: func(r mail.Result) {
			view := View(r)
			s.offer(event{Job: &view})
		},
		Progress: func(ref mail.Ref, done, size int64) {
			if now := time.Now(); done == size || now.Sub(shown) >= progressInterval {
				shown = now
				s.offer(event{Progress: &progressView{viewRef(ref), done, size}})
			}
		},
		Saved: func(ref mail.Ref, path string, n int64) {
			s.offer(event{Saved: &savedView{viewRef(ref), path, n}})
		},
		Prompt: func(p mail.Prompt) {
			view := PromptView(p)
			s.offer(event{Prompt: &view})
		},
	}
}

// replay tells t of the event as the poll told of it.
func (e event) replay(t *mail.Trace) {
	switch {
	case e.Step != nil && t.Step != nil:
		t.Step(e.Step.step())
	case e.Job != nil && t.Job != nil:
		t.Job(Result(*e.Job))
	case e.Progress != nil && t.Progress != nil:
		t.Progress(e.Progress.ref(), e.Progress.Done, e.Progress.Size)
	case e.Saved != nil && t.Saved != nil:
		t.Saved(e.Saved.ref(), e.Saved.Path, e.Saved.Bytes)
	case e.Prompt != nil && t.Prompt != nil:
		t.Prompt(mail.Prompt(*e.Prompt))
	}
}
