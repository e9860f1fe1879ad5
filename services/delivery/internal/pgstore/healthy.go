package pgstore

import (
	"maps"
	"sync"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// maxHealthy bounds the memory for webhooks that work.
const maxHealthy = 50_000

// healthy is what the rows say of webhooks that work, which need not be read again for each batch. Nobody but the recorder
// folds attempts into them; whatever else changes them, concerns those that fail or are deleted. So it holds as long as
// this process has written every batch.
type healthy struct {
	mu       sync.Mutex
	position uint64 // in RECORDS, up to which the rows are known
	rows     map[uuid.UUID]core.Health
}

// at returns those of webhooks, as they are at a position, and the others.
func (h *healthy) at(position uint64, webhooks []uuid.UUID) (known map[uuid.UUID]*core.Health, others []uuid.UUID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	known = make(map[uuid.UUID]*core.Health, len(webhooks))
	if h.position != position {
		return known, webhooks
	}
	for _, webhook := range webhooks {
		if row, ok := h.rows[webhook]; ok {
			known[webhook] = &row
		} else {
			others = append(others, webhook)
		}
	}
	return known, others
}

// put takes in what a batch has left in the rows.
func (h *healthy) put(batch Batch, rows map[uuid.UUID]*core.Health) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rows == nil || h.position != batch.Before || len(h.rows) > maxHealthy {
		h.rows = make(map[uuid.UUID]core.Health)
	}
	h.position = batch.Position
	for webhook, row := range rows {
		if row.Generation > 0 && row.ConsecutiveFailures == 0 && row.Reached == 0 {
			h.rows[webhook] = *row
		} else {
			delete(h.rows, webhook)
		}
	}
}

// forget is called when another process may write the next batch.
func (h *healthy) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rows = nil
}

// copied returns what can be changed by itself.
func copied(health map[uuid.UUID]*core.Health) map[uuid.UUID]*core.Health {
	all := maps.Clone(health)
	for webhook, h := range all {
		own := *h
		all[webhook] = &own
	}
	return all
}
