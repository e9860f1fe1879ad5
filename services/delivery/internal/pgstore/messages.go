package pgstore

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

func delivery(row sqlcgen.DeliveryDelivery) *deliveryv1.Delivery {
	d := &deliveryv1.Delivery{
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
	if row.LastStatusCode != nil && row.LastErrorClass != nil {
		d.LastStatusCode, d.LastErrorClass = *row.LastStatusCode, *row.LastErrorClass
	}
	return d
}

// attempt is an attempt without its payload.
func attempt(row sqlcgen.DeliveryAttempt) *deliveryv1.Attempt {
	return &deliveryv1.Attempt{
		Name:              "organizations/" + row.Organization + "/deliveries/" + row.Delivery.String() + "/attempts/" + row.ID.String(),
		Number:            row.Number,
		StartTime:         timestamppb.New(row.StartTime),
		Duration:          durationpb.New(time.Duration(row.DurationNs)),
		RequestUrl:        row.RequestUrl,
		StatusCode:        row.StatusCode,
		ResponseTruncated: row.ResponseTruncated,
		RequestTruncated:  row.RequestTruncated,
		ErrorClass:        row.ErrorClass,
		ErrorMessage:      row.ErrorMessage,
		NextAttemptTime:   optionalTime(row.NextAttemptTime),
		DnsDuration:       optionalDuration(row.DnsNs),
		ConnectDuration:   optionalDuration(row.ConnectNs),
		TlsDuration:       optionalDuration(row.TlsNs),
		FirstByteDuration: optionalDuration(row.FirstByteNs),
		RemoteAddress:     row.RemoteAddress,
		Webhook:           "organizations/" + row.Organization + "/webhooks/" + row.Webhook.String(),
		Trigger:           row.Trigger,
		EventId:           row.EventID,
	}
}

// addPayload adds what an attempt sent and got, as far as it is kept.
func addPayload(a *deliveryv1.Attempt, row sqlcgen.ListAttemptsRow) (err error) {
	if a.RequestHeaders, err = decodeHeaders(row.RequestHeaders); err != nil {
		return err
	}
	a.ResponseHeaders, err = decodeHeaders(row.ResponseHeaders)
	a.RequestBody, a.ResponseBody = row.RequestBody, row.ResponseBody
	return err
}

func optionalTime(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return timestamppb.New(*t)
}

func optionalDuration(ns int64) *durationpb.Duration {
	if ns == 0 {
		return nil
	}
	return durationpb.New(time.Duration(ns))
}

func decodeHeaders(encoded string) ([]*deliveryv1.Header, error) {
	var pairs [][2]string
	if err := json.Unmarshal([]byte(encoded), &pairs); err != nil {
		return nil, fmt.Errorf("decode headers: %w", err)
	}
	headers := make([]*deliveryv1.Header, len(pairs))
	for i, pair := range pairs {
		headers[i] = &deliveryv1.Header{Name: pair[0], Value: pair[1]}
	}
	return headers, nil
}
