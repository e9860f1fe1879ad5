package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// TestMessageThatComesBackWhileItIsWorkedOnIsHandledOnce has NATS away for longer than AckWait.
func TestMessageThatComesBackWhileItIsWorkedOnIsHandledOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.config.AckWait = time.Second
	e.publish(t, bookedSubject, "slow")
	begun, release := make(chan struct{}, 10), make(chan struct{})
	consumer := e.consumer(func(_ context.Context, msg *bus.Msg) {
		begun <- struct{}{}
		<-release
		msg.Done()
	})
	running := run(t, consumer.Run)
	receive(t, begun)

	e.server.Shutdown()
	down := time.Now()
	require.Eventually(t, func() bool { return time.Since(down) > 2*e.config.AckWait }, patience, tick)
	e.server.Restart(t)
	redelivered := func() int {
		durable, err := e.js.Consumer(newContext(t), bus.StreamEvents, "ingest-meeting-booked")
		if err != nil {
			return 0
		}
		return durable.CachedInfo().NumRedelivered
	}
	require.Eventually(t, func() bool { return redelivered() > 0 }, patience, tick, "the server has not given it out again")
	// What is published now comes after it, and shows that it has come.
	require.Eventually(t, func() bool {
		_, err := e.js.Publish(newContext(t), bookedSubject, []byte("next"), jetstream.WithMsgID("next"))
		return err == nil
	}, patience, tick)
	receive(t, begun)
	close(release)
	e.requireSettled(t)
	require.NoError(t, running.stop(t))
	require.Empty(t, begun, "handled twice")
}
