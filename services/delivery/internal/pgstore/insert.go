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

// caution remembers that rows could not be copied, because one of them was there already. Then they were written twice, and
// of what comes next more may be there.
type caution struct{ batches atomic.Int32 }

// try copies rows, unless that has failed a few batches ago. It reports false when they are to be inserted: nothing of them
// remains.
func (c *caution) try(ctx context.Context, tx pgx.Tx, rows func(pgx.Tx) error) (done bool, err error) {
	if left := c.batches.Load(); left > 0 {
		c.batches.Store(left - 1)
		return false, nil
	}
	err = pgx.BeginFunc(ctx, tx, rows)
	if fault.Is(pg.Fault(err), fault.AlreadyExists) {
		c.batches.Store(carefulBatches)
		return false, nil
	}
	return err == nil, err
}

// cautions are those of each kind of rows: deliveries whose first attempt was put off are there, their attempts are not.
type cautions struct{ deliveries, attempts caution }

// storeRows stores deliveries and attempts, and returns the attempts that were not stored before.
func (w *writing) storeRows(ctx context.Context, tx pgx.Tx) (stored []uuid.UUID, err error) {
	if err := w.storeDeliveries(ctx, tx); err != nil {
		return nil, fmt.Errorf("store deliveries: %w", err)
	}
	if len(w.attempts.ID) == 0 {
		return nil, nil
	}
	done, err := w.cautions.attempts.try(ctx, tx, func(tx pgx.Tx) error {
		if err := copyRows(ctx, tx, copyAttempts, len(w.attempts.ID), w.attemptRow); err != nil {
			return err
		}
		return copyRows(ctx, tx, copyPayloads, len(w.payloads.ID), w.payloadRow)
	})
	if err != nil {
		return nil, fmt.Errorf("store attempts: %w", err)
	}
	if done {
		return w.attempts.ID, nil
	}
	q := sqlcgen.New(tx)
	if stored, err = q.InsertAttempts(ctx, w.attempts); err != nil {
		return nil, fmt.Errorf("store attempts: %w", err)
	}
	if err := q.InsertPayloads(ctx, w.payloads); err != nil {
		return nil, fmt.Errorf("store what attempts sent and got: %w", err)
	}
	return stored, nil
}

// storeDeliveries stores deliveries: those whose first attempt is among the records are new, as a rule.
func (w *writing) storeDeliveries(ctx context.Context, tx pgx.Tx) error {
	if len(w.begun.ID) > 0 {
		done, err := w.cautions.deliveries.try(ctx, tx, func(tx pgx.Tx) error {
			return copyRows(ctx, tx, copyDeliveries, len(w.begun.ID), w.deliveryRow)
		})
		if err == nil && !done {
			err = upsert(ctx, sqlcgen.New(tx), w.begun)
		}
		if err != nil {
			return err
		}
	}
	return upsert(ctx, sqlcgen.New(tx), w.continued)
}

func upsert(ctx context.Context, q *sqlcgen.Queries, deliveries sqlcgen.UpsertDeliveriesParams) error {
	if len(deliveries.ID) == 0 {
		return nil
	}
	return q.UpsertDeliveries(ctx, deliveries) //nolint:wrapcheck // by the callers
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
	if d.LastStatusCode[i] == noAttempt {
		r = r.null().null()
	} else {
		r = r.int32(d.LastStatusCode[i]).text(d.LastErrorClass[i])
	}
	return r.int64(d.Version[i])
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
