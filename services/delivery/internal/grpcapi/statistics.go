package grpcapi

import (
	"context"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// Bounds of the time range of statistics.
const (
	defaultStatistics = 24 * time.Hour
	maxStatistics     = 31 * 24 * time.Hour
)

// ListWebhookStatistics implements DeliveryService.
func (d *Deliveries) ListWebhookStatistics(ctx context.Context, request *deliveryv1.ListWebhookStatisticsRequest) (*deliveryv1.ListWebhookStatisticsResponse, error) {
	organization, webhook, err := resourceName("parent", request.GetParent(), "webhooks")
	if err != nil {
		return nil, err
	}
	if _, err := findWebhook(d.Webhooks, organization, webhook); err != nil {
		return nil, err
	}
	until := d.Now()
	if end := request.GetEndTime(); end != nil {
		if err := end.CheckValid(); err != nil {
			return nil, fault.Invalid(fault.Field{Path: "end_time", Rule: "time", Message: "must be a time"})
		}
		until = end.AsTime()
	}
	since := until.Add(-defaultStatistics)
	if start := request.GetStartTime(); start != nil {
		if err := start.CheckValid(); err != nil {
			return nil, fault.Invalid(fault.Field{Path: "start_time", Rule: "time", Message: "must be a time"})
		}
		since = start.AsTime()
	}
	since = since.UTC().Truncate(time.Hour)
	switch {
	case !since.Before(until):
		return nil, fault.Invalid(fault.Field{Path: "start_time", Rule: "before_end_time", Message: "must be before end_time"})
	case until.Sub(since) > maxStatistics+time.Hour:
		return nil, fault.Invalid(fault.Field{Path: "start_time", Rule: "max_range", Message: "must be at most 31 days before end_time"})
	}
	statistics, err := d.Store.Statistics(ctx, organization, webhook, since, until)
	if err != nil {
		return nil, err
	}
	return &deliveryv1.ListWebhookStatisticsResponse{Statistics: statistics}, nil
}

// optional returns nil for a time that is none.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
