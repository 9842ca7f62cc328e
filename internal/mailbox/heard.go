package mailbox

import (
	"sync"

	"go.uber.org/zap"
)

// heard keeps what was said of each connection, so that it is said once while the
// program runs, and not by every job.
type heard struct {
	mu   sync.Mutex
	said map[[2]string]bool
}

// maxHeard bounds how much is remembered; beyond it all is said once more.
const maxHeard = 10_000

// say logs a warning about a connection, once.
func (h *heard) say(log *zap.Logger, connection, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := [2]string{connection, text}
	if h.said[key] {
		return
	}
	if h.said == nil || len(h.said) >= maxHeard {
		h.said = make(map[[2]string]bool)
	}
	h.said[key] = true
	log.Warn(text, zap.String("connection", connection))
}
