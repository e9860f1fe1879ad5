// Package recorder owns the way of records from the stream RECORDS into Postgres, in batches and off the path
// of deliveries: while Postgres is away deliveries go on, and the recorder catches up.
package recorder

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// Bounds of a batch: whichever is reached first.
const (
	batchSize  = 500
	batchDelay = 50 * time.Millisecond
)

// Waits between attempts to write a batch.
const (
	minWriteWait = 100 * time.Millisecond
	maxWriteWait = 5 * time.Second
)

// Store is where records end.
type Store interface {
	// Write stores records; those it has already change nothing. fault.InvalidArgument: one of them can never be
	// stored. After any other error the same call may succeed.
	Write(ctx context.Context, records []*deliveryv1.Record) error
	// Maintain prepares the tables for the coming days and drops what is older than keepFrom.
	Maintain(ctx context.Context, now, keepFrom time.Time) (dropped int, err error)
}

// Recorder reads RECORDS and writes them to the store.
type Recorder struct {
	JetStream jetstream.JetStream
	Config    bus.Config
	Store     Store
	Retention time.Duration // how long deliveries are listed after their event was stored
	Logger    *slog.Logger
	Now       func() time.Time
}

// Run records until the context ends; what it has taken by then is written first.
func (r *Recorder) Run(ctx context.Context) error {
	incoming := make(chan *bus.Msg)
	consumer := &bus.Consumer{
		JetStream: r.JetStream,
		Stream:    bus.StreamRecords,
		Config:    r.Config.RecorderConsumer(),
		Pull:      2 * batchSize,
		Workers:   1,
		Handle:    func(_ context.Context, msg *bus.Msg) { incoming <- msg },
		Logger:    r.Logger,
	}
	return bus.RunAll(ctx,
		func(ctx context.Context) error {
			defer close(incoming)
			return consumer.Run(ctx)
		},
		func(ctx context.Context) error {
			r.write(lifecycle.Grace(ctx), incoming)
			return nil
		},
		r.maintain,
	)
}

// write gathers batches until nothing can come any more.
func (r *Recorder) write(ctx context.Context, incoming <-chan *bus.Msg) {
	for {
		first, ok := <-incoming
		if !ok {
			return
		}
		batch := []*bus.Msg{first}
		full := time.NewTimer(batchDelay)
	gather:
		for len(batch) < batchSize {
			select {
			case msg, ok := <-incoming:
				if !ok {
					break gather
				}
				batch = append(batch, msg)
			case <-full.C:
				break gather
			}
		}
		full.Stop()
		r.store(ctx, batch)
	}
}

// entry is a record and the message it came in.
type entry struct {
	msg    *bus.Msg
	record *deliveryv1.Record
}

// store writes one batch, for as long as it takes.
func (r *Recorder) store(ctx context.Context, batch []*bus.Msg) {
	entries := make([]entry, 0, len(batch))
	for _, msg := range batch {
		record := new(deliveryv1.Record)
		if err := proto.Unmarshal(msg.Data(), record); err != nil {
			r.discard(ctx, msg, err)
			continue
		}
		entries = append(entries, entry{msg: msg, record: record})
	}
	r.storeEntries(ctx, entries)
}

// storeEntries writes records. When Postgres refuses them it writes each half, so that one bad record does not
// hold up the others.
func (r *Recorder) storeEntries(ctx context.Context, entries []entry) {
	if len(entries) == 0 {
		return
	}
	records := make([]*deliveryv1.Record, len(entries))
	for i, e := range entries {
		records[i] = e.record
	}
	err := lifecycle.Retry(ctx, r.Logger, "write records", minWriteWait, maxWriteWait, func(ctx context.Context) error {
		err := r.Store.Write(ctx, records)
		if fault.Is(err, fault.InvalidArgument) {
			return lifecycle.Permanent(err)
		}
		return err // whatever is wrong with Postgres, the records wait until someone has mended it
	})
	switch {
	case err == nil:
		for _, e := range entries {
			e.msg.Done()
		}
	case ctx.Err() != nil:
		for _, e := range entries {
			e.msg.Return()
		}
	case len(entries) == 1:
		r.discard(ctx, entries[0].msg, err)
	default:
		r.storeEntries(ctx, entries[:len(entries)/2])
		r.storeEntries(ctx, entries[len(entries)/2:])
	}
}

// discard leaves out what cannot be stored, now or ever. Only delivery itself publishes records.
func (r *Recorder) discard(ctx context.Context, msg *bus.Msg, err error) {
	r.Logger.ErrorContext(ctx, "record cannot be stored and is left out", "sequence", msg.Sequence, "error", err)
	msg.Done()
}

// maintenancePeriod is how often partitions are looked after.
const maintenancePeriod = time.Hour

func (r *Recorder) maintain(ctx context.Context) error {
	ticker := time.NewTicker(maintenancePeriod)
	defer ticker.Stop()
	for {
		now := r.Now()
		dropped, err := r.Store.Maintain(ctx, now, now.Add(-r.Retention))
		switch {
		case err != nil && ctx.Err() == nil:
			r.Logger.WarnContext(ctx, "partitions were not looked after", "error", err)
		case dropped > 0:
			r.Logger.InfoContext(ctx, "old partitions dropped", "tables", dropped)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
