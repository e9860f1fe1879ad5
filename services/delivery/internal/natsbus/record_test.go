package natsbus

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// succeeded is the record of an attempt.
func succeeded(task *core.Task) *core.Record {
	id, began := uuid.NewString(), time.Now().UTC()
	return &core.Record{
		ID: id, Time: began.Add(time.Second), Task: task, AttemptCount: 2, State: core.StateSucceeded,
		Attempt: &core.Attempt{
			ID: id, Number: 2, StartedAt: began, Duration: 1500 * time.Microsecond,
			Request: core.Request{
				URL: "https://receiver.example/", Headers: []core.Header{{Name: "webhook-id", Value: "d"}}, Body: []byte(event),
			},
			StatusCode: 200, ResponseHeaders: []core.Header{{Name: "Server", Value: "x"}}, ResponseBody: []byte{0xff, 0},
			ResponseTruncated: true, RemoteAddr: "192.0.2.1:443",
			Timings: core.Timings{
				DNS: 1 * time.Microsecond, Connect: 2 * time.Microsecond, TLS: 3 * time.Microsecond, FirstByte: 4 * time.Microsecond,
			},
		},
	}
}

func TestRecordOfAnAttempt(t *testing.T) {
	t.Parallel()
	e := setup(t)
	task := task()
	record := succeeded(task)
	require.NoError(t, e.queue.Record(newContext(t), record)())
	require.NoError(t, e.queue.Record(newContext(t), record)(), "a record has no message id: twice is the recorder's business")
	got := e.records(t)
	require.Len(t, got, 2)
	want := &deliveryv1.Record{
		Id: record.ID, Time: timestamppb.New(record.Time), Organization: "acme", Delivery: task.Delivery, Webhook: hook,
		Trigger: "meeting.booked", EventSource: "/bookings", EventId: "bk_1", EventSequence: 7,
		AcceptTime: timestamppb.New(task.AcceptedAt), AttemptCount: 2, State: deliveryv1.Delivery_STATE_SUCCEEDED,
		Attempt: &deliveryv1.Attempt{
			Number: 2, StartTime: timestamppb.New(record.Attempt.StartedAt), Duration: durationpb.New(1500 * time.Microsecond),
			RequestUrl: "https://receiver.example/", RequestHeaders: []*deliveryv1.Header{{Name: "webhook-id", Value: "d"}},
			RequestBody: []byte(event), StatusCode: 200, ResponseHeaders: []*deliveryv1.Header{{Name: "Server", Value: "x"}},
			ResponseBody: []byte{0xff, 0}, ResponseTruncated: true, RemoteAddress: "192.0.2.1:443",
			DnsDuration: durationpb.New(time.Microsecond), ConnectDuration: durationpb.New(2 * time.Microsecond),
			TlsDuration: durationpb.New(3 * time.Microsecond), FirstByteDuration: durationpb.New(4 * time.Microsecond),
		},
	}
	for _, record := range got {
		require.True(t, proto.Equal(want, record), "%v", record)
	}
}

func TestRecordOfAChangeWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	next := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	got := EncodeRecord(&core.Record{
		ID: "r", Task: task(), State: core.StatePending, NextAttemptAt: next, Reason: "why", AttemptCount: 3,
	})
	require.Nil(t, got.GetAttempt())
	require.Equal(t, deliveryv1.Delivery_STATE_PENDING, got.GetState())
	require.Equal(t, next, got.GetNextAttemptTime().AsTime())
	require.Equal(t, "why", got.GetReason())

	failed := EncodeRecord(&core.Record{
		Task: task(), State: core.StatePending, NextAttemptAt: next,
		Attempt: &core.Attempt{ErrorClass: core.ErrorTimeout, ErrorMessage: "too late"},
	})
	require.Equal(t, next, failed.GetAttempt().GetNextAttemptTime().AsTime())
	require.Equal(t, "timeout", failed.GetAttempt().GetErrorClass())
	require.Equal(t, "too late", failed.GetAttempt().GetErrorMessage())
	require.Nil(t, failed.GetAttempt().GetDnsDuration(), "what did not happen took no time")
	require.Nil(t, failed.GetAttempt().GetFirstByteDuration())
}

func TestStatesAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	for state, want := range map[core.State]deliveryv1.Delivery_State{
		core.StatePending: deliveryv1.Delivery_STATE_PENDING, core.StateSucceeded: deliveryv1.Delivery_STATE_SUCCEEDED,
		core.StateDeadLettered: deliveryv1.Delivery_STATE_DEAD_LETTERED, core.StateDropped: deliveryv1.Delivery_STATE_DROPPED,
	} {
		require.Equal(t, want, EncodeRecord(&core.Record{Task: task(), State: state}).GetState())
	}
}

func TestRecordOfWhatIsNoText(t *testing.T) {
	t.Parallel()
	e := setup(t)
	// If it could not be recorded, an attempt that succeeded would be made again.
	record := succeeded(task())
	record.Attempt.Request.Headers = []core.Header{{Name: "tracestate", Value: "a=\xff"}}
	record.Attempt.ResponseHeaders = []core.Header{{Name: "X", Value: "\xfc"}}
	record.Attempt.ErrorMessage = "x509: \xfe"
	require.NoError(t, e.queue.Record(newContext(t), record)())
	got := e.records(t)[0].GetAttempt()
	require.Equal(t, "a=\uFFFD", got.GetRequestHeaders()[0].GetValue())
	require.Equal(t, "\uFFFD", got.GetResponseHeaders()[0].GetValue())
	require.Equal(t, "x509: \uFFFD", got.GetErrorMessage())
}
