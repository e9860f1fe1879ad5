package natsbus

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

const (
	// maxNoted is how many webhooks of one kind a part of a note names.
	maxNoted = 1000
	// maxFilterError bounds why a filter failed, in characters.
	maxFilterError = 256
)

// newNote says what is known of an event that was accepted, or of one that was rejected as far as it can be read.
func newNote(organization, trigger string, event *core.Event, sequence uint64, stored time.Time) *ingestv1.FanOut {
	note := &ingestv1.FanOut{
		EventSequence: int64(sequence), //nolint:gosec // G115: a sequence of JetStream
		Organization:  organization,
		Trigger:       text(trigger),
		AcceptTime:    timestamppb.New(stored),
	}
	note.Source, note.Id, note.Subject = event.Source, event.ID, event.Subject
	if !event.Time.IsZero() {
		note.Time = timestamppb.New(event.Time)
	}
	return note
}

// text makes what a publisher has named fit for a note.
func text(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return oneLine(s)
}

// note publishes what became of an event that was fanned out, for the index. What is sent is stored when await says so.
func (w *Worker) note(t task, match core.Match) ([]jetstream.PubAckFuture, error) {
	note := newNote(t.organization, t.event.Type, t.event, t.sequence, t.stored)
	note.MatchedCount, note.SkippedCount = int32(len(match.Webhooks)), int32(len(match.Skipped)) //nolint:gosec // G115: counts of webhooks
	skips, failures := match.Skipped, match.Failed
	var futures []jetstream.PubAckFuture
	for first := true; first || len(skips)+len(failures) > 0; first = false {
		note.Skips, note.FilterFailures = nil, nil
		for _, skip := range skips[:min(len(skips), maxNoted)] {
			note.Skips = append(note.Skips, &ingestv1.FanOut_Skip{Webhook: skip.Webhook, Generation: skip.Generation})
		}
		for _, failure := range failures[:min(len(failures), maxNoted)] {
			note.FilterFailures = append(note.FilterFailures, &ingestv1.FanOut_FilterFailure{
				Webhook: failure.Webhook, Error: short(failure.Err.Error()),
			})
		}
		skips, failures = skips[len(note.GetSkips()):], failures[len(note.GetFilterFailures()):]
		future, err := w.publishNote(note)
		if err != nil {
			return nil, err
		}
		futures = append(futures, future)
		note.Part++
	}
	return futures, nil
}

// short bounds why a filter failed.
func short(why string) string {
	why = oneLine(why)
	if runes := []rune(why); len(runes) > maxFilterError {
		return string(runes[:maxFilterError])
	}
	return why
}

// noteReject publishes that an event was rejected, by a rule. What was published is told as far as it can be read. What is
// sent is stored when await says so.
func (w *Worker) noteReject(msg *bus.Msg, rule string, body []byte) (jetstream.PubAckFuture, error) {
	organization, trigger, err := bus.ParseEventSubject(msg.Subject())
	if err != nil {
		return nil, err
	}
	document, err := core.FromMessage(msg.Headers(), body)
	if err != nil {
		document = body
	}
	event, err := core.Parse(document)
	if err != nil {
		event = core.Glimpse(document)
	}
	note := newNote(organization, trigger, event, msg.Sequence, msg.Stored)
	note.RejectRule = rule
	return w.publishNote(note)
}

func (w *Worker) publishNote(note *ingestv1.FanOut) (jetstream.PubAckFuture, error) {
	body, err := proto.Marshal(note)
	if err != nil {
		return nil, fmt.Errorf("encode what became of an event: %w", err)
	}
	out := &nats.Msg{Subject: bus.FanOutSubject(note.GetOrganization()), Data: body, Header: nats.Header{}}
	id := bus.FanOutMsgID(uint64(note.GetEventSequence()), int(note.GetPart())) //nolint:gosec // G115: a sequence of JetStream
	future, err := bus.PublishAsync(w.JetStream, out, id)
	if err != nil {
		return nil, fmt.Errorf("publish what became of an event: %w", err)
	}
	return future, nil
}
