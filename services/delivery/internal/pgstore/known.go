package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// Counts is how many deliveries of an event are in each state.
type Counts struct{ Pending, Succeeded, DeadLettered, Dropped int64 }

// CountDeliveries counts the deliveries of an event. Errors: fault.Unavailable.
func (s *Store) CountDeliveries(ctx context.Context, organization string, sequence int64) (Counts, error) {
	row, err := sqlcgen.New(s.pool).CountDeliveries(ctx, sqlcgen.CountDeliveriesParams{
		Organization: organization, EventSequence: sequence,
		Pending:      int16(deliveryv1.Delivery_STATE_PENDING),
		Succeeded:    int16(deliveryv1.Delivery_STATE_SUCCEEDED),
		DeadLettered: int16(deliveryv1.Delivery_STATE_DEAD_LETTERED),
		Dropped:      int16(deliveryv1.Delivery_STATE_DROPPED),
	})
	if err != nil {
		return Counts{}, pg.Fault(fmt.Errorf("count deliveries: %w", err))
	}
	return Counts{Pending: row.Pending, Succeeded: row.Succeeded, DeadLettered: row.DeadLettered, Dropped: row.Dropped}, nil
}

// Known is what records have told of a delivery.
type Known struct {
	State    deliveryv1.Delivery_State
	Attempts int32
}

// FindDeliveries returns what is known of deliveries, by their ids. Errors: fault.Unavailable.
func (s *Store) FindDeliveries(ctx context.Context, organization string, ids []uuid.UUID) (map[uuid.UUID]Known, error) {
	rows, err := sqlcgen.New(s.pool).FindDeliveries(ctx, sqlcgen.FindDeliveriesParams{Organization: organization, Ids: ids})
	if err != nil {
		return nil, pg.Fault(fmt.Errorf("find deliveries: %w", err))
	}
	known := make(map[uuid.UUID]Known, len(rows))
	for _, row := range rows {
		known[row.ID] = Known{State: deliveryv1.Delivery_State(row.State), Attempts: row.AttemptCount}
	}
	return known, nil
}

// Succeeded returns which of these deliveries are known to have succeeded. Errors: fault.Unavailable.
func (s *Store) Succeeded(ctx context.Context, organization string, deliveries []string) (map[string]bool, error) {
	ids := make([]uuid.UUID, 0, len(deliveries))
	for _, delivery := range deliveries {
		if id, err := uuid.Parse(delivery); err == nil { // what is none is known of nobody
			ids = append(ids, id)
		}
	}
	known, err := s.FindDeliveries(ctx, organization, ids)
	succeeded := make(map[string]bool, len(known))
	for id, k := range known {
		succeeded[id.String()] = k.State == deliveryv1.Delivery_STATE_SUCCEEDED
	}
	return succeeded, err
}

// Recorded returns the sequence in RECORDS, a stream that was created at a time, up to which everything was taken in.
// Errors: fault.Unavailable.
func (s *Store) Recorded(ctx context.Context, streamCreated time.Time) (uint64, error) {
	position, err := sqlcgen.New(s.pool).Recorded(ctx, streamCreated.UTC().Truncate(time.Microsecond))
	if err != nil {
		return 0, pg.Fault(fmt.Errorf("read how far records were taken in: %w", err))
	}
	return uint64(position), nil //nolint:gosec // G115: a sequence of JetStream
}

// EraseAttempts empties the attempts for events of whatever may tell what these said, and returns how many there were.
// Errors: fault.Unavailable.
func (s *Store) EraseAttempts(ctx context.Context, organization string, sequences []int64) (int64, error) {
	n, err := sqlcgen.New(s.pool).EraseAttempts(ctx, sqlcgen.EraseAttemptsParams{Organization: organization, EventSequences: sequences})
	if err != nil {
		return 0, pg.Fault(fmt.Errorf("empty attempts: %w", err))
	}
	return n, nil
}
