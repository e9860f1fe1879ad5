package natsbus

import (
	"context"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// marker is what an erased event has said.
const marker = "somebody@example.org"

// eraser makes one for which everything has been recorded, and these deliveries have succeeded.
func (e *environment) eraser(succeeded ...string) *Eraser {
	return &Eraser{
		Queue: e.queue, NewID: func() string { return uuid.Must(uuid.NewV7()).String() },
		Recorded: func(context.Context, time.Time) (uint64, error) { return 1 << 40, nil },
		Succeeded: func(_ context.Context, organization string, all []string) (map[string]bool, error) {
			known := make(map[string]bool)
			for _, id := range all {
				for _, one := range succeeded {
					known[id] = known[id] || id == one && organization == "acme"
				}
			}
			return known, nil
		},
	}
}

// telling is a delivery of an event that says the marker.
func telling(sequence uint64) *core.Task {
	t := task()
	t.EventSequence, t.Event = sequence, []byte(`{"type": "meeting.booked", "data": {"email": "`+marker+`"}}`)
	return t
}

// everywhere puts a delivery of an event into every place that it can be in, and returns them.
func (e *environment) everywhere(t *testing.T, sequence uint64, organization string) (waiting []*core.Task) {
	t.Helper()
	ctx := newContext(t)
	add := func() *core.Task {
		one := telling(sequence)
		one.Organization = organization
		waiting = append(waiting, one)
		return one
	}
	e.publish(t, add())
	// A timer carries the event when EVENTS would forget it before.
	late := add()
	late.AcceptedAt = late.AcceptedAt.Add(-e.config.EventsMaxAge)
	require.NoError(t, e.queue.Schedule(ctx, late, time.Now().Add(time.Hour), false, uuid.NewString()))
	parked := add()
	require.NoError(t, e.queue.Schedule(ctx, parked, time.Now().Add(time.Hour), true, uuid.NewString()))
	due := add()
	due.AcceptedAt = due.AcceptedAt.Add(-e.config.EventsMaxAge)
	require.NoError(t, e.queue.Schedule(ctx, due, time.Now(), false, uuid.NewString()))
	require.Eventually(t, func() bool {
		return e.count(t, bus.StreamRetries, bus.RetryDueSubject(bus.AnyToken, organization, bus.AnyRest)) > 0
	}, patience, tick)
	dead := add()
	require.NoError(t, e.queue.DeadLetter(ctx, dead, core.ReasonAttemptsExhausted, time.Now(), uuid.NewString()))
	require.NoError(t, e.queue.Record(ctx, attempted(telling(sequence), organization))())
	return waiting
}

// attempted is the record of an attempt that says the marker.
func attempted(t *core.Task, organization string) *core.Record {
	t.Organization, t.Attempts = organization, 1
	return &core.Record{
		ID: uuid.NewString(), Time: time.Now(), Task: t, AttemptCount: 1, State: core.StateSucceeded,
		Attempt: &core.Attempt{Number: 1, StartedAt: time.Now(), Request: core.Request{Body: t.Event}},
	}
}

// said counts the messages of an organization in all streams that say the marker.
func (e *environment) said(t *testing.T, organization string) (n int) {
	t.Helper()
	for _, stream := range []string{bus.StreamDeliveries, bus.StreamRetries, bus.StreamDeadLetters, bus.StreamRecords} {
		reader := &bus.BatchReader{JetStream: e.js, Stream: stream}
		messages, err := reader.Batch(newContext(t), bus.AnyRest, 1, 10_000)
		require.NoError(t, err)
		for _, msg := range messages {
			if strings.Contains(msg.Subject, "."+organization+".") && strings.Contains(string(msg.Data), marker) {
				n++
			}
		}
	}
	return n
}

func TestErasedEventIsNowhereAnyMore(t *testing.T) {
	t.Parallel()
	e := setup(t)
	erased := e.everywhere(t, 7, "acme")
	kept := e.everywhere(t, 8, "acme")
	others := e.everywhere(t, 7, "beta")
	require.Equal(t, 2*5, e.said(t, "acme"), "a parked timer has no body")
	before := len(e.records(t))

	done, err := e.eraser().Erase(newContext(t), "acme", []int64{7})
	require.NoError(t, err)
	require.Equal(t, Erasure{Messages: 6, Dropped: 5}, done)
	require.Equal(t, 5, e.said(t, "acme"))
	require.Equal(t, 5, e.said(t, "beta"))
	require.Len(t, kept, 5)
	require.Len(t, others, 5)

	dropped := make(map[string]bool)
	records := e.records(t)
	require.Len(t, records, before-1+5)
	for _, record := range records[before-1:] {
		require.Equal(t, deliveryv1.Delivery_STATE_DROPPED, record.GetState())
		require.Equal(t, core.ReasonErased, record.GetReason())
		require.Equal(t, "bk_1", record.GetEventId())
		require.EqualValues(t, 7, record.GetEventSequence())
		dropped[record.GetDelivery()] = true
	}
	want := make(map[string]bool)
	for _, one := range erased {
		want[one.Delivery] = true
	}
	require.Equal(t, want, maps.Clone(dropped))

	// Again: there is nothing left, and nothing is told twice.
	done, err = e.eraser().Erase(newContext(t), "acme", []int64{7})
	require.NoError(t, err)
	require.Zero(t, done)
	require.Len(t, e.records(t), before-1+5)
}

func TestWhatIsSentAgainAfterItSucceededEndsWithoutATrace(t *testing.T) {
	t.Parallel()
	e := setup(t)
	again := telling(7)
	e.publish(t, again)
	done, err := e.eraser(again.Delivery).Erase(newContext(t), "acme", []int64{7})
	require.NoError(t, err)
	require.Equal(t, Erasure{Messages: 1}, done)
	require.Empty(t, e.records(t))
}

func TestRecordIsErasedOnlyAfterItWasTakenIn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	require.NoError(t, e.queue.Record(newContext(t), attempted(telling(7), "acme"))())
	eraser := e.eraser()
	var asked atomic.Int64
	eraser.Recorded = func(context.Context, time.Time) (uint64, error) {
		require.Equal(t, 1, e.said(t, "acme"))
		return uint64(asked.Add(1)) / 3, nil
	}
	done, err := eraser.Erase(newContext(t), "acme", []int64{7})
	require.NoError(t, err)
	require.Equal(t, Erasure{Messages: 1}, done)
	require.Zero(t, e.said(t, "acme"))
	require.EqualValues(t, 3, asked.Load())

	away := fault.New(fault.Unavailable, "AWAY", "the database is away")
	require.NoError(t, e.queue.Record(newContext(t), attempted(telling(7), "acme"))())
	eraser.Recorded = func(context.Context, time.Time) (uint64, error) { return 0, away }
	_, err = eraser.Erase(newContext(t), "acme", []int64{7})
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.Equal(t, 1, e.said(t, "acme"))
}
