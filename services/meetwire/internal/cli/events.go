package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc/status"

	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

type events struct {
	Publish eventsPublish `cmd:"" help:"Publish events from a file."`
	List    eventsList    `cmd:"" help:"List events, the newest first."`
	Get     eventsGet     `cmd:"" help:"Show an event with its document, and what has become of it."`
	Explain eventsExplain `cmd:"" help:"Show which webhooks an event matches today, and which rule says no to the others."`
	Replay  eventsReplay  `cmd:"" help:"Send events again."`
	Erase   eventsErase   `cmd:"" help:"Delete what events say, everywhere and for good."`
}

func eventColumns() []column {
	return []column{
		{"event", "name"},
		{"trigger", "trigger"},
		{"source", "source"},
		{"id", "id"},
		{"subject", "subject"},
		{"accepted", "accept_time"},
		{"matched", "matched_count"},
		{"skipped", "skipped_count"},
		{"rejected by", "reject_rule"},
		{"erased", "erase_time"},
		{"time", "time"},
	}
}

func (s *Session) eventClient() (ingestv1.EventServiceClient, error) {
	conn, err := s.conn()
	return ingestv1.NewEventServiceClient(conn), err
}

type eventsPublish struct {
	File         string `arg:"" help:"File with a CloudEvents document, or with a JSON array of up to 1,000; - reads from standard input."`
	ValidateOnly bool   `help:"Check, and publish nothing."`
}

// errRefused is returned when not every event was accepted.
var errRefused = errors.New("not every event was accepted")

// Run implements the command.
func (c *eventsPublish) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	text, err := s.readFile(c.File)
	if err != nil {
		return err
	}
	client, err := s.eventClient()
	if err != nil {
		return err
	}
	body := &httpbody.HttpBody{ContentType: "application/json", Data: text}
	if !bytes.HasPrefix(bytes.TrimSpace(text), []byte("[")) {
		answer, err := client.PublishEvent(s.ctx, &ingestv1.PublishEventRequest{Parent: parent, Event: body, ValidateOnly: c.ValidateOnly})
		if err != nil {
			return err
		}
		return s.show(answer, []column{{"event", "name"}, {"source", "source"}, {"id", "id"}, {"duplicate", "duplicate"}})
	}
	answer, err := client.PublishEvents(s.ctx, &ingestv1.PublishEventsRequest{Parent: parent, Events: body, ValidateOnly: c.ValidateOnly})
	if err != nil {
		return err
	}
	return s.showResults(answer)
}

// showResults tells what became of each of several events.
func (s *Session) showResults(answer *ingestv1.PublishEventsResponse) error {
	refused := false
	lines := []string{"SOURCE\tID\tEVENT"}
	for i, result := range answer.GetResults() {
		if failure := result.GetError(); failure != nil {
			refused = true
			lines = append(lines, fmt.Sprintf("\t\tevents[%d]: %s", i, Explain(status.FromProto(failure).Err())))
			continue
		}
		event := result.GetEvent()
		_, sequence, _ := strings.Cut(event.GetName(), "/events/")
		if event.GetDuplicate() {
			sequence += " (duplicate)"
		}
		lines = append(lines, printable(event.GetSource())+"\t"+printable(event.GetId())+"\t"+sequence)
	}
	show := func() error { return s.align(lines) }
	if s.connection.Output != "table" {
		show = func() error { return s.showRaw(answer) }
	}
	if err := show(); err != nil {
		return err
	}
	if refused {
		return errRefused
	}
	return nil
}

type eventsList struct {
	page

	Trigger string    `help:"Only of this trigger."`
	Subject string    `help:"Only of this subject, such as a meeting's id."`
	ID      string    `help:"Only with this id." name:"id"`
	Source  string    `help:"Only of this source."`
	Since   *timeFlag `help:"Only stored from this time on, such as 2027-01-31T12:00:00Z."`
	Until   *timeFlag `help:"Only stored before this time."`
}

// Run implements the command.
func (c *eventsList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.eventClient()
	if err != nil {
		return err
	}
	answer, err := client.ListEvents(s.ctx, &ingestv1.ListEventsRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
		Filter: newFilter().is("trigger", c.Trigger).is("subject", c.Subject).is("id", c.ID).is("source", c.Source).
			between("accept_time", c.Since, c.Until).String(),
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetEvents(), answer, eventColumns()[:9])
}

// eventArg is the argument of commands on one event.
type eventArg struct {
	Event string `arg:"" help:"Id: its sequence in EVENTS, which receivers get as Meetwire-Event-Sequence."`
}

func (a eventArg) client(s *Session) (name string, client ingestv1.EventServiceClient, err error) {
	if name, err = s.name("events", a.Event); err != nil {
		return "", nil, err
	}
	client, err = s.eventClient()
	return name, client, err
}

type eventsGet struct{ eventArg }

// Run implements the command.
func (c *eventsGet) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	event, err := client.GetEvent(s.ctx, &ingestv1.GetEventRequest{Name: name})
	if err != nil {
		return err
	}
	if s.connection.Output != "table" {
		return s.showRaw(event)
	}
	outcome, err := client.GetEventOutcome(s.ctx, &ingestv1.GetEventOutcomeRequest{Name: name + "/outcome"})
	if err != nil {
		return err
	}
	if err := s.show(event, eventColumns()); err != nil {
		return err
	}
	if err := s.show(outcome, []column{
		{"state", "state"}, {"delivered", "delivered_count"}, {"pending", "pending_count"}, {"dead", "dead_count"}, {"dropped", "dropped_count"},
	}); err != nil {
		return err
	}
	return s.document(event.GetEvent())
}

type eventsExplain struct {
	page

	Event   string `arg:"" optional:"" help:"Id of an event that is kept."`
	File    string `help:"File with an event that is not published; - reads from standard input." placeholder:"FILE"`
	Webhook string `help:"Only this webhook."`
}

// errEventOrFile is returned when it is not said which event.
var errEventOrFile = usageError("give the id of an event, or --file with one")

// Run implements the command.
func (c *eventsExplain) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	request := &ingestv1.ExplainEventRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
	}
	switch {
	case (c.Event == "") == (c.File == ""):
		return errEventOrFile
	case c.File != "":
		text, err := s.readFile(c.File)
		if err != nil {
			return err
		}
		request.Subject = &ingestv1.ExplainEventRequest_Event{Event: string(text)}
	default:
		name, err := s.name("events", c.Event)
		if err != nil {
			return err
		}
		request.Subject = &ingestv1.ExplainEventRequest_Name{Name: name}
	}
	if request.Webhook, err = s.optionalWebhook(c.Webhook); err != nil {
		return err
	}
	client, err := s.eventClient()
	if err != nil {
		return err
	}
	answer, err := client.ExplainEvent(s.ctx, request)
	if err != nil {
		return err
	}
	if err := table(s, answer.GetDecisions(), answer, []column{
		{"webhook", "=webhook"}, {"matched", "matched"}, {"rule", "rule"}, {"detail", "detail"}, {"filter says", "filter_value"},
	}); err != nil {
		return err
	}
	if !answer.GetAccepted() {
		if err := s.warn("It would not be accepted: " + Explain(status.FromProto(answer.GetError()).Err())); err != nil {
			return err
		}
	}
	return s.more(answer.GetNextPageToken())
}

// optionalWebhook returns the name of a webhook, which may be left out.
func (s *Session) optionalWebhook(id string) (string, error) {
	if id == "" {
		return "", nil
	}
	return s.name("webhooks", id)
}

// many is what commands have that begin an operation on many things.
type many struct {
	Rate   float64 `help:"How many per second at most; 0: the default of the API."`
	DryRun bool    `help:"Only count."`
	Detach bool    `help:"Do not wait for the end of the operation."`
}

// follow shows an operation until it has ended.
func (m many) follow(s *Session, operation *operationv1.Operation) error {
	if m.Detach {
		return s.show(operation, operationColumns())
	}
	return (&operationsWait{operationArg{operation.GetName()}}).Run(s)
}

type eventsReplay struct {
	many

	Event   string    `arg:"" optional:"" help:"Id of one event; else many are sent, as the flags say."`
	Webhook string    `help:"Only to this webhook. Default: to all that match today."`
	Since   *timeFlag `help:"Events stored from this time on."`
	Until   *timeFlag `help:"Events stored before this time. Default: now."`
	Trigger []string  `help:"Only events of these triggers or groups."`
	Subject string    `help:"Only events of this subject."`
	Filter  string    `help:"Only events that satisfy this CEL expression."`
}

// errEventOrSince is returned when it is not said which events.
var errEventOrSince = usageError("give the id of an event, or --since")

// Run implements the command.
func (c *eventsReplay) Run(s *Session) error {
	if (c.Event == "") == (c.Since == nil) {
		return errEventOrSince
	}
	webhook, err := s.optionalWebhook(c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.eventClient()
	if err != nil {
		return err
	}
	if c.Event != "" {
		name, err := s.name("events", c.Event)
		if err != nil {
			return err
		}
		answer, err := client.ReplayEvent(s.ctx, &ingestv1.ReplayEventRequest{Name: name, Webhook: webhook, RequestId: uuid.NewString()})
		if err != nil {
			return err
		}
		return s.show(answer, []column{{"sent again", "delivery_count"}, {"deliveries", "deliveries"}})
	}
	parent, err := s.organization()
	if err != nil {
		return err
	}
	operation, err := client.ReplayEvents(s.ctx, &ingestv1.ReplayEventsRequest{
		Parent: parent, Webhook: webhook, StartTime: c.Since.timestamp(), EndTime: c.Until.timestamp(), Triggers: c.Trigger,
		Subject: c.Subject, Filter: c.Filter, Rate: c.Rate, DryRun: c.DryRun, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return c.follow(s, operation)
}

type eventsErase struct {
	confirmation

	Events  []string `arg:"" optional:"" name:"event" help:"Ids of events: their sequences in EVENTS."`
	EventID string   `help:"Events with this CloudEvents id, whatever their source." name:"event-id"`
	Subject string   `help:"Events of this subject, such as a meeting's id."`
	DryRun  bool     `help:"Only count."`
	Detach  bool     `help:"Do not wait for the end of the operation."`
}

// Run implements the command.
func (c *eventsErase) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	names, err := s.names("events", c.Events)
	if err != nil {
		return err
	}
	client, err := s.eventClient()
	if err != nil {
		return err
	}
	if !c.DryRun {
		if err := c.confirm(s, "erase events of "+parent, strings.TrimPrefix(parent, "organizations/")); err != nil {
			return err
		}
	}
	operation, err := client.EraseEvents(s.ctx, &ingestv1.EraseEventsRequest{
		Parent: parent, Names: names, EventId: c.EventID, Subject: c.Subject, DryRun: c.DryRun, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return many{Detach: c.Detach}.follow(s, operation)
}
