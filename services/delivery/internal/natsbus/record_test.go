package natsbus

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
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
	require.False(t, got.GetKnown())
	again := task()
	again.Recorded = true
	require.True(t, EncodeRecord(&core.Record{ID: "r", Task: again, State: core.StatePending}).GetKnown())

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
	record.Attempt.Request.URL, record.Attempt.RemoteAddr = "https://a\x00b/", "\x1b"
	record.Task.EventSource, record.Task.EventID = "/\u0085", "\x7f"
	require.NoError(t, e.queue.Record(newContext(t), record)())
	got := e.records(t)[0].GetAttempt()
	require.Equal(t, "a=\uFFFD", got.GetRequestHeaders()[0].GetValue())
	require.Equal(t, "\uFFFD", got.GetResponseHeaders()[0].GetValue())
	require.Equal(t, "x509: \uFFFD", got.GetErrorMessage())
	require.Equal(t, "https://a\uFFFDb/", got.GetRequestUrl())
	require.Equal(t, "\uFFFD", got.GetRemoteAddress())
	require.Equal(t, "/\uFFFD", e.records(t)[0].GetEventSource())
	require.Equal(t, "\uFFFD", e.records(t)[0].GetEventId())
}

// A receiver chooses the names in its certificate, which are told in what went wrong.
func TestRecordOfWhatAReceiverSays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a\x00b.example":                     "a\uFFFDb.example",
		"line\r\nline\ttab":                  "line\uFFFD\uFFFDline\ttab",
		strings.Repeat("a", 1024):            strings.Repeat("a", 1024),
		strings.Repeat("a", 200_000):         strings.Repeat("a", 1021) + "…",
		strings.Repeat("\U0001F5D3", 10_000): strings.Repeat("\U0001F5D3", 255) + "…",
	} {
		got := EncodeRecord(&core.Record{Task: task(), Attempt: &core.Attempt{
			ErrorMessage: text, ResponseHeaders: []core.Header{{Name: "a\x00", Value: "b\x00\tc"}},
		}}).GetAttempt()
		require.Equal(t, want, got.GetErrorMessage())
		require.LessOrEqual(t, len(got.GetErrorMessage()), 1024)
		require.Equal(t, "a\uFFFD", got.GetResponseHeaders()[0].GetName())
		require.Equal(t, "b\uFFFD\tc", got.GetResponseHeaders()[0].GetValue())
	}
}

// What was sent is recorded whatever its size: an attempt that could not be recorded would be made again.
func TestRecordThatIsTooLarge(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, size := range []int{1 << 19, 1<<20 - 5000, 1<<20 - 3000, 1 << 20, 8 << 20} {
		record := succeeded(task())
		record.Attempt.Request.Body, record.Attempt.ResponseTruncated = bytes.Repeat([]byte("a"), size), false
		require.NoError(t, e.queue.Record(newContext(t), record)())
		all := e.records(t)
		got := all[len(all)-1].GetAttempt()
		require.Equal(t, size > 1<<20-5000, got.GetRequestTruncated(), size)
		if got.GetRequestTruncated() {
			require.Len(t, got.GetRequestBody(), 64<<10)
		} else {
			require.Len(t, got.GetRequestBody(), size)
		}
		require.Equal(t, []byte{0xff, 0}, got.GetResponseBody(), "that fits")
		require.False(t, got.GetResponseTruncated())
	}
	record := succeeded(task())
	record.Attempt.ResponseBody, record.Attempt.ResponseTruncated = make([]byte, 2<<20), false
	require.NoError(t, e.queue.Record(newContext(t), record)())
	all := e.records(t)
	require.Empty(t, all[len(all)-1].GetAttempt().GetResponseBody())
	require.True(t, all[len(all)-1].GetAttempt().GetResponseTruncated())
}

func TestRecordThatTheServerDoesNotTake(t *testing.T) {
	t.Parallel()
	e := setup(t)
	limit := func(size int32) {
		stream, err := e.js.Stream(newContext(t), bus.StreamRecords)
		require.NoError(t, err)
		config := stream.CachedInfo().Config
		config.MaxMsgSize = size
		_, err = e.js.UpdateStream(newContext(t), config)
		require.NoError(t, err)
	}
	record := succeeded(task())
	record.Attempt.Request.Body = make([]byte, 20_000)
	limit(10_000)
	require.NoError(t, e.queue.Record(newContext(t), record)())
	got := e.records(t)
	require.Len(t, got, 1)
	require.Empty(t, got[0].GetAttempt().GetRequestBody())
	require.True(t, got[0].GetAttempt().GetRequestTruncated())
	require.EqualValues(t, 200, got[0].GetAttempt().GetStatusCode())

	limit(10)
	require.NoError(t, e.queue.Record(newContext(t), record)(), "the request was made, and is not made again for that")
	require.Len(t, e.records(t), 1)
	record.Attempt = nil
	err := e.queue.Record(newContext(t), record)()
	require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
}
