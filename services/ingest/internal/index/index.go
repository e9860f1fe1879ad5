// Package index owns the way of what became of events from the stream FANOUTS into Postgres, in batches and off the path
// of events, and looks after the tables there. While Postgres is away events go on, and the index catches up.
//
// Several instances share one durable consumer. What was written and not acknowledged comes again, and changes nothing.
package index

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

const (
	// maxBatch is how many notes are written in one transaction.
	maxBatch = 1000
	// pull is how many of them wait in this process: what is written while the next batch comes.
	pull = 2 * maxBatch
	// collect is how long others are waited for once one has come.
	collect = 20 * time.Millisecond
)

// Store is where notes end.
type Store interface {
	// Write stores notes, all or none, and returns how many events are new: fault.InvalidArgument when one of them can
	// never be stored. After any other error the same call may succeed.
	Write(ctx context.Context, notes []*ingestv1.FanOut) (inserted int, err error)
}

// Configuration is what this instance has heard of.
type Configuration interface {
	// HasOrganization reports whether an organization exists.
	HasOrganization(id string) bool
	// HeardSince reports whether what was configured by a time is known here.
	HeardSince(t time.Time) bool
}

// Metrics tells how the index fares.
type Metrics struct {
	Rows    prometheus.Counter // events that were written
	LeftOut prometheus.Counter // notes that cannot be
	Lag     prometheus.Gauge   // notes that wait, those that are being written included
}

// Writer writes the index.
type Writer struct {
	JetStream     jetstream.JetStream
	Config        bus.Config
	Store         Store
	Configuration Configuration
	Metrics       Metrics
	Logger        *slog.Logger
	Now           func() time.Time

	notes chan entry
}

// entry is a message and what it says.
type entry struct {
	msg  *bus.Msg
	note *ingestv1.FanOut
}

// Run writes until the context ends, and then what it has begun.
func (w *Writer) Run(ctx context.Context) error {
	w.notes = make(chan entry)
	consumer := &bus.Consumer{
		JetStream: w.JetStream,
		Stream:    bus.StreamFanOuts,
		Config:    w.Config.IndexConsumer(),
		Pull:      pull,
		Workers:   1,
		Handle:    w.take,
		Logger:    w.Logger,
	}
	var others sync.WaitGroup
	others.Go(func() { w.write(ctx) })
	others.Go(func() { w.watch(ctx) })
	err := consumer.Run(ctx)
	close(w.notes) // nothing is taken any more
	others.Wait()
	return err
}

// take passes a message on to be written.
func (w *Writer) take(ctx context.Context, msg *bus.Msg) {
	note := &ingestv1.FanOut{}
	if err := proto.Unmarshal(msg.Data(), note); err != nil {
		w.leaveOut(ctx, msg, err)
		return
	}
	if !w.Configuration.HasOrganization(note.GetOrganization()) {
		stored := note.GetAcceptTime().AsTime()
		if w.Now().Sub(stored) < core.ConfigurationDelay || !w.Configuration.HeardSince(stored) {
			msg.Later(core.ConfigurationDelay / 4)
			return
		}
		msg.Done() // it is gone, or never was; its rows must not come back after they were removed
		return
	}
	select {
	case w.notes <- entry{msg, note}:
	case <-ctx.Done():
		msg.Return()
	}
}

// leaveOut tells of what can never be stored. Only ingest itself publishes notes.
func (w *Writer) leaveOut(ctx context.Context, msg *bus.Msg, err error) {
	w.Logger.ErrorContext(ctx, "note of an event cannot be stored and is left out", "stream", msg.Stream, "sequence", msg.Sequence, "error", err)
	w.Metrics.LeftOut.Inc()
	msg.Done()
}

// write writes what is taken, until nothing will be any more.
func (w *Writer) write(ctx context.Context) {
	for first := range w.notes {
		w.store(ctx, w.batch(first))
	}
}

// batch collects what has come, and what comes within a moment.
func (w *Writer) batch(first entry) []entry {
	batch := []entry{first}
	timer := time.NewTimer(collect)
	defer timer.Stop()
	for len(batch) < maxBatch {
		select {
		case next, ok := <-w.notes:
			if !ok {
				return batch
			}
			batch = append(batch, next)
		case <-timer.C:
			return batch
		}
	}
	return batch
}

// Waits between attempts to write a batch.
const (
	minWait = 100 * time.Millisecond
	maxWait = 5 * time.Second
)

// lastTry is how long the last attempt to write may take while stopping.
const lastTry = 2 * time.Second

// store writes a batch, for as long as it takes, and settles its messages. When Postgres refuses a note each half is
// written by itself, so that one bad note does not hold up the others.
func (w *Writer) store(ctx context.Context, batch []entry) {
	inserted := 0
	attempt := func(ctx context.Context) (err error) {
		if inserted, err = w.Store.Write(ctx, w.wanted(batch)); fault.Is(err, fault.InvalidArgument) {
			return lifecycle.Permanent(err)
		}
		return err // whatever is wrong with Postgres, the notes wait until someone has mended it
	}
	err := lifecycle.Retry(ctx, w.Logger, "write the index of events", minWait, maxWait, attempt)
	if err != nil && ctx.Err() != nil && !fault.Is(err, fault.InvalidArgument) {
		last, cancel := context.WithTimeout(lifecycle.Grace(ctx), lastTry)
		defer cancel()
		err = attempt(last)
	}
	switch {
	case err == nil:
		w.Metrics.Rows.Add(float64(inserted))
		for _, e := range batch {
			e.msg.Done()
		}
	case !fault.Is(err, fault.InvalidArgument):
		for _, e := range batch {
			e.msg.Return() // to whoever runs then
		}
	case len(batch) == 1:
		w.leaveOut(ctx, batch[0].msg, err)
	default:
		w.store(ctx, batch[:len(batch)/2])
		w.store(ctx, batch[len(batch)/2:])
	}
}

// wanted returns the notes of a batch whose organizations have not been deleted since they came: Postgres may have been
// away for long.
func (w *Writer) wanted(batch []entry) []*ingestv1.FanOut {
	notes := make([]*ingestv1.FanOut, 0, len(batch))
	for _, e := range batch {
		if w.Configuration.HasOrganization(e.note.GetOrganization()) {
			notes = append(notes, e.note)
		}
	}
	return notes
}

// watchEvery is how often it is looked how many notes wait.
const watchEvery = 5 * time.Second

// requestTime bounds a request to NATS.
const requestTime = 5 * time.Second

// watch keeps the lag up to date.
func (w *Writer) watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		waiting, err := w.Waiting(ctx)
		switch {
		case err == nil:
			w.Metrics.Lag.Set(float64(waiting))
		case ctx.Err() == nil:
			w.Logger.WarnContext(ctx, "lag of the index is not known", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Waiting returns how many notes are not in the index yet.
func (w *Writer) Waiting(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	stream, err := w.JetStream.Stream(ctx, bus.StreamFanOuts)
	if err != nil {
		return 0, fmt.Errorf("open stream %s: %w", bus.StreamFanOuts, err)
	}
	return stream.CachedInfo().State.Msgs, nil
}
