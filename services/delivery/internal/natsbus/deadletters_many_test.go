package natsbus

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// buried makes dead letters and returns them.
func (e *environment) buried(t *testing.T, n int) []*DeadLetter {
	t.Helper()
	for range n {
		e.bury(t, task())
	}
	part, err := e.letters.List(newContext(t), Selection{Organization: "acme"}, 1, 0, n)
	require.NoError(t, err)
	require.Len(t, part.Letters, n)
	return part.Letters
}

// states counts what was recorded, by state.
func (e *environment) states(t *testing.T) map[deliveryv1.Delivery_State]int {
	t.Helper()
	all := make(map[deliveryv1.Delivery_State]int)
	for _, record := range e.records(t) {
		all[record.GetState()]++
	}
	return all
}

func TestPurgeEndsOnlyWhatWasStillThere(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	letters := e.buried(t, 60)
	n, err := e.letters.ReplayAll(ctx, letters[:40]) // somebody else is faster
	require.NoError(t, err)
	require.Equal(t, 40, n)
	n, err = e.letters.PurgeAll(ctx, letters)
	require.NoError(t, err)
	require.Equal(t, 20, n)
	require.Equal(t, map[deliveryv1.Delivery_State]int{
		deliveryv1.Delivery_STATE_PENDING: 40, deliveryv1.Delivery_STATE_DROPPED: 20,
	}, e.states(t))
	n, err = e.letters.PurgeAll(ctx, letters)
	require.NoError(t, err)
	require.Zero(t, n, "again, it does nothing")
	require.Len(t, e.records(t), 60)
	require.Zero(t, e.count(t, bus.StreamDeadLetters, ">"))

}

// What a full stream has taken is done with, and the rest goes on when there is room.
func TestReplayThatFillsTheStream(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	letters := e.buried(t, 120)
	room := func(n int64) {
		for _, config := range e.config.Streams() {
			if config.Name == bus.StreamDeliveries {
				config.MaxMsgs, config.Discard = n, jetstream.DiscardNew
				_, err := e.js.UpdateStream(ctx, config)
				require.NoError(t, err)
			}
		}
	}
	room(50)
	n, err := e.letters.ReplayAll(ctx, letters)
	require.Equal(t, 50, n)
	require.True(t, fault.Is(err, fault.ResourceExhausted), "%v", err)
	require.Equal(t, 50, e.count(t, bus.StreamDeliveries, ">"))
	require.Equal(t, 70, e.count(t, bus.StreamDeadLetters, ">"))
	require.Len(t, e.records(t), 50)

	require.NoError(t, e.stream(t, bus.StreamDeliveries).Purge(ctx)) // they are delivered
	room(-1)
	part, err := e.letters.List(ctx, Selection{}, 1, 0, 500)
	require.NoError(t, err)
	n, err = e.letters.ReplayAll(ctx, part.Letters)
	require.NoError(t, err)
	require.Equal(t, 70, n)
	require.Equal(t, 70, e.count(t, bus.StreamDeliveries, ">"))
	require.Len(t, e.records(t), 120)
	require.Zero(t, e.count(t, bus.StreamDeadLetters, ">"))
}
