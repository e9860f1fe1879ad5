package pgstore

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// rows turns records into the columns of both tables. Of several records of one delivery the newest is its row.
func rows(records []*deliveryv1.Record) (d sqlcgen.UpsertDeliveriesParams, a sqlcgen.InsertAttemptsParams, err error) {
	newest := make(map[string]*deliveryv1.Record, len(records))
	attempts := make(map[string]bool, len(records))
	for _, record := range records {
		if record.GetDelivery() == "" {
			continue // it is about all pending ones
		}
		if have := newest[record.GetDelivery()]; have == nil || !record.GetTime().AsTime().Before(have.GetTime().AsTime()) {
			newest[record.GetDelivery()] = record
		}
		if record.GetAttempt() == nil || attempts[record.GetId()] {
			continue
		}
		attempts[record.GetId()] = true
		if err := appendAttempt(&a, record); err != nil {
			return d, a, err
		}
	}
	for _, record := range newest {
		if err := appendDelivery(&d, record); err != nil {
			return d, a, err
		}
	}
	return d, a, nil
}

func appendDelivery(d *sqlcgen.UpsertDeliveriesParams, record *deliveryv1.Record) error {
	id, err := uuid.Parse(record.GetDelivery())
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the delivery's id is no UUID")
	}
	webhook, err := uuid.Parse(record.GetWebhook())
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the webhook's id is no UUID")
	}
	if err := record.GetTime().CheckValid(); err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the time of the change is none")
	}
	if err := record.GetAcceptTime().CheckValid(); err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the time of acceptance is none")
	}
	accepted := record.GetAcceptTime().AsTime()
	d.AcceptedOn = append(d.AcceptedOn, day(accepted))
	d.ID = append(d.ID, id)
	d.Organization = append(d.Organization, record.GetOrganization())
	d.Webhook = append(d.Webhook, webhook)
	d.Trigger = append(d.Trigger, record.GetTrigger())
	d.EventSource = append(d.EventSource, record.GetEventSource())
	d.EventID = append(d.EventID, record.GetEventId())
	d.EventSequence = append(d.EventSequence, record.GetEventSequence())
	d.AcceptTime = append(d.AcceptTime, accepted)
	d.State = append(d.State, int16(record.GetState())) //nolint:gosec // G115: an enum of five values
	d.Reason = append(d.Reason, record.GetReason())
	d.AttemptCount = append(d.AttemptCount, record.GetAttemptCount())
	d.UpdateTime = append(d.UpdateTime, record.GetTime().AsTime())
	next := time.Time{}
	if record.GetNextAttemptTime() != nil {
		next = record.GetNextAttemptTime().AsTime()
	}
	d.NextAttemptTime = append(d.NextAttemptTime, next)
	return nil
}

func appendAttempt(a *sqlcgen.InsertAttemptsParams, record *deliveryv1.Record) error {
	id, err := uuid.Parse(record.GetId())
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the attempt's id is no UUID")
	}
	delivery, err := uuid.Parse(record.GetDelivery())
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the delivery's id is no UUID")
	}
	attempt := record.GetAttempt()
	requestHeaders, err := encodeHeaders(attempt.GetRequestHeaders())
	if err != nil {
		return err
	}
	responseHeaders, err := encodeHeaders(attempt.GetResponseHeaders())
	if err != nil {
		return err
	}
	a.AcceptedOn = append(a.AcceptedOn, day(record.GetAcceptTime().AsTime()))
	a.Delivery = append(a.Delivery, delivery)
	a.ID = append(a.ID, id)
	a.Number = append(a.Number, attempt.GetNumber())
	a.StartTime = append(a.StartTime, attempt.GetStartTime().AsTime())
	a.DurationNs = append(a.DurationNs, int64(attempt.GetDuration().AsDuration()))
	a.RequestUrl = append(a.RequestUrl, attempt.GetRequestUrl())
	a.RequestHeaders = append(a.RequestHeaders, requestHeaders)
	a.RequestBody = append(a.RequestBody, nonNil(attempt.GetRequestBody()))
	a.StatusCode = append(a.StatusCode, attempt.GetStatusCode())
	a.ResponseHeaders = append(a.ResponseHeaders, responseHeaders)
	a.ResponseBody = append(a.ResponseBody, nonNil(attempt.GetResponseBody()))
	a.ResponseTruncated = append(a.ResponseTruncated, attempt.GetResponseTruncated())
	a.ErrorClass = append(a.ErrorClass, attempt.GetErrorClass())
	a.ErrorMessage = append(a.ErrorMessage, attempt.GetErrorMessage())
	next := time.Time{}
	if attempt.GetNextAttemptTime() != nil {
		next = attempt.GetNextAttemptTime().AsTime()
	}
	a.NextAttemptTime = append(a.NextAttemptTime, next)
	return nil
}

// nonNil keeps an empty body from being stored as NULL.
func nonNil(body []byte) []byte {
	if body == nil {
		return []byte{}
	}
	return body
}

// encodeHeaders writes headers as a list of [name, value], which keeps their order.
func encodeHeaders(headers []*deliveryv1.Header) ([]byte, error) {
	pairs := make([][2]string, len(headers))
	for i, header := range headers {
		pairs[i] = [2]string{header.GetName(), header.GetValue()}
	}
	encoded, err := json.Marshal(pairs)
	if err != nil {
		return nil, fmt.Errorf("encode headers: %w", err)
	}
	return encoded, nil
}
