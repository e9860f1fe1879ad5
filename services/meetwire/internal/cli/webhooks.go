package cli

import (
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/meetwire/meetwire/pkg/webhook"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

type webhooks struct {
	List            webhooksList            `cmd:"" help:"List webhooks."`
	Get             webhooksGet             `cmd:"" help:"Show webhooks."`
	Create          webhooksCreate          `cmd:"" help:"Create a webhook."`
	Update          webhooksUpdate          `cmd:"" help:"Change a webhook."`
	Delete          webhooksDelete          `cmd:"" help:"Delete a webhook for good."`
	Apply           webhooksApply           `cmd:"" help:"Create and change webhooks as a YAML file has them."`
	Pause           webhooksPause           `cmd:"" help:"Pause a webhook: events are not sent."`
	Resume          webhooksResume          `cmd:"" help:"Make a paused webhook active again."`
	Enable          webhooksEnable          `cmd:"" help:"Make a webhook active again that Meetwire has disabled."`
	RotateSecret    webhooksRotateSecret    `cmd:"" help:"Give a webhook a new secret; the ones before stay valid for a while."`
	ActivateSecret  webhooksActivateSecret  `cmd:"" help:"Let only the newest secret be valid from now on."`
	RevealSecret    webhooksRevealSecret    `cmd:"" help:"Show the secrets of a webhook. This is audited."`
	Test            webhooksTest            `cmd:"" help:"Send a sample, or a given event, now and once, and show the answer."`
	Preview         webhooksPreview         `cmd:"" help:"Show the request that a webhook would send, without sending it."`
	Backfill        webhooksBackfill        `cmd:"" help:"Send a webhook what happened in a time range."`
	Health          webhooksHealth          `cmd:"" help:"Show how the deliveries of a webhook go, and how it is treated for that."`
	Matching        webhooksMatching        `cmd:"" help:"Show what a webhook has missed, and whether its filter fails."`
	Statistics      webhooksStatistics      `cmd:"" help:"Show how the attempts of a webhook went, hour by hour."`
	CheckDuplicates webhooksCheckDuplicates `cmd:"" help:"Find webhooks that send a trigger to a URL already."`
}

func webhookColumns() []column {
	return []column{
		{"webhook", "name"},
		{"name", "display_name"},
		{"status", "status"},
		{"url", "target_url"},
		{"triggers", "triggers"},
		{"dialect", "dialect"},
		{"description", "description"},
		{"reason", "status_reason"},
		{"since", "status_time"},
		{"event types", "event_types"},
		{"teams", "teams"},
		{"filter", "filter"},
		{"dialect options", "dialect_options"},
		{"secret of", "secret_source"},
		{"secret", "secret"},
		{"secrets", "secret_versions"},
		{"headers", "headers"},
		{"retries", "retry_policy"},
		{"time-out", "timeout"},
		{"disabled after", "failure_threshold"},
		{"at once", "max_concurrency"},
		{"per second", "rate_limit"},
		{"alerts to", "alert_emails"},
		{"metadata", "metadata"},
		{"generation", "generation"},
		{"created", "create_time"},
		{"changed", "update_time"},
		{"etag", "etag"},
	}
}

func (s *Session) webhookClient() (subscriptionv1.WebhookServiceClient, error) {
	conn, err := s.conn()
	return subscriptionv1.NewWebhookServiceClient(conn), err
}

type webhooksList struct {
	page

	Filter  string `help:"Which ones, such as 'status=STATUS_DISABLED' or 'trigger=\"meeting.booked\"'."`
	OrderBy string `help:"In which order, such as 'update_time desc'."`
}

// Run implements the command.
func (c *webhooksList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.webhookClient()
	if err != nil {
		return err
	}
	answer, err := client.ListWebhooks(s.ctx, &subscriptionv1.ListWebhooksRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
		Filter: c.Filter, OrderBy: c.OrderBy,
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetWebhooks(), answer, webhookColumns()[:6])
}

type webhooksGet struct {
	Webhooks []string `arg:"" name:"webhook" help:"Ids."`
}

// Run implements the command.
func (c *webhooksGet) Run(s *Session) error {
	names, err := s.names("webhooks", c.Webhooks)
	if err != nil {
		return err
	}
	client, err := s.webhookClient()
	if err != nil {
		return err
	}
	if len(names) == 1 {
		answer, err := client.GetWebhook(s.ctx, &subscriptionv1.GetWebhookRequest{Name: names[0]})
		if err != nil {
			return err
		}
		return s.show(answer, webhookColumns())
	}
	parent, err := s.organization()
	if err != nil {
		return err
	}
	answer, err := client.BatchGetWebhooks(s.ctx, &subscriptionv1.BatchGetWebhooksRequest{Parent: parent, Names: names})
	if err != nil {
		return err
	}
	return table(s, answer.GetWebhooks(), answer, webhookColumns()[:6])
}

type webhooksCreate struct {
	webhookFields

	DisplayName string `arg:"" help:"Name for people."`
	SecretFile  string `help:"File with the signing secret; - reads it from standard input. Default: one is made, where the dialect needs one." placeholder:"FILE"`
}

// Run implements the command.
func (c *webhooksCreate) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.webhookClient()
	if err != nil {
		return err
	}
	webhook := &subscriptionv1.Webhook{DisplayName: c.DisplayName}
	if _, err := c.apply(s, webhook); err != nil {
		return err
	}
	own, err := s.readSecret(c.SecretFile)
	if err != nil {
		return err
	}
	webhook.Secret = own.Reveal()
	s.warnOfDuplicates(client, parent, webhook)
	answer, err := client.CreateWebhook(s.ctx, &subscriptionv1.CreateWebhookRequest{
		Parent: parent, Webhook: webhook, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return s.show(answer, webhookColumns())
}

// warnOfDuplicates tells of webhooks that do the same already. Whatever is wrong with the request, its creation tells.
func (s *Session) warnOfDuplicates(client subscriptionv1.WebhookServiceClient, parent string, webhook *subscriptionv1.Webhook) {
	answer, err := client.CheckDuplicateWebhooks(s.ctx, &subscriptionv1.CheckDuplicateWebhooksRequest{
		Parent: parent, TargetUrl: webhook.GetTargetUrl(), Triggers: webhook.GetTriggers(),
	})
	if err != nil {
		return
	}
	for _, duplicate := range answer.GetDuplicates() {
		_ = s.warn("warning: " + duplicate.GetWebhook() + " sends this to the same URL already") // it is only a warning
	}
}

type webhooksUpdate struct {
	webhookFields

	Webhook string  `arg:"" help:"Id."`
	Name    *string `help:"Name for people." name:"display-name"`
	Etag    string  `help:"Refuse when the webhook was changed since it had this etag."`
}

// Run implements the command.
func (c *webhooksUpdate) Run(s *Session) error {
	name, err := s.name("webhooks", c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.webhookClient()
	if err != nil {
		return err
	}
	webhook := &subscriptionv1.Webhook{Name: name, Etag: c.Etag}
	paths, err := c.apply(s, webhook)
	if err != nil {
		return err
	}
	m := mask{paths: paths}
	set(&m, "display_name", c.Name, &webhook.DisplayName)
	if len(m.paths) == 0 {
		return errNothingToChange
	}
	answer, err := client.UpdateWebhook(s.ctx, &subscriptionv1.UpdateWebhookRequest{
		Webhook: webhook, UpdateMask: &fieldmaskpb.FieldMask{Paths: m.paths},
	})
	if err != nil {
		return err
	}
	return s.show(answer, webhookColumns())
}

type webhooksDelete struct {
	confirmation

	Webhook string `arg:"" help:"Id."`
}

// Run implements the command.
func (c *webhooksDelete) Run(s *Session) error {
	name, err := s.name("webhooks", c.Webhook)
	if err != nil {
		return err
	}
	client, err := s.webhookClient()
	if err != nil {
		return err
	}
	if err := c.confirm(s, "delete "+name+" and drop what waits for it", c.Webhook); err != nil {
		return err
	}
	if _, err := client.DeleteWebhook(s.ctx, &subscriptionv1.DeleteWebhookRequest{Name: name}); err != nil {
		return err
	}
	return s.say("deleted %s", name)
}

// one is the argument of actions on one webhook.
type one struct {
	Webhook string `arg:"" help:"Id."`
}

// client returns the webhook's name and a client.
func (c one) client(s *Session) (string, subscriptionv1.WebhookServiceClient, error) {
	name, err := s.name("webhooks", c.Webhook)
	if err != nil {
		return "", nil, err
	}
	client, err := s.webhookClient()
	return name, client, err
}

// graceFlag is for how long secrets stay valid that a new one replaces.
type graceFlag struct {
	Grace *time.Duration `help:"For how long the secrets before stay valid, 0 to 168h. Default: 24h."`
}

type webhooksRotateSecret struct {
	one
	graceFlag

	SecretFile string `help:"File with the new secret; - reads it from standard input. Default: one is made." placeholder:"FILE" xor:"secret"`
	Ed25519    bool   `name:"ed25519" help:"Make a key pair of which the receiver needs only the public key, which is printed. For standard and cloudevents." xor:"secret"`
}

// Run implements the command.
func (c *webhooksRotateSecret) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	own, err := s.readSecret(c.SecretFile)
	if err != nil {
		return err
	}
	given, public := own.Reveal(), ""
	if c.Ed25519 {
		if given, public, err = webhook.NewKeyPair(); err != nil {
			return err
		}
	}
	answer, err := client.RotateWebhookSecret(s.ctx, &subscriptionv1.RotateWebhookSecretRequest{
		Name: name, Secret: given, GracePeriod: duration(c.Grace),
	})
	if err != nil {
		return err
	}
	if c.Ed25519 {
		return s.say("%s", public) // nobody needs to see the private key
	}
	return s.show(answer, webhookColumns())
}
