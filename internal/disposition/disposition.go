// Package disposition holds the rules of a poll: which message to pull out of
// a mailbox, and what to do with it on the server once it is saved. It is
// pure: no I/O, no clock, no state.
package disposition

import (
	"fmt"
	"iter"
	"strings"
)

// Disposition says what happens to a message on the server after it has been
// saved.
type Disposition string

// The dispositions, spelled as the configuration spells them.
const (
	Delete Disposition = "DELETE" // remove it from the server
	Keep   Disposition = "KEEP"   // leave it, and leave no trace
	Seen   Disposition = "SEEN"   // leave it, marked as read
)

// Move is what becomes of a message where move_to names a mailbox. It is no
// value of disposition:.
const Move Disposition = "MOVE"

// Dispositions lists the accepted values in the order the documentation uses.
func Dispositions() []Disposition { return []Disposition{Delete, Keep, Seen} }

// Parse reads a disposition, in any case.
func Parse(s string) (Disposition, error) {
	d := Disposition(strings.ToUpper(s))
	for _, known := range Dispositions() {
		if d == known {
			return d, nil
		}
	}
	return "", fmt.Errorf("%q is not one of DELETE, KEEP, SEEN", s)
}

// Satisfied reports whether d needs nothing more to be done for a message
// for which was is already in force. Nothing more can be asked of a message
// that is still there: DELETE and MOVE are therefore never satisfied by a message that
// is found again, and a message marked as read is kept as well as any.
func (d Disposition) Satisfied(was Disposition) bool {
	switch d {
	case Keep:
		return was == Keep || was == Seen
	case Seen:
		return was == Seen
	default:
		return false
	}
}

// Removes reports whether a message is gone from its mailbox once d is in force.
func (d Disposition) Removes() bool { return d == Delete || d == Move }

// ChangesServer reports whether carrying out d can change an IMAP mailbox.
func (d Disposition) ChangesServer() bool { return d != Keep }

// Pull says which messages a poll takes, and in which order.
type Pull struct {
	Newest bool // downwards from the newest message, instead of upwards from the oldest
	Unread bool // only messages that are neither read on the server nor saved before
}

// pulls maps the configuration's spelling; its order is the documentation's.
var pulls = []struct {
	name string
	pull Pull
}{
	{"GET_FIRST_MESSAGE", Pull{}},
	{"GET_FIRST_UNREAD_MESSAGE", Pull{Unread: true}},
	{"GET_LAST_MESSAGE", Pull{Newest: true}},
	{"GET_LAST_UNREAD_MESSAGE", Pull{Newest: true, Unread: true}},
}

// Pulls lists the accepted values in the order the documentation uses.
func Pulls() []Pull {
	all := make([]Pull, len(pulls))
	for i, p := range pulls {
		all[i] = p.pull
	}
	return all
}

// ParsePull reads a pull disposition, in any case.
func ParsePull(s string) (Pull, error) {
	names := make([]string, len(pulls))
	for i, p := range pulls {
		if strings.EqualFold(s, p.name) {
			return p.pull, nil
		}
		names[i] = p.name
	}
	return Pull{}, fmt.Errorf("%q is not one of %s", s, strings.Join(names, ", "))
}

// String is the configuration's spelling.
func (p Pull) String() string {
	for _, known := range pulls {
		if p == known.pull {
			return known.name
		}
	}
	return "" // unreachable: the table holds every value of the type
}

// Positions yields the positions 1 to n of a mailbox in the order in which p
// looks at them.
func (p Pull) Positions(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 1; i <= n; i++ {
			at := i
			if p.Newest {
				at = n + 1 - i
			}
			if !yield(at) {
				return
			}
		}
	}
}
