package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"golang.org/x/sync/errgroup"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/publisher"
)

const (
	// DefaultPoll is how often a relay looks for events that no notification has told of.
	DefaultPoll = time.Second
	// DefaultBatch is how many events a relay reads, and deletes, at once.
	DefaultBatch = 200

	// publishTime bounds how long one event is tried before the batch it is in ends without it.
	publishTime = 30 * time.Second
	// organizationsAtOnce is for how many organizations events are published at once, for each in order.
	organizationsAtOnce = 16
	// settleTime bounds the deletion of what has been published when the relay is being stopped.
	settleTime = 5 * time.Second
)

// Relay publishes the events of an outbox and deletes them. Any number may run: one works, the others wait until it
// ends or loses its connection to Postgres, which a lock of the session tells. So the pool must lead to Postgres
// itself, or through a pooler that keeps sessions. The relay takes one connection out of the pool while it runs.
type Relay struct {
	// Pool is the database with the table. Required.
	Pool *pgxpool.Pool
	// Publisher publishes. Required. It is the caller's, to be closed after Run has returned.
	Publisher *publisher.Publisher
	// Table is the outbox. Empty: DefaultTable.
	Table Table
	// Poll is how often it looks for events that no notification has told of, and how long it pauses after a
	// failure. 0: DefaultPoll.
	Poll time.Duration
	// Batch is how many events are read, and deleted, at once. 0: DefaultBatch.
	Batch int
	// Logger gets what goes wrong. Nil: nobody does.
	Logger *slog.Logger
}

var (
	errIncomplete = errors.New("a relay needs a Pool and a Publisher")
	errNegative   = errors.New("a relay's Poll and Batch must not be negative")
)

// Run publishes until the context ends, and returns nil then. While NATS or Postgres are away it tries again. It
// returns an error when it cannot go on: the relay is not complete, the publisher or its connection is closed.
func (r *Relay) Run(ctx context.Context) error {
	switch {
	case r.Pool == nil || r.Publisher == nil:
		return errIncomplete
	case r.Poll < 0 || r.Batch < 0:
		return errNegative
	}
	table := r.Table
	if table == "" {
		table = DefaultTable
	}
	name, err := table.quoted()
	if err != nil {
		return err
	}
	w := &worker{Relay: *r, name: name, held: make(map[string]time.Time)}
	if w.Poll == 0 {
		w.Poll = DefaultPoll
	}
	if w.Batch == 0 {
		w.Batch = DefaultBatch
	}
	if w.Logger == nil {
		w.Logger = slog.New(slog.DiscardHandler)
	}
	w.Logger = w.Logger.With("outbox", string(table))
	return w.run(ctx)
}

// worker is a relay with its defaults, while it runs.
type worker struct {
	Relay
	name string               // of the table, quoted
	held map[string]time.Time // organizations whose next event failed, and until when they are left alone
}

func (w *worker) run(ctx context.Context) error {
	for {
		err := w.session(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // we are being stopped
		case isFinal(err):
			return fmt.Errorf("relay the outbox: %w", err)
		}
		w.Logger.WarnContext(ctx, "outbox cannot be relayed", "error", err)
		if wait(ctx, w.Poll) != nil {
			return nil //nolint:nilerr // we are being stopped
		}
	}
}

// isFinal reports whether nothing can be published any more with this publisher.
func isFinal(err error) bool {
	for _, final := range []error{publisher.ErrClosed, nats.ErrConnectionClosed, nats.ErrConnectionDraining} {
		if errors.Is(err, final) {
			return true
		}
	}
	return false
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// session works on one connection to Postgres until it fails. Its lock is the right to work: so everything is read
// and deleted over it, and a relay that has lost it finds out at the next step.
func (w *worker) session(ctx context.Context) (err error) {
	pooled, err := w.Pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	conn := pooled.Hijack() // with locks and subscriptions it is of no use to others
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
		defer cancel()
		err = errors.Join(err, conn.Close(closing))
	}()
	for locked := false; ; {
		if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1::text::regclass::oid::int4, $2)`, w.name, lockOfRelay).Scan(&locked); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		if locked {
			break
		}
		if err := wait(ctx, w.Poll); err != nil {
			return err
		}
	}
	var channel string
	if err := conn.QueryRow(ctx, `SELECT '`+channelPrefix+`' || $1::text::regclass::oid`, w.name).Scan(&channel); err != nil {
		return fmt.Errorf("find the table: %w", err)
	}
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	for {
		more, err := w.relay(ctx, conn)
		if err != nil {
			return err
		}
		if more {
			continue
		}
		if err := w.await(ctx, conn); err != nil {
			return err
		}
	}
}

// await returns when there may be something to do.
func (w *worker) await(ctx context.Context, conn *pgx.Conn) error {
	limited, cancel := context.WithTimeout(ctx, w.Poll)
	defer cancel()
	if _, err := conn.WaitForNotification(limited); err != nil && limited.Err() == nil {
		return fmt.Errorf("wait for a notification: %w", err)
	}
	return ctx.Err()
}

// row is an event in the table.
type row struct {
	position int64
	event    publisher.Event
	trace    propagation.MapCarrier
}

// outcome is what has become of the events of one organization in a batch.
type outcome struct {
	published []int64
	parked    map[int64]error
	failure   error // what held it up, or nil
}

// relay publishes a batch and settles its rows, and reports whether there may be more to do at once.
func (w *worker) relay(ctx context.Context, conn *pgx.Conn) (more bool, err error) {
	rows, err := w.next(ctx, conn)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	var order []string
	queues := make(map[string][]row)
	for _, r := range rows {
		if queues[r.event.Organization] == nil {
			order = append(order, r.event.Organization)
		}
		queues[r.event.Organization] = append(queues[r.event.Organization], r)
	}
	outcomes := make([]outcome, len(order))
	var group errgroup.Group
	group.SetLimit(organizationsAtOnce)
	for i, organization := range order {
		group.Go(func() error {
			outcomes[i] = w.publish(ctx, queues[organization])
			return nil
		})
	}
	err = group.Wait()
	for i, organization := range order {
		switch failure := outcomes[i].failure; {
		case failure == nil:
		case isFinal(failure):
			err = errors.Join(err, failure)
		case ctx.Err() == nil:
			w.held[organization] = time.Now().Add(w.Poll)
			w.Logger.WarnContext(ctx, "events wait in the outbox: the next of an organization cannot be published",
				"organization", organization, "error", failure)
		}
	}
	// What has been published is deleted also while we are being stopped.
	settling, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	return len(rows) == w.Batch, errors.Join(err, w.settle(settling, conn, outcomes), ctx.Err())
}

// next reads the events that are next, without those of organizations that are held.
func (w *worker) next(ctx context.Context, conn *pgx.Conn) ([]row, error) {
	held := []string{}
	for organization, until := range w.held {
		if time.Now().Before(until) {
			held = append(held, organization)
		} else {
			delete(w.held, organization)
		}
	}
	found, err := conn.Query(ctx, `SELECT position, organization, trigger, source, id, subject, time, data, extensions, traceparent, tracestate
		FROM `+w.name+` WHERE parked_at IS NULL AND organization <> ALL($1) ORDER BY position LIMIT $2`, held, w.Batch)
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	rows, err := pgx.CollectRows(found, func(scanned pgx.CollectableRow) (row, error) {
		var (
			r                       row
			e                       = &r.event
			data                    string
			traceParent, traceState string
		)
		err := scanned.Scan(&r.position, &e.Organization, &e.Trigger, &e.Source, &e.ID, &e.Subject, &e.Time, &data,
			&e.Extensions, &traceParent, &traceState)
		e.Data = json.RawMessage(data)
		r.trace = propagation.MapCarrier{"traceparent": traceParent, "tracestate": traceState}
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return rows, nil
}

// publish publishes events of one organization, each after the one before is stored.
func (w *worker) publish(ctx context.Context, rows []row) outcome {
	o := outcome{parked: make(map[int64]error)}
	for _, r := range rows {
		err := w.publishOne(ctx, r)
		var field *publisher.FieldError
		switch {
		case err == nil:
			o.published = append(o.published, r.position)
		case errors.As(err, &field) || fault.Is(err, fault.InvalidArgument):
			o.parked[r.position] = err
			w.Logger.ErrorContext(ctx, "an event of the outbox can never be published and is parked",
				"position", r.position, "organization", r.event.Organization, "source", r.event.Source, "event_id", r.event.ID, "error", err)
		default:
			o.failure = err
			return o
		}
	}
	return o
}

func (w *worker) publishOne(ctx context.Context, r row) error {
	ctx, cancel := context.WithTimeout(propagation.TraceContext{}.Extract(ctx, r.trace), publishTime)
	defer cancel()
	_, err := w.Publisher.Publish(ctx, r.event)
	return err
}

// settle deletes what has been published, and marks what never will be.
func (w *worker) settle(ctx context.Context, conn *pgx.Conn, outcomes []outcome) error {
	batch := &pgx.Batch{}
	var published []int64
	for _, o := range outcomes {
		published = append(published, o.published...)
		for position, err := range o.parked {
			batch.Queue(`UPDATE `+w.name+` SET parked_at = now(), error = $2 WHERE position = $1`, position, strings.ToValidUTF8(err.Error(), "?"))
		}
	}
	if len(published) > 0 {
		batch.Queue(`DELETE FROM `+w.name+` WHERE position = ANY($1)`, published)
	}
	if batch.Len() == 0 {
		return nil
	}
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("settle what was published: %w", err)
	}
	return nil
}
