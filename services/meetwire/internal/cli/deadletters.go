package cli

import (
	"strings"

	"github.com/google/uuid"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

type deadLetters struct {
	List   deadLettersList   `cmd:"" help:"List dead letters, the oldest first."`
	Get    deadLettersGet    `cmd:"" help:"Show a dead letter with its event and its attempts."`
	Replay deadLettersReplay `cmd:"" help:"Send dead letters again."`
	Purge  deadLettersPurge  `cmd:"" help:"Remove dead letters for good."`
}

func deadLetterColumns() []column {
	return []column{
		{"delivery", "name"},
		{"reason", "reason"},
		{"dead since", "dead_letter_time"},
		{"trigger", "trigger"},
		{"event", "event_id"},
		{"webhook", "=webhook"},
		{"attempts", "attempt_count"},
		{"source", "event_source"},
		{"event sequence", "event_sequence"},
		{"accepted", "accept_time"},
		{"expires", "expire_time"},
	}
}

func (s *Session) deadLetterClient() (deliveryv1.DeadLetterServiceClient, error) {
	conn, err := s.conn()
	return deliveryv1.NewDeadLetterServiceClient(conn), err
}

// whichLetters are the flags that say which dead letters.
type whichLetters struct {
	Webhook string    `help:"Only of this webhook."`
	Trigger string    `help:"Only of this trigger."`
	Reason  string    `help:"Only with this reason, such as attempts_exhausted."`
	EventID string    `help:"Only of events with this id." name:"event-id"`
	Since   *timeFlag `help:"Only dead from this time on, such as 2027-01-31T12:00:00Z."`
	Until   *timeFlag `help:"Only dead before this time."`
}

func (w whichLetters) filter(s *Session, delivery string) (string, error) {
	webhook, err := s.optionalWebhook(w.Webhook)
	return newFilter().is("webhook", webhook).is("trigger", w.Trigger).is("reason", w.Reason).is("event_id", w.EventID).
		is("delivery", delivery).between("dead_letter_time", w.Since, w.Until).String(), err
}

type deadLettersList struct {
	page
	whichLetters
}

// Run implements the command.
func (c *deadLettersList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	filter, err := c.filter(s, "")
	if err != nil {
		return err
	}
	client, err := s.deadLetterClient()
	if err != nil {
		return err
	}
	answer, err := client.ListDeadLetters(s.ctx, &deliveryv1.ListDeadLettersRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, Filter: filter, //nolint:gosec // G115: checked by the API
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetDeadLetters(), answer, deadLetterColumns()[:7])
}

type deadLettersGet struct {
	Delivery string `arg:"" help:"Id of the delivery."`
}

// Run implements the command.
func (c *deadLettersGet) Run(s *Session) error {
	name, err := s.name("deadLetters", c.Delivery)
	if err != nil {
		return err
	}
	client, err := s.deadLetterClient()
	if err != nil {
		return err
	}
	answer, err := client.GetDeadLetter(s.ctx, &deliveryv1.GetDeadLetterRequest{Name: name})
	if err != nil {
		return err
	}
	if err := s.show(answer, deadLetterColumns()); err != nil || s.connection.Output != "table" {
		return err
	}
	if err := s.say(""); err != nil {
		return err
	}
	if err := table(s, answer.GetAttempts(), answer, attemptColumns()[:7]); err != nil {
		return err
	}
	if err := s.say(""); err != nil {
		return err
	}
	return s.document(answer.GetEvent())
}

type deadLettersReplay struct {
	many
	whichLetters

	Delivery string `arg:"" optional:"" help:"Id of one delivery; else many are sent, as the flags say."`
	All      bool   `help:"All of the organization; with -O - those of all organizations."`
}

// errWhichLetters is returned when it is not said which dead letters.
var errWhichLetters = usageError("say which dead letters: give the id of a delivery, flags, or --all")

// Run implements the command.
func (c *deadLettersReplay) Run(s *Session) error {
	client, err := s.deadLetterClient()
	if err != nil {
		return err
	}
	filter, err := c.filter(s, "")
	if err != nil {
		return err
	}
	if given := filter != ""; c.Delivery != "" && (given || c.All) || c.Delivery == "" && given == c.All {
		return errWhichLetters
	}
	if c.Delivery != "" {
		name, err := s.name("deadLetters", c.Delivery)
		if err != nil {
			return err
		}
		answer, err := client.ReplayDeadLetter(s.ctx, &deliveryv1.ReplayDeadLetterRequest{Name: name})
		if err != nil {
			return err
		}
		return s.show(answer, []column{{"on its way again", "delivery"}})
	}
	parent, err := s.organization()
	if err != nil {
		return err
	}
	operation, err := client.ReplayDeadLetters(s.ctx, &deliveryv1.ReplayDeadLettersRequest{
		Parent: parent, Filter: filter, Rate: c.Rate, DryRun: c.DryRun, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return c.follow(s, operation)
}

type deadLettersPurge struct {
	confirmation
	whichLetters

	Delivery string `arg:"" optional:"" help:"Id of one delivery; else many are removed, as the flags say."`
	All      bool   `help:"All of the organization; with -O - those of all organizations."`
	DryRun   bool   `help:"Only count."`
	Detach   bool   `help:"Do not wait for the end of the operation."`
}

// Run implements the command.
func (c *deadLettersPurge) Run(s *Session) error {
	filter, err := c.filter(s, c.Delivery)
	if err != nil {
		return err
	}
	if (filter != "") == c.All {
		return errWhichLetters
	}
	if c.All {
		filter = "*"
	}
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.deadLetterClient()
	if err != nil {
		return err
	}
	if !c.DryRun {
		if err := c.confirm(s, "remove dead letters of "+parent, strings.TrimPrefix(parent, "organizations/")); err != nil {
			return err
		}
	}
	operation, err := client.PurgeDeadLetters(s.ctx, &deliveryv1.PurgeDeadLettersRequest{
		Parent: parent, Filter: filter, Force: !c.DryRun, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return many{Detach: c.Detach}.follow(s, operation)
}
