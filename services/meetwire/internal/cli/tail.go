package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

type tail struct {
	Webhook    string `help:"Only to this webhook."`
	Trigger    string `help:"Only of this trigger."`
	EventID    string `help:"Only of events with this id." name:"event-id"`
	StatusCode int    `help:"Only with this HTTP status in the answer."`
	ErrorClass string `help:"Only that failed like this, such as timeout."`
	Failed     bool   `help:"Only that failed."`
	Bodies     bool   `help:"Also show headers and bodies."`
	Count      int    `help:"Stop after so many; 0: go on until interrupted." short:"n"`
}

// Run implements the command.
func (c *tail) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	webhook, err := s.optionalWebhook(c.Webhook)
	if err != nil {
		return err
	}
	failed := ""
	if c.Failed {
		failed = "false"
	}
	client, err := s.deliveryClient()
	if err != nil {
		return err
	}
	stream, err := client.WatchAttempts(s.ctx, &deliveryv1.WatchAttemptsRequest{
		Parent: parent, Brief: !c.Bodies,
		Filter: newFilter().is("webhook", webhook).is("trigger", c.Trigger).is("event_id", c.EventID).
			number("status_code", c.StatusCode).is("error_class", c.ErrorClass).is("succeeded", failed).String(),
	})
	if err != nil {
		return err
	}
	for n := 0; c.Count == 0 || n < c.Count; n++ {
		answer, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF) || s.ctx.Err() != nil:
			return nil //nolint:nilerr // it has ended in order, or was interrupted
		case err != nil:
			return err
		}
		if err := c.show(s, answer); err != nil {
			return err
		}
	}
	return nil
}

// show writes an attempt: a line, or what the API has.
func (c *tail) show(s *Session, answer *deliveryv1.WatchAttemptsResponse) error {
	if s.connection.Output != "table" {
		return s.showRaw(answer)
	}
	if missed := answer.GetMissedCount(); missed > 0 {
		if err := s.warn(fmt.Sprintf("%d attempts were missed: they came faster than they can be shown", missed)); err != nil {
			return err
		}
	}
	attempt := answer.GetAttempt()
	if c.Bodies {
		return s.showAttempt(attempt)
	}
	result := attempt.GetErrorClass()
	if code := attempt.GetStatusCode(); code != 0 {
		result = fmt.Sprint(code)
	}
	_, webhook, _ := strings.Cut(attempt.GetWebhook(), "/webhooks/")
	return s.say("%s  %-8s  %8s  #%d  %s  %s  %s", clock(attempt.GetStartTime().AsTime()), printable(result),
		attempt.GetDuration().AsDuration().Round(100_000), attempt.GetNumber(), printable(attempt.GetTrigger()),
		printable(attempt.GetEventId()), printable(webhook))
}
