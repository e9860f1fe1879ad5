package grpcapi

import (
	"context"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/operations"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// Letters is what the API reads and replays. Its methods return fault.Unavailable.
type Letters interface {
	// Get returns the dead letter of a delivery: fault.NotFound.
	Get(ctx context.Context, organization, delivery string) (*natsbus.DeadLetter, error)
	// List returns dead letters from a sequence on, oldest first.
	List(ctx context.Context, selected natsbus.Selection, from, until uint64, size int) (natsbus.LetterPart, error)
	// Last returns the sequence of the newest one.
	Last(ctx context.Context) (uint64, error)
	// Replay sends one again: fault.NotFound, fault.FailedPrecondition, fault.ResourceExhausted.
	Replay(ctx context.Context, organization, delivery string) error
}

// DeadLetters implements DeadLetterService.
type DeadLetters struct {
	deliveryv1.UnimplementedDeadLetterServiceServer
	*Work

	Letters  Letters
	Attempts Attempts
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
	message.Attempts, err = d.attempts(ctx, organization, delivery)
	return message, err
}

// maxAttempts is how many attempts a dead letter is shown with, and maxAttemptBytes how large they are, about: an answer has
// a limit.
const (
	maxAttempts     = 1000
	maxAttemptBytes = 2 << 20
)

// attempts returns the attempts of a dead letter: none while the database is away, and when it has none. The last answer
// is the one that people look for: of those that are too large together, the oldest lose their payloads.
func (d *DeadLetters) attempts(ctx context.Context, organization string, delivery uuid.UUID) ([]*deliveryv1.Attempt, error) {
	var all []*deliveryv1.Attempt
	stripped, size := 0, 0
	err := eachAttempts(ctx, d.Attempts, organization, delivery, pgstore.AttemptCursor{}, maxAttempts, func(some someAttempts) bool {
		all = append(all, some.attempts...)
		for size += some.bytes; size > maxAttemptBytes && stripped < len(all)-1; stripped++ {
			size -= strip(all[stripped])
		}
		return true
	})
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Unavailable) {
		return all, nil
	}
	return all, err
}

// strip removes the payloads of an attempt, and returns by how much that makes it smaller.
func strip(attempt *deliveryv1.Attempt) int {
	before := proto.Size(attempt)
	withoutPayload(attempt)
	return before - proto.Size(attempt)
}

// streamCursor is the sequence at which the next page begins.
type streamCursor struct {
	Next uint64 `json:"s"`
}

// nextToken is the token of the page that begins at a sequence; 0: there is none.
func nextToken(request proto.Message, next uint64) (string, error) {
	if next == 0 {
		return "", nil
	}
	return aip.EncodeToken(request, streamCursor{next})
}

// ListDeadLetters implements DeadLetterService.
func (d *DeadLetters) ListDeadLetters(ctx context.Context, request *deliveryv1.ListDeadLettersRequest) (*deliveryv1.ListDeadLettersResponse, error) {
	organization, err := anyParent(request.GetParent())
	if err != nil {
		return nil, err
	}
	selected, err := letterSelection(organization, request.GetFilter())
	if err != nil {
		return nil, err
	}
	after, err := cursor(request, streamCursor{})
	if err != nil {
		return nil, err
	}
	part, err := d.Letters.List(ctx, selected, after.Next, 0, aip.PageSize(request.GetPageSize()))
	if err != nil {
		return nil, err
	}
	response := &deliveryv1.ListDeadLettersResponse{DeadLetters: make([]*deliveryv1.DeadLetter, len(part.Letters))}
	for i, letter := range part.Letters {
		response.DeadLetters[i] = deadLetter(letter)
	}
	response.NextPageToken, err = nextToken(request, part.Next)
	return response, err
}

// ReplayDeadLetter implements DeadLetterService.
func (d *DeadLetters) ReplayDeadLetter(ctx context.Context, request *deliveryv1.ReplayDeadLetterRequest) (*deliveryv1.ReplayDeadLetterResponse, error) {
	organization, delivery, err := resourceName("name", request.GetName(), "deadLetters")
	if err != nil {
		return nil, err
	}
	letter, err := d.Letters.Get(ctx, organization, delivery.String())
	if err != nil {
		return nil, err
	}
	if err := natsbus.CheckActive(ctx, d.Configuration, organization, letter.Task.Webhook); err != nil {
		return nil, err
	}
	if err := d.record(ctx, audit.Replay, organization, request.GetName(), ""); err != nil {
		return nil, err
	}
	if err := d.Letters.Replay(ctx, organization, delivery.String()); err != nil {
		return nil, err
	}
	return &deliveryv1.ReplayDeadLetterResponse{Delivery: deliveryName(organization, delivery.String())}, nil
}

// ReplayDeadLetters implements DeadLetterService.
func (d *DeadLetters) ReplayDeadLetters(ctx context.Context, request *deliveryv1.ReplayDeadLettersRequest) (*operationv1.Operation, error) {
	rate := request.GetRate()
	if rate == 0 {
		rate = operations.DefaultReplayRate
	}
	return d.beginSome(ctx, request.GetFilter(), begun{
		kind: operations.TypeReplay, action: audit.Replay, target: request.GetParent(),
		requestID: request.GetRequestId(), request: request, rate: rate, dryRun: request.GetDryRun(),
	})
}

// anyFilter selects all where a filter must be given.
const anyFilter = "*"

// PurgeDeadLetters implements DeadLetterService.
func (d *DeadLetters) PurgeDeadLetters(ctx context.Context, request *deliveryv1.PurgeDeadLettersRequest) (*operationv1.Operation, error) {
	filter := request.GetFilter()
	switch filter {
	case "":
		return nil, fault.Invalid(fault.Field{Path: "filter", Rule: "required", Message: "must say which dead letters; * for all"})
	case anyFilter:
		filter = ""
	}
	return d.beginSome(ctx, filter, begun{
		kind: operations.TypePurge, action: audit.Purge, target: request.GetParent(),
		requestID: request.GetRequestId(), request: request, dryRun: !request.GetForce(),
	})
}

// beginSome begins an operation on those dead letters that a filter selects, of the organization that is its target.
func (d *DeadLetters) beginSome(ctx context.Context, filter string, b begun) (*operationv1.Operation, error) {
	var err error
	if b.organization, err = anyParent(b.target); err != nil {
		return nil, err
	}
	asked := operations.Some{Revision: d.Configuration.Revision()}
	if asked.Selection, err = letterSelection(b.organization, filter); err != nil {
		return nil, err
	}
	if asked.Until, err = d.Letters.Last(ctx); err != nil {
		return nil, err
	}
	b.parameters, b.details = asked, map[string]any{"filter": filter}
	return d.begin(ctx, b)
}

func deadLetter(letter *natsbus.DeadLetter) *deliveryv1.DeadLetter {
	task := letter.Task
	return &deliveryv1.DeadLetter{
		Name:           "organizations/" + task.Organization + "/deadLetters/" + task.Delivery,
		Webhook:        webhookName(task.Organization, task.Webhook),
		Trigger:        task.Trigger,
		EventSource:    task.EventSource,
		EventId:        task.EventID,
		EventSequence:  int64(task.EventSequence), //nolint:gosec // G115: a sequence of JetStream
		Reason:         letter.Reason,
		AttemptCount:   int32(task.Attempts), //nolint:gosec // G115: bounded by the retry policies
		AcceptTime:     timestamppb.New(task.AcceptedAt),
		DeadLetterTime: timestamppb.New(letter.DeadAt),
		ExpireTime:     timeOrNil(letter.Expires),
	}
}
