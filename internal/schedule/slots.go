package schedule

import (
	"container/list"
	"context"
	"sync"
)

// slots is a number of places that can change while they are taken. Who waits
// for one gets it in turn.
type slots struct {
	mu      sync.Mutex
	limit   int
	taken   int
	waiting list.List // of chan struct{}, closed when its place is there
}

// take waits for a place until ctx ends.
func (s *slots) take(ctx context.Context) error {
	s.mu.Lock()
	if s.taken < s.limit && s.waiting.Len() == 0 {
		s.taken++
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	place := s.waiting.PushBack(turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-turn: // it came in the same moment: pass it on
		s.taken--
		s.admit()
	default:
		s.waiting.Remove(place)
	}
	return context.Cause(ctx)
}

// free gives a place back.
func (s *slots) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.admit()
}

// resize changes how many places there are. Those that are taken stay so.
func (s *slots) resize(limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
	s.admit()
}

// admit lets in whom there is a place for; s.mu is held.
func (s *slots) admit() {
	for s.taken < s.limit && s.waiting.Len() > 0 {
		s.taken++
		close(s.waiting.Remove(s.waiting.Front()).(chan struct{}))
	}
}

// hosts is the places of each host.
type hosts struct {
	mu     sync.Mutex
	limit  int
	byName map[string]*host
}

type host struct {
	slots
	users int // who hold or wait for a place; the host is forgotten with the last
}

// take waits for a place of a host. The function gives it back.
func (h *hosts) take(ctx context.Context, name string) (free func(), err error) {
	h.mu.Lock()
	at, ok := h.byName[name]
	if !ok {
		at = &host{slots: slots{limit: h.limit}}
		h.byName[name] = at
	}
	at.users++
	h.mu.Unlock()
	leave := func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if at.users--; at.users == 0 {
			delete(h.byName, name)
		}
	}
	if err := at.take(ctx); err != nil {
		leave()
		return nil, err
	}
	return func() { at.free(); leave() }, nil
}

func (h *hosts) resize(limit int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit = limit
	for _, at := range h.byName {
		at.resize(limit)
	}
}
