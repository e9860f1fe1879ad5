package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// ErrLeaseLost is returned when another instance records now.
var ErrLeaseLost = errors.New("another instance has the recorder's lease")

// Batch is a part of the stream RECORDS.
type Batch struct {
	Holder   uuid.UUID // of the lease
	Before   uint64    // sequence that was reached by the batch before
	Position uint64    // sequence that is reached by this one
	Records  []*deliveryv1.Record
	Now      time.Time
	// Threshold returns when the webhook of an attempt is disabled, and false for an attempt that says nothing about
	// its webhook.
	Threshold func(*deliveryv1.Record) (core.Threshold, bool)
	// Counted reports whether a dead letter is counted.
	Counted func(*deliveryv1.Record) bool
}

// Lease makes an instance the one that records, for a while, or prolongs that. It returns the sequence in RECORDS, a
// stream that was created at a time, up to which everything was taken in. Errors: ErrLeaseLost, fault.Unavailable.
func (s *Store) Lease(ctx context.Context, holder uuid.UUID, created time.Time, ttl time.Duration) (uint64, error) {
	position, err := sqlcgen.New(s.pool).Lease(ctx, sqlcgen.LeaseParams{
		Holder: holder, Seconds: ttl.Seconds(), StreamCreated: created.UTC().Truncate(time.Microsecond),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrLeaseLost
	}
	if err != nil {
		return 0, pg.Fault(fmt.Errorf("take the recorder's lease: %w", err))
	}
	return uint64(position), nil //nolint:gosec // G115: a sequence of JetStream
}

// Release ends the lease, so that another instance need not wait for its end.
func (s *Store) Release(ctx context.Context, holder uuid.UUID) error {
	s.healthy.forget()
	if err := sqlcgen.New(s.pool).ReleaseLease(ctx, holder); err != nil {
		return pg.Fault(fmt.Errorf("release the recorder's lease: %w", err))
	}
	return nil
}

// Write stores a batch and what follows from it for webhooks, in one transaction. Records that are stored already
// change nothing. Errors: ErrLeaseLost; fault.InvalidArgument when a record can never be stored; after any other the
// same call may succeed.
func (s *Store) Write(ctx context.Context, b Batch, ttl time.Duration) error {
	columns, err := rows(b.Records)
	if err != nil {
		return err
	}
	days := columns.days()
	if err := s.days.Ensure(ctx, days...); err != nil {
		return err
	}
	w := &writing{batch: b, ttl: ttl, columns: columns, cautions: &s.cautions, healthy: &s.healthy}
	err = pg.InTx(ctx, s.pool, pgx.TxOptions{}, w.do)
	if pg.NoPartition(err) {
		// A day that is past its time was dropped since, by this process or by another.
		s.days.Forget(days)
		w.days = days
		err = pg.InTx(ctx, s.pool, pgx.TxOptions{}, w.do)
	}
	if err != nil {
		return pg.Fault(err)
	}
	s.healthy.put(b, w.health)
	return nil
}

// writing is a batch on its way into the tables.
type writing struct {
	*columns

	batch    Batch
	ttl      time.Duration
	cautions *cautions
	healthy  *healthy
	// health is what the batch has found or left in the rows of webhooks.
	health map[uuid.UUID]*core.Health
	// days are those whose partitions are made in the transaction: they cannot be dropped until it ends.
	days []time.Time
}

func (w *writing) do(ctx context.Context, tx pgx.Tx) error {
	w.health = make(map[uuid.UUID]*core.Health)
	q := sqlcgen.New(tx)
	advanced, err := q.AdvanceRecorder(ctx, sqlcgen.AdvanceRecorderParams{
		Holder: w.batch.Holder, Before: int64(w.batch.Before), Position: int64(w.batch.Position), Seconds: w.ttl.Seconds(), //nolint:gosec // G115: sequences of JetStream
	})
	if err != nil {
		return fmt.Errorf("advance: %w", err)
	}
	if advanced == 0 {
		return ErrLeaseLost
	}
	for _, d := range w.days {
		if err := q.EnsureDay(ctx, d); err != nil {
			return fmt.Errorf("make the partitions of a day: %w", err)
		}
	}
	dead, err := w.newlyDead(ctx, q)
	if err != nil {
		return err
	}
	stored, err := w.storeRows(ctx, tx)
	if err != nil {
		return err
	}
	if len(stored) > 0 {
		if err := w.addHours(ctx, q, stored); err != nil {
			return err
		}
		if err := w.foldHealth(ctx, q, stored); err != nil {
			return err
		}
	}
	if err := w.count(ctx, q, dead); err != nil {
		return err
	}
	if err := addDeadHours(ctx, q, dead); err != nil {
		return err
	}
	return w.dropPending(ctx, q)
}

// dropPending ends what waited for webhooks that are gone, and forgets how they were.
func (w *writing) dropPending(ctx context.Context, q *sqlcgen.Queries) error {
	for _, record := range w.batch.Records {
		if record.GetDelivery() != "" {
			continue
		}
		webhook, err := uuid.Parse(record.GetWebhook())
		if err != nil {
			return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the webhook's id is no UUID")
		}
		err = q.DropPending(ctx, sqlcgen.DropPendingParams{
			Webhook: webhook, At: record.GetTime().AsTime(), Reason: record.GetReason(),
			Dropped: int16(record.GetState()), Pending: int16(deliveryv1.Delivery_STATE_PENDING), //nolint:gosec // G115: an enum of five values
		})
		if err != nil {
			return fmt.Errorf("drop pending deliveries: %w", err)
		}
		if err := q.DeleteHealth(ctx, webhook); err != nil {
			return fmt.Errorf("forget the health of a webhook: %w", err)
		}
		w.health[webhook] = new(core.Health)
	}
	return nil
}
