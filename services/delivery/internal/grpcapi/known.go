package grpcapi

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// Ledger is what records have told. Its methods return fault.Unavailable.
type Ledger interface {
	// CountDeliveries counts the deliveries of an event.
	CountDeliveries(ctx context.Context, organization string, sequence int64) (pgstore.Counts, error)
	// FindDeliveries returns what is known of deliveries.
	FindDeliveries(ctx context.Context, organization string, ids []uuid.UUID) (map[uuid.UUID]pgstore.Known, error)
	// Recorded returns how far the stream RECORDS that was created at a time has been taken in.
	Recorded(ctx context.Context, streamCreated time.Time) (uint64, error)
	// EraseAttempts empties the attempts for events and returns how many there were.
	EraseAttempts(ctx context.Context, organization string, sequences []int64) (int64, error)
}

// Waiting is what waits to be sent.
type Waiting interface {
	// Look returns until when everything is known that has happened, and which deliveries wait, with how many attempts of
	// each were made: fault.Unavailable.
	Look(
		ctx context.Context, organization string, deliveries []string, recorded natsbus.Recorded,
	) (until time.Time, waiting map[string]int, err error)
}

// Eraser removes what events say from the streams.
type Eraser interface {
	// Erase can be repeated: fault.Unavailable.
	Erase(ctx context.Context, organization string, sequences []int64) (natsbus.Erasure, error)
}

// CountDeliveries implements InternalService.
func (i *Internal) CountDeliveries(ctx context.Context, request *deliveryv1.CountDeliveriesRequest) (*deliveryv1.CountDeliveriesResponse, error) {
	if err := checkOrganization(request.GetOrganization()); err != nil {
		return nil, err
	}
	n, err := i.Ledger.CountDeliveries(ctx, request.GetOrganization(), request.GetEventSequence())
	if err != nil {
		return nil, err
	}
	return &deliveryv1.CountDeliveriesResponse{
		PendingCount:      int32(n.Pending),      //nolint:gosec // G115: one for each webhook of an organization at most
		SucceededCount:    int32(n.Succeeded),    //nolint:gosec // G115: see above
		DeadLetteredCount: int32(n.DeadLettered), //nolint:gosec // G115: see above
		DroppedCount:      int32(n.Dropped),      //nolint:gosec // G115: see above
	}, nil
}

// FindDeliveries implements InternalService. What is asked last is the database: what has left the streams by the time
// they were looked at is in it, up to recorded_until.
func (i *Internal) FindDeliveries(ctx context.Context, request *deliveryv1.FindDeliveriesRequest) (*deliveryv1.FindDeliveriesResponse, error) {
	organization := request.GetOrganization()
	if err := checkOrganization(organization); err != nil {
		return nil, err
	}
	ids := make([]uuid.UUID, len(request.GetDeliveries()))
	names := make([]string, len(ids))
	for n, delivery := range request.GetDeliveries() {
		id, err := uuid.Parse(delivery)
		if err != nil { // it becomes a part of NATS subjects
			return nil, fault.Invalid(fault.Field{Path: "deliveries", Rule: "uuid", Message: "must be UUIDs"})
		}
		ids[n], names[n] = id, id.String()
	}
	until, waiting, err := i.Waiting.Look(ctx, organization, names, i.Ledger.Recorded)
	if err != nil {
		return nil, err
	}
	known, err := i.Ledger.FindDeliveries(ctx, organization, ids)
	if err != nil {
		return nil, err
	}
	response := &deliveryv1.FindDeliveriesResponse{KeptSince: timestamppb.New(i.KeptSince(organization))}
	if !until.IsZero() {
		response.RecordedUntil = timestamppb.New(until)
	}
	for n, id := range ids {
		if k, ok := merge(known, waiting, id, names[n]); ok {
			response.Deliveries = append(response.Deliveries, k)
		}
	}
	return response, nil
}

// merge joins what is recorded of a delivery with what waits of it.
func merge(
	known map[uuid.UUID]pgstore.Known, waiting map[string]int, id uuid.UUID, name string,
) (*deliveryv1.FindDeliveriesResponse_Known, bool) {
	recorded, ok := known[id]
	attempts, waits := waiting[name]
	if !ok && !waits {
		return nil, false
	}
	k := &deliveryv1.FindDeliveriesResponse_Known{Delivery: name, State: int32(recorded.State), AttemptCount: recorded.Attempts}
	if waits {
		k.AttemptCount = max(k.AttemptCount, int32(attempts)) //nolint:gosec // G115: bounded by the codec
		if recorded.State != deliveryv1.Delivery_STATE_SUCCEEDED {
			k.State = int32(deliveryv1.Delivery_STATE_PENDING) // also one that was never tried, or is sent again
		}
	}
	return k, true
}

// EraseEvents implements InternalService. The streams first: what is recorded in between is emptied too.
func (i *Internal) EraseEvents(ctx context.Context, request *deliveryv1.EraseEventsRequest) (*deliveryv1.EraseEventsResponse, error) {
	organization := request.GetOrganization()
	if err := checkOrganization(organization); err != nil {
		return nil, err
	}
	if len(request.GetEventSequences()) == 0 {
		return nil, fault.Invalid(fault.Field{Path: "event_sequences", Rule: "min_items", Message: "must name at least one event"})
	}
	erased, err := i.Eraser.Erase(ctx, organization, request.GetEventSequences())
	if err != nil {
		return nil, err
	}
	rows, err := i.Ledger.EraseAttempts(ctx, organization, request.GetEventSequences())
	if err != nil {
		return nil, err
	}
	return &deliveryv1.EraseEventsResponse{MessageCount: erased.Messages, DroppedCount: erased.Dropped, RowCount: rows}, nil
}

// checkOrganization refuses what cannot be a part of NATS subjects.
func checkOrganization(organization string) error {
	if !bus.IsOrganization(organization) {
		return fault.Invalid(fault.Field{Path: "organization", Rule: "slug", Message: "must have 1 to 63 characters of a-z, 0-9 and -"})
	}
	return nil
}
