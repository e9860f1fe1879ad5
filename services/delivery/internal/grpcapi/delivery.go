// Package grpcapi owns delivery's gRPC services: it turns requests into calls of the store and the streams, and
// their answers back. Who may call is checked before, by pkg/rpc.
package grpcapi

import (
	"context"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// Store is what the API reads.
type Store interface {
	// Delivery returns one delivery: fault.NotFound.
	Delivery(ctx context.Context, organization string, id uuid.UUID) (*deliveryv1.Delivery, error)
	// Deliveries returns a page, and where it ended.
	Deliveries(ctx context.Context, organization string, filter pgstore.Filter, after pgstore.DeliveryCursor, size int) ([]*deliveryv1.Delivery, pgstore.DeliveryCursor, error)
	// Attempts returns a page, and where it ended: fault.NotFound when there is no such delivery.
	Attempts(ctx context.Context, organization string, id uuid.UUID, after pgstore.AttemptCursor, size int) ([]*deliveryv1.Attempt, pgstore.AttemptCursor, error)
}

// Deliveries implements DeliveryService.
type Deliveries struct {
	deliveryv1.UnimplementedDeliveryServiceServer
	Store    Store
	Health   HealthStore
	Webhooks Webhooks
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
	after := pgstore.FirstDeliveries()
	if request.GetPageToken() != "" {
		if err := aip.DecodeToken(request, request.GetPageToken(), &after); err != nil {
			return nil, err
		}
	}
	size := aip.PageSize(request.GetPageSize())
	page, end, err := d.Store.Deliveries(ctx, organization, filter, after, size)
	if err != nil {
		return nil, err
	}
	token := ""
	if len(page) == size {
		if token, err = aip.EncodeToken(request, end); err != nil {
			return nil, err
		}
	}
	return &deliveryv1.ListDeliveriesResponse{Deliveries: page, NextPageToken: token}, nil
}

// ListAttempts implements DeliveryService.
func (d *Deliveries) ListAttempts(ctx context.Context, request *deliveryv1.ListAttemptsRequest) (*deliveryv1.ListAttemptsResponse, error) {
	organization, id, err := resourceName("parent", request.GetParent(), "deliveries")
	if err != nil {
		return nil, err
	}
	var after pgstore.AttemptCursor
	if request.GetPageToken() != "" {
		if err := aip.DecodeToken(request, request.GetPageToken(), &after); err != nil {
			return nil, err
		}
	}
	size := aip.PageSize(request.GetPageSize())
	page, end, err := d.Store.Attempts(ctx, organization, id, after, size)
	if err != nil {
		return nil, err
	}
	token := ""
	if len(page) == size {
		if token, err = aip.EncodeToken(request, end); err != nil {
			return nil, err
		}
	}
	return &deliveryv1.ListAttemptsResponse{Attempts: page, NextPageToken: token}, nil
}

// deliveryFilter reads the filter of ListDeliveries.
func deliveryFilter(organization, text string) (pgstore.Filter, error) {
	var filter pgstore.Filter
	terms, err := aip.ParseFilter(text, "webhook", "trigger", "event_source", "event_id", "state")
	if err != nil {
		return filter, err
	}
	if name, ok := terms["webhook"]; ok {
		id, err := webhookID(organization, name)
		if err != nil {
			return filter, err
		}
		filter.Webhook = &id
	}
	if name, ok := terms["state"]; ok {
		number, known := deliveryv1.Delivery_State_value[name]
		if !known || number == 0 {
			return filter, invalidFilter("state must be STATE_PENDING, STATE_SUCCEEDED, STATE_DEAD_LETTERED or STATE_DROPPED")
		}
		state := int16(number) //nolint:gosec // G115: an enum of five values
		filter.State = &state
	}
	filter.Trigger = term(terms, "trigger")
	filter.EventSource = term(terms, "event_source")
	filter.EventID = term(terms, "event_id")
	return filter, nil
}

func term(terms map[string]string, name string) *string {
	if value, ok := terms[name]; ok {
		return &value
	}
	return nil
}

// webhookID reads the resource name of a webhook in a filter.
func webhookID(organization, name string) (uuid.UUID, error) {
	owner, id, err := resourceName("filter", name, "webhooks")
	if err != nil || owner != organization {
		return uuid.Nil, invalidFilter("webhook must be organizations/" + organization + "/webhooks/{webhook} with a UUID")
	}
	return id, nil
}

func invalidFilter(message string) error {
	return fault.Invalid(fault.Field{Path: "filter", Rule: "filter", Message: message})
}
