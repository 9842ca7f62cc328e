package schedule

import (
	"container/heap"
	"time"
)

// agenda is the connections that are due some time, the next one first. It is a
// heap.Interface: set is what the others call.
type agenda []*entry

// absent is the place of an entry that is not in the agenda.
const absent = -1

// set changes when e is due. A zero time takes it out.
func (a *agenda) set(e *entry, due time.Time) {
	e.due = due
	switch in := e.place != absent; {
	case in && due.IsZero():
		heap.Remove(a, e.place)
	case in:
		heap.Fix(a, e.place)
	case !due.IsZero():
		heap.Push(a, e)
	}
}

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due.Before(a[j].due) }

func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

func (a *agenda) Push(x any) {
	e := x.(*entry)
	e.place = len(*a)
	*a = append(*a, e)
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	e := (*a)[last]
	(*a)[last] = nil
	*a, e.place = (*a)[:last], absent
	return e
}
