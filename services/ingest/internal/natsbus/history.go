package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/cloudevent"
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

// Past is an event of the history that would be accepted today: what would not be is in REJECTS, and so is what is older
// than its trigger.
type Past struct {
	Sequence uint64
	Stored   time.Time
	Lane     string // that has carried it
	Event    *core.Event

	organization string
	header       nats.Header
}

// FanOutHistory publishes, in the bulk lane, deliveries for what one webhook asks for today. Their ids are those of the
// live fan-out. Errors: fault.Unavailable, fault.ResourceExhausted (DELIVERIES is full), or the context's; the same part
// can then be asked for again.
func (w *Worker) FanOutHistory(ctx context.Context, h core.History) (core.Progress, error) {
	var futures []jetstream.PubAckFuture
	// What is published is waited for before much more of it is.
	settle := func() error {
		err := await(ctx, futures)
		futures = futures[:0]
		return err
	}
	matched := 0
	progress, err := w.Walk(ctx, h, func(past *Past) (bool, error) {
		reason, revision, ok, failed := w.Index.MatchOne(past.organization, h.Webhook, past.Event)
		if failed != nil {
			w.Metrics.FiltersFailed(1)
		}
		if !ok || reason != core.Matched {
			return true, nil
		}
		published, err := w.publish(past.task(revision), h.Webhook)
		if err != nil {
			return false, err
		}
		matched++
		if futures = append(futures, published); len(futures) >= historyBatch {
			return true, settle()
		}
		return true, nil
	})
	progress.Matched = matched
	if err != nil {
		return progress, err
	}
	return progress, settle()
}

// task is the fan-out of an event again.
func (p *Past) task(revision int64) task {
	t := task{
		lane: bus.LaneBulk, organization: p.organization, event: p.Event,
		sequence: p.Sequence, stored: p.Stored, revision: revision,
	}
	t.traceParent, t.traceState = cloudevent.Trace(p.header, p.Event.Raw)
	return t
}

// Walk reads a part of the history, oldest first, and gives each event that would be accepted today to a function, until
// that says that it has enough: with an event that is then not counted as looked at. Errors: fault.Unavailable, the
// context's, or the function's.
func (w *Worker) Walk(ctx context.Context, h core.History, see func(past *Past) (more bool, err error)) (core.Progress, error) {
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
		p := part{reader: reader, size: n, history: h, see: see, progress: &progress}
		if pending, err = w.historyPart(ctx, &p); err != nil || progress.Done || p.enough {
			return progress, err
		}
	}
	if progress.Events == 0 && !progress.Done {
		return progress, waitFor(ctx, min(left, endWait))
	}
	return progress, nil
}

// part is one request for events.
type part struct {
	reader   jetstream.Consumer
	size     int
	history  core.History
	see      func(past *Past) (more bool, err error)
	progress *core.Progress
	enough   bool // it wants no more
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

// historyPart reads the next events. It returns how many more there are. The time range is done when an event was met
// that is not in it any more.
func (w *Worker) historyPart(ctx context.Context, p *part) (pending uint64, err error) {
	batch, err := p.reader.Fetch(p.size, jetstream.FetchMaxWait(historyWait))
	if err != nil {
		return 0, streamFault(ctx, "read the history", err)
	}
	progress := p.progress
	before := progress.Events
	for raw := range batch.Messages() {
		meta, err := raw.Metadata()
		if err != nil {
			return 0, fmt.Errorf("read the metadata of an event: %w", err)
		}
		if meta.Sequence.Consumer != uint64(progress.Events)+1 { //nolint:gosec // G115: a count
			return 0, streamFault(ctx, "read the history", errGap)
		}
		if !meta.Timestamp.Before(p.history.End) {
			progress.Done = true
			break
		}
		more, err := w.historyEvent(p.see, raw, meta)
		if err != nil {
			return 0, err
		}
		if !more {
			p.enough = true
			break
		}
		progress.Events++
		progress.After, pending = meta.Sequence.Stream, meta.NumPending
	}
	if p.enough || progress.Done {
		return pending, nil
	}
	if err := batch.Error(); err != nil {
		return 0, streamFault(ctx, "read the history", err)
	}
	if progress.Events == before {
		return 0, w.nothingCame(ctx, p.reader)
	}
	return pending, nil
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

// historyEvent gives one event to a function, if it would be accepted today.
func (w *Worker) historyEvent(see func(*Past) (bool, error), raw jetstream.Msg, meta *jetstream.MsgMetadata) (more bool, err error) {
	organization, trigger, err := bus.ParseEventSubject(raw.Subject())
	if err != nil {
		return false, err
	}
	past := w.past(organization, trigger, meta.Sequence.Stream, meta.Timestamp, raw.Headers(), raw.Data())
	if past == nil {
		return true, nil
	}
	return see(past)
}

// past returns an event of the history, nil when it would not be accepted today.
func (w *Worker) past(organization, trigger string, sequence uint64, stored time.Time, header nats.Header, body []byte) *Past {
	event, _, err := w.accept(organization, trigger, body, header)
	if err != nil {
		return nil
	}
	if known, ok := w.Catalogue.Trigger(organization, trigger); !ok || stored.Before(known.Start) {
		return nil
	}
	return &Past{
		Sequence: sequence, Stored: stored, Lane: bus.Lane(trigger), Event: event, organization: organization, header: header,
	}
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
