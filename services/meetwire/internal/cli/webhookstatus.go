package cli

import (
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
)

type webhooksHealth struct{ one }

// Run implements the command.
func (c *webhooksHealth) Run(s *Session) error {
	name, err := s.name("webhooks", c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.deliveryClient()
	if err != nil {
		return err
	}
	answer, err := client.GetWebhookHealth(s.ctx, &deliveryv1.GetWebhookHealthRequest{Name: name + "/health"})
	if err != nil {
		return err
	}
	return s.show(answer, []column{
		{"failures in a row", "consecutive_failures"},
		{"failing since", "failing_since"},
		{"failing deliveries", "failing_delivery_count"},
		{"last success", "last_success_time"},
		{"last failure", "last_failure_time"},
		{"last status", "last_status_code"},
		{"last error", "last_error_class"},
		{"waiting for a retry", "waiting_count"},
		{"attempts under way", "flow.active_count"},
		{"replays among them", "flow.bulk_active_count"},
		{"waiting in line", "flow.waiting_count"},
		{"replays among those", "flow.bulk_waiting_count"},
		{"given back for a moment", "flow.lent_count"},
		{"at once", "flow.concurrency"},
		{"per second", "flow.rate_limit"},
		{"an attempt takes", "flow.average_duration"},
		{"last attempt timed out", "flow.timed_out"},
		{"breaker", "flow.breaker"},
		{"next probe", "flow.probe_time"},
		{"slots promised until", "flow.reserved_until"},
		{"slots promised to replays until", "flow.bulk_reserved_until"},
		{"workers", "flow.worker_count"},
		{"generation", "generation"},
	})
}

type webhooksMatching struct{ one }

// Run implements the command.
func (c *webhooksMatching) Run(s *Session) error {
	name, err := s.name("webhooks", c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.eventClient()
	if err != nil {
		return err
	}
	answer, err := client.GetWebhookMatching(s.ctx, &ingestv1.GetWebhookMatchingRequest{Name: name + "/matching"})
	if err != nil {
		return err
	}
	return s.show(answer, []column{
		{"webhook", "=name"},
		{"missed events since", "skipped_since"},
		{"missed events", "skipped_count"},
		{"filter failures", "filter_failure_count"},
		{"last filter failure", "last_filter_failure_time"},
		{"last filter error", "last_filter_error"},
	})
}
