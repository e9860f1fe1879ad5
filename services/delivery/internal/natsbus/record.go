package natsbus

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/secret"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Record implements core.Queue. A record never decides about the request that it tells of, which was made: one that is
// too large is published without what does not fit, and one that cannot be published, whatever is tried, is logged.
func (q *Queue) Record(ctx context.Context, record *core.Record) (wait func() error) {
	msg, message := nats.NewMsg(bus.RecordSubject(record.Task.Organization, record.Task.Webhook)), EncodeRecord(record)
	var err error
	if msg.Data, err = encodeRecord(message); err != nil {
		return func() error { return q.unrecorded(ctx, record, err) }
	}
	// Records need no message id: the recorder stores one that comes twice once.
	future, err := bus.PublishAsync(q.js, msg, "")
	return func() error {
		if err == nil {
			if _, err = bus.Await(ctx, future); err == nil {
				return nil
			}
		}
		if !fault.Is(err, fault.InvalidArgument) {
			err = q.publish(ctx, "publish a record", msg, "")
		}
		if fault.Is(err, fault.InvalidArgument) && message.GetAttempt() != nil { // the server takes less than is usual
			withoutPayload(message.GetAttempt())
			if msg.Data, err = proto.Marshal(message); err == nil {
				err = q.publish(ctx, "publish a record", msg, "")
			}
		}
		return q.unrecorded(ctx, record, err)
	}
}

// unrecorded deals with a record that was not published.
func (q *Queue) unrecorded(ctx context.Context, record *core.Record, err error) error {
	if err == nil || record.Attempt == nil || ctx.Err() != nil {
		return err
	}
	q.logger.ErrorContext(ctx, "attempt cannot be recorded", "delivery", record.Task.Delivery, "attempt", record.ID, "error", err)
	return nil
}

// Bounds of what a record tells.
const (
	// maxRecordBytes is what is left for a record of what the stream and the server take.
	maxRecordBytes = 1<<20 - 4<<10
	// maxKeptBytes is how much is kept of a request's body with which the record would be too large.
	maxKeptBytes = 64 << 10
	// maxMessageBytes is how long a text of what went wrong may be, which the receiver may have had a say in.
	maxMessageBytes = 1 << 10
)

// encodeRecord writes a record, without what does not fit.
func encodeRecord(message *deliveryv1.Record) ([]byte, error) {
	body, err := proto.Marshal(message)
	if attempt := message.GetAttempt(); err == nil && attempt != nil && len(body) > maxRecordBytes {
		if len(attempt.GetRequestBody()) > maxKeptBytes {
			attempt.RequestBody, attempt.RequestTruncated = attempt.GetRequestBody()[:maxKeptBytes], true
		}
		if proto.Size(message) > maxRecordBytes {
			withoutPayload(attempt)
		}
		body, err = proto.Marshal(message)
	}
	if err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	return body, nil
}

// withoutPayload leaves out what an attempt sent and got.
func withoutPayload(attempt *deliveryv1.Attempt) {
	attempt.RequestTruncated = attempt.GetRequestTruncated() || len(attempt.GetRequestBody()) > 0
	attempt.ResponseTruncated = attempt.GetResponseTruncated() || len(attempt.GetResponseBody()) > 0
	attempt.RequestHeaders, attempt.RequestBody, attempt.ResponseHeaders, attempt.ResponseBody = nil, nil, nil, nil
}

// EncodeRecord makes the message of RECORDS.
func EncodeRecord(record *core.Record) *deliveryv1.Record {
	task := record.Task
	message := &deliveryv1.Record{
		Id:              record.ID,
		Time:            timestamppb.New(record.Time),
		Organization:    task.Organization,
		Delivery:        task.Delivery,
		Webhook:         task.Webhook,
		Trigger:         task.Trigger,
		EventSource:     clean(task.EventSource),
		EventId:         clean(task.EventID),
		EventSequence:   int64(task.EventSequence), //nolint:gosec // G115: a sequence of JetStream
		AcceptTime:      timestamppb.New(task.AcceptedAt),
		AttemptCount:    int32(record.AttemptCount), //nolint:gosec // G115: bounded by the retry policy
		State:           deliveryv1.Delivery_State(record.State),
		Reason:          record.Reason,
		NextAttemptTime: timestamp(record.NextAttemptAt),

		WebhookGeneration: record.Generation,
		Known:             task.Recorded,
	}
	if attempt := record.Attempt; attempt != nil {
		message.Attempt = &deliveryv1.Attempt{
			Number:            int32(attempt.Number), //nolint:gosec // G115: bounded by the retry policy
			StartTime:         timestamppb.New(attempt.StartedAt),
			Duration:          durationpb.New(attempt.Duration),
			RequestUrl:        clean(attempt.Request.URL),
			RequestHeaders:    headers(attempt.Request.Headers),
			RequestBody:       attempt.Request.Body,
			StatusCode:        int32(attempt.StatusCode), //nolint:gosec // G115: three digits
			ResponseHeaders:   headers(attempt.ResponseHeaders),
			ResponseBody:      attempt.ResponseBody,
			ResponseTruncated: attempt.ResponseTruncated,
			ErrorClass:        attempt.ErrorClass,
			ErrorMessage:      shorten(clean(attempt.ErrorMessage), maxMessageBytes),
			NextAttemptTime:   timestamp(record.NextAttemptAt),
			DnsDuration:       duration(attempt.Timings.DNS),
			ConnectDuration:   duration(attempt.Timings.Connect),
			TlsDuration:       duration(attempt.Timings.TLS),
			FirstByteDuration: duration(attempt.Timings.FirstByte),
			RemoteAddress:     clean(attempt.RemoteAddr),
		}
	}
	return message
}

// duration leaves out what did not happen.
func duration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// clean makes text of what comes from outside: valid UTF-8, without control characters but tabs. A record that could not be
// encoded, or that Postgres refuses, would hide what a receiver has done.
func clean(text string) string {
	if isPlain(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return utf8.RuneError
		}
		return r // also that for what is no UTF-8
	}, text)
}

// isPlain reports whether a text is of printable ASCII, as nearly all are.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// shorten cuts a text that is too long.
func shorten(text string, limit int) string {
	const mark = "…"
	if len(text) <= limit {
		return text
	}
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

func headers(all []core.Header) []*deliveryv1.Header {
	out := make([]*deliveryv1.Header, len(all))
	for i, header := range all {
		value := clean(header.Value)
		if header.Secret {
			value = secret.New(value).String()
		}
		out[i] = &deliveryv1.Header{Name: clean(header.Name), Value: value}
	}
	return out
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
