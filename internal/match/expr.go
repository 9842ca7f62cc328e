package match

import (
	"fmt"
	"strings"
	"time"
)

// Op is a kind of Expr.
type Op string

// And, Or and Not combine other expressions; the others say something about a
// message.
const (
	And       Op = "and"
	Or        Op = "or"
	Not       Op = "not"
	Contains  Op = "contains"
	Larger    Op = "larger"
	Smaller   Op = "smaller"
	OnOrAfter Op = "since"
	Attached  Op = "attached"
	Flagged   Op = "flagged"
)

// Expr is a formula about a message. Constants stand at its top only.
type Expr struct {
	Op    Op
	Of    []Expr    // And, Or: any number; Not: one
	Field string    // Contains: the header field
	Text  string    // Contains
	Size  int64     // Larger, Smaller
	Day   time.Time // OnOrAfter: midnight, UTC
}

// The constants.
var (
	Always = Expr{Op: And}
	Never  = Expr{Op: Or}
)

// IsAlways reports whether e holds for every message.
func (e Expr) IsAlways() bool { return e.Op == And && len(e.Of) == 0 }

// IsNever reports whether e holds for no message.
func (e Expr) IsNever() bool { return e.Op == Or && len(e.Of) == 0 }

// and holds when all do.
func and(of ...Expr) Expr { return joined(And, of) }

// or holds when any does.
func or(of ...Expr) Expr { return joined(Or, of) }

// joined leaves out the constants, and what is joined the same way already is
// part of the whole.
func joined(op Op, of []Expr) Expr {
	all := Expr{Op: op}
	for _, e := range of {
		switch {
		case op == And && e.IsNever(), op == Or && e.IsAlways():
			return e
		case e.Op == op:
			all.Of = append(all.Of, e.Of...)
		case op == And && e.IsAlways(), op == Or && e.IsNever():
		default:
			all.Of = append(all.Of, e)
		}
	}
	if len(all.Of) == 1 {
		return all.Of[0]
	}
	return all
}

func not(e Expr) Expr {
	switch {
	case e.IsAlways():
		return Never
	case e.IsNever():
		return Always
	case e.Op == Not:
		return e.Of[0]
	}
	return Expr{Op: Not, Of: []Expr{e}}
}

// Either holds when one of two does.
func Either(a, b Expr) Expr {
	if a.String() == b.String() {
		return a
	}
	return or(a, b)
}

// Given is what is left of e when it is known what some of its conditions come
// to: a constant when they decide.
func (e Expr) Given(known func(condition Expr) (holds, ok bool)) Expr {
	switch e.Op {
	case And, Or:
		of := make([]Expr, len(e.Of))
		for i := range e.Of {
			of[i] = e.Of[i].Given(known)
		}
		return joined(e.Op, of)
	case Not:
		return not(e.Of[0].Given(known))
	}
	switch holds, ok := known(e); {
	case !ok:
		return e
	case holds:
		return Always
	}
	return Never
}

// With is e for messages that have attachments, or that have none.
func (e Expr) With(attachments bool) Expr {
	return e.Given(func(c Expr) (bool, bool) { return attachments, c.Op == Attached })
}

// WithSize is e for messages of so many octets.
func (e Expr) WithSize(octets int64) Expr {
	return e.Given(func(c Expr) (bool, bool) {
		switch c.Op {
		case Larger:
			return octets > c.Size, true
		case Smaller:
			return octets < c.Size, true
		}
		return false, false
	})
}

// Asks reports whether e has a condition of a kind.
func (e Expr) Asks(op Op) bool {
	if e.Op == op && op != And && op != Or {
		return true
	}
	for i := range e.Of {
		if e.Of[i].Asks(op) {
			return true
		}
	}
	return false
}

// texts is how many octets the texts of e fill.
func (e Expr) texts() int {
	octets := len(e.Field) + len(e.Text)
	for i := range e.Of {
		octets += e.Of[i].texts()
	}
	return octets
}

// String is equal for two formulas exactly when they are.
func (e Expr) String() string {
	switch e.Op {
	case And, Or, Not:
		parts := make([]string, len(e.Of))
		for i := range e.Of {
			parts[i] = e.Of[i].String()
		}
		return string(e.Op) + "(" + strings.Join(parts, ", ") + ")"
	case Contains:
		return fmt.Sprintf("%s contains %q", e.Field, e.Text)
	case Larger, Smaller:
		return fmt.Sprintf("%s %d", e.Op, e.Size)
	case OnOrAfter:
		return "since " + e.Day.Format(time.DateOnly)
	}
	return string(e.Op)
}
