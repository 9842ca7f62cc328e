package app

import (
	"context"
	"time"

	"go.uber.org/zap"

	"mailpoller/internal/mail"
	"mailpoller/internal/metrics"
)

// unsaved is which messages jobs skip, by connection, as the journal has it and the
// configuration in force: what a job found, or an operator changed, counts at once.
func (a *App) unsaved(ctx context.Context) (map[string][]mail.Unsaved, error) {
	recorded, err := a.store.Unsaved(ctx)
	if err != nil {
		return nil, err
	}
	byName := a.config.Load().byName
	skipped := make(map[string][]mail.Unsaved, len(recorded))
	for name, messages := range recorded {
		c := byName[name]
		if c == nil {
			continue
		}
		for _, m := range messages {
			allowed := m.Oversized && (c.MaxMessageSize == 0 || m.Size <= c.MaxMessageSize)
			wanted := m.Unwanted && c.WithoutAttachments != mail.SetAside
			if m.Skipped() && !allowed && !wanted {
				skipped[name] = append(skipped[name], m)
			}
		}
	}
	return skipped, nil
}

// scrapeTimeout bounds how long a scrape waits for the journal.
const scrapeTimeout = 2 * time.Second

// countUnsaved is asked at each scrape how many messages jobs skip.
func (a *App) countUnsaved() map[string]metrics.Unsaved {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	messages, err := a.unsaved(ctx)
	if err != nil {
		a.log.Warn("messages that jobs skip are not counted for this scrape", zap.Error(err))
		return nil
	}
	counts := make(map[string]metrics.Unsaved, len(messages))
	for name, all := range messages {
		var n metrics.Unsaved
		for _, m := range all {
			switch {
			case m.Oversized:
				n.Oversized++
			case m.Quarantined():
				n.Quarantined++
			}
		}
		counts[name] = n
	}
	return counts
}
