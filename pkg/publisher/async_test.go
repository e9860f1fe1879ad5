package publisher

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
)

func closePublisher(t *testing.T, p *Publisher) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, p.Close(ctx))
	})
}

func TestPublishAsyncKeepsTheOrder(t *testing.T) {
	t.Parallel()

	e := setup(t, WithMaxInFlight(50))
	closePublisher(t, e.publisher)
	ctx := newContext(t)
	const events = 500
	futures := make([]*Future, events)
	for i := range futures {
		var err error
		futures[i], err = e.publisher.PublishAsync(ctx, booked(fmt.Sprint(i)))
		require.NoError(t, err)
		require.LessOrEqual(t, len(e.publisher.underWay()), 50, "bounded")
	}
	require.NoError(t, e.publisher.Flush(ctx))
	for i, future := range futures {
		select {
		case <-future.Done():
		default:
			require.Fail(t, "Flush did not wait")
		}
		ack, err := future.Result(ctx)
		require.NoError(t, err)
		require.Equal(t, Ack{Sequence: uint64(i + 1), ID: fmt.Sprint(i), Source: "/services/booking"}, ack)
	}
	again, err := e.publisher.PublishAsync(ctx, booked("7"))
	require.NoError(t, err)
	ack, err := again.Result(ctx)
	require.NoError(t, err)
	require.True(t, ack.Duplicate)
	require.Equal(t, events, stored(t, e.js))
}

func TestPublishAsyncHoldsBack(t *testing.T) {
	t.Parallel()

	e := setup(t, WithMaxInFlight(2))
	closePublisher(t, e.publisher)
	e.server.Shutdown()
	require.Eventually(t, func() bool { return !e.conn.IsConnected() }, patience, time.Millisecond)
	first, err := e.publisher.PublishAsync(newContext(t), booked("1"))
	require.NoError(t, err)
	second, err := e.publisher.PublishAsync(newContext(t), booked("2"))
	require.NoError(t, err)

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = e.publisher.PublishAsync(short, booked("3"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var unacknowledged *UnacknowledgedError
	require.ErrorAs(t, err, &unacknowledged)
	require.Equal(t, "3", unacknowledged.ID)
	require.ErrorIs(t, e.publisher.Flush(short), context.DeadlineExceeded)
	_, err = first.Result(short)
	require.ErrorIs(t, err, context.DeadlineExceeded, "its outcome is not known")

	e.server.Restart(t)
	for _, future := range []*Future{first, second} {
		_, err := future.Result(newContext(t))
		require.NoError(t, err)
	}
	third, err := e.publisher.PublishAsync(newContext(t), booked("3"))
	require.NoError(t, err)
	_, err = third.Result(newContext(t))
	require.NoError(t, err)
	require.Equal(t, 3, stored(t, e.js))
}

func TestPublishAsyncEndsWithItsBounds(t *testing.T) {
	t.Parallel()

	e := setup(t, WithGiveUpAfter(100*time.Millisecond))
	closePublisher(t, e.publisher)
	e.server.Shutdown()
	require.Eventually(t, func() bool { return !e.conn.IsConnected() }, patience, time.Millisecond)
	for _, result := range e.publisher.PublishAll(t.Context(), []Event{booked("1"), booked("2")}) {
		var unacknowledged *UnacknowledgedError
		require.ErrorAs(t, result.Err, &unacknowledged)
		require.ErrorIs(t, result.Err, context.DeadlineExceeded)
		require.ErrorIs(t, result.Err, nats.ErrDisconnected)
	}
	_, err := e.publisher.Publish(t.Context(), booked("1"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestPublishAllTellsOfEach(t *testing.T) {
	t.Parallel()

	e := setup(t)
	closePublisher(t, e.publisher)
	wrong := booked("2")
	wrong.Trigger = "meeting"
	results := e.publisher.PublishAll(newContext(t), []Event{booked("1"), wrong, booked("1"), booked("3")})
	require.Len(t, results, 4)
	require.Equal(t, Result{Ack: Ack{Sequence: 1, ID: "1", Source: "/services/booking"}}, results[0])
	var field *FieldError
	require.ErrorAs(t, results[1].Err, &field)
	require.Equal(t, "type", field.Field)
	require.True(t, results[2].Ack.Duplicate)
	require.Equal(t, Result{Ack: Ack{Sequence: 2, ID: "3", Source: "/services/booking"}}, results[3])
	require.Empty(t, e.publisher.PublishAll(newContext(t), nil))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, result := range e.publisher.PublishAll(ended, []Event{booked("4"), booked("5")}) {
		require.ErrorIs(t, result.Err, context.Canceled)
	}
	require.Equal(t, 2, stored(t, e.js))
}

func TestCloseWaitsOrGivesUp(t *testing.T) {
	t.Parallel()

	e := setup(t)
	last, err := e.publisher.PublishAsync(newContext(t), booked("1"))
	require.NoError(t, err)
	require.NoError(t, e.publisher.Close(newContext(t)))
	_, err = last.Result(t.Context())
	require.NoError(t, err)
	_, err = e.publisher.PublishAsync(newContext(t), booked("2"))
	require.ErrorIs(t, err, ErrClosed)
	_, err = e.publisher.Publish(newContext(t), booked("2"))
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, e.publisher.Close(newContext(t)))

	e.server.Shutdown()
	p := newPublisher(t, e.js)
	stuck, err := p.PublishAsync(t.Context(), booked("3"))
	require.NoError(t, err)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Close(short), context.DeadlineExceeded)
	_, err = stuck.Result(t.Context())
	var unacknowledged *UnacknowledgedError
	require.ErrorAs(t, err, &unacknowledged)
	require.ErrorIs(t, err, context.Canceled)
}

func TestBinaryMode(t *testing.T) {
	t.Parallel()

	e := setup(t, WithBinaryMode())
	event := whole()
	event.Subject = `Größe 100% "x"`
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	})
	ack, err := e.publisher.Publish(trace.ContextWithSpanContext(newContext(t), span), event)
	require.NoError(t, err)
	msg := message(t, e.js, ack.Sequence)
	require.JSONEq(t, `{"title":"a < b & c","start":1}`, string(msg.Data))
	for _, name := range []string{jetstream.StreamHeader, jetstream.SequenceHeader, jetstream.SubjectHeader, jetstream.TimeStampHeaer} {
		delete(msg.Header, name) // the stream's
	}
	require.Equal(t, nats.Header{
		"Content-Type":   {"application/json"},
		"Nats-Msg-Id":    {"acme:/services/booking:booking-1:booked"},
		"ce-specversion": {"1.0"},
		"ce-id":          {"booking-1:booked"},
		"ce-source":      {"/services/booking"},
		"ce-type":        {"meeting.booked"},
		"ce-subject":     {"Gr%C3%B6%C3%9Fe%20100%25%20%22x%22"},
		"ce-time":        {"2026-03-01T09:00:00.25Z"},
		"ce-mwteams":     {"sales,support"},
		"ce-mweventtype": {"intro"},
		"traceparent":    {"00-01000000000000000000000000000000-0200000000000000-01"},
	}, msg.Header)

	event.Data = json.RawMessage(`"` + string(make([]byte, MaxEventBytes)) + `"`)
	_, err = e.publisher.Publish(newContext(t), event)
	var field *FieldError
	require.ErrorAs(t, err, &field)
}

func TestPublishAsyncLosesAndDoublesNothingOverARestart(t *testing.T) {
	t.Parallel()

	e := setup(t)
	closePublisher(t, e.publisher)
	publishAsyncAndDisturb(t, e.publisher, e.js, func() { e.server.Restart(t) })
}

func TestPublishAsyncLosesAndDoublesNothingOverAFailover(t *testing.T) {
	t.Parallel()

	cluster := natstest.Cluster(t, 3)
	_, js := cluster.Connect(t)
	var leader string
	require.Eventually(t, func() bool { // a young cluster may not know all its nodes yet
		stream, err := js.CreateOrUpdateStream(newContext(t), jetstream.StreamConfig{
			Name: bus.StreamEvents, Subjects: []string{bus.EventsFilter()}, Replicas: 3,
		})
		if err != nil {
			return false
		}
		leader = stream.CachedInfo().Cluster.Leader
		return true
	}, patience, 50*time.Millisecond)
	p := newPublisher(t, js)
	closePublisher(t, p)
	publishAsyncAndDisturb(t, p, js, func() { cluster.Kill(cluster.Index(leader)) })
}

// publishAsyncAndDisturb publishes without waiting, calls disturb in the middle, publishes on, and compares what was
// published with what the stream has.
func publishAsyncAndDisturb(t *testing.T, p *Publisher, js jetstream.JetStream, disturb func()) {
	t.Helper()
	const events = 2000
	ctx := newContext(t)
	futures := make([]*Future, events)
	disturbed := make(chan struct{})
	for i := range futures {
		if i == events/4 {
			go func() { // while it goes on
				defer close(disturbed)
				disturb()
			}()
		}
		if i == 3*events/4 {
			await(t, disturbed)
		}
		var err error
		futures[i], err = p.PublishAsync(ctx, booked(fmt.Sprint(i)))
		require.NoError(t, err)
	}
	require.NoError(t, p.Flush(ctx))
	sequences := make(map[uint64]string, events)
	for _, future := range futures {
		ack, err := future.Result(ctx)
		require.NoError(t, err)
		require.NotContains(t, sequences, ack.Sequence)
		sequences[ack.Sequence] = ack.ID
	}
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		stream, err := js.Stream(ctx, bus.StreamEvents)
		return err == nil && stream.CachedInfo().State.Msgs == events
	}, patience, 50*time.Millisecond, "nothing is lost, nothing is there twice")
}
