package api

import "mailpoller/internal/mail"

// Event is one line of the reply to a poll, a connection test or a login.
// Exactly one field is set. Result, Test, Grant or Problem is the last line; a
// reply without any was cut off.
type Event struct {
	Step     *StepView     `json:"step,omitempty"`
	Job      *PollView     `json:"job,omitempty"`
	Progress *ProgressView `json:"progress,omitempty"`
	Saved    *SavedView    `json:"saved,omitempty"`
	Prompt   *PromptView   `json:"prompt,omitempty"`
	Result   *PollView     `json:"result,omitempty"`
	Test     *TestView     `json:"test,omitempty"`
	Grant    *GrantView    `json:"grant,omitempty"`
	Problem  *Problem      `json:"problem,omitempty"`
}

// RefView is a mail.Ref: how the server knows a message.
type RefView struct {
	UID  uint32 `json:"uid,omitempty"`
	UIDL string `json:"uidl,omitempty"`
}

// ViewRef is r as JSON shows it.
func ViewRef(r mail.Ref) RefView { return RefView{UID: r.UID, UIDL: r.UIDL} }

func (v RefView) ref() mail.Ref { return mail.Ref{UID: v.UID, UIDL: v.UIDL} }

// ProgressView is how much of a message was fetched.
type ProgressView struct {
	RefView
	Done int64 `json:"done"`
	Size int64 `json:"size"` // 0 when unknown
}

// SavedView is a message that became visible.
type SavedView struct {
	RefView
	Path  string `json:"path"`
	Bytes int64  `json:"bytes"`
}

// replay tells t of the event as the poll told of it.
func (e Event) replay(t *mail.Trace) {
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
