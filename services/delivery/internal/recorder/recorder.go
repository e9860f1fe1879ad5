// Package recorder owns the way of records from the stream RECORDS into Postgres, in batches and off the path of
// deliveries, and what follows from them for webhooks: their health, which subscription is told of. While Postgres is
// away deliveries go on, and the recorder catches up.
//
// One instance records at a time, in the order of the stream. How far it has come is in the database, in the same
// transaction as what it wrote: so every record counts exactly once, whichever instance crashes at whatever moment, and
// the stream needs no acknowledgements. A durable consumer cannot promise that: what a dead instance had taken comes
// again after AckWait, behind what came later.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// The lease of the instance that records: how long it lasts, and how often it is prolonged or asked for.
const (
	leaseTime  = 5 * time.Second
	leaseEvery = time.Second
)

// Store is where records end.
type Store interface {
	// Lease takes or prolongs the lease, and returns how far RECORDS was taken in: pgstore.ErrLeaseLost.
	Lease(ctx context.Context, holder uuid.UUID, created time.Time, ttl time.Duration) (uint64, error)
	// Release ends the lease.
	Release(ctx context.Context, holder uuid.UUID) error
	// Write stores a batch: pgstore.ErrLeaseLost; fault.InvalidArgument when one of the records can never be stored.
	// After any other error the same call may succeed.
	Write(ctx context.Context, batch pgstore.Batch, ttl time.Duration) error
}

// Configuration is what records are judged by.
type Configuration interface {
	// Webhook returns a webhook, or false when none has this id.
	Webhook(id string) (*core.Webhook, bool)
	// Operational reports whether the events of a trigger are Meetwire's own.
	Operational(trigger string) bool
	// OrganizationDeleted reports whether an organization is known to have been deleted.
	OrganizationDeleted(id string) bool
}

// Recorder reads RECORDS and writes them to the store.
type Recorder struct {
	JetStream     jetstream.JetStream
	Store         Store
	Configuration Configuration
	// Loaded waits until the configuration is known: without it nobody knows what counts. It returns the context's error.
	Loaded   func(ctx context.Context) error
	Reporter *Reporter // runs while this instance records; may be nil
	// Strained reports whether deliveries wait. Then records do, as yield says; may be nil.
	Strained func() bool
	Logger   *slog.Logger
	Now      func() time.Time
	Lag      prometheus.Gauge   // records that wait to be taken in
	Yielded  prometheus.Counter // seconds for which they have waited because of Strained
	ID       uuid.UUID          // of this instance
}

// Run records until the context ends; what has been published by then is written first, if this instance records.
func (r *Recorder) Run(ctx context.Context) error {
	if r.Loaded(ctx) != nil {
		return nil //nolint:nilerr // told to stop
	}
	err := lifecycle.Retry(ctx, r.Logger, "record", minWriteWait, maxWriteWait, func(ctx context.Context) error {
		for {
			// Also while stopping: nobody else may be there to write what was published.
			position, _, err := r.lease(lifecycle.Grace(ctx))
			if err == nil {
				err = r.lead(ctx, position)
			}
			if err != nil && !errors.Is(err, pgstore.ErrLeaseLost) && ctx.Err() == nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(leaseEvery):
			}
		}
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // told to stop
	}
	return fmt.Errorf("record: %w", err)
}

// requestTime bounds a request to NATS or Postgres that is not repeated by itself.
const requestTime = 5 * time.Second

// lease takes the lease. It returns how far RECORDS was taken in, and the sequence of its newest record.
func (r *Recorder) lease(ctx context.Context) (position, newest uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	stream, err := r.JetStream.Stream(ctx, bus.StreamRecords)
	if err != nil {
		return 0, 0, fmt.Errorf("open stream %s: %w", bus.StreamRecords, err)
	}
	info := stream.CachedInfo()
	position, err = r.Store.Lease(ctx, r.ID, info.Created, leaseTime)
	return position, info.State.LastSeq, err
}

// lead records from a position on, until the context ends, the lease is lost, or the stream must be read anew.
func (r *Recorder) lead(ctx context.Context, position uint64) error {
	r.Logger.InfoContext(ctx, "this instance records", "position", position)
	defer r.Lag.Set(0) // whoever records then knows
	r.retire(ctx)
	leading, stop := context.WithCancel(ctx)
	defer stop()
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		r.Reporter.run(leading)
	}()
	defer func() { <-reported }()
	defer stop()
	defer func() {
		release, cancel := context.WithTimeout(lifecycle.Grace(ctx), requestTime)
		defer cancel()
		if err := r.Store.Release(release, r.ID); err != nil {
			r.Logger.WarnContext(ctx, "recorder's lease was not released", "error", err)
		}
	}()
	tail := &tail{js: r.JetStream, logger: r.Logger, lag: r.Lag, bounds: defaultBounds()}
	defer tail.close()
	return r.follow(ctx, tail, position)
}

// earlierDurable is the durable consumer that recorders had in earlier versions.
const earlierDurable = "recorder"

// retire removes the consumer of earlier versions: nobody takes its messages any more.
func (r *Recorder) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	err := r.JetStream.DeleteConsumer(ctx, bus.StreamRecords, earlierDurable)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) && ctx.Err() == nil {
		r.Logger.WarnContext(ctx, "consumer of an earlier version was not removed", "consumer", earlierDurable, "error", err)
	}
}

// follow takes in what comes.
func (r *Recorder) follow(ctx context.Context, tail *tail, position uint64) error {
	var newest, asked uint64
	for {
		batch, err := tail.next(ctx, position)
		if err == nil && len(batch) > 0 {
			r.yield(ctx, batch)
			position, err = r.store(lifecycle.Grace(ctx), batch, position)
			r.Reporter.wake()
		}
		if ctx.Err() != nil {
			return r.finish(lifecycle.Grace(ctx), tail, position)
		}
		if err == nil && len(batch) == 0 { // nothing has come for a while
			if position < newest && asked < newest {
				// It was there before that while. It got lost with a connection, or was removed.
				asked = newest
				tail.close()
			}
			_, newest, err = r.lease(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// Bounds of how long records make way for deliveries.
const (
	yieldRecords = 100              // a batch with fewer does not: it costs little
	yieldTime    = 2 * time.Second  // of one batch
	yieldAge     = 30 * time.Second // a record that is older does not
	yieldTick    = 5 * time.Millisecond
)

// yield waits while deliveries do, so that writing a batch does not add to what makes them wait, here or in Postgres. When they
// wait for longer than yieldAge nothing is gained any more: then as much is written as comes.
func (r *Recorder) yield(ctx context.Context, batch []entry) {
	began := r.Now()
	until := began.Add(min(yieldTime, batch[0].stored.Add(yieldAge).Sub(began)))
	if r.Strained == nil || len(batch) < yieldRecords || !r.waits(until) {
		return
	}
	defer func() { r.Yielded.Add(max(r.Now().Sub(began), 0).Seconds()) }()
	ticker := time.NewTicker(yieldTick)
	defer ticker.Stop()
	for r.waits(until) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Recorder) waits(until time.Time) bool { return r.Now().Before(until) && r.Strained() }

// finish takes in what was published before a stop.
func (r *Recorder) finish(ctx context.Context, tail *tail, position uint64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	stream, err := r.JetStream.Stream(ctx, bus.StreamRecords)
	if err != nil {
		return fmt.Errorf("open stream %s: %w", bus.StreamRecords, err)
	}
	state := stream.CachedInfo().State
	for state.Msgs > 0 && position < state.LastSeq {
		batch, err := tail.next(ctx, position)
		if err != nil || len(batch) == 0 {
			return err
		}
		if position, err = r.store(ctx, batch, position); err != nil {
			return err
		}
	}
	return nil
}

// Waits between attempts to write a batch.
const (
	minWriteWait = 100 * time.Millisecond
	maxWriteWait = 5 * time.Second
)

// store writes one batch, for as long as it takes, and returns the position after it. When Postgres refuses a record
// each half is written by itself, so that one bad record does not hold up the others. What it says of the delivery and
// its webhook matters more than what was sent and got, without which it is written once more.
func (r *Recorder) store(ctx context.Context, batch []entry, position uint64) (uint64, error) {
	reached := batch[len(batch)-1].sequence
	err := lifecycle.Retry(ctx, r.Logger, "write records", minWriteWait, maxWriteWait, func(ctx context.Context) error {
		err := r.Store.Write(ctx, r.batch(batch, position), leaseTime)
		if fault.Is(err, fault.InvalidArgument) || errors.Is(err, pgstore.ErrLeaseLost) {
			return lifecycle.Permanent(err)
		}
		return err // whatever is wrong with Postgres, the records wait until someone has mended it
	})
	switch {
	case err == nil:
		return reached, nil
	case errors.Is(err, pgstore.ErrLeaseLost):
		return position, pgstore.ErrLeaseLost // not permanent any more: it can be had again
	case ctx.Err() != nil:
		return position, err
	case len(batch) == 1 && batch[0].shorten():
		r.Logger.WarnContext(ctx, "record cannot be stored and is shortened", "sequence", reached, "error", err)
		return r.store(ctx, batch, position)
	case len(batch) == 1:
		r.leaveOut(ctx, reached, err)
		return r.store(ctx, []entry{{sequence: reached}}, position)
	}
	position, err = r.store(ctx, batch[:len(batch)/2], position)
	if err != nil {
		return position, err
	}
	return r.store(ctx, batch[len(batch)/2:], position)
}

// batch is what the store is given.
func (r *Recorder) batch(entries []entry, position uint64) pgstore.Batch {
	b := pgstore.Batch{
		Holder: r.ID, Before: position, Position: entries[len(entries)-1].sequence, Now: r.Now(),
		Threshold: r.threshold, Counted: r.counted,
	}
	for _, e := range entries {
		// What is left of an organization that is gone must not come back after it was removed.
		if e.record != nil && !r.Configuration.OrganizationDeleted(e.record.GetOrganization()) {
			b.Records = append(b.Records, e.record)
		}
	}
	return b
}

// threshold returns when the webhook of an attempt is disabled. Attempts of an earlier generation do not count, nor do
// those for operational triggers: a webhook must not be disabled by what tells of another that was. Nor do those that
// were under way when it was paused: what waits for it is kept.
func (r *Recorder) threshold(record *deliveryv1.Record) (core.Threshold, bool) {
	webhook, ok := r.Configuration.Webhook(record.GetWebhook())
	if !ok || webhook.Status == core.StatusPaused || record.GetWebhookGeneration() < max(webhook.Generation, 1) || r.Configuration.Operational(record.GetTrigger()) {
		return core.Threshold{}, false
	}
	return webhook.Threshold, true
}

// counted reports whether a dead letter is counted: those for operational triggers would tell of themselves.
func (r *Recorder) counted(record *deliveryv1.Record) bool {
	return !r.Configuration.Operational(record.GetTrigger())
}

// leaveOut tells of what cannot be stored, now or ever. Only delivery itself publishes records.
func (r *Recorder) leaveOut(ctx context.Context, sequence uint64, err error) {
	r.Logger.ErrorContext(ctx, "record cannot be stored and is left out", "sequence", sequence, "error", err)
}
