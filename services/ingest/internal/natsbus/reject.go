package natsbus

import (
	"context"
	"fmt"
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

// route moves an event to REJECTS when no lane carries its trigger.
func (w *Worker) route(ctx context.Context, msg *bus.Msg) error {
	organization, trigger, err := bus.ParseEventSubject(msg.Subject())
	if err != nil {
		return err
	}
	if w.hasLane(msg, organization, trigger) {
		return nil
	}
	if _, known := w.Catalogue.Trigger(organization, trigger); bus.IsTrigger(trigger) && !known && w.young(msg) {
		return errNotYet
	}
	whole, err := (&Events{JetStream: w.JetStream}).Event(ctx, msg.Sequence)
	if fault.Is(err, fault.NotFound) {
		return nil // it has expired in between
	}
	if err != nil {
		return err
	}
	return w.keep(ctx, msg, organization, whole.Body, whole.Header, core.UnknownTrigger("type"))
}

// hasLane reports whether a lane carries an event: its trigger is one of an organization's own, or one of the platform
// that was registered before. What is older than its trigger was of an unknown trigger, and the lane begins after it.
func (w *Worker) hasLane(msg *bus.Msg, organization, trigger string) bool {
	if !bus.IsTrigger(trigger) {
		return false
	}
	if bus.Lane(trigger) == bus.LaneCustom {
		return true
	}
	known, ok := w.Catalogue.Trigger(organization, trigger)
	return ok && !msg.Stored.Before(known.Start)
}

// young reports that what an event names may have been configured and not have reached us yet: the event was stored
// a moment ago, or the configuration feed has been silent since.
func (w *Worker) young(msg *bus.Msg) bool {
	return w.Now().Sub(msg.Stored) < core.ConfigurationDelay || !w.HeardSince(msg.Stored)
}

// reject keeps what cannot be accepted, unless it may become acceptable in a moment.
func (w *Worker) reject(ctx context.Context, msg *bus.Msg, organization string, body []byte, reason error) error {
	if rule := ruleOf(reason); (rule == core.RuleUnknownOrganization || rule == core.RuleUnknownTrigger) && w.young(msg) {
		return errNotYet
	}
	return w.keep(ctx, msg, organization, body, msg.Headers(), reason)
}

// keep stores an event in REJECTS with the reason.
func (w *Worker) keep(
	ctx context.Context, msg *bus.Msg, organization string, body []byte, header nats.Header, reason error,
) error {
	f := fault.From(reason)
	field := fault.Field{}
	if len(f.Fields) > 0 {
		field = f.Fields[0]
	}
	out := nats.NewMsg(bus.RejectSubject(organization))
	out.Data, out.Header = whole(header, body)
	for name, value := range map[string]string{
		bus.HeaderReason:        field.Rule,
		bus.HeaderField:         oneLine(core.PointerOf(field.Path)),
		bus.HeaderDetail:        oneLine(field.Message),
		bus.HeaderSubject:       msg.Subject(),
		bus.HeaderOrganization:  organization,
		bus.HeaderEventSequence: strconv.FormatUint(msg.Sequence, 10),
		bus.HeaderAcceptedAt:    msg.Stored.UTC().Format(time.RFC3339Nano),
	} {
		out.Header.Set(name, value)
	}
	kept, err := bus.PublishAsync(w.JetStream, out, msg.ID())
	if err != nil {
		return fmt.Errorf("keep a rejected event: %w", err)
	}
	stored := []jetstream.PubAckFuture{kept}
	if bus.IsOrganization(organization) { // nobody asks what became of the events of others, whose names may be no text
		noted, err := w.noteReject(msg, field.Rule, body)
		if err != nil {
			return err
		}
		stored = append(stored, noted)
	}
	if err := await(ctx, stored); err != nil {
		return fmt.Errorf("keep a rejected event: %w", err)
	}
	w.Metrics.Rejected(field.Rule)
	w.Logger.WarnContext(ctx, "event rejected", "organization", organization, "subject", msg.Subject(),
		"event_sequence", msg.Sequence, "rule", field.Rule, "field", field.Path)
	return nil
}

// whole returns what of an event is kept: the body, when it is a document, or the document that is made of an event in
// binary mode. When none can be made, the headers that say something of the event are kept beside its body.
func whole(header nats.Header, body []byte) ([]byte, nats.Header) {
	kept := make(nats.Header)
	document, err := core.FromMessage(header, body)
	if err == nil && (len(document) <= core.MaxEventBytes || len(document) == len(body)) {
		return document, kept
	}
	for name, values := range header {
		if core.IsEventHeader(name) {
			kept[name] = values
		}
	}
	return body, kept
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
