package mailbox

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
)

// verdicts remembers what was found out about messages one by one, so that no
// message is looked at twice while the program runs, and a poll that had no time
// for all of them is followed by one that goes on behind them.
type verdicts struct {
	mu   sync.Mutex
	of   map[string]*known // by the name of the connection
	held int
}

// known is what is known of the messages of one box. About another box, or what
// another filter asks, it says nothing.
type known struct {
	about         string
	with, without mail.UIDSet       // IMAP: attachments
	matches       map[digested]bool // POP3
}

// digested stands for an id, in less room.
type digested [16]byte

// maxVerdicts bounds how much is remembered, of all connections together. When
// there is more, everything is forgotten, and found out again.
const maxVerdicts = 500_000

// about is what is known of a connection. The lock is held.
func (v *verdicts) about(connection, about string) *known {
	k := v.of[connection]
	if k == nil || k.about != about {
		if v.of == nil {
			v.of = make(map[string]*known)
		}
		if k != nil {
			v.held -= k.size()
		}
		k = &known{about: about, matches: make(map[digested]bool)}
		v.of[connection] = k
	}
	return k
}

func (k *known) size() int { return len(k.with) + len(k.without) + len(k.matches) }

// attachments are the messages of which it is known whether they have some.
func (v *verdicts) attachments(connection, about string) (with, without mail.UIDSet) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.about(connection, about)
	return k.with.Clone(), k.without.Clone()
}

// noteAttachments adds to them.
func (v *verdicts) noteAttachments(connection, about string, with, without mail.UIDSet) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.about(connection, about)
	before := k.size()
	join(&k.with, with)
	join(&k.without, without)
	v.grown(k.size() - before)
}

// join adds one set to another.
func join(to *mail.UIDSet, from mail.UIDSet) {
	for _, r := range from {
		to.Add(r.Lo, r.Hi)
	}
}

// verdict is whether a message matches, where that is known.
func (v *verdicts) verdict(connection, about, id string) (matches, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	matches, ok = v.about(connection, about).matches[shortened(id)]
	return matches, ok
}

// note remembers a verdict.
func (v *verdicts) note(connection, about, id string, matches bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k := v.about(connection, about)
	before := len(k.matches)
	k.matches[shortened(id)] = matches
	v.grown(len(k.matches) - before)
}

// grown keeps count. The lock is held.
func (v *verdicts) grown(by int) {
	if v.held += by; v.held > maxVerdicts {
		v.of, v.held = nil, 0
	}
}

func shortened(id string) (d digested) {
	sum := sha256.Sum256([]byte(id))
	copy(d[:], sum[:])
	return d
}

// judging is what a session is about when it looks at messages one by one.
type judging struct {
	by   time.Time // when it has to stop; zero before it began
	late bool      // it had to
	left int       // messages that do not match, as far as they were looked at here
}

// Notes implements poll.Session. What the server tells apart is not counted.
func (w *wire) Notes() (notMatching int, warnings []string) { return w.judging.left, w.notes }

// note notes what an operator should know of the session.
func (w *wire) note(text string) { w.notes = append(w.notes, w.clean(text)) }

// mayJudge reports whether there is time to look at further messages: half of
// poll_timeout, so that what matches can still be taken. The first look is always
// made, so that every poll gets further than the one before.
func (w *wire) mayJudge() bool {
	now := time.Now()
	switch {
	case w.c.PollTimeout == 0:
		return true
	case w.judging.by.IsZero():
		w.judging.by = now.Add(w.c.PollTimeout / 2)
	case now.After(w.judging.by):
		if !w.judging.late {
			w.log.Warn("not all messages could be looked at for match; the next poll of this run goes on where this one stops", zap.Duration("poll_timeout", w.c.PollTimeout))
		}
		w.judging.late = true
		return false
	}
	return true
}

// boxed names a box.
func boxed(box mail.Box) string { return fmt.Sprintf("%s %d", box.Account, box.Validity) }
