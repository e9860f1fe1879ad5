package pgstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// Filter selects deliveries; what is nil selects all.
type Filter struct {
	Webhook     *uuid.UUID
	Trigger     *string
	EventSource *string
	EventID     *string
	Sequence    *int64 // of the event
	State       *int16
	StatusCode  *int32 // of the last attempt
	ErrorClass  *string
	Since       *time.Time // when the event was stored
	Until       *time.Time
}

// DeliveryCursor is where a page of deliveries ended.
type DeliveryCursor struct {
	Sequence int64     `json:"s"`
	ID       uuid.UUID `json:"i"`
}

// FirstDeliveries is before the first page.
func FirstDeliveries() DeliveryCursor { return DeliveryCursor{Sequence: math.MaxInt64, ID: uuid.Max} }

// AttemptCursor is where a page of attempts ended; zero is before the first page.
type AttemptCursor struct {
	Time time.Time `json:"t"`
	ID   uuid.UUID `json:"i"`
}

// AttemptFilter selects attempts; what is nil or false selects all.
type AttemptFilter struct {
	Webhook           *uuid.UUID
	StatusCode        *int32
	ErrorClass        *string
	Failed, Succeeded bool
	Since, Until      *time.Time // when they began
}

// contradicts reports whether no attempt can be like that: a status of 2xx is what success is.
func (f AttemptFilter) contradicts() bool {
	succeeded := f.Succeeded || f.ErrorClass != nil && *f.ErrorClass == ""
	failed := f.Failed || f.ErrorClass != nil && *f.ErrorClass != ""
	if f.StatusCode != nil {
		accepted := *f.StatusCode >= 200 && *f.StatusCode <= 299
		succeeded, failed = succeeded || accepted, failed || !accepted
	}
	return succeeded && failed
}

// LastAttempts is before the first page of all attempts.
func LastAttempts() AttemptCursor {
	return AttemptCursor{Time: time.Date(math.MaxInt16, 1, 1, 0, 0, 0, 0, time.UTC), ID: uuid.Max}
}

// AllAttempts returns a page of the attempts of an organization without their payloads, the newest first, and where it
// ended. Errors: fault.Unavailable.
func (s *Store) AllAttempts(ctx context.Context, organization string, filter AttemptFilter, after AttemptCursor, size int) ([]*deliveryv1.Attempt, AttemptCursor, error) {
	if filter.contradicts() {
		return []*deliveryv1.Attempt{}, after, nil
	}
	if filter.Until != nil && filter.Until.Before(after.Time) {
		after = AttemptCursor{Time: *filter.Until}
	}
	var rows []sqlcgen.DeliveryAttempt
	err := s.list(ctx, func(ctx context.Context, q *sqlcgen.Queries) (err error) {
		rows, err = q.ListAllAttempts(ctx, sqlcgen.ListAllAttemptsParams{
			Organization: organization, BeforeTime: after.Time, BeforeID: after.ID, Webhook: filter.Webhook,
			StatusCode: filter.StatusCode, ErrorClass: filter.ErrorClass, Failed: filter.Failed, Succeeded: filter.Succeeded,
			Since: filter.Since, PageSize: int32(size), //nolint:gosec // G115: at most 1,001
		})
		return err
	})
	if err != nil {
		return nil, after, pg.Fault(err)
	}
	page := make([]*deliveryv1.Attempt, len(rows))
	for i, row := range rows {
		page[i] = attempt(row)
		after = AttemptCursor{Time: row.StartTime, ID: row.ID}
	}
	return page, after, nil
}

// Delivery returns one delivery of an organization. Errors: fault.NotFound, fault.Unavailable.
func (s *Store) Delivery(ctx context.Context, organization string, id uuid.UUID) (*deliveryv1.Delivery, error) {
	row, err := sqlcgen.New(s.pool).GetDelivery(ctx, sqlcgen.GetDeliveryParams{ID: id, Organization: organization})
	if err != nil {
		return nil, pg.Fault(err)
	}
	return delivery(row), nil
}

// Deliveries returns a page of deliveries, those of the newest events first, and where it ended.
func (s *Store) Deliveries(ctx context.Context, organization string, filter Filter, after DeliveryCursor, size int) ([]*deliveryv1.Delivery, DeliveryCursor, error) {
	var rows []sqlcgen.DeliveryDelivery
	err := s.list(ctx, func(ctx context.Context, q *sqlcgen.Queries) (err error) {
		rows, err = q.ListDeliveries(ctx, sqlcgen.ListDeliveriesParams{
			Organization: organization, BeforeSequence: after.Sequence, BeforeID: after.ID,
			Webhook: filter.Webhook, Trigger: filter.Trigger, EventSource: filter.EventSource, EventID: filter.EventID,
			EventSequence: filter.Sequence, State: filter.State, LastStatusCode: filter.StatusCode, LastErrorClass: filter.ErrorClass,
			Since: filter.Since, Until: filter.Until,
			PageSize: int32(size), //nolint:gosec // G115: at most 1,001
		})
		return err
	})
	if err != nil {
		return nil, after, pg.Fault(err)
	}
	page := make([]*deliveryv1.Delivery, len(rows))
	for i, row := range rows {
		page[i] = delivery(row)
		after = DeliveryCursor{Sequence: row.EventSequence, ID: row.ID}
	}
	return page, after, nil
}

// list reads a list.
func (s *Store) list(ctx context.Context, read func(ctx context.Context, q *sqlcgen.Queries) error) error {
	return pg.InTx(ctx, s.pool, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(ctx context.Context, tx pgx.Tx) error {
		q := sqlcgen.New(tx)
		if err := q.PlanForValues(ctx); err != nil {
			return fmt.Errorf("ask for a plan: %w", err)
		}
		return read(ctx, q)
	})
}

// Attempts returns a page of the attempts of a delivery, oldest first, and where it ended. Errors:
// fault.NotFound when there is no such delivery, fault.Unavailable.
func (s *Store) Attempts(ctx context.Context, organization string, id uuid.UUID, after AttemptCursor, size int) ([]*deliveryv1.Attempt, AttemptCursor, error) {
	q := sqlcgen.New(s.pool)
	parent, err := q.GetDelivery(ctx, sqlcgen.GetDeliveryParams{ID: id, Organization: organization})
	if err != nil {
		return nil, after, pg.Fault(err)
	}
	rows, err := q.ListAttempts(ctx, sqlcgen.ListAttemptsParams{
		AcceptedOn: parent.AcceptedOn,
		Delivery:   id,
		AfterTime:  after.Time,
		AfterID:    after.ID,
		PageSize:   int32(size), //nolint:gosec // G115: at most 1,001
	})
	if err != nil {
		return nil, after, pg.Fault(err)
	}
	page := make([]*deliveryv1.Attempt, len(rows))
	for i, row := range rows {
		page[i] = attempt(row.DeliveryAttempt)
		if err := addPayload(page[i], row); err != nil {
			return nil, after, err
		}
		after = AttemptCursor{Time: row.DeliveryAttempt.StartTime, ID: row.DeliveryAttempt.ID}
	}
	return page, after, nil
}
