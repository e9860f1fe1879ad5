package pgstore

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// carefulBatches is how many batches are inserted after one that could not be copied.
const carefulBatches = 8

// caution remembers that a batch could not be copied, because something of it was there already. Then it was written
// twice, and of what comes next more may be there.
type caution struct{ batches atomic.Int32 }

// over reports whether the next batch may be copied again.
func (c *caution) over() bool {
	left := c.batches.Load()
	c.batches.Store(max(left-1, 0))
	return left == 0
}

func (c *caution) begin() { c.batches.Store(carefulBatches) }

// storeRows stores deliveries and attempts, and returns the attempts that were not stored before. Nearly always that is all
// of them, and they are copied; when one was, nothing of that remains and they are inserted.
func (w *writing) storeRows(ctx context.Context, tx pgx.Tx) (stored []uuid.UUID, err error) {
	if len(w.attempts.ID) > 0 && w.caution.over() {
		err := pgx.BeginFunc(ctx, tx, w.copyNew(ctx))
		if err == nil || !fault.Is(pg.Fault(err), fault.AlreadyExists) {
			return w.attempts.ID, err
		}
		w.caution.begin()
	}
	q := sqlcgen.New(tx)
	if err := upsert(ctx, q, w.begun); err != nil {
		return nil, err
	}
	if err := upsert(ctx, q, w.continued); err != nil {
		return nil, err
	}
	if len(w.attempts.ID) == 0 {
		return nil, nil
	}
	if stored, err = q.InsertAttempts(ctx, w.attempts); err != nil {
		return nil, fmt.Errorf("store attempts: %w", err)
	}
	if err := q.InsertPayloads(ctx, w.payloads); err != nil {
		return nil, fmt.Errorf("store what attempts sent and got: %w", err)
	}
	return stored, nil
}

func upsert(ctx context.Context, q *sqlcgen.Queries, deliveries sqlcgen.UpsertDeliveriesParams) error {
	if len(deliveries.ID) == 0 {
		return nil
	}
	if err := q.UpsertDeliveries(ctx, deliveries); err != nil {
		return fmt.Errorf("store deliveries: %w", err)
	}
	return nil
}

// copyNew stores rows of which none is there yet; only deliveries that have begun before may be.
func (w *writing) copyNew(ctx context.Context) func(pgx.Tx) error {
	return func(tx pgx.Tx) error {
		if len(w.begun.ID) > 0 {
			if err := copyRows(ctx, tx, copyDeliveries, len(w.begun.ID), w.deliveryRow); err != nil {
				return fmt.Errorf("store deliveries: %w", err)
			}
		}
		if err := upsert(ctx, sqlcgen.New(tx), w.continued); err != nil {
			return err
		}
		if err := copyRows(ctx, tx, copyAttempts, len(w.attempts.ID), w.attemptRow); err != nil {
			return fmt.Errorf("store attempts: %w", err)
		}
		if err := copyRows(ctx, tx, copyPayloads, len(w.payloads.ID), w.payloadRow); err != nil {
			return fmt.Errorf("store what attempts sent and got: %w", err)
		}
		return nil
	}
}

// The columns are those of UpsertDeliveries, InsertAttempts and InsertPayloads, in the order of the rows below.
const (
	copyDeliveries = `COPY delivery.delivery (
		accepted_on, id, organization, webhook, trigger, event_source, event_id, event_sequence, accept_time,
		state, reason, attempt_count, update_time, next_attempt_time, last_status_code, last_error_class, version
	) FROM STDIN (FORMAT binary)`

	copyAttempts = `COPY delivery.attempt (
		accepted_on, delivery, id, number, start_time, duration_ns, request_url, status_code, response_truncated,
		error_class, error_message, next_attempt_time, organization, webhook, trigger, event_id, dns_ns, connect_ns,
		tls_ns, first_byte_ns, remote_address, request_truncated
	) FROM STDIN (FORMAT binary)`

	copyPayloads = `COPY delivery.attempt_payload (
		accepted_on, delivery, id, request_headers, request_body, response_headers, response_body
	) FROM STDIN (FORMAT binary)`
)

func (w *writing) deliveryRow(r copyRow, i int) copyRow {
	d := &w.begun
	r = r.begin(17).day(d.AcceptedOn[i]).uuid(d.ID[i]).text(d.Organization[i]).uuid(d.Webhook[i]).text(d.Trigger[i]).
		text(d.EventSource[i]).text(d.EventID[i]).int64(d.EventSequence[i]).time(d.AcceptTime[i]).
		int16(d.State[i]).text(d.Reason[i]).int32(d.AttemptCount[i]).time(d.UpdateTime[i]).timeOrNull(d.NextAttemptTime[i])
	return r.int32(d.LastStatusCode[i]).text(d.LastErrorClass[i]).int64(d.Version[i]) // there was an attempt
}

func (w *writing) attemptRow(r copyRow, i int) copyRow {
	a := &w.attempts
	return r.begin(22).day(a.AcceptedOn[i]).uuid(a.Delivery[i]).uuid(a.ID[i]).int32(a.Number[i]).time(a.StartTime[i]).
		int64(a.DurationNs[i]).text(a.RequestUrl[i]).int32(a.StatusCode[i]).boolean(a.ResponseTruncated[i]).
		text(a.ErrorClass[i]).text(a.ErrorMessage[i]).timeOrNull(a.NextAttemptTime[i]).text(a.Organization[i]).
		uuid(a.Webhook[i]).text(a.Trigger[i]).text(a.EventID[i]).int64(a.DnsNs[i]).int64(a.ConnectNs[i]).
		int64(a.TlsNs[i]).int64(a.FirstByteNs[i]).text(a.RemoteAddress[i]).boolean(a.RequestTruncated[i])
}

func (w *writing) payloadRow(r copyRow, i int) copyRow {
	p := &w.payloads
	return r.begin(7).day(p.AcceptedOn[i]).uuid(p.Delivery[i]).uuid(p.ID[i]).text(p.RequestHeaders[i]).
		bytes(p.RequestBody[i]).text(p.ResponseHeaders[i]).bytes(p.ResponseBody[i])
}
