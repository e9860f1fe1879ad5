package cli

import (
	"cmp"
	"fmt"
	"strings"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

type webhooksPause struct{ one }

// Run implements the command.
func (c *webhooksPause) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	answer, err := client.PauseWebhook(s.ctx, &subscriptionv1.PauseWebhookRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, webhookColumns())
}

type webhooksResume struct {
	one

	SendMissed bool `help:"Also send what happened while it was paused."`
}

// Run implements the command.
func (c *webhooksResume) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	answer, err := client.ResumeWebhook(s.ctx, &subscriptionv1.ResumeWebhookRequest{Name: name, SendMissed: c.SendMissed})
	if err != nil {
		return err
	}
	if s.connection.Output != "table" {
		return s.showRaw(answer)
	}
	if err := s.show(answer.GetWebhook(), webhookColumns()); err != nil || answer.GetOperation() == nil {
		return err
	}
	return s.say("sending what was missed: %s", answer.GetOperation().GetName())
}

type webhooksEnable struct{ one }

// Run implements the command.
func (c *webhooksEnable) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	answer, err := client.EnableWebhook(s.ctx, &subscriptionv1.EnableWebhookRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, webhookColumns())
}

type webhooksActivateSecret struct {
	one
	confirmation
}

// Run implements the command.
func (c *webhooksActivateSecret) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	if err := c.confirm(s, "end the validity of the earlier secrets of "+name, c.Webhook); err != nil {
		return err
	}
	answer, err := client.ActivateWebhookSecret(s.ctx, &subscriptionv1.ActivateWebhookSecretRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, webhookColumns())
}

type webhooksRevealSecret struct{ one }

// Run implements the command.
func (c *webhooksRevealSecret) Run(s *Session) error {
	name, client, err := c.client(s)
	if err != nil {
		return err
	}
	answer, err := client.RevealWebhookSecret(s.ctx, &subscriptionv1.RevealWebhookSecretRequest{Name: name})
	if err != nil {
		return err
	}
	if s.connection.Output != "table" {
		return s.showRaw(answer)
	}
	return s.say("%s", strings.Join(answer.GetSecrets(), "\n"))
}

type webhooksPreview struct {
	Webhook   string `arg:"" help:"Id."`
	Trigger   string `help:"Trigger whose sample is rendered. Default: the webhook's first."`
	EventFile string `help:"File with a CloudEvents document to render instead; - reads from standard input." placeholder:"FILE"`
}

// Run implements the command.
func (c *webhooksPreview) Run(s *Session) error {
	name, client, err := one{Webhook: c.Webhook}.client(s)
	if err != nil {
		return err
	}
	parent, _, _ := strings.Cut(name, "/webhooks/")
	request := &subscriptionv1.PreviewWebhookRequest{
		Parent: parent, Webhook: &subscriptionv1.Webhook{Name: name}, Trigger: c.Trigger,
	}
	if c.EventFile != "" {
		event, err := s.readFile(c.EventFile)
		if err != nil {
			return err
		}
		request.Event = string(event)
	}
	answer, err := client.PreviewWebhook(s.ctx, request)
	if err != nil {
		return err
	}
	if s.connection.Output != "table" {
		return s.showRaw(answer)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", answer.GetMethod(), printable(answer.GetUrl()))
	for _, header := range answer.GetHeaders() {
		fmt.Fprintf(&b, "%s: %s\n", header.GetName(), printable(header.GetValue()))
	}
	if err := s.say("%s", b.String()); err != nil {
		return err
	}
	if err := s.document(answer.GetBody()); err != nil {
		return err
	}
	if !answer.GetMatches() {
		return s.warn("It would not be sent as the webhook is: " + answer.GetMismatch() + " says no.")
	}
	return nil
}

type webhooksTest struct {
	Webhook    string `arg:"" optional:"" help:"Id. Without it --url says where to send."`
	URL        string `help:"URL of a webhook that is not saved." name:"url"`
	Dialect    string `help:"Its dialect. Default: standard."`
	SecretFile string `help:"File with its secret; - reads from standard input. Default: one made for this test." placeholder:"FILE"`
	Trigger    string `help:"Trigger whose sample is sent. Default: the webhook's first; meeting.booked for one that is not saved."`
	EventFile  string `help:"File with a CloudEvents document to send instead; - reads from standard input." placeholder:"FILE"`
}

// errTestWhat is returned when it is not said what is to be tested.
var errTestWhat = usageError("give the id of a webhook, or --url for one that is not saved; --dialect and --secret-file are for that")

// Run implements the command.
func (c *webhooksTest) Run(s *Session) error {
	if (c.Webhook == "") == (c.URL == "") || c.Webhook != "" && c.Dialect+c.SecretFile != "" {
		return errTestWhat
	}
	parent, err := s.organization()
	if err != nil {
		return err
	}
	request := &subscriptionv1.TestWebhookRequest{Parent: parent, Trigger: c.Trigger}
	if c.Webhook != "" {
		name, err := s.name("webhooks", c.Webhook)
		if err != nil {
			return err
		}
		request.Parent, _, _ = strings.Cut(name, "/webhooks/")
		request.Webhook = &subscriptionv1.Webhook{Name: name}
	} else {
		given, err := s.readSecret(c.SecretFile)
		if err != nil {
			return err
		}
		request.Webhook = &subscriptionv1.Webhook{
			DisplayName: "Test", TargetUrl: c.URL, Dialect: c.Dialect, Secret: given.Reveal(),
			Triggers: []string{cmp.Or(c.Trigger, "meeting.booked")},
		}
	}
	if c.EventFile != "" {
		event, err := s.readFile(c.EventFile)
		if err != nil {
			return err
		}
		request.Event = string(event)
	}
	client, err := s.webhookClient()
	if err != nil {
		return err
	}
	answer, err := client.TestWebhook(s.ctx, request)
	if err != nil {
		return err
	}
	if s.connection.Output != "table" {
		return s.showRaw(answer)
	}
	return s.showAttempt(answer.GetAttempt())
}

type webhooksCheckDuplicates struct {
	URL      string   `arg:"" name:"url" help:"URL."`
	Triggers []string `arg:"" name:"trigger" help:"Triggers, and groups of them."`
}

// Run implements the command.
func (c *webhooksCheckDuplicates) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.webhookClient()
	if err != nil {
		return err
	}
	answer, err := client.CheckDuplicateWebhooks(s.ctx, &subscriptionv1.CheckDuplicateWebhooksRequest{
		Parent: parent, TargetUrl: c.URL, Triggers: c.Triggers,
	})
	if err != nil {
		return err
	}
	return table(s, answer.GetDuplicates(), answer, []column{{"webhook", "=webhook"}, {"triggers", "triggers"}})
}
