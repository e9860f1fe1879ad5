package pgstore

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// columns are what a batch of records becomes in the tables.
type columns struct {
	begun     sqlcgen.UpsertDeliveriesParams // deliveries whose first record is in the batch: they are new, or come again
	continued sqlcgen.UpsertDeliveriesParams // all others
	attempts  sqlcgen.InsertAttemptsParams
	payloads  sqlcgen.InsertPayloadsParams
}

// rows turns records into columns. Of several records of one delivery the newest is its row, with what the newest
// attempt among them has met with.
func rows(records []*deliveryv1.Record) (*columns, error) {
	c := new(columns)
	newest, last := make(map[string]*deliveryv1.Record, len(records)), make(map[string]*deliveryv1.Record, len(records))
	attempts, begun := make(map[string]bool, len(records)), make(map[string]bool, len(records))
	for _, record := range records {
		if record.GetDelivery() == "" {
			continue // it is about all pending ones
		}
		keepNewer(newest, record)
		if begins(record) {
			begun[record.GetDelivery()] = true
		}
		if record.GetAttempt() == nil || attempts[record.GetId()] {
			continue
		}
		keepNewer(last, record)
		attempts[record.GetId()] = true
		if err := c.addAttempt(record); err != nil {
			return nil, err
		}
	}
	for _, record := range records {
		delivery := record.GetDelivery()
		if newest[delivery] != record {
			continue
		}
		delete(newest, delivery) // it may be there twice
		to := &c.continued
		if begun[delivery] {
			to = &c.begun
		}
		if err := addDelivery(to, record, last[delivery]); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// begins reports whether no earlier record tells of the delivery, as far as one can see.
func begins(record *deliveryv1.Record) bool {
	if attempt := record.GetAttempt(); attempt != nil {
		return attempt.GetNumber() == 1 && !record.GetKnown()
	}
	return record.GetAttemptCount() == 0 && !record.GetKnown()
}

// days returns the days whose partitions are needed. An event that is accepted again after days makes the same delivery
// again: its attempts of both days may come together.
func (c *columns) days() []time.Time {
	days := slices.Concat(c.begun.AcceptedOn, c.continued.AcceptedOn, c.attempts.AcceptedOn)
	slices.SortFunc(days, time.Time.Compare)
	return slices.Compact(days)
}

// keepNewer keeps the newest record of a delivery. They come in the order of the stream, in which one may be late.
func keepNewer(newest map[string]*deliveryv1.Record, record *deliveryv1.Record) {
	have := newest[record.GetDelivery()]
	if have == nil || cmp.Or(cmp.Compare(record.GetEventSequence(), have.GetEventSequence()), cmp.Compare(reach(record), version(have))) >= 0 {
		newest[record.GetDelivery()] = record
	}
}

// version is how far a delivery has come with a record, whatever the time was on the worker that wrote it: attempts
// follow each other, and what follows from one, its timer, its end, or a replay, has no attempt of its own.
func version(record *deliveryv1.Record) int64 {
	v := 2 * int64(record.GetAttemptCount())
	if record.GetAttempt() == nil {
		v++
	}
	return v
}

// reach is up to which version a record counts. The end of a delivery whose worker has died after an attempt does not know
// of that one.
func reach(record *deliveryv1.Record) int64 {
	v := version(record)
	if state := record.GetState(); record.GetAttempt() == nil &&
		(state == deliveryv1.Delivery_STATE_DEAD_LETTERED || state == deliveryv1.Delivery_STATE_DROPPED) {
		v += 2
	}
	return v
}

// noAttempt is the last status of a delivery when none of the records is an attempt.
const noAttempt = -1

func addDelivery(d *sqlcgen.UpsertDeliveriesParams, record, last *deliveryv1.Record) error {
	id, webhook, err := ids(record)
	if err != nil {
		return err
	}
	if err := record.GetTime().CheckValid(); err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the time of the change is none")
	}
	if err := record.GetAcceptTime().CheckValid(); err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the time of acceptance is none")
	}
	accepted := record.GetAcceptTime().AsTime()
	d.AcceptedOn = append(d.AcceptedOn, pg.Day(accepted))
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
	attempts := record.GetAttemptCount()
	if last.GetEventSequence() == record.GetEventSequence() {
		attempts = max(attempts, last.GetAttemptCount())
	}
	d.AttemptCount = append(d.AttemptCount, attempts)
	d.UpdateTime = append(d.UpdateTime, record.GetTime().AsTime())
	d.NextAttemptTime = append(d.NextAttemptTime, orZero(record.GetNextAttemptTime()))
	status := int32(noAttempt)
	if last != nil {
		status = last.GetAttempt().GetStatusCode()
	}
	d.LastStatusCode = append(d.LastStatusCode, status)
	d.LastErrorClass = append(d.LastErrorClass, last.GetAttempt().GetErrorClass())
	d.Version = append(d.Version, version(record))
	return nil
}

// ids returns the ids of a record's delivery and webhook.
func ids(record *deliveryv1.Record) (delivery, webhook uuid.UUID, err error) {
	if delivery, err = uuid.Parse(record.GetDelivery()); err != nil {
		return delivery, webhook, fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the delivery's id is no UUID")
	}
	if webhook, err = uuid.Parse(record.GetWebhook()); err != nil {
		return delivery, webhook, fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the webhook's id is no UUID")
	}
	return delivery, webhook, nil
}

func (c *columns) addAttempt(record *deliveryv1.Record) error {
	id, err := uuid.Parse(record.GetId())
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, "INVALID_RECORD", err, "the attempt's id is no UUID")
	}
	delivery, webhook, err := ids(record)
	if err != nil {
		return err
	}
	a, attempt, accepted := &c.attempts, record.GetAttempt(), pg.Day(record.GetAcceptTime().AsTime())
	a.AcceptedOn = append(a.AcceptedOn, accepted)
	a.Delivery = append(a.Delivery, delivery)
	a.ID = append(a.ID, id)
	a.Number = append(a.Number, attempt.GetNumber())
	a.StartTime = append(a.StartTime, attempt.GetStartTime().AsTime())
	a.DurationNs = append(a.DurationNs, int64(attempt.GetDuration().AsDuration()))
	a.RequestUrl = append(a.RequestUrl, attempt.GetRequestUrl())
	a.StatusCode = append(a.StatusCode, attempt.GetStatusCode())
	a.ResponseTruncated = append(a.ResponseTruncated, attempt.GetResponseTruncated())
	a.ErrorClass = append(a.ErrorClass, attempt.GetErrorClass())
	a.ErrorMessage = append(a.ErrorMessage, attempt.GetErrorMessage())
	a.NextAttemptTime = append(a.NextAttemptTime, orZero(attempt.GetNextAttemptTime()))
	a.Organization = append(a.Organization, record.GetOrganization())
	a.Webhook = append(a.Webhook, webhook)
	a.Trigger = append(a.Trigger, record.GetTrigger())
	a.EventID = append(a.EventID, record.GetEventId())
	a.DnsNs = append(a.DnsNs, int64(attempt.GetDnsDuration().AsDuration()))
	a.ConnectNs = append(a.ConnectNs, int64(attempt.GetConnectDuration().AsDuration()))
	a.TlsNs = append(a.TlsNs, int64(attempt.GetTlsDuration().AsDuration()))
	a.FirstByteNs = append(a.FirstByteNs, int64(attempt.GetFirstByteDuration().AsDuration()))
	a.RemoteAddress = append(a.RemoteAddress, attempt.GetRemoteAddress())
	a.RequestTruncated = append(a.RequestTruncated, attempt.GetRequestTruncated())
	return c.addPayload(accepted, delivery, id, attempt)
}

func (c *columns) addPayload(accepted time.Time, delivery, id uuid.UUID, attempt *deliveryv1.Attempt) error {
	requestHeaders, err := encodeHeaders(attempt.GetRequestHeaders())
	if err != nil {
		return err
	}
	responseHeaders, err := encodeHeaders(attempt.GetResponseHeaders())
	if err != nil {
		return err
	}
	p := &c.payloads
	p.AcceptedOn = append(p.AcceptedOn, accepted)
	p.Delivery = append(p.Delivery, delivery)
	p.ID = append(p.ID, id)
	p.RequestHeaders = append(p.RequestHeaders, requestHeaders)
	p.RequestBody = append(p.RequestBody, nonNil(attempt.GetRequestBody()))
	p.ResponseHeaders = append(p.ResponseHeaders, responseHeaders)
	p.ResponseBody = append(p.ResponseBody, nonNil(attempt.GetResponseBody()))
	return nil
}

// orZero is the time that stands for none in the tables' parameters.
func orZero(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// nonNil keeps an empty body from being stored as NULL.
func nonNil(body []byte) []byte {
	if body == nil {
		return []byte{}
	}
	return body
}

// encodeHeaders writes headers as a list of [name, value], which keeps their order.
func encodeHeaders(headers []*deliveryv1.Header) (string, error) {
	pairs := make([][2]string, len(headers))
	for i, header := range headers {
		pairs[i] = [2]string{header.GetName(), header.GetValue()}
	}
	encoded, err := json.Marshal(pairs)
	if err != nil {
		return "", fmt.Errorf("encode headers: %w", err)
	}
	return string(encoded), nil
}
