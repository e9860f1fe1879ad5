// Package grpcapi owns delivery's gRPC services: it turns requests into calls of the store and the streams, and
// their answers back. Who may call is checked before, by pkg/rpc.
package grpcapi

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/aip"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// Store is what the API reads.
type Store interface {
	// Delivery returns one delivery: fault.NotFound.
	Delivery(ctx context.Context, organization string, id uuid.UUID) (*deliveryv1.Delivery, error)
	// Deliveries returns a page, and where it ended.
	Deliveries(ctx context.Context, organization string, filter pgstore.Filter, after pgstore.DeliveryCursor, size int) ([]*deliveryv1.Delivery, pgstore.DeliveryCursor, error)
	Attempts
	// AllAttempts returns a page of the attempts of all deliveries, and where it ended.
	AllAttempts(ctx context.Context, organization string, filter pgstore.AttemptFilter, after pgstore.AttemptCursor, size int) ([]*deliveryv1.Attempt, pgstore.AttemptCursor, error)
	// Statistics returns how the attempts of a webhook went, hour by hour.
	Statistics(ctx context.Context, organization string, webhook uuid.UUID, since, until time.Time) ([]*deliveryv1.WebhookStatistics, error)
}

// Deliveries is the part of DeliveryService that shows what became of deliveries.
type Deliveries struct {
	Store    Store
	Health   HealthStore
	Webhooks Webhooks
	Flow     Flow
	Timers   Timers
	Workers  func() int // how many instances there are
	Now      func() time.Time
}

// GetDelivery implements DeliveryService.
func (d *Deliveries) GetDelivery(ctx context.Context, request *deliveryv1.GetDeliveryRequest) (*deliveryv1.Delivery, error) {
	organization, id, err := resourceName("name", request.GetName(), "deliveries")
	if err != nil {
		return nil, err
	}
	return d.Store.Delivery(ctx, organization, id)
}

// ListDeliveries implements DeliveryService.
func (d *Deliveries) ListDeliveries(ctx context.Context, request *deliveryv1.ListDeliveriesRequest) (*deliveryv1.ListDeliveriesResponse, error) {
	organization, err := organizationName("parent", request.GetParent())
	if err != nil {
		return nil, err
	}
	filter, err := deliveryFilter(organization, request.GetFilter())
	if err != nil {
		return nil, err
	}
	page, next, err := readPage(request, pgstore.FirstDeliveries(),
		func(after pgstore.DeliveryCursor, size int) ([]*deliveryv1.Delivery, pgstore.DeliveryCursor, error) {
			return d.Store.Deliveries(ctx, organization, filter, after, size)
		})
	if err != nil {
		return nil, err
	}
	return &deliveryv1.ListDeliveriesResponse{Deliveries: page, NextPageToken: next}, nil
}

// ListAttempts implements DeliveryService.
func (d *Deliveries) ListAttempts(ctx context.Context, request *deliveryv1.ListAttemptsRequest) (*deliveryv1.ListAttemptsResponse, error) {
	if organization, all := strings.CutSuffix(request.GetParent(), "/deliveries/-"); all {
		return d.listAllAttempts(ctx, organization, request)
	}
	organization, id, err := resourceName("parent", request.GetParent(), "deliveries")
	if err != nil {
		return nil, err
	}
	if request.GetFilter() != "" {
		return nil, invalidFilter("must be empty for the attempts of one delivery")
	}
	after, err := cursor(request, pgstore.AttemptCursor{})
	if err != nil {
		return nil, err
	}
	response := &deliveryv1.ListAttemptsResponse{}
	last, size := false, 0
	err = eachAttempts(ctx, d.Store, organization, id, after, aip.PageSize(request.GetPageSize()), func(some someAttempts) bool {
		response.Attempts = append(response.Attempts, some.attempts...)
		after, last, size = some.end, some.last, size+some.bytes
		return size < maxPageBytes
	})
	if err != nil {
		return nil, err
	}
	if !last {
		response.NextPageToken, err = aip.EncodeToken(request, after)
	}
	return response, err
}

// maxPageBytes is how large a page of attempts is at most before more are added to it: however many are asked for, the
// answer has a limit.
const maxPageBytes = 8 << 20

// listAllAttempts lists the attempts of all deliveries of an organization.
func (d *Deliveries) listAllAttempts(ctx context.Context, parent string, request *deliveryv1.ListAttemptsRequest) (*deliveryv1.ListAttemptsResponse, error) {
	organization, err := organizationName("parent", parent)
	if err != nil {
		return nil, err
	}
	filter, err := attemptFilter(organization, request.GetFilter())
	if err != nil {
		return nil, err
	}
	page, next, err := readPage(request, pgstore.LastAttempts(),
		func(after pgstore.AttemptCursor, size int) ([]*deliveryv1.Attempt, pgstore.AttemptCursor, error) {
			return d.Store.AllAttempts(ctx, organization, filter, after, size)
		})
	if err != nil {
		return nil, err
	}
	return &deliveryv1.ListAttemptsResponse{Attempts: page, NextPageToken: next}, nil
}
