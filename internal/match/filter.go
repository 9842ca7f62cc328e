// Package match says which messages of a mailbox a connection takes. A Filter
// is what an operator writes; an Expr is what it means at one moment, as a
// formula that can be judged here, or translated for a server. It is pure: no
// I/O, no clock.
package match

import (
	"fmt"
	"time"
)

// Filter is a condition on messages. All of its fields that are given have to
// hold; of several texts of one field, any.
type Filter struct {
	From, To, Subject []string // part of the header field, in any case
	Header            []Header // likewise, of other fields
	Larger, Smaller   int64    // octets, without the limit itself; 0: not given
	Since             Since
	HasAttachment     *bool
	Flagged           *bool   // IMAP only
	Not               *Filter // does not hold
	Any               []Filter
}

// Header is a condition on one header field. An empty text holds wherever the
// field is there at all.
type Header struct {
	Name  string
	Texts []string
}

// Since is when a message has to be received at the earliest: so long ago, or on
// a day. The zero value is no condition.
type Since struct {
	Ago time.Duration
	Day time.Time // midnight, UTC
}

// Bounds on a filter: what a server has to take in one command.
const (
	MaxDepth  = 5
	MaxLeaves = 64
	MaxText   = 256     // characters, of one text
	MaxTexts  = 4 << 10 // octets, of all texts and names: servers bound the length of a line
)

// day is the day, in UTC, that counts as the limit at a moment. No clock on earth
// shows an earlier date than that of half a day before, so a message that was
// received within the duration is never left out for the zone of its server.
func (s Since) day(now time.Time) time.Time {
	if s.Ago == 0 {
		return s.Day
	}
	return now.Add(-s.Ago - 12*time.Hour).UTC().Truncate(24 * time.Hour)
}

// Check reports what makes a filter too large to be asked for.
func (f *Filter) Check() error {
	leaves, depth := f.extent()
	octets := f.At(time.Time{}).texts()
	switch {
	case octets > MaxTexts:
		return fmt.Errorf("found texts of %d octets together; accepted: up to %d", octets, MaxTexts)
	case depth > MaxDepth:
		return fmt.Errorf("not: and any: lie %d deep in each other; accepted: up to %d, the outermost included", depth, MaxDepth)
	case leaves > MaxLeaves:
		return fmt.Errorf("found %d conditions; accepted: up to %d", leaves, MaxLeaves)
	}
	return nil
}

// extent is how many conditions a filter holds, and how deep they lie.
func (f *Filter) extent() (leaves, depth int) {
	leaves = len(f.From) + len(f.To) + len(f.Subject)
	for _, h := range f.Header {
		leaves += len(h.Texts)
	}
	for _, given := range []bool{f.Larger > 0, f.Smaller > 0, f.Since != Since{}, f.HasAttachment != nil, f.Flagged != nil} {
		if given {
			leaves++
		}
	}
	inner := f.Any
	if f.Not != nil {
		inner = append(inner[:len(inner):len(inner)], *f.Not)
	}
	for i := range inner {
		n, d := inner[i].extent()
		leaves, depth = leaves+n, max(depth, d)
	}
	return leaves, depth + 1
}

// AsksForFlags reports whether the filter has a condition on what POP3 does not
// know.
func (f *Filter) AsksForFlags() bool {
	if f.Flagged != nil || f.Not != nil && f.Not.AsksForFlags() {
		return true
	}
	for i := range f.Any {
		if f.Any[i].AsksForFlags() {
			return true
		}
	}
	return false
}

// At is what the filter means at a moment. A filter that is nil takes every
// message.
func (f *Filter) At(now time.Time) Expr {
	if f == nil {
		return Always
	}
	var all []Expr
	field := func(name string, texts []string) {
		if len(texts) == 0 {
			return
		}
		var each []Expr
		for _, text := range texts {
			each = append(each, Expr{Op: Contains, Field: name, Text: text})
		}
		all = append(all, or(each...))
	}
	field("From", f.From)
	field("To", f.To)
	field("Subject", f.Subject)
	for _, h := range f.Header {
		field(h.Name, h.Texts)
	}
	if f.Larger > 0 {
		all = append(all, Expr{Op: Larger, Size: f.Larger})
	}
	if f.Smaller > 0 {
		all = append(all, Expr{Op: Smaller, Size: f.Smaller})
	}
	if f.Since != (Since{}) {
		all = append(all, Expr{Op: OnOrAfter, Day: f.Since.day(now)})
	}
	all = append(all, sign(Attached, f.HasAttachment), sign(Flagged, f.Flagged))
	if f.Not != nil {
		all = append(all, not(f.Not.At(now)))
	}
	if len(f.Any) > 0 {
		var each []Expr
		for i := range f.Any {
			each = append(each, f.Any[i].At(now))
		}
		all = append(all, or(each...))
	}
	return and(all...)
}

// sign is a condition that holds or does not.
func sign(op Op, wanted *bool) Expr {
	switch {
	case wanted == nil:
		return Always
	case *wanted:
		return Expr{Op: op}
	}
	return not(Expr{Op: op})
}
