package natsbus

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/secret"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

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
		EventSource:     task.EventSource,
		EventId:         task.EventID,
		EventSequence:   int64(task.EventSequence), //nolint:gosec // G115: a sequence of JetStream
		AcceptTime:      timestamppb.New(task.AcceptedAt),
		AttemptCount:    int32(record.AttemptCount), //nolint:gosec // G115: bounded by the retry policy
		State:           deliveryv1.Delivery_State(record.State),
		Reason:          record.Reason,
		NextAttemptTime: timestamp(record.NextAttemptAt),

		WebhookGeneration: record.Generation,
	}
	if attempt := record.Attempt; attempt != nil {
		message.Attempt = &deliveryv1.Attempt{
			Number:            int32(attempt.Number), //nolint:gosec // G115: bounded by the retry policy
			StartTime:         timestamppb.New(attempt.StartedAt),
			Duration:          durationpb.New(attempt.Duration),
			RequestUrl:        attempt.Request.URL,
			RequestHeaders:    headers(attempt.Request.Headers),
			RequestBody:       attempt.Request.Body,
			StatusCode:        int32(attempt.StatusCode), //nolint:gosec // G115: three digits
			ResponseHeaders:   headers(attempt.ResponseHeaders),
			ResponseBody:      attempt.ResponseBody,
			ResponseTruncated: attempt.ResponseTruncated,
			ErrorClass:        attempt.ErrorClass,
			ErrorMessage:      strings.ToValidUTF8(attempt.ErrorMessage, replacement),
			NextAttemptTime:   timestamp(record.NextAttemptAt),
			DnsDuration:       duration(attempt.Timings.DNS),
			ConnectDuration:   duration(attempt.Timings.Connect),
			TlsDuration:       duration(attempt.Timings.TLS),
			FirstByteDuration: duration(attempt.Timings.FirstByte),
			RemoteAddress:     attempt.RemoteAddr,
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

// replacement stands for what is no UTF-8. A record that could not be encoded for it would make an attempt that was
// made look as if it was not.
const replacement = "\uFFFD"

func headers(all []core.Header) []*deliveryv1.Header {
	out := make([]*deliveryv1.Header, len(all))
	for i, header := range all {
		value := strings.ToValidUTF8(header.Value, replacement)
		if header.Secret {
			value = secret.New(value).String()
		}
		out[i] = &deliveryv1.Header{Name: header.Name, Value: value}
	}
	return out
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
