// Package demo owns what `meetwire up --demo` shows: a receiver that checks signatures by itself, webhooks that
// point to it, some meetings, and a table of what arrived. It uses Meetwire as anybody would, through gRPC and NATS.
package demo

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// Organization is the tenant of the demo.
const Organization = "demo"

const parent = "organizations/" + Organization

// Addresses are where everything is.
type Addresses struct {
	REST, NATS, Subscription, Ingest, Delivery string
	// NATSUser is how the nats command is told as whom to publish, with a space in front; empty where NATS has no users.
	NATSUser string
}

// API calls subscription as an operator.
type API struct {
	key           secret.String
	organizations subscriptionv1.OrganizationServiceClient
	webhooks      subscriptionv1.WebhookServiceClient
	triggers      subscriptionv1.TriggerServiceClient
}

// NewAPI makes an API on a connection to subscription.
func NewAPI(conn grpc.ClientConnInterface, key secret.String) (*API, error) {
	return &API{
		key:           key,
		organizations: subscriptionv1.NewOrganizationServiceClient(conn),
		webhooks:      subscriptionv1.NewWebhookServiceClient(conn),
		triggers:      subscriptionv1.NewTriggerServiceClient(conn),
	}, nil
}

func (a *API) authorized(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+a.key.Reveal())
}

// ensureOrganization makes the demo's organization, unless an earlier run has.
func (a *API) ensureOrganization(ctx context.Context) error {
	_, err := a.organizations.CreateOrganization(a.authorized(ctx), &subscriptionv1.CreateOrganizationRequest{
		OrganizationId: Organization,
		Organization:   &subscriptionv1.Organization{DisplayName: "Demo", AllowHttp: true},
	})
	if err != nil && !fault.Is(rpc.FaultFromStatus(err), fault.AlreadyExists) {
		return fmt.Errorf("create the organization: %w", err)
	}
	return nil
}

// ensureWebhook makes a webhook that points to a URL and signs with a secret, or changes the one that an earlier
// run has made.
func (a *API) ensureWebhook(ctx context.Context, name, url, signing string, triggers ...string) error {
	wanted := &subscriptionv1.Webhook{
		DisplayName: name,
		TargetUrl:   url,
		Triggers:    triggers,
		Secret:      signing,
		RetryPolicy: &subscriptionv1.RetryPolicy{
			MaxRetries: 5,
			FirstDelay: durationpb.New(firstRetry),
			Factor:     2,
		},
	}
	existing, err := a.findWebhook(ctx, name)
	if err != nil {
		return err
	}
	if existing == nil {
		_, err = a.webhooks.CreateWebhook(a.authorized(ctx), &subscriptionv1.CreateWebhookRequest{Parent: parent, Webhook: wanted})
	} else {
		wanted.Name = existing.GetName()
		_, err = a.webhooks.UpdateWebhook(a.authorized(ctx), &subscriptionv1.UpdateWebhookRequest{
			Webhook:    wanted,
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"target_url", "triggers", "secret", "retry_policy"}},
		})
	}
	if err != nil {
		return fmt.Errorf("create the webhook %q: %w", name, err)
	}
	return nil
}

func (a *API) findWebhook(ctx context.Context, name string) (*subscriptionv1.Webhook, error) {
	request := &subscriptionv1.ListWebhooksRequest{Parent: parent, PageSize: 1000}
	for {
		page, err := a.webhooks.ListWebhooks(a.authorized(ctx), request)
		if err != nil {
			return nil, fmt.Errorf("list webhooks: %w", err)
		}
		for _, webhook := range page.GetWebhooks() {
			if webhook.GetDisplayName() == name {
				return webhook, nil
			}
		}
		if page.GetNextPageToken() == "" {
			return nil, nil //nolint:nilnil // there is none, and that is no failure
		}
		request.PageToken = page.GetNextPageToken()
	}
}

// sample returns a complete `data` for a trigger.
func (a *API) sample(ctx context.Context, trigger string) (string, error) {
	t, err := a.triggers.GetTrigger(a.authorized(ctx), &subscriptionv1.GetTriggerRequest{Name: parent + "/triggers/" + trigger})
	if err != nil {
		return "", fmt.Errorf("get the trigger %s: %w", trigger, err)
	}
	return t.GetSample(), nil
}
