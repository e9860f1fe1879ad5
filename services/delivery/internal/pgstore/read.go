package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// Filter selects deliveries; what is nil selects all.
type Filter struct {
	Webhook     *uuid.UUID
	Trigger     *string
	EventSource *string
	EventID     *string
	State       *int16
}

// DeliveryCursor is where a page of deliveries ended.
type DeliveryCursor struct {
	Sequence int64     `json:"s"`
	ID       uuid.UUID `json:"i"`
}

// FirstDeliveries is before the first page.
func FirstDeliveries() DeliveryCursor { return DeliveryCursor{Sequence: math.MaxInt64, ID: uuid.Max} }

// AttemptCursor is where a page of attempts ended; zero is before the first page.
type AttemptCursor struct {
	Time time.Time `json:"t"`
	ID   uuid.UUID `json:"i"`
}

// Delivery returns one delivery of an organization. Errors: fault.NotFound, fault.Unavailable.
func (s *Store) Delivery(ctx context.Context, organization string, id uuid.UUID) (*deliveryv1.Delivery, error) {
	row, err := sqlcgen.New(s.pool).GetDelivery(ctx, sqlcgen.GetDeliveryParams{ID: id, Organization: organization})
	if err != nil {
		return nil, pg.Fault(err)
	}
	return delivery(row), nil
}

// Deliveries returns a page of deliveries, those of the newest events first, and where it ended.
func (s *Store) Deliveries(ctx context.Context, organization string, filter Filter, after DeliveryCursor, size int) ([]*deliveryv1.Delivery, DeliveryCursor, error) {
	rows, err := sqlcgen.New(s.pool).ListDeliveries(ctx, sqlcgen.ListDeliveriesParams{
		Organization:   organization,
		BeforeSequence: after.Sequence,
		BeforeID:       after.ID,
		Webhook:        filter.Webhook,
		Trigger:        filter.Trigger,
		EventSource:    filter.EventSource,
		EventID:        filter.EventID,
		State:          filter.State,
		PageSize:       int32(size), //nolint:gosec // G115: at most 1,001
	})
	if err != nil {
		return nil, after, pg.Fault(err)
	}
	page := make([]*deliveryv1.Delivery, len(rows))
	for i, row := range rows {
		page[i] = delivery(row)
		after = DeliveryCursor{Sequence: row.EventSequence, ID: row.ID}
	}
	return page, after, nil
}

// Attempts returns a page of the attempts of a delivery, oldest first, and where it ended. Errors:
// fault.NotFound when there is no such delivery, fault.Unavailable.
func (s *Store) Attempts(ctx context.Context, organization string, id uuid.UUID, after AttemptCursor, size int) ([]*deliveryv1.Attempt, AttemptCursor, error) {
	q := sqlcgen.New(s.pool)
	parent, err := q.GetDelivery(ctx, sqlcgen.GetDeliveryParams{ID: id, Organization: organization})
	if err != nil {
		return nil, after, pg.Fault(err)
	}
	rows, err := q.ListAttempts(ctx, sqlcgen.ListAttemptsParams{
		AcceptedOn: parent.AcceptedOn,
		Delivery:   id,
		AfterTime:  after.Time,
		AfterID:    after.ID,
		PageSize:   int32(size), //nolint:gosec // G115: at most 1,001
	})
	if err != nil {
		return nil, after, pg.Fault(err)
	}
	page := make([]*deliveryv1.Attempt, len(rows))
	for i, row := range rows {
		page[i], err = attempt(organization, row)
		if err != nil {
			return nil, after, err
		}
		after = AttemptCursor{Time: row.StartTime, ID: row.ID}
	}
	return page, after, nil
}

func delivery(row sqlcgen.DeliveryDelivery) *deliveryv1.Delivery {
	return &deliveryv1.Delivery{
		Name:            "organizations/" + row.Organization + "/deliveries/" + row.ID.String(),
		Webhook:         "organizations/" + row.Organization + "/webhooks/" + row.Webhook.String(),
		Trigger:         row.Trigger,
		EventSource:     row.EventSource,
		EventId:         row.EventID,
		EventSequence:   row.EventSequence,
		State:           deliveryv1.Delivery_State(row.State),
		Reason:          row.Reason,
		AttemptCount:    row.AttemptCount,
		AcceptTime:      timestamppb.New(row.AcceptTime),
		UpdateTime:      timestamppb.New(row.UpdateTime),
		NextAttemptTime: optionalTime(row.NextAttemptTime),
	}
}

func attempt(organization string, row sqlcgen.DeliveryAttempt) (*deliveryv1.Attempt, error) {
	requestHeaders, err := decodeHeaders(row.RequestHeaders)
	if err != nil {
		return nil, err
	}
	responseHeaders, err := decodeHeaders(row.ResponseHeaders)
	if err != nil {
		return nil, err
	}
	return &deliveryv1.Attempt{
		Name:              "organizations/" + organization + "/deliveries/" + row.Delivery.String() + "/attempts/" + row.ID.String(),
		Number:            row.Number,
		StartTime:         timestamppb.New(row.StartTime),
		Duration:          durationpb.New(time.Duration(row.DurationNs)),
		RequestUrl:        row.RequestUrl,
		RequestHeaders:    requestHeaders,
		RequestBody:       row.RequestBody,
		StatusCode:        row.StatusCode,
		ResponseHeaders:   responseHeaders,
		ResponseBody:      row.ResponseBody,
		ResponseTruncated: row.ResponseTruncated,
		ErrorClass:        row.ErrorClass,
		ErrorMessage:      row.ErrorMessage,
		NextAttemptTime:   optionalTime(row.NextAttemptTime),
	}, nil
}

func optionalTime(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

func decodeHeaders(encoded []byte) ([]*deliveryv1.Header, error) {
	var pairs [][2]string
	if err := json.Unmarshal(encoded, &pairs); err != nil {
		return nil, fmt.Errorf("decode headers: %w", err)
	}
	headers := make([]*deliveryv1.Header, len(pairs))
	for i, pair := range pairs {
		headers[i] = &deliveryv1.Header{Name: pair[0], Value: pair[1]}
	}
	return headers, nil
}
