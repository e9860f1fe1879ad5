// Package pgstore owns delivery's tables in Postgres, schema `delivery`: what became of deliveries, and their
// attempts. It stores what records say and decides nothing.
package pgstore

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// Schema is the Postgres schema of this service.
const Schema = "delivery"

//go:embed migrations/*.sql
var migrations embed.FS

// Migrate brings the schema up to date.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("open the migrations: %w", err)
	}
	return pg.Migrate(ctx, pool, Schema, files)
}

// Store reads and writes the tables.
type Store struct {
	pool *pgxpool.Pool

	mu   sync.Mutex
	days map[time.Time]bool // whose partitions are known to exist
}

// New makes a store.
func New(pool *pgxpool.Pool) *Store {
	return &Store{pool: pool, days: make(map[time.Time]bool)}
}

// day is the partition key of an event that EVENTS stored at t.
func day(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// Write stores records in one transaction. Records that are stored already change nothing. Errors:
// fault.InvalidArgument when one of them can never be stored; after any other the same call may succeed.
func (s *Store) Write(ctx context.Context, records []*deliveryv1.Record) error {
	deliveries, attempts, err := rows(records)
	if err != nil {
		return err
	}
	for _, accepted := range deliveries.AcceptedOn {
		if err := s.ensureDay(ctx, accepted); err != nil {
			return err
		}
	}
	err = s.write(ctx, deliveries, attempts, nil)
	if noPartition(err) {
		// A day that is past its time was dropped since, by this process or by another.
		s.forget(deliveries.AcceptedOn)
		err = s.write(ctx, deliveries, attempts, deliveries.AcceptedOn)
	}
	return pg.Fault(err)
}

// write stores rows in one transaction, in which the partitions of the given days are made before: they cannot be
// dropped until it ends.
func (s *Store) write(
	ctx context.Context, deliveries sqlcgen.UpsertDeliveriesParams, attempts sqlcgen.InsertAttemptsParams, days []time.Time,
) error {
	return pg.InTx(ctx, s.pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		q := sqlcgen.New(tx)
		for _, d := range days {
			if err := q.EnsureDay(ctx, d); err != nil {
				return fmt.Errorf("make the partitions of a day: %w", err)
			}
		}
		if err := q.UpsertDeliveries(ctx, deliveries); err != nil {
			return fmt.Errorf("store deliveries: %w", err)
		}
		if len(attempts.ID) == 0 {
			return nil
		}
		if err := q.InsertAttempts(ctx, attempts); err != nil {
			return fmt.Errorf("store attempts: %w", err)
		}
		return nil
	})
}

// noPartition reports whether Postgres found no partition for a row, which it tells as a check violation. The tables
// have no check constraints.
func noPartition(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "23514" && pgErr.ConstraintName == ""
}

// forget makes ensureDay look again.
func (s *Store) forget(days []time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range days {
		delete(s.days, d)
	}
}

// ensureDay makes the partitions of a day once.
func (s *Store) ensureDay(ctx context.Context, accepted time.Time) error {
	s.mu.Lock()
	known := s.days[accepted]
	s.mu.Unlock()
	if known {
		return nil
	}
	if err := sqlcgen.New(s.pool).EnsureDay(ctx, accepted); err != nil {
		return pg.Fault(fmt.Errorf("make the partitions of a day: %w", err))
	}
	s.mu.Lock()
	s.days[accepted] = true
	s.mu.Unlock()
	return nil
}

// aheadDays is how many days of partitions are made before they are needed.
const aheadDays = 7

// Maintain makes the partitions of the coming days and drops those of events stored before keepFrom.
func (s *Store) Maintain(ctx context.Context, now, keepFrom time.Time) (dropped int, err error) {
	for ahead := range aheadDays + 1 {
		if err := s.ensureDay(ctx, day(now).AddDate(0, 0, ahead)); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	for known := range s.days {
		if known.Before(day(keepFrom)) {
			delete(s.days, known)
		}
	}
	s.mu.Unlock()
	tables, err := sqlcgen.New(s.pool).DropDaysBefore(ctx, day(keepFrom))
	if err != nil {
		return 0, pg.Fault(fmt.Errorf("drop old partitions: %w", err))
	}
	return int(tables), nil
}

// rows turns records into the columns of both tables. Of several records of one delivery the newest is its row.
func rows(records []*deliveryv1.Record) (d sqlcgen.UpsertDeliveriesParams, a sqlcgen.InsertAttemptsParams, err error) {
	newest := make(map[string]*deliveryv1.Record, len(records))
	attempts := make(map[string]bool, len(records))
	for _, record := range records {
		if have := newest[record.GetDelivery()]; have == nil || !record.GetTime().AsTime().Before(have.GetTime().AsTime()) {
			newest[record.GetDelivery()] = record
		}
		if record.GetAttempt() == nil || attempts[record.GetId()] {
			continue
		}
		attempts[record.GetId()] = true
		if err := appendAttempt(&a, record); err != nil {
			return d, a, err
		}
	}
	for _, record := range newest {
		if err := appendDelivery(&d, record); err != nil {
			return d, a, err
		}
	}
	return d, a, nil
}

func appendDelivery(d *sqlcgen.UpsertDeliveriesParams, record *deliveryv1.Record) error {
	id, err := uuid.Parse(record.GetDelivery())
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the delivery's id is no UUID")
	}
	webhook, err := uuid.Parse(record.GetWebhook())
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the webhook's id is no UUID")
	}
	if err := record.GetTime().CheckValid(); err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the time of the change is none")
	}
	if err := record.GetAcceptTime().CheckValid(); err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the time of acceptance is none")
	}
	accepted := record.GetAcceptTime().AsTime()
	d.AcceptedOn = append(d.AcceptedOn, day(accepted))
	d.ID = append(d.ID, id)
	d.Organization = append(d.Organization, record.GetOrganization())
	d.Webhook = append(d.Webhook, webhook)
	d.Trigger = append(d.Trigger, record.GetTrigger())
	d.EventSource = append(d.EventSource, record.GetEventSource())
	d.EventID = append(d.EventID, record.GetEventId())
	d.EventSequence = append(d.EventSequence, record.GetEventSequence())
	d.AcceptTime = append(d.AcceptTime, accepted)
	d.State = append(d.State, int16(record.GetState())) //nolint:gosec // G115: an enum of five values
	d.Reason = append(d.Reason, record.GetReason())
	d.AttemptCount = append(d.AttemptCount, record.GetAttemptCount())
	d.UpdateTime = append(d.UpdateTime, record.GetTime().AsTime())
	next := time.Time{}
	if record.GetNextAttemptTime() != nil {
		next = record.GetNextAttemptTime().AsTime()
	}
	d.NextAttemptTime = append(d.NextAttemptTime, next)
	return nil
}

func appendAttempt(a *sqlcgen.InsertAttemptsParams, record *deliveryv1.Record) error {
	id, err := uuid.Parse(record.GetId())
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the attempt's id is no UUID")
	}
	delivery, err := uuid.Parse(record.GetDelivery())
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the delivery's id is no UUID")
	}
	attempt := record.GetAttempt()
	requestHeaders, err := encodeHeaders(attempt.GetRequestHeaders())
	if err != nil {
		return err
	}
	responseHeaders, err := encodeHeaders(attempt.GetResponseHeaders())
	if err != nil {
		return err
	}
	a.AcceptedOn = append(a.AcceptedOn, day(record.GetAcceptTime().AsTime()))
	a.Delivery = append(a.Delivery, delivery)
	a.ID = append(a.ID, id)
	a.Number = append(a.Number, attempt.GetNumber())
	a.StartTime = append(a.StartTime, attempt.GetStartTime().AsTime())
	a.DurationNs = append(a.DurationNs, int64(attempt.GetDuration().AsDuration()))
	a.RequestUrl = append(a.RequestUrl, attempt.GetRequestUrl())
	a.RequestHeaders = append(a.RequestHeaders, requestHeaders)
	a.RequestBody = append(a.RequestBody, nonNil(attempt.GetRequestBody()))
	a.StatusCode = append(a.StatusCode, attempt.GetStatusCode())
	a.ResponseHeaders = append(a.ResponseHeaders, responseHeaders)
	a.ResponseBody = append(a.ResponseBody, nonNil(attempt.GetResponseBody()))
	a.ResponseTruncated = append(a.ResponseTruncated, attempt.GetResponseTruncated())
	a.ErrorClass = append(a.ErrorClass, attempt.GetErrorClass())
	a.ErrorMessage = append(a.ErrorMessage, attempt.GetErrorMessage())
	next := time.Time{}
	if attempt.GetNextAttemptTime() != nil {
		next = attempt.GetNextAttemptTime().AsTime()
	}
	a.NextAttemptTime = append(a.NextAttemptTime, next)
	return nil
}

// nonNil keeps an empty body from being stored as NULL.
func nonNil(body []byte) []byte {
	if body == nil {
		return []byte{}
	}
	return body
}

// encodeHeaders writes headers as a list of [name, value], which keeps their order.
func encodeHeaders(headers []*deliveryv1.Header) ([]byte, error) {
	pairs := make([][2]string, len(headers))
	for i, header := range headers {
		pairs[i] = [2]string{header.GetName(), header.GetValue()}
	}
	encoded, err := json.Marshal(pairs)
	if err != nil {
		return nil, fmt.Errorf("encode headers: %w", err)
	}
	return encoded, nil
}
