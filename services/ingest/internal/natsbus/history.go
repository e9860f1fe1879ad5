package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

const (
	// historyBatch is how many events are read at once: with the greatest ones, 16 MiB.
	historyBatch = 64
	// historyWait is how long events that the stream has told of are waited for.
	historyWait = 5 * time.Second
	// historyIdle is how long the stream keeps a reader that asks for nothing, should it not be removed.
	historyIdle = 30 * time.Second
	// requestWait is how long the answer to a request is waited for.
	requestWait = 5 * time.Second
	// endWait is how long a call waits for the end of a time range that is not over.
	endWait = time.Second
)

// FanOutHistory publishes, in the bulk lane, deliveries for what one webhook asks for now. Their ids are those of the
// live fan-out. Errors: fault.Unavailable, fault.ResourceExhausted (DELIVERIES is full), or the context's; the same part
// can then be asked for again.
func (w *Worker) FanOutHistory(ctx context.Context, h core.History) (core.Progress, error) {
	progress := core.Progress{After: h.After}
	left := h.End.Sub(w.Now()) // before anything is read: what is stored meanwhile may be in the time range
	stream, err := w.stream(ctx, bus.StreamEvents)
	if err != nil {
		return progress, streamFault(ctx, "open stream EVENTS", err)
	}
	reader, err := request(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
		return stream.CreateConsumer(ctx, historyConsumer(h))
	})
	if err != nil {
		return progress, streamFault(ctx, "read the history", err)
	}
	created := reader.CachedInfo()
	defer func() {
		if err := stream.DeleteConsumer(context.WithoutCancel(ctx), created.Name); err != nil {
			w.Logger.DebugContext(ctx, "reader of the history was not removed and will expire", "error", err)
		}
	}()
	for pending := created.NumPending; ; {
		n := min(historyBatch, h.MaxEvents-progress.Events, int(min(pending, historyBatch)))
		if n == 0 {
			progress.Done = pending == 0 && left <= 0
			break
		}
		if pending, err = w.historyPart(ctx, reader, n, h, &progress); err != nil || progress.Done {
			return progress, err
		}
	}
	if progress.Events == 0 && !progress.Done {
		return progress, waitFor(ctx, min(left, endWait))
	}
	return progress, nil
}

// historyConsumer reads the events of an organization, once.
func historyConsumer(h core.History) jetstream.ConsumerConfig {
	config := jetstream.ConsumerConfig{
		FilterSubjects:    bus.EventOrganizationFilters(h.Organization),
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       h.After + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: historyIdle,
		MemoryStorage:     true,
		Replicas:          1,
	}
	if h.After == 0 {
		start := h.Start.UTC()
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = jetstream.DeliverByStartTimePolicy, 0, &start
	}
	return config
}

// errGap says that events were lost on their way here: nobody gives them out again.
var errGap = errors.New("events were lost on their way")

// historyPart reads the next n events and fans them out. It returns how many more there are. The time range is done
// when an event was met that is not in it any more.
func (w *Worker) historyPart(
	ctx context.Context, reader jetstream.Consumer, n int, h core.History, progress *core.Progress,
) (pending uint64, err error) {
	batch, err := reader.Fetch(n, jetstream.FetchMaxWait(historyWait))
	if err != nil {
		return 0, streamFault(ctx, "read the history", err)
	}
	before := progress.Events
	var futures []jetstream.PubAckFuture
	for raw := range batch.Messages() {
		meta, err := raw.Metadata()
		if err != nil {
			return 0, fmt.Errorf("read the metadata of an event: %w", err)
		}
		if meta.Sequence.Consumer != uint64(progress.Events)+1 { //nolint:gosec // G115: a count
			return 0, streamFault(ctx, "read the history", errGap)
		}
		if !meta.Timestamp.Before(h.End) {
			progress.Done = true
			break
		}
		published, err := w.historyEvent(h, raw, meta)
		if err != nil {
			return 0, err
		}
		futures = append(futures, published...)
		progress.Matched += len(published)
		progress.Events++
		progress.After, pending = meta.Sequence.Stream, meta.NumPending
	}
	if err := batch.Error(); err != nil && !progress.Done {
		return 0, streamFault(ctx, "read the history", err)
	}
	if progress.Events == before && !progress.Done {
		return 0, w.nothingCame(ctx, reader)
	}
	return pending, await(ctx, futures)
}

// nothingCame looks why events did not come that the stream has told of. They may have expired in between.
func (w *Worker) nothingCame(ctx context.Context, reader jetstream.Consumer) error {
	info, err := request(ctx, reader.Info)
	if err == nil && info.NumPending > 0 {
		err = errGap
	}
	if err != nil {
		return streamFault(ctx, "read the history", err)
	}
	return nil
}

// historyEvent fans one event out, if the webhook asks for it and it would be accepted today: what would not be is in
// REJECTS, and so is what is older than its trigger.
func (w *Worker) historyEvent(h core.History, raw jetstream.Msg, meta *jetstream.MsgMetadata) ([]jetstream.PubAckFuture, error) {
	organization, trigger, err := bus.ParseEventSubject(raw.Subject())
	if err != nil {
		return nil, err
	}
	event, _, err := w.accept(organization, trigger, raw.Data(), raw.Headers())
	if err != nil {
		return nil, nil //nolint:nilerr // see above
	}
	if known, ok := w.Catalogue.Trigger(organization, trigger); !ok || meta.Timestamp.Before(known.Start) {
		return nil, nil
	}
	reason, revision, ok, failed := w.Index.MatchOne(organization, h.Webhook, event)
	if failed != nil {
		w.Metrics.FiltersFailed(1)
	}
	if !ok || reason != core.Matched {
		return nil, nil
	}
	return w.publish(task{
		lane: bus.LaneBulk, organization: organization, event: event, header: raw.Headers(),
		sequence: meta.Sequence.Stream, stored: meta.Timestamp, revision: revision,
	}, []string{h.Webhook})
}

// waitFor waits, or returns the context's error when that ends before.
func waitFor(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stream opens a stream.
func (w *Worker) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	return request(ctx, func(ctx context.Context) (jetstream.Stream, error) { return w.JetStream.Stream(ctx, name) })
}

// request makes a request of the JetStream API. One that was sent while the server went away is never answered.
func request[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	return ask(ctx)
}

// streamFault says what a failure to work with a stream means to a caller.
func streamFault(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	return fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", fmt.Errorf("%s: %w", doing, err), "the stream is not available")
}
