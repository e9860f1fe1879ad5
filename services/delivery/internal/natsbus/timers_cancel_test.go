package natsbus

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

func TestInterruptedCancelIsRepeated(t *testing.T) {
	t.Parallel()
	for name, parked := range map[string]bool{"a retry": false, "a parked one": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			ctx, task := newContext(t), task()
			task.EventSequence = e.publishEvent(t, event)
			require.NoError(t, e.queue.Schedule(ctx, task, time.Now().Add(10*time.Second), parked, "DELIVERIES:1"))
			cut := *e.queue
			cut.retries = interrupted{e.queue.retries}
			_, err := cut.Cancel(ctx, e.found(t, task), uuid.NewString())
			require.True(t, fault.Is(err, fault.Unavailable), "%v", err)

			left := e.found(t, task)
			require.Equal(t, parked, left.Parked)
			require.Greater(t, time.Until(left.Due), claimTime/2, "it does not fire meanwhile")
			done, err := e.queue.Cancel(ctx, left, uuid.NewString())
			require.NoError(t, err)
			require.True(t, done)
			require.Zero(t, e.count(t, bus.StreamRetries, ">"))
			for _, record := range e.records(t) {
				require.Equal(t, deliveryv1.Delivery_STATE_DROPPED, record.GetState())
			}
			require.NotEmpty(t, e.records(t))
		})
	}
}

// What has been due for long is not read again for each that is canceled.
func TestCancelReadsLittle(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, one := newContext(t), task()
	for range 3 * drainBatch {
		due := nats.NewMsg(bus.RetryDueSubject("meeting-booked", "acme", hook))
		due.Header = encode(task())
		_, err := bus.PublishAsync(e.js, due, uuid.NewString())
		require.NoError(t, err)
	}
	select {
	case <-e.js.PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal("they were not stored")
	}
	e.waiting(t, one, false)
	timer := e.found(t, one)
	conn, _ := e.server.Connect(t)
	reads, err := conn.SubscribeSync("$JS.API.DIRECT.GET.RETRIES")
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	done, err := e.queue.Cancel(ctx, timer, uuid.NewString())
	require.NoError(t, err)
	require.True(t, done)
	require.NoError(t, conn.Flush()) // whatever was asked before has come by now
	n, _, err := reads.Pending()
	require.NoError(t, err)
	require.Equal(t, 1, n)
}
