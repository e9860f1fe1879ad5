package grpcapi

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/bus"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

// Letters is what the API reads and replays.
type Letters interface {
	// Get returns the dead letter of a delivery: fault.NotFound, fault.Unavailable.
	Get(ctx context.Context, organization, delivery string) (*natsbus.DeadLetter, error)
	// List returns dead letters from a sequence on, oldest first: fault.Unavailable.
	List(ctx context.Context, organization, webhook, trigger string, from uint64, size int) ([]*natsbus.DeadLetter, error)
	// Replay sends one again: fault.NotFound, fault.FailedPrecondition, fault.Unavailable, fault.ResourceExhausted.
	Replay(ctx context.Context, organization, delivery string) error
}

// DeadLetters implements DeadLetterService.
type DeadLetters struct {
	deliveryv1.UnimplementedDeadLetterServiceServer
	Letters Letters
}

// GetDeadLetter implements DeadLetterService.
func (d *DeadLetters) GetDeadLetter(ctx context.Context, request *deliveryv1.GetDeadLetterRequest) (*deliveryv1.DeadLetter, error) {
	organization, delivery, err := resourceName("name", request.GetName(), "deadLetters")
	if err != nil {
		return nil, err
	}
	letter, err := d.Letters.Get(ctx, organization, delivery.String())
	if err != nil {
		return nil, err
	}
	message := deadLetter(letter)
	message.Event = string(letter.Task.Event)
	return message, nil
}

// deadLetterCursor is the sequence of the last dead letter of a page.
type deadLetterCursor struct {
	Sequence uint64 `json:"s"`
}

// ListDeadLetters implements DeadLetterService.
func (d *DeadLetters) ListDeadLetters(ctx context.Context, request *deliveryv1.ListDeadLettersRequest) (*deliveryv1.ListDeadLettersResponse, error) {
	organization, err := organizationName("parent", request.GetParent())
	if err != nil {
		return nil, err
	}
	terms, err := aip.ParseFilter(request.GetFilter(), "webhook", "trigger")
	if err != nil {
		return nil, err
	}
	trigger, given := terms["trigger"]
	if given && !bus.IsTrigger(trigger) {
		return nil, invalidFilter("trigger must be the id of one, such as meeting.booked")
	}
	webhook := ""
	if name, ok := terms["webhook"]; ok {
		id, err := webhookID(organization, name)
		if err != nil {
			return nil, err
		}
		webhook = id.String()
	}
	var after deadLetterCursor
	if request.GetPageToken() != "" {
		if err := aip.DecodeToken(request, request.GetPageToken(), &after); err != nil {
			return nil, err
		}
	}
	size := aip.PageSize(request.GetPageSize())
	letters, err := d.Letters.List(ctx, organization, webhook, trigger, after.Sequence+1, size)
	if err != nil {
		return nil, err
	}
	response := &deliveryv1.ListDeadLettersResponse{DeadLetters: make([]*deliveryv1.DeadLetter, len(letters))}
	for i, letter := range letters {
		response.DeadLetters[i] = deadLetter(letter)
	}
	if len(letters) == size {
		response.NextPageToken, err = aip.EncodeToken(request, deadLetterCursor{letters[size-1].Sequence})
		if err != nil {
			return nil, err
		}
	}
	return response, nil
}

// ReplayDeadLetter implements DeadLetterService.
func (d *DeadLetters) ReplayDeadLetter(ctx context.Context, request *deliveryv1.ReplayDeadLetterRequest) (*deliveryv1.ReplayDeadLetterResponse, error) {
	organization, delivery, err := resourceName("name", request.GetName(), "deadLetters")
	if err != nil {
		return nil, err
	}
	if err := d.Letters.Replay(ctx, organization, delivery.String()); err != nil {
		return nil, err
	}
	return &deliveryv1.ReplayDeadLetterResponse{Delivery: "organizations/" + organization + "/deliveries/" + delivery.String()}, nil
}

func deadLetter(letter *natsbus.DeadLetter) *deliveryv1.DeadLetter {
	task := letter.Task
	prefix := "organizations/" + task.Organization
	return &deliveryv1.DeadLetter{
		Name:           prefix + "/deadLetters/" + task.Delivery,
		Webhook:        prefix + "/webhooks/" + task.Webhook,
		Trigger:        task.Trigger,
		EventSource:    task.EventSource,
		EventId:        task.EventID,
		EventSequence:  int64(task.EventSequence), //nolint:gosec // G115: a sequence of JetStream
		Reason:         letter.Reason,
		AttemptCount:   int32(task.Attempts), //nolint:gosec // G115: bounded by the retry policies
		AcceptTime:     timestamppb.New(task.AcceptedAt),
		DeadLetterTime: timestamppb.New(letter.DeadAt),
	}
}
