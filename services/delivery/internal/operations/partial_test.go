package operations_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/operations"
)

// room says how many deliveries DELIVERIES takes; -1: as many as come.
func (e *env) room(t *testing.T, n int64) {
	t.Helper()
	for _, config := range bus.DefaultConfig().Streams() {
		if config.Name == bus.StreamDeliveries {
			config.MaxMsgs, config.Discard = n, jetstream.DiscardNew
			_, err := e.js.UpdateStream(newContext(t), config)
			require.NoError(t, err)
		}
	}
}

// A replay that fills its stream goes on when there is room: everything is sent and counted once.
func TestReplayGoesOnAfterItsStreamWasFull(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const letters, room = 100, 40
	for n := range letters {
		e.bury(t, task("acme", activeHook, n), core.ReasonAttemptsExhausted, time.Now())
	}
	e.room(t, room)
	id := e.begin(t, "acme", operations.TypeReplay, false, e.all(t, natsbus.Selection{Organization: "acme"}))
	e.operate(t, e.letters)
	require.Eventually(t, func() bool {
		o, err := e.store.Operation(newContext(t), "acme", id)
		require.NoError(t, err)
		return o.Affected == room
	}, patience, tick)
	require.Equal(t, letters-room, e.count(t, bus.StreamDeadLetters, ">"), "what was sent is no dead letter any more")
	require.Equal(t, room, e.count(t, bus.StreamRecords, ">"))

	e.room(t, -1)
	o := e.await(t, "acme", id, operation.Succeeded)
	require.Equal(t, []int64{letters, letters, letters, 0}, []int64{o.Total, o.Processed, o.Affected, o.Skipped})
	sent := e.sent(t)
	require.Len(t, sent, letters)
	for delivery, n := range sent {
		require.Equal(t, 1, n, delivery)
	}
	require.Zero(t, e.count(t, bus.StreamDeadLetters, ">"))
}
