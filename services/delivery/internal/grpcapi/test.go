package grpcapi

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

const (
	// maxTests is how many tests are made at once, per process, and maxTestsFor how many of them for one organization: they
	// are people's, and not limited by anything else.
	maxTests    = 10
	maxTestsFor = 4
	// testPrefix begins the id of what is no delivery.
	testPrefix = "test_"
	// testSequence is the sequence that the event of a test claims to have: every real one is as high or higher.
	testSequence = 1
)

// Drafts makes webhooks that need not exist.
type Drafts interface {
	// Unsaved makes a webhook; false when its organization is not known.
	Unsaved(w *configv1.Webhook) (*core.Webhook, bool)
}

// Tests makes attempts that are no deliveries.
type Tests struct {
	drafts Drafts
	sender core.Sender
	now    func() time.Time
	newID  func() string
	turns  *turns
}

// NewTests returns what makes tests.
func NewTests(drafts Drafts, sender core.Sender, now func() time.Time, newID func() string) *Tests {
	return &Tests{drafts: drafts, sender: sender, now: now, newID: newID, turns: newTurns(maxTests, maxTestsFor)}
}

// SendTest implements InternalService.
func (i *Internal) SendTest(ctx context.Context, request *deliveryv1.SendTestRequest) (*deliveryv1.SendTestResponse, error) {
	attempt, err := i.Tests.send(ctx, request.GetWebhook(), request.GetEvent())
	if err != nil {
		return nil, err
	}
	return &deliveryv1.SendTestResponse{Attempt: attempt}, nil
}

// send makes one attempt. Neither the webhook's limits nor its breaker know of it, and nothing is recorded.
func (t *Tests) send(ctx context.Context, configured *configv1.Webhook, event string) (*deliveryv1.Attempt, error) {
	if err := checkOrganization(configured.GetOrganization()); err != nil {
		return nil, err
	}
	if uuid.Validate(configured.GetId()) != nil {
		return nil, fault.Invalid(fault.Field{Path: "webhook.id", Rule: "uuid", Message: "must be a UUID"})
	}
	task, err := t.task(configured, event)
	if err != nil {
		return nil, err
	}
	webhook, ok := t.drafts.Unsaved(configured)
	if !ok {
		return nil, fault.New(fault.Unavailable, "CONFIGURATION_STALE", "the organization is not known here yet; repeat the call")
	}
	give, ok := t.turns.take(task.Organization)
	if !ok {
		return nil, fault.New(fault.ResourceExhausted, "TOO_MANY_TESTS",
			"this instance makes %d tests already, or %d of the organization; repeat the call", maxTests, maxTestsFor)
	}
	defer give()
	attempt, err := t.attempt(ctx, webhook, task)
	if err != nil {
		return nil, err
	}
	attempt.Number = 1
	message := attemptOf(natsbus.EncodeRecord(&core.Record{Task: task, Attempt: &attempt}), false)
	message.Name = "" // it is nowhere to be found
	return message, nil
}

// task is the delivery that is none.
func (t *Tests) task(configured *configv1.Webhook, event string) (*core.Task, error) {
	var attributes struct {
		ID     string `json:"id"`
		Source string `json:"source"`
		Type   string `json:"type"`
	}
	if len(event) > bus.MaxEventBytes {
		return nil, invalidEvent("max_bytes", fmt.Sprintf("must have at most %d bytes", bus.MaxEventBytes))
	}
	if err := json.Unmarshal([]byte(event), &attributes); err != nil || attributes.Type == "" || attributes.ID == "" || attributes.Source == "" {
		return nil, invalidEvent("format", "must be a CloudEvents document as JSON text, with the texts id, source and type")
	}
	return &core.Task{
		Delivery: testPrefix + t.newID(), Organization: configured.GetOrganization(), Webhook: configured.GetId(),
		Trigger: attributes.Type, EventSource: attributes.Source, EventID: attributes.ID, EventSequence: testSequence,
		AcceptedAt: t.now(), Event: []byte(event),
	}, nil
}

func invalidEvent(rule, message string) error {
	return fault.Invalid(fault.Field{Path: "event", Rule: rule, Message: message})
}

// attempt makes the request, if it can be made and may be sent.
func (t *Tests) attempt(ctx context.Context, webhook *core.Webhook, task *core.Task) (core.Attempt, error) {
	now := t.now()
	request, err := webhook.Form.Render(task, now)
	switch {
	case fault.Is(err, fault.Unavailable):
		return core.Attempt{}, err
	case err != nil:
		return core.Attempt{ID: t.newID(), StartedAt: now, ErrorClass: core.ErrorRender, ErrorMessage: err.Error()}, nil //nolint:nilerr // it is the outcome
	}
	request.URL, request.Timeout = webhook.TargetURL, webhook.Timeout
	if webhook.Insecure() {
		return core.InsecureAttempt(t.newID(), now, request), nil
	}
	attempt, err := t.sender.Send(ctx, request)
	if err != nil {
		return core.Attempt{}, fmt.Errorf("send a test: %w", err)
	}
	return attempt, nil
}
