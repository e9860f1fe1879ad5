package cli

import (
	"github.com/google/uuid"

	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
)

type webhooksBackfill struct {
	one
	many

	Since   *timeFlag `help:"Events stored from this time on." required:""`
	Until   *timeFlag `help:"Events stored before this time. Default: now."`
	Trigger []string  `help:"Only events of these triggers or groups."`
	Filter  string    `help:"Only events that satisfy this CEL expression, besides the webhook's filter."`
}

// Run implements the command.
func (c *webhooksBackfill) Run(s *Session) error {
	name, err := s.name("webhooks", c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.eventClient()
	if err != nil {
		return err
	}
	operation, err := client.BackfillWebhook(s.ctx, &ingestv1.BackfillWebhookRequest{
		Name: name, StartTime: c.Since.timestamp(), EndTime: c.Until.timestamp(), Triggers: c.Trigger,
		Filter: c.Filter, Rate: c.Rate, DryRun: c.DryRun, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return c.follow(s, operation)
}
