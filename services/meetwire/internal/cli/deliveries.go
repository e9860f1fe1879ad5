package cli

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

type deliveries struct {
	List     deliveriesList     `cmd:"" help:"List deliveries, those of the newest events first."`
	Get      deliveriesGet      `cmd:"" help:"Show a delivery."`
	Attempts deliveriesAttempts `cmd:"" help:"Show the requests of a delivery and their answers."`
	Resend   deliveriesResend   `cmd:"" help:"Make a delivery again, now, with new retries."`
	Retry    deliveriesRetry    `cmd:"" help:"Have what waits for a retry tried now."`
	Cancel   deliveriesCancel   `cmd:"" help:"Cancel a delivery that waits for a retry."`
	Waiting  deliveriesWaiting  `cmd:"" help:"List what waits for a webhook, with the time at which it is due."`
}

func deliveryColumns() []column {
	return []column{
		{"delivery", "name"},
		{"state", "state"},
		{"reason", "reason"},
		{"trigger", "trigger"},
		{"event", "event_id"},
		{"webhook", "=webhook"},
		{"attempts", "attempt_count"},
		{"last status", "last_status_code"},
		{"last error", "last_error_class"},
		{"next attempt", "next_attempt_time"},
		{"source", "event_source"},
		{"event sequence", "event_sequence"},
		{"accepted", "accept_time"},
		{"updated", "update_time"},
	}
}

func (s *Session) deliveryClient() (deliveryv1.DeliveryServiceClient, error) {
	conn, err := s.conn()
	return deliveryv1.NewDeliveryServiceClient(conn), err
}

type deliveriesList struct {
	page

	Webhook    string    `help:"Only to this webhook."`
	Trigger    string    `help:"Only of this trigger."`
	EventID    string    `help:"Only of events with this id." name:"event-id"`
	State      string    `help:"Only in this state: pending, succeeded, dead_lettered or dropped." enum:",pending,succeeded,dead_lettered,dropped" default:""`
	StatusCode int       `help:"Only with this HTTP status in the last answer."`
	ErrorClass string    `help:"Only whose last attempt failed like this, such as timeout."`
	Since      *timeFlag `help:"Only of events stored from this time on, such as 2027-01-31T12:00:00Z."`
	Until      *timeFlag `help:"Only of events stored before this time."`
}

// Run implements the command.
func (c *deliveriesList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	webhook, err := s.optionalWebhook(c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.deliveryClient()
	if err != nil {
		return err
	}
	answer, err := client.ListDeliveries(s.ctx, &deliveryv1.ListDeliveriesRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
		Filter: newFilter().is("webhook", webhook).is("trigger", c.Trigger).is("event_id", c.EventID).
			enum("state", "STATE_", c.State).number("last_status_code", c.StatusCode).is("last_error_class", c.ErrorClass).
			between("accept_time", c.Since, c.Until).String(),
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetDeliveries(), answer, deliveryColumns()[:10])
}

// deliveryArg is the argument of commands on one delivery.
type deliveryArg struct {
	Delivery string `arg:"" help:"Id: what the receiver gets as webhook-id."`
}

func (a deliveryArg) client(s *Session) (name string, client deliveryv1.DeliveryServiceClient, err error) {
	if name, err = s.name("deliveries", a.Delivery); err != nil {
		return "", nil, err
	}
	client, err = s.deliveryClient()
	return name, client, err
}

type deliveriesGet struct{ deliveryArg }

// Run implements the command.
func (c *deliveriesGet) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	answer, err := client.GetDelivery(s.ctx, &deliveryv1.GetDeliveryRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, deliveryColumns())
}

func attemptColumns() []column {
	return []column{
		{"attempt", "number"},
		{"began", "start_time"},
		{"status", "status_code"},
		{"error", "error_class"},
		{"took", "duration"},
		{"next", "next_attempt_time"},
		{"what went wrong", "error_message"},
		{"url", "request_url"},
		{"to", "remote_address"},
		{"dns", "dns_duration"},
		{"connect", "connect_duration"},
		{"tls", "tls_duration"},
		{"first byte", "first_byte_duration"},
	}
}

type deliveriesAttempts struct {
	page
	deliveryArg

	Bodies bool `help:"Also show headers and bodies."`
}

// Run implements the command.
func (c *deliveriesAttempts) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	answer, err := client.ListAttempts(s.ctx, &deliveryv1.ListAttemptsRequest{
		Parent: name, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
	})
	if err != nil {
		return err
	}
	if !c.Bodies || s.connection.Output != "table" {
		return tablePage(s, answer.GetAttempts(), answer, attemptColumns()[:7])
	}
	for _, attempt := range answer.GetAttempts() {
		if err := s.showAttempt(attempt); err != nil {
			return err
		}
	}
	return s.more(answer.GetNextPageToken())
}

// showAttempt shows a request and its answer.
func (s *Session) showAttempt(attempt *deliveryv1.Attempt) error {
	if err := s.show(attempt, attemptColumns()); err != nil {
		return err
	}
	for _, part := range []struct {
		title   string
		headers []*deliveryv1.Header
		body    string
	}{
		{"request", attempt.GetRequestHeaders(), bodyText(attempt.GetRequestText(), attempt.GetRequestBody())},
		{"answer", attempt.GetResponseHeaders(), bodyText(attempt.GetResponseText(), attempt.GetResponseBody())},
	} {
		if len(part.headers) == 0 && part.body == "" {
			continue
		}
		if err := s.say("\n--- %s", part.title); err != nil {
			return err
		}
		for _, header := range part.headers {
			if err := s.say("%s: %s", printable(header.GetName()), printable(header.GetValue())); err != nil {
				return err
			}
		}
		if err := s.say("\n%s", part.body); err != nil {
			return err
		}
	}
	return nil
}

// bodyText shows a body, which is text or anything else.
func bodyText(text string, body []byte) string {
	if len(body) > 0 {
		return fmt.Sprintf("%d bytes that are no text", len(body))
	}
	return printableLines(text)
}

type deliveriesResend struct{ deliveryArg }

// Run implements the command.
func (c *deliveriesResend) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	answer, err := client.ResendDelivery(s.ctx, &deliveryv1.ResendDeliveryRequest{Name: name, RequestId: uuid.NewString()})
	if err != nil {
		return err
	}
	return s.show(answer, []column{{"on its way again", "delivery"}})
}

type deliveriesRetry struct {
	many

	Delivery string `arg:"" optional:"" help:"Id of one delivery; else many are tried, as the flags say."`
	Webhook  string `help:"All that waits for this webhook."`
	All      bool   `help:"All that waits in the organization."`
}

// errRetryWhat is returned when it is not said what is to be tried.
var errRetryWhat = usageError("give the id of a delivery, --webhook or --all")

// Run implements the command.
func (c *deliveriesRetry) Run(s *Session) error {
	given := 0
	for _, set := range []bool{c.Delivery != "", c.Webhook != "", c.All} {
		if set {
			given++
		}
	}
	if given != 1 {
		return errRetryWhat
	}
	if c.Delivery != "" {
		name, client, err := deliveryArg{c.Delivery}.client(s)
		if err != nil {
			return err
		}
		if _, err := client.RetryDelivery(s.ctx, &deliveryv1.RetryDeliveryRequest{Name: name}); err != nil {
			return err
		}
		return s.say("%s is tried now", name)
	}
	parent, err := s.organization()
	if err != nil {
		return err
	}
	webhook, err := s.optionalWebhook(c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.deliveryClient()
	if err != nil {
		return err
	}
	operation, err := client.RetryDeliveries(s.ctx, &deliveryv1.RetryDeliveriesRequest{
		Parent: parent, Webhook: webhook, Rate: c.Rate, DryRun: c.DryRun, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return c.follow(s, operation)
}

type deliveriesCancel struct {
	deliveryArg
	confirmation
}

// Run implements the command.
func (c *deliveriesCancel) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	if err := c.confirm(s, "cancel "+name, c.Delivery); err != nil {
		return err
	}
	if _, err := client.CancelDelivery(s.ctx, &deliveryv1.CancelDeliveryRequest{Name: name}); err != nil {
		return err
	}
	return s.say("canceled %s", name)
}

type deliveriesWaiting struct {
	page
	one
}

// Run implements the command.
func (c *deliveriesWaiting) Run(s *Session) error {
	name, err := s.name("webhooks", c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.deliveryClient()
	if err != nil {
		return err
	}
	answer, err := client.ListTimers(s.ctx, &deliveryv1.ListTimersRequest{
		Parent: name, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetTimers(), answer, []column{
		{"due", "due_time"}, {"delivery", "=delivery"}, {"trigger", "trigger"}, {"event", "event_id"}, {"attempts", "attempt_count"}, {"paused", "parked"},
	})
}

type webhooksStatistics struct {
	one

	Since *timeFlag `help:"From the hour of this time on. Default: 24 hours ago."`
	Until *timeFlag `help:"Up to this time. Default: now."`
}

// Run implements the command.
func (c *webhooksStatistics) Run(s *Session) error {
	name, err := s.name("webhooks", c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.deliveryClient()
	if err != nil {
		return err
	}
	answer, err := client.ListWebhookStatistics(s.ctx, &deliveryv1.ListWebhookStatisticsRequest{
		Parent: name, StartTime: c.Since.timestamp(), EndTime: c.Until.timestamp(),
	})
	if err != nil {
		return err
	}
	return table(s, answer.GetStatistics(), answer, []column{
		{"hour", "hour"},
		{"attempts", "attempt_count"},
		{"successes", "success_count"},
		{"p50", "p50_duration"},
		{"p95", "p95_duration"},
		{"p99", "p99_duration"},
		{"dead letters", "dead_letter_count"},
		{"failures", "failure_counts"},
	})
}

// clock is how an attempt's time is shown in a line of its own.
func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }
