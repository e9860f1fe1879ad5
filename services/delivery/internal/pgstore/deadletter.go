package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// Since is a delivery, and a moment of its life: after so many attempts, and a time on the clock of whoever wrote that.
type Since struct {
	Delivery   string
	AcceptedAt time.Time // its event
	Attempts   int
	Time       time.Time
}

// SentSince returns of which deliveries it is known that something has happened after a moment, beside becoming dead
// letters: at a later time, and after as many attempts, or a success, after more of them. In doubt, nothing is known. Errors: fault.Unavailable.
func (s *Store) SentSince(ctx context.Context, deliveries []Since) (map[string]bool, error) {
	params := sqlcgen.SentSinceParams{
		DeadLettered: int16(deliveryv1.Delivery_STATE_DEAD_LETTERED), Succeeded: int16(deliveryv1.Delivery_STATE_SUCCEEDED),
	}
	for _, d := range deliveries {
		id, err := uuid.Parse(d.Delivery)
		if err != nil {
			continue // it is known of nobody
		}
		params.AcceptedOn = append(params.AcceptedOn, pg.Day(d.AcceptedAt))
		params.ID = append(params.ID, id)
		params.Version = append(params.Version, 2*int64(d.Attempts)+1)
		params.Since = append(params.Since, d.Time)
	}
	rows, err := sqlcgen.New(s.pool).SentSince(ctx, params)
	if err != nil {
		return nil, pg.Fault(fmt.Errorf("find what was sent since: %w", err))
	}
	sent := make(map[string]bool, len(rows))
	for _, id := range rows {
		sent[id.String()] = true
	}
	return sent, nil
}

// expireBatch is how many deliveries are marked in one transaction.
const expireBatch = 1000

// ExpireDeadLetters marks the deliveries that became dead letters before a time, and still are. Several instances may do
// so at once. Their time of change stays: whatever is recorded of them later counts. Errors: fault.Unavailable.
func (s *Store) ExpireDeadLetters(ctx context.Context, before time.Time) (marked int64, err error) {
	for {
		n, err := sqlcgen.New(s.pool).ExpireDeadLetters(ctx, sqlcgen.ExpireDeadLettersParams{
			Dropped: int16(deliveryv1.Delivery_STATE_DROPPED), Reason: core.ReasonExpired, Before: before, BatchSize: expireBatch,
		})
		marked += n
		if err != nil {
			return marked, pg.Fault(fmt.Errorf("mark expired dead letters: %w", err))
		}
		if n < expireBatch {
			return marked, nil
		}
	}
}
