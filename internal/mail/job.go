package mail

import "time"

// State is where a job stands.
type State string

// The states.
const (
	Pending   State = "PENDING"
	Running   State = "RUNNING"
	Retrying  State = "RETRYING"
	Succeeded State = "SUCCEEDED"
	Failed    State = "FAILED"
)

// Outcome is what a finished job came to.
type Outcome string

// The outcomes.
const (
	OutcomeSaved     Outcome = "saved"     // at least one message was saved
	OutcomeEmpty     Outcome = "empty"     // nothing to take
	OutcomeUnchanged Outcome = "unchanged" // what would be taken was saved before, and stays
	OutcomeFailed    Outcome = "failed"
)

// Outcomes lists every outcome.
func Outcomes() []Outcome {
	return []Outcome{OutcomeSaved, OutcomeEmpty, OutcomeUnchanged, OutcomeFailed}
}

// Result is one job from its firing to its end, and while it runs, what is
// known of it so far. Log, metrics, history and the commands all read this one
// value, so they cannot disagree.
type Result struct {
	Job        string // unique
	Connection string
	DryRun     bool     // nothing was done; the rest says what would be
	Then       []string // of a dry run: what would be done beside saving, in words
	State      State
	Outcome    Outcome // empty while the job is not finished
	Started    time.Time
	Duration   time.Duration
	Attempts   int
	RetryAt    time.Time // while it is RETRYING: when the next attempt begins

	Messages    int      // saved and visible
	Bytes       int64    // their octets
	Files       []string // their paths, absolute
	Disposed    int      // messages whose disposition was put in force, also for an earlier poll
	Failures    int      // messages that could not be fetched or saved
	Quarantined int      // messages that jobs skip because they failed
	Oversized   int      // messages that jobs skip because they are larger than max_message_size
	Unwanted    int      // messages that jobs skip because they have no attachments
	Notified    int      // commands that did their work, also for an earlier poll
	Unheard     int      // commands that failed, and are tried again
	HookError   string   // why the last of them failed, in one line
	NotMatching int      // messages that the last session passed over because they do not match, as far as server or poller counted them
	Warnings    []string // what went well enough, but an operator should know

	Err *Error   // why it failed
	Log []string // what the job logged, its steps included; kept of one that failed
}

// Wrote reports whether the job changed anything, here or on the server, or
// failed: such jobs belong in the history. A poll that found nothing new
// leaves no trace on disk.
func (r *Result) Wrote() bool {
	return r.State == Failed || r.Messages > 0 || r.Disposed > 0 || r.Failures > 0 || r.Notified > 0
}

// Hooks is how the hooks of a connection stand that have still to run.
type Hooks struct {
	Due   int       // messages that wait for their hook
	Since time.Time // when the first of them whose hook failed was saved; zero while none has failed
	Error string    // of the last failure, in one line; empty where it is not known
}

// Failing reports whether the last hook that was run has failed.
func (h Hooks) Failing() bool { return !h.Since.IsZero() }
