// Package natsbus is ingest's side of NATS: it takes events from EVENTS, publishes deliveries, and keeps what
// cannot be accepted in REJECTS. What became of each event it tells in FANOUTS. What an event must be and who gets it is
// core's.
package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/cloudevent"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// Bounds of one consumer: how many events wait in this process, and how many are fanned out at once.
const (
	pull    = 500
	workers = 32
)

// Metrics counts what becomes of events.
type Metrics interface {
	// FannedOut counts an event and its deliveries.
	FannedOut(deliveries int)
	// Rejected counts an event that was not accepted, by the rule it breaks.
	Rejected(rule string)
	// Warned counts an event that was accepted although its data does not satisfy the schema.
	Warned()
	// FiltersFailed counts filters that could not tell whether an event satisfies them.
	FiltersFailed(n int)
}

// Worker fans events out.
type Worker struct {
	JetStream jetstream.JetStream
	Config    bus.Config
	Catalogue core.Catalogue
	Index     *core.Index
	Metrics   Metrics
	// ServiceToken is what operational events are proven with.
	ServiceToken secret.String
	// Start returns since when the events of a platform trigger are taken; zero: since ever.
	Start func(trigger string) time.Time
	// HeardSince reports whether what was configured by a time is known here.
	HeardSince func(t time.Time) bool
	Logger     *slog.Logger
	Now        func() time.Time
}

// Run works off the events of one platform trigger, or of bus.LaneCustom, until the context ends.
func (w *Worker) Run(ctx context.Context, trigger string) error {
	consumer := &bus.Consumer{
		JetStream: w.JetStream,
		Stream:    bus.StreamEvents,
		Config:    w.Config.IngestConsumer(trigger, w.Start(trigger)),
		Pull:      pull,
		Workers:   workers,
		Logger:    w.Logger,
	}
	consumer.Handle = func(handling context.Context, msg *bus.Msg) {
		handling, cancel := context.WithCancel(handling)
		defer cancel()
		patient, end := context.WithCancel(handling) // until we are told to stop
		defer context.AfterFunc(ctx, end)()
		w.settle(handling, msg, func(ctx context.Context, msg *bus.Msg) error { return w.fanOut(ctx, patient, msg) })
	}
	return consumer.Run(ctx)
}

// RunIndex looks at every event and moves those that have no lane to REJECTS, until the context ends.
func (w *Worker) RunIndex(ctx context.Context) error {
	consumer := &bus.Consumer{
		JetStream: w.JetStream,
		Stream:    bus.StreamEvents,
		Config:    w.Config.EventIndexConsumer(),
		Pull:      pull,
		Workers:   workers,
		Handle:    func(ctx context.Context, msg *bus.Msg) { w.settle(ctx, msg, w.route) },
		Logger:    w.Logger,
	}
	return consumer.Run(ctx)
}

// errNotYet says that an event may be about something that was configured a moment ago.
var errNotYet = errors.New("the configuration may not have arrived yet")

// settle handles an event and gives its message the answer that follows.
func (w *Worker) settle(ctx context.Context, msg *bus.Msg, handle func(context.Context, *bus.Msg) error) {
	err := handle(ctx, msg)
	if errors.Is(err, errNotYet) {
		msg.Later(core.ConfigurationDelay / 4)
		return
	}
	msg.Settle(err)
}

// fanOut publishes one delivery for each webhook that asked. It returns after the last of them is stored. While there is no
// room for them it waits until patient ends.
func (w *Worker) fanOut(ctx, patient context.Context, msg *bus.Msg) error {
	organization, trigger, err := bus.ParseEventSubject(msg.Subject())
	if err != nil {
		return err
	}
	event, warning, err := w.accept(organization, trigger, msg.Data(), msg.Headers())
	if err != nil {
		return w.reject(ctx, msg, organization, msg.Data(), err)
	}
	match := w.Index.Match(organization, event)
	task := task{
		lane: bus.Lane(trigger), organization: organization, event: event,
		sequence: msg.Sequence, stored: msg.Stored, revision: match.Revision,
	}
	task.traceParent, task.traceState = cloudevent.Trace(msg.Headers(), event.Raw)
	if err := w.deliver(ctx, patient, task, match.Webhooks); err != nil {
		return err
	}
	// Only now: until then the event may come again, and match others.
	noted, err := w.note(task, match)
	if err != nil {
		return err
	}
	if err := await(ctx, noted); err != nil {
		return err
	}
	w.Metrics.FannedOut(len(match.Webhooks))
	w.Metrics.FiltersFailed(len(match.Failed))
	if warning {
		w.Metrics.Warned()
	}
	return nil
}

// accept checks an event that came over NATS. A warning says that its data does not satisfy the schema.
func (w *Worker) accept(organization, trigger string, body []byte, header nats.Header) (event *core.Event, warning bool, err error) {
	document, err := core.FromMessage(header, body)
	if err != nil {
		return nil, false, err
	}
	event, err = core.Parse(document)
	if err != nil {
		return nil, false, err
	}
	if event.Type != trigger {
		return nil, false, core.TypeMismatch(trigger)
	}
	warning, err = core.Check(w.Catalogue, organization, event, w.operational(organization, event, header))
	return event, warning, err
}

// operational reports whether Meetwire itself has published an event.
func (w *Worker) operational(organization string, event *core.Event, header nats.Header) bool {
	return event.Source == bus.OperationalSource &&
		bus.CheckOperational(w.ServiceToken, header, bus.EventMsgID(organization, event.Source, event.ID))
}

// task is an event that is being fanned out.
type task struct {
	lane         string
	organization string
	event        *core.Event
	sequence     uint64
	stored       time.Time
	revision     int64 // of the configuration that it was matched with

	traceParent, traceState string // empty: none
}

// deliver publishes one delivery for each webhook, and returns when all of them are stored.
func (w *Worker) deliver(ctx, patient context.Context, t task, webhooks []string) error {
	settle := func(sent sending) error { return w.stored(ctx, patient, &t, sent) }
	way := newWindow(len(t.event.Raw), settle)
	for _, webhook := range webhooks {
		future, err := w.publish(t, webhook)
		if err != nil {
			return err
		}
		if err := way.add(sending{webhook, future}); err != nil {
			return err
		}
	}
	return way.close()
}

// publish publishes one delivery.
func (w *Worker) publish(t task, webhook string) (jetstream.PubAckFuture, error) {
	delivery := t.delivery(webhook)
	future, err := bus.PublishAsync(w.JetStream, delivery, delivery.Header.Get(bus.HeaderDeliveryID))
	if err != nil {
		return nil, fmt.Errorf("publish a delivery: %w", err)
	}
	return future, nil
}

// Waits while there is no room for a delivery.
const (
	minRoomWait = 50 * time.Millisecond
	maxRoomWait = time.Second
)

// stored returns when a delivery that was published is stored. When there is no room it is published again and again:
// were the event to come again instead, it would begin with the first webhook each time, and after two minutes those that
// have it would get it twice, and the last ones never.
func (w *Worker) stored(ctx, patient context.Context, t *task, sent sending) error {
	_, err := bus.Await(ctx, sent.future)
	if fault.Is(err, fault.ResourceExhausted) {
		err = lifecycle.Retry(patient, w.Logger, "find room for a delivery", minRoomWait, maxRoomWait, func(ctx context.Context) error {
			delivery := t.delivery(sent.webhook)
			_, err := bus.Publish(ctx, w.JetStream, delivery, delivery.Header.Get(bus.HeaderDeliveryID))
			if !fault.Is(err, fault.ResourceExhausted) {
				err = lifecycle.Permanent(err)
			}
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("publish a delivery: %w", err)
	}
	return nil
}

// await waits until everything that was published is stored.
func await(ctx context.Context, futures []jetstream.PubAckFuture) error {
	for _, future := range futures {
		if _, err := bus.Await(ctx, future); err != nil {
			return fmt.Errorf("publish a delivery, or what became of its event: %w", err)
		}
	}
	return nil
}

// delivery makes the message of one delivery. Nothing of what the publisher put into the headers travels on but
// the trace context.
func (t *task) delivery(webhook string) *nats.Msg {
	out := nats.NewMsg(bus.DeliverySubject(t.lane, t.organization, webhook))
	out.Data = t.event.Raw
	out.Header = nats.Header{
		bus.HeaderDeliveryID:     {bus.DeliveryID(t.organization, t.event.Source, t.event.ID, webhook)},
		bus.HeaderOrganization:   {t.organization},
		bus.HeaderWebhookID:      {webhook},
		bus.HeaderTrigger:        {t.event.Type},
		bus.HeaderSource:         {t.event.Source},
		bus.HeaderEventID:        {t.event.ID},
		bus.HeaderEventSequence:  {strconv.FormatUint(t.sequence, 10)},
		bus.HeaderConfigRevision: {strconv.FormatInt(t.revision, 10)},
		bus.HeaderAcceptedAt:     {t.stored.UTC().Format(time.RFC3339Nano)},
	}
	if t.traceParent != "" {
		out.Header[bus.HeaderTraceParent] = []string{t.traceParent}
	}
	if t.traceState != "" {
		out.Header[bus.HeaderTraceState] = []string{t.traceState}
	}
	return out
}
