package api

import (
	"errors"
	"math"
	"slices"
	"time"

	"mailpoller/internal/mail"
)

// The views are the JSON that other programs rely on. Fields are added, never
// renamed. Times are UTC, durations seconds, sizes octets; lists are never null.

// PollView is a mail.Result.
type PollView struct {
	Connection  string       `json:"connection"`
	Job         string       `json:"job"`
	DryRun      bool         `json:"dry_run,omitempty"`
	Then        []string     `json:"then,omitempty"` // of a dry run: what would be done beside saving
	State       mail.State   `json:"state"`
	Outcome     mail.Outcome `json:"outcome,omitempty"`
	Started     time.Time    `json:"started,omitzero"`
	Duration    float64      `json:"duration_seconds"`
	Attempts    int          `json:"attempts"`
	RetryAt     time.Time    `json:"retry_at,omitzero"` // while it is RETRYING: when the next attempt begins
	Messages    int          `json:"messages"`
	Bytes       int64        `json:"bytes"`
	Files       []string     `json:"files"`
	Disposed    int          `json:"disposed"`
	Failures    int          `json:"failures"`
	Quarantined int          `json:"quarantined"`
	Oversized   int          `json:"oversized"`
	Unwanted    int          `json:"unwanted,omitempty"` // messages that jobs skip because they have no attachments
	Notified    int          `json:"notified,omitempty"`
	Unheard     int          `json:"unheard,omitempty"`
	HookError   string       `json:"hook_error,omitempty"` // why the last hook failed that did
	NotMatching int          `json:"not_matching,omitempty"`
	Warnings    []string     `json:"warnings"`
	Error       *ErrorView   `json:"error,omitempty"`
	Log         []string     `json:"log,omitempty"` // of a job that failed, where it was asked for
}

// View is r as JSON shows it.
func View(r mail.Result) PollView {
	return PollView{
		Connection:  r.Connection,
		Job:         r.Job,
		DryRun:      r.DryRun,
		Then:        r.Then,
		State:       r.State,
		Outcome:     r.Outcome,
		Started:     r.Started.UTC(),
		Duration:    r.Duration.Seconds(),
		Attempts:    r.Attempts,
		RetryAt:     utc(r.RetryAt),
		Messages:    r.Messages,
		Bytes:       r.Bytes,
		Files:       list(r.Files),
		Disposed:    r.Disposed,
		Failures:    r.Failures,
		Quarantined: r.Quarantined,
		Oversized:   r.Oversized,
		Unwanted:    r.Unwanted,
		Notified:    r.Notified,
		Unheard:     r.Unheard,
		HookError:   r.HookError,
		NotMatching: r.NotMatching,
		Warnings:    list(r.Warnings),
		Error:       viewError(r.Err),
		Log:         r.Log,
	}
}

// Result is the way back from View. The cause of its error is text only.
func Result(v PollView) mail.Result {
	r := mail.Result{
		Connection:  v.Connection,
		Job:         v.Job,
		DryRun:      v.DryRun,
		Then:        v.Then,
		State:       v.State,
		Outcome:     v.Outcome,
		Started:     v.Started,
		Duration:    duration(v.Duration),
		Attempts:    v.Attempts,
		RetryAt:     v.RetryAt,
		Messages:    v.Messages,
		Bytes:       v.Bytes,
		Files:       v.Files,
		Disposed:    v.Disposed,
		Failures:    v.Failures,
		Quarantined: v.Quarantined,
		Oversized:   v.Oversized,
		Unwanted:    v.Unwanted,
		Notified:    v.Notified,
		Unheard:     v.Unheard,
		HookError:   v.HookError,
		NotMatching: v.NotMatching,
		Warnings:    v.Warnings,
		Log:         v.Log,
	}
	if v.Error != nil {
		r.Err = v.Error.mailError(errors.New(v.Error.Message))
	}
	return r
}

// ErrorView is a mail.Error, or with its message alone any other error.
type ErrorView struct {
	Op      string    `json:"op,omitempty"`
	Kind    mail.Kind `json:"kind,omitempty"`
	Message string    `json:"message"` // the cause, without Op
	Hint    string    `json:"hint,omitempty"`
}

func viewError(e *mail.Error) *ErrorView {
	if e == nil {
		return nil
	}
	return &ErrorView{Op: e.Op, Kind: e.Kind, Message: e.Err.Error(), Hint: e.Hint}
}

func (v ErrorView) mailError(cause error) *mail.Error {
	return &mail.Error{Op: v.Op, Kind: v.Kind, Err: cause, Hint: v.Hint}
}

// StepView is a mail.Step.
type StepView struct {
	Name     string     `json:"name"`
	OK       bool       `json:"ok"`
	Duration float64    `json:"duration_seconds"`
	Detail   string     `json:"detail"`
	Error    *ErrorView `json:"error,omitempty"`
}

// ViewStep is s as JSON shows it.
func ViewStep(s mail.Step) StepView {
	return StepView{
		Name:     s.Name,
		OK:       s.Err == nil,
		Duration: s.Duration.Seconds(),
		Detail:   s.Detail,
		Error:    viewError(mail.AsError(s.Err, s.Name, mail.KindInternal)),
	}
}

func (v StepView) step() mail.Step {
	s := mail.Step{Name: v.Name, Duration: duration(v.Duration), Detail: v.Detail}
	if v.Error != nil {
		s.Err = v.Error.mailError(errors.New(v.Error.Message))
	}
	return s
}

// TestView is a mail.Test.
type TestView struct {
	Connection string     `json:"connection"`
	OK         bool       `json:"ok"`
	Steps      []StepView `json:"steps"`
}

// ViewTest is t as JSON shows it.
func ViewTest(t mail.Test) TestView {
	v := TestView{Connection: t.Connection, OK: t.OK(), Steps: []StepView{}}
	for _, s := range t.Steps {
		v.Steps = append(v.Steps, ViewStep(s))
	}
	return v
}

func (v TestView) test() mail.Test {
	t := mail.Test{Connection: v.Connection}
	for _, s := range v.Steps {
		t.Steps = append(t.Steps, s.step())
	}
	return t
}

// CertificateView is a certificate that a server presented as its own and that
// was not trusted, or one that is trusted by now.
type CertificateView struct {
	CertificateFacts
	Host       string             `json:"host"`
	Port       int                `json:"port"`
	Connection string             `json:"connection"` // that met it last
	Reason     string             `json:"reason"`     // why it was refused
	Trusted    bool               `json:"trusted"`    // it, or an issuer of its chain
	First      time.Time          `json:"first_seen,omitzero"`
	Last       time.Time          `json:"last_seen,omitzero"`
	Times      int                `json:"times"` // how often it was refused
	Chain      []CertificateFacts `json:"chain"` // as the server sent it, its own certificate first
}

// CertificateFacts is a certificate by itself.
type CertificateFacts struct {
	Fingerprint string    `json:"fingerprint"` // SHA-256, hex
	Subject     string    `json:"subject"`
	Issuer      string    `json:"issuer"`
	Names       []string  `json:"names"` // DNS names and addresses it is valid for
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Authority   bool      `json:"authority"`         // it may issue certificates
	Trusted     bool      `json:"trusted"`           // it itself
	Size        int       `json:"size"`              // in bytes
	Problem     string    `json:"problem,omitempty"` // why TLS cannot work with it; what cannot be read of it is empty, or year 1
}

// ViewCertificate is r as JSON shows it.
func ViewCertificate(r mail.Refused) CertificateView {
	v := CertificateView{
		Host: r.Server.Host, Port: r.Server.Port, Connection: r.Connection, Reason: r.Reason,
		Trusted: slices.Contains(r.Trusted, true), First: r.First, Last: r.Last, Times: r.Times,
	}
	for i, c := range r.Chain {
		one := CertificateFacts{
			Fingerprint: c.Fingerprint(), Subject: c.Subject, Issuer: c.Issuer, Names: list(c.Names),
			NotBefore: c.NotBefore, NotAfter: c.NotAfter, Authority: c.Authority, Trusted: r.Trusted[i], Size: len(c.Raw),
		}
		if c.Problem != nil {
			one.Problem = c.Problem.Error()
		}
		v.Chain = append(v.Chain, one)
	}
	v.CertificateFacts = v.Chain[0]
	return v
}

// TrustView is a certificate and the server that it was judged for.
type TrustView struct {
	Fingerprint string `json:"fingerprint"`
	Subject     string `json:"subject"`
	Server      string `json:"server"` // host:port
	Own         bool   `json:"own"`    // it is the server's own, and not an issuer's
}

// PromptView is a mail.Prompt.
type PromptView struct {
	Address  string    `json:"address"`            // to open in a browser
	Code     string    `json:"code,omitempty"`     // to type there
	Redirect string    `json:"redirect,omitempty"` // where the browser comes back to, on the machine of the daemon
	Expires  time.Time `json:"expires,omitzero"`
}

// GrantView is a mail.GrantState.
type GrantView struct {
	Connection string        `json:"connection"`
	Provider   mail.Provider `json:"provider"`
	Grant      mail.Grant    `json:"grant"`
	Refresh    string        `json:"refresh_token"`      // "stored", "configuration", or "" for none
	Expires    time.Time     `json:"expires,omitzero"`   // of the access token that is held
	Error      *ErrorView    `json:"error,omitempty"`    // of the last request for one
	Failed     time.Time     `json:"failed_at,omitzero"` // when that was
}

// ViewGrant is s as JSON shows it.
func ViewGrant(s mail.GrantState) GrantView {
	return GrantView{
		Connection: s.Connection, Provider: s.Provider, Grant: s.Grant, Refresh: s.Refresh,
		Expires: utc(s.Expires), Error: viewError(s.Err), Failed: utc(s.Failed),
	}
}

// utc is t in UTC; the zero time stays.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// Activity is what a connection is doing: Idle, Disabled, or the mail.State of
// the job in hand.
type Activity string

// The activities.
const (
	Idle     Activity = "IDLE"
	Pending  Activity = Activity(mail.Pending)
	Running  Activity = Activity(mail.Running)
	Retrying Activity = Activity(mail.Retrying)
	Disabled Activity = "DISABLED"
)

// ConnectionView is a connection of the running daemon.
type ConnectionView struct {
	Name            string        `json:"name"`
	Enabled         bool          `json:"enabled"`
	State           Activity      `json:"state"`
	Last            *PollView     `json:"last,omitempty"` // the last finished job since the daemon started
	Next            time.Time     `json:"next,omitzero"`
	BackingOffUntil time.Time     `json:"backing_off_until,omitzero"`
	FailuresInRow   int           `json:"failures_in_row"`
	Skipped         int           `json:"skipped"`         // firings that found the connection busy
	Quarantined     []MessageView `json:"quarantined"`     // messages that jobs skip because they failed
	Oversized       []MessageView `json:"oversized"`       // messages that jobs skip because they are too large
	Hooks           *HooksView    `json:"hooks,omitempty"` // that have still to run
}

// HooksView is how the hooks of a connection stand that have still to run.
type HooksView struct {
	Due          int       `json:"due"` // messages that wait for their hook
	Failing      bool      `json:"failing"`
	FailingSince time.Time `json:"failing_since,omitzero"` // when the first of them whose hook failed was saved
	Error        string    `json:"error,omitempty"`        // of the last failure, in one line
}

// ViewHooks is h as JSON shows it; nil where no hook is due.
func ViewHooks(h mail.Hooks) *HooksView {
	if h.Due == 0 {
		return nil
	}
	return &HooksView{Due: h.Due, Failing: h.Failing(), FailingSince: utc(h.Since), Error: h.Error}
}

// MessageView is a message that stays on the server, and that jobs skip.
type MessageView struct {
	ID      string    `json:"id"`   // UID or UIDL
	Size    int64     `json:"size"` // bytes; 0 when unknown
	From    string    `json:"from,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Date    time.Time `json:"date,omitzero"`
	Jobs    int       `json:"jobs"` // in how many it failed
	Reason  string    `json:"reason"`
}

// ViewUnsaved is those messages that jobs skip because they failed, and because they
// are too large.
func ViewUnsaved(messages []mail.Unsaved) (quarantined, oversized []MessageView) {
	quarantined, oversized = []MessageView{}, []MessageView{}
	for _, m := range messages {
		v := MessageView{ID: m.ID(), Size: m.Size, From: m.From, Subject: m.Subject, Date: m.Date, Jobs: m.Jobs, Reason: m.Reason}
		switch {
		case m.Oversized:
			oversized = append(oversized, v)
		case m.Quarantined():
			quarantined = append(quarantined, v)
		}
	}
	return quarantined, oversized
}

// Status is the daemon as a whole.
type Status struct {
	Version     string    `json:"version"`
	Commit      string    `json:"commit"`
	Go          string    `json:"go"`
	Started     time.Time `json:"started"`
	Config      string    `json:"config"`       // path of the file
	Loaded      time.Time `json:"loaded"`       // when the configuration in force was read
	ReloadError string    `json:"reload_error"` // why a newer one is not in force; else empty
}

// Counted is the answer to a request that changes messages: how many.
type Counted struct {
	Messages int `json:"messages"`
}

// Reloaded is the answer to a reload.
type Reloaded struct {
	Reloaded bool     `json:"reloaded"`
	Warnings []string `json:"warnings"`
}

// list is l, but never null in JSON.
func list[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

func duration(seconds float64) time.Duration {
	return time.Duration(math.Round(seconds * float64(time.Second)))
}
