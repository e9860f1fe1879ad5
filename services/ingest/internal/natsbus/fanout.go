// Package natsbus is ingest's side of NATS: it takes events from EVENTS, publishes deliveries, and keeps what
// cannot be accepted in REJECTS. What an event must be and who gets it is core's.
package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
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
}

// Worker fans events out.
type Worker struct {
	JetStream jetstream.JetStream
	Config    bus.Config
	Catalogue core.Catalogue
	Index     *core.Index
	Metrics   Metrics
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
		Config:    w.Config.IngestConsumer(trigger),
		Pull:      pull,
		Workers:   workers,
		Handle:    func(ctx context.Context, msg *bus.Msg) { w.settle(ctx, msg, w.fanOut) },
		Logger:    w.Logger,
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
		Workers:   1,
		Handle:    func(ctx context.Context, msg *bus.Msg) { w.settle(ctx, msg, w.route) },
		Logger:    w.Logger,
	}
	return consumer.Run(ctx)
}

// errNotYet says that an event may be about something that was configured a moment ago.
var errNotYet = errors.New("the configuration may not have arrived yet")

// configurationDelay is how long after an event was stored what it names may still be on its way to us.
const configurationDelay = 2 * time.Second

// settle handles an event and gives its message the answer that follows.
func (w *Worker) settle(ctx context.Context, msg *bus.Msg, handle func(context.Context, *bus.Msg) error) {
	err := handle(ctx, msg)
	if errors.Is(err, errNotYet) {
		msg.Later(configurationDelay / 4)
		return
	}
	msg.Settle(err)
}

// fanOut publishes one delivery for each webhook that asked. It returns after the last of them is stored.
func (w *Worker) fanOut(ctx context.Context, msg *bus.Msg) error {
	organization, trigger, err := bus.ParseEventSubject(msg.Subject())
	if err != nil {
		return err
	}
	event, err := w.accept(msg, organization, trigger)
	if err != nil {
		return w.reject(ctx, msg, organization, msg.Data(), err)
	}
	webhooks, revision := w.Index.Match(organization, trigger)
	futures := make([]jetstream.PubAckFuture, len(webhooks))
	for i, webhook := range webhooks {
		delivery := w.delivery(msg, organization, trigger, event, webhook, revision)
		futures[i], err = bus.PublishAsync(w.JetStream, delivery, delivery.Header.Get(bus.HeaderDeliveryID))
		if err != nil {
			return fmt.Errorf("publish a delivery: %w", err)
		}
	}
	for _, future := range futures {
		if _, err := bus.Await(ctx, future); err != nil {
			return fmt.Errorf("publish a delivery: %w", err)
		}
	}
	w.Metrics.FannedOut(len(webhooks))
	return nil
}

// accept checks an event that came over NATS.
func (w *Worker) accept(msg *bus.Msg, organization, trigger string) (*core.Event, error) {
	event, err := core.Parse(msg.Data())
	if err != nil {
		return nil, err
	}
	if event.Type != trigger {
		return nil, core.TypeMismatch(trigger)
	}
	return event, core.Check(w.Catalogue, organization, event)
}

// delivery makes the message of one delivery. Nothing of what the publisher put into the headers travels on but
// the trace context.
func (w *Worker) delivery(msg *bus.Msg, organization, trigger string, event *core.Event, webhook string, revision int64) *nats.Msg {
	out := nats.NewMsg(bus.DeliverySubject(bus.Lane(trigger), organization, webhook))
	out.Data = event.Raw
	out.Header = nats.Header{
		bus.HeaderDeliveryID:     {bus.DeliveryID(organization, event.Source, event.ID, webhook)},
		bus.HeaderOrganization:   {organization},
		bus.HeaderWebhookID:      {webhook},
		bus.HeaderTrigger:        {trigger},
		bus.HeaderSource:         {event.Source},
		bus.HeaderEventID:        {event.ID},
		bus.HeaderEventSequence:  {strconv.FormatUint(msg.Sequence, 10)},
		bus.HeaderConfigRevision: {strconv.FormatInt(revision, 10)},
		bus.HeaderAcceptedAt:     {msg.Stored.UTC().Format(time.RFC3339Nano)},
	}
	for _, trace := range []string{bus.HeaderTraceParent, bus.HeaderTraceState} {
		if value := msg.Headers().Get(trace); value != "" && len(value) <= maxTrace {
			out.Header[trace] = []string{value}
		}
	}
	return out
}

// maxTrace is the greatest length of a trace header that is passed on: what the W3C recommendation asks every
// system to take.
const maxTrace = 512

// route moves an event to REJECTS when no lane carries its trigger.
func (w *Worker) route(ctx context.Context, msg *bus.Msg) error {
	organization, trigger, err := bus.ParseEventSubject(msg.Subject())
	if err != nil {
		return err
	}
	if bus.IsTrigger(trigger) && (bus.Lane(trigger) == bus.LaneCustom || w.Catalogue.HasTrigger(organization, trigger)) {
		return nil
	}
	if bus.IsTrigger(trigger) && w.young(msg) {
		return errNotYet
	}
	stream, err := w.JetStream.Stream(ctx, bus.StreamEvents)
	if err != nil {
		return fmt.Errorf("open stream %s: %w", bus.StreamEvents, err)
	}
	whole, err := stream.GetMsg(ctx, msg.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // it has expired in between
	}
	if err != nil {
		return fmt.Errorf("read the event: %w", err)
	}
	return w.keep(ctx, msg, organization, whole.Data, core.UnknownTrigger("type"))
}

// young reports that what an event names may have been configured and not have reached us yet: the event was stored
// a moment ago, or the configuration feed has been silent since.
func (w *Worker) young(msg *bus.Msg) bool {
	return w.Now().Sub(msg.Stored) < configurationDelay || !w.HeardSince(msg.Stored)
}

// reject keeps what cannot be accepted, unless it may become acceptable in a moment.
func (w *Worker) reject(ctx context.Context, msg *bus.Msg, organization string, body []byte, reason error) error {
	if rule := ruleOf(reason); (rule == core.RuleUnknownOrganization || rule == core.RuleUnknownTrigger) && w.young(msg) {
		return errNotYet
	}
	return w.keep(ctx, msg, organization, body, reason)
}

// keep stores an event in REJECTS with the reason.
func (w *Worker) keep(ctx context.Context, msg *bus.Msg, organization string, body []byte, reason error) error {
	f := fault.From(reason)
	field := fault.Field{}
	if len(f.Fields) > 0 {
		field = f.Fields[0]
	}
	out := nats.NewMsg(bus.RejectSubject(organization))
	out.Data = body
	out.Header = nats.Header{
		bus.HeaderReason:        {field.Rule},
		bus.HeaderField:         {oneLine(field.Path)},
		bus.HeaderDetail:        {oneLine(field.Message)},
		bus.HeaderSubject:       {msg.Subject()},
		bus.HeaderOrganization:  {organization},
		bus.HeaderEventSequence: {strconv.FormatUint(msg.Sequence, 10)},
		bus.HeaderAcceptedAt:    {msg.Stored.UTC().Format(time.RFC3339Nano)},
	}
	if _, err := bus.Publish(ctx, w.JetStream, out, msg.ID()); err != nil {
		return fmt.Errorf("keep a rejected event: %w", err)
	}
	w.Metrics.Rejected(field.Rule)
	w.Logger.WarnContext(ctx, "event rejected", "organization", organization, "subject", msg.Subject(),
		"event_sequence", msg.Sequence, "rule", field.Rule, "field", field.Path)
	return nil
}

func ruleOf(err error) string {
	if fields := fault.From(err).Fields; len(fields) > 0 {
		return fields[0].Rule
	}
	return ""
}

// maxHeaderText bounds what of a publisher's own words goes into a header.
const maxHeaderText = 1024

// oneLine makes text fit for a header.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxHeaderText {
		text = strings.ToValidUTF8(text[:maxHeaderText], "")
	}
	return strings.TrimSpace(text)
}
