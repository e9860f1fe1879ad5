package grpcapi

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/rpc"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// Tester makes the attempts of tests. A client of delivery's InternalService implements it.
type Tester interface {
	// SendTest makes one attempt and answers with it.
	SendTest(context.Context, *deliveryv1.SendTestRequest, ...grpc.CallOption) (*deliveryv1.SendTestResponse, error)
}

// Testing is what the service sends tests with.
type Testing struct {
	Tester Tester
	// Told returns a webhook as the other services are told of it.
	Told func(core.Webhook) *configv1.Webhook
}

// TestWebhook implements WebhookService.
func (s *Webhooks) TestWebhook(ctx context.Context, req *subscriptionv1.TestWebhookRequest) (*subscriptionv1.TestWebhookResponse, error) {
	wanted, err := wantedPreview(req.GetParent(), req.GetWebhook())
	if err != nil {
		return nil, err
	}
	wanted.Trigger, wanted.Event = req.GetTrigger(), req.GetEvent()
	w, event, err := s.previews.Test(ctx, wanted)
	if err != nil {
		return nil, err
	}
	answer, err := s.testing.Tester.SendTest(ctx, &deliveryv1.SendTestRequest{Webhook: s.testing.Told(w), Event: event})
	if err != nil {
		return nil, fmt.Errorf("have delivery send a test: %w", rpc.FaultFromStatus(err))
	}
	attempt := answer.GetAttempt()
	if wanted.ID == "" {
		attempt.Webhook = "" // there is none of that name
	}
	return &subscriptionv1.TestWebhookResponse{Attempt: attempt}, nil
}

// wantedPreview returns which webhook of an organization is meant, saved or not.
func wantedPreview(parent string, w *subscriptionv1.Webhook) (core.Preview, error) {
	organization, err := parseOrganization("parent", parent)
	if err != nil {
		return core.Preview{}, err
	}
	wanted := core.Preview{Organization: organization}
	if w.GetName() != "" {
		wanted.ID, err = savedWebhook(organization, w)
	} else {
		wanted.Webhook, err = webhookChange(organization, w, nil)
	}
	return wanted, err
}
