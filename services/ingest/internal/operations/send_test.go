package operations_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/operation"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/operations"
)

var errAway = status.Error(codes.Unavailable, "away")

func stamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }

// ids are the ids of what publishMany publishes.
func ids(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("a", i)
	}
	return all
}

func counted(o operation.Operation) [5]int64 {
	return [5]int64{o.Total, o.Processed, o.Affected, o.Skipped, o.Repeat}
}

func TestNewWebhookGetsWhatHappenedBeforeIt(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	e.publishMany(t, 30)
	e.publish(t, "beta", "meeting.booked", "b", `{}`)
	e.publish(t, "acme", "meeting.booked", "rejected", `[]`)
	e.publish(t, "acme", "meeting.canceled", "c", `{}`)
	e.indexed(t, 33)
	w := e.webhook(1, nil)

	// A dry run counts and sends nothing, also at a rate at which this would take hours.
	dry := e.await(t, e.begin(t, operations.TypeBackfill, 0.1, true, past(w)), operation.Succeeded)
	require.Equal(t, [5]int64{32, 32, 31, 0, 0}, counted(dry))
	require.Zero(t, e.delivery.count())

	o := e.await(t, e.begin(t, operations.TypeBackfill, fast, false, past(w)), operation.Succeeded)
	require.Equal(t, [5]int64{32, 32, 31, 0, 0}, counted(o))
	e.requireOnce(t, w, append(ids(30), "c")...)
	require.Equal(t, 31, e.delivery.count())

	again := e.await(t, e.begin(t, operations.TypeBackfill, fast, false, past(w)), operation.Succeeded)
	require.Equal(t, [5]int64{32, 32, 0, 31, 0}, counted(again), "what has been delivered is not sent again")
	require.Equal(t, 31, e.delivery.count())
}

func TestBackfillSelects(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	for i := range 4 {
		e.publish(t, "acme", "meeting.booked", fmt.Sprint("b", i), fmt.Sprintf(`{"n":%d}`, i))
		e.publish(t, "acme", "meeting.canceled", fmt.Sprint("c", i), fmt.Sprintf(`{"n":%d}`, i))
	}
	e.indexed(t, 8)
	w := e.webhook(1, func(w *configv1.Webhook) { w.Filter = `event.data.n > 0` })
	asked := past(w)
	asked.Triggers, asked.Filter = []string{"meeting.booked"}, `event.data.n < 3`
	o := e.await(t, e.begin(t, operations.TypeBackfill, fast, false, asked), operation.Succeeded)
	require.Equal(t, [5]int64{8, 8, 2, 0, 0}, counted(o))
	e.requireOnce(t, w, "b1", "b2")
	require.Equal(t, 2, e.delivery.count())
}

func TestBackfillLeavesWhatWaitsAndCountsWhatNobodyKnows(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	e.publishMany(t, 5)
	e.indexed(t, 5)
	w := e.webhook(1, nil)
	e.delivery.state(w, "a0", deliveryv1.Delivery_STATE_PENDING, 1)
	e.delivery.state(w, "a1", deliveryv1.Delivery_STATE_DEAD_LETTERED, 3)
	e.delivery.state(w, "a2", deliveryv1.Delivery_STATE_DROPPED, 2)
	e.delivery.state(w, "a3", deliveryv1.Delivery_STATE_SUCCEEDED, 1)
	e.delivery.set(func(d *delivery) { d.kept = time.Now().Add(time.Minute) }) // nobody knows of a4 any more
	o := e.await(t, e.begin(t, operations.TypeBackfill, fast, false, past(w)), operation.Succeeded)
	require.Equal(t, [5]int64{5, 5, 2, 3, 1}, counted(o))
	e.requireOnce(t, w, "a2", "a4")
	canceled := e.delivery.of(w, "a2")[0]
	require.Equal(t, "2", canceled.Get(bus.HeaderAttempt), "attempts go on counting")
	require.Equal(t, "2", canceled.Get(bus.HeaderAttemptBase))
	require.Empty(t, e.delivery.of(w, "a4")[0].Get(bus.HeaderAttempt))
}

func TestBackfillWaitsForTheRecords(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.publishMany(t, 3)
	e.indexed(t, 3)
	w := e.webhook(1, nil)
	e.delivery.set(func(d *delivery) { d.behind = 2 * time.Minute })
	id := e.begin(t, operations.TypeBackfill, fast, false, past(w))
	e.operate(t)
	require.Eventually(t, func() bool { // it has been put off
		var n int
		require.NoError(t, e.pool.QueryRow(newContext(t),
			`SELECT count(*) FROM ingest.operation WHERE progress <> '{}' AND lease_time > now() + interval '3 s'`).Scan(&n))
		return n == 1
	}, patience, tick)
	require.Zero(t, e.delivery.count())
	e.delivery.set(func(d *delivery) { d.behind = 30 * time.Second })
	o := e.await(t, id, operation.Succeeded)
	require.Equal(t, [5]int64{3, 3, 3, 0, 0}, counted(o))
	require.Empty(t, o.ErrorReason)
}

func TestBackfillIsNeverAheadOfTheLiveFanOut(t *testing.T) {
	t.Parallel()
	e := setup(t)
	w := e.webhook(1, nil)
	e.publishMany(t, 20)
	id := e.begin(t, operations.TypeBackfill, fast, false, past(w))
	e.operate(t)
	require.Eventually(t, func() bool { // its lane has no consumer yet: nobody will ever fan them out
		return e.delivery.count() == 20
	}, patience, tick)
	e.await(t, id, operation.Succeeded)

	// There is one, which nobody takes from.
	_, err := e.js.CreateConsumer(newContext(t), bus.StreamEvents, e.worker.Config.IngestConsumer("meeting.canceled", time.Time{}))
	require.NoError(t, err)
	e.publish(t, "acme", "meeting.canceled", "c", `{}`)
	id = e.begin(t, operations.TypeBackfill, fast, false, past(w))
	require.Eventually(t, func() bool {
		o, err := e.store.Operation(newContext(t), "acme", id)
		require.NoError(t, err)
		return o.Processed == 20
	}, patience, tick)
	require.Empty(t, e.delivery.of(w, "c"))
	e.fanOut(t)
	e.await(t, id, operation.Succeeded)
	e.requireOnce(t, w, append(ids(20), "c")...)
}

func TestBackfillEndsWithoutItsWebhook(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	e.publishMany(t, 3)
	o := e.await(t, e.begin(t, operations.TypeBackfill, fast, false, past(hook(9))), operation.Failed)
	require.Equal(t, "WEBHOOK_DELETED", o.ErrorReason)

	w := e.webhook(1, func(w *configv1.Webhook) { w.Status = configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED })
	id := e.begin(t, operations.TypeBackfill, fast, false, past(w))
	o = e.await(t, id, operation.Failed)
	require.Equal(t, "WEBHOOK_DISABLED", o.ErrorReason)
	e.webhook(1, nil)
	_, err := e.store.Resume(newContext(t), "acme", id)
	require.NoError(t, err)
	e.await(t, id, operation.Succeeded)
	e.requireOnce(t, w, ids(3)...)
}

func TestCanceledBackfillGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	e.publishMany(t, 60)
	e.indexed(t, 60)
	w := e.webhook(1, nil)
	id := e.begin(t, operations.TypeBackfill, 20, false, past(w))
	require.Eventually(t, func() bool { return e.delivery.count() > 0 }, patience, tick)
	_, err := e.store.Cancel(newContext(t), "acme", id)
	require.NoError(t, err)
	e.await(t, id, operation.Canceled)
	require.Less(t, e.delivery.count(), 60, "20 a second")
	_, err = e.store.Resume(newContext(t), "acme", id)
	require.NoError(t, err)
	o := e.await(t, id, operation.Succeeded)
	require.EqualValues(t, 60, o.Affected+o.Skipped)
	e.requireOnce(t, w, ids(60)...)
}

func TestReplaySendsAgainToAllThatMatch(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	var hooks []string
	for n := range 7 {
		hooks = append(hooks, e.webhook(n, nil))
	}
	e.publishMany(t, 4)
	e.publish(t, "acme", "meeting.booked", "other", `{"id":"m-2"}`)
	e.indexed(t, 5)
	require.Eventually(t, func() bool { return e.delivery.count() == 35 }, patience, tick)
	e.delivery.state(hooks[0], "a0", deliveryv1.Delivery_STATE_PENDING, 1)
	e.delivery.state(hooks[1], "a0", deliveryv1.Delivery_STATE_DEAD_LETTERED, 1)

	asked := past("")
	asked.Filter = `event.id.startsWith("a")`
	// Parts of three deliveries: they end in the middle of events.
	o := e.await(t, e.begin(t, operations.TypeReplay, 3, true, asked), operation.Succeeded)
	require.Equal(t, [5]int64{5, 5, 26, 2, 26}, counted(o))
	id := e.begin(t, operations.TypeReplay, 13, false, asked)
	o = e.await(t, id, operation.Succeeded)
	require.Equal(t, [5]int64{5, 5, 26, 2, 26}, counted(o))
	require.Eventually(t, func() bool { return e.delivery.count() == 35+26 }, patience, tick)
	for _, w := range hooks {
		for _, event := range ids(4)[1:] {
			both := e.delivery.of(w, event)
			require.Len(t, both, 2)
			require.Equal(t, both[0].Get(bus.HeaderDeliveryID), both[1].Get(bus.HeaderDeliveryID))
			require.Equal(t, "1", both[1].Get(bus.HeaderAttemptBase))
		}
	}
	asked = past(hooks[2])
	asked.Subject = "m-2"
	o = e.await(t, e.begin(t, operations.TypeReplay, fast, false, asked), operation.Succeeded)
	require.Equal(t, [5]int64{5, 5, 1, 0, 1}, counted(o))
	require.Eventually(t, func() bool { return len(e.delivery.of(hooks[2], "other")) == 2 }, patience, tick)
}

func TestInterruptedOperationsLoseNothing(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	const events, hooks = 40, 5
	e.publishMany(t, events)
	e.indexed(t, events)
	for n := range hooks {
		e.webhook(n, nil)
	}
	backfill := e.begin(t, operations.TypeBackfill, 200, false, past(hook(0)))
	replay := e.begin(t, operations.TypeReplay, 200, false, past(""))
	for range 5 {
		before := e.delivery.count()
		stop := e.operate(t)
		require.Eventually(t, func() bool {
			return e.delivery.count() > before+rand.IntN(20) || e.delivery.count() >= events*hooks
		}, patience, tick)
		stop()
	}
	e.operate(t)
	e.await(t, backfill, operation.Succeeded)
	e.await(t, replay, operation.Succeeded)
	for n := range hooks {
		for _, event := range ids(events) {
			require.NotEmpty(t, e.delivery.of(hook(n), event))
		}
	}
	for n := 1; n < hooks; n++ {
		e.requireOnce(t, hook(n), ids(events)...)
	}
}

func TestBackfillIsNotFasterThanItsReceiver(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.publishMany(t, 30)
	e.indexed(t, 30)
	w := e.webhook(1, nil)
	e.delivery.set(func(d *delivery) { d.slow = true })
	id := e.begin(t, operations.TypeBackfill, 5, false, past(w))
	e.operate(t)
	require.Eventually(t, func() bool { return e.delivery.count() == 10 }, patience, tick)
	require.Eventually(t, func() bool { // it has been put off
		var n int
		require.NoError(t, e.pool.QueryRow(newContext(t),
			`SELECT count(*) FROM ingest.operation WHERE lease_time > now() AND lease_time < now() + interval '1 s'`).Scan(&n))
		return n == 1
	}, patience, time.Millisecond)
	require.Equal(t, 10, e.delivery.count(), "two parts wait, and nothing more is sent")
	e.delivery.set(func(d *delivery) { d.slow = false })
	for _, event := range ids(10) {
		e.delivery.state(w, event, deliveryv1.Delivery_STATE_PENDING, 1) // they have been tried
	}
	e.await(t, id, operation.Succeeded)
	e.requireOnce(t, w, ids(30)...)
}

// TestRepeatedPartOfAReplayIsNotWaitedFor lets an operation repeat what it had sent, and not stored, before it died.
func TestRepeatedPartOfAReplayIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	w := e.webhook(1, nil)
	e.publishMany(t, 9)
	e.indexed(t, 9)
	require.Eventually(t, func() bool { return e.delivery.count() == 9 }, patience, tick)
	id := e.begin(t, operations.TypeReplay, 3, false, past(w))
	e.operate(t)
	e.await(t, id, operation.Succeeded)
	_, err := e.pool.Exec(newContext(t), `UPDATE ingest.operation SET progress = '{"counted":true}', state = 'canceled'`)
	require.NoError(t, err)
	_, err = e.store.Resume(newContext(t), "acme", id)
	require.NoError(t, err)
	e.await(t, id, operation.Succeeded)
	for _, event := range ids(9) {
		require.Len(t, e.delivery.of(w, event), 2, "live, and replayed once")
	}
}

// TestBackfillAndLiveTrafficTogetherDeliverOnce makes a webhook in the middle of a stream of events, and backfills it at
// once.
func TestBackfillAndLiveTrafficTogetherDeliverOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	const n = 400
	half, done := make(chan struct{}), make(chan struct{})
	e.run(t, func(context.Context) error {
		defer close(done)
		for i := range n {
			if i == n/2 {
				close(half)
			}
			e.publish(t, "acme", "meeting.booked", fmt.Sprint("a", i), `{}`)
		}
		return nil
	})
	<-half
	w := e.webhook(1, nil)
	o := e.await(t, e.begin(t, operations.TypeBackfill, fast, false, past(w)), operation.Succeeded)
	require.GreaterOrEqual(t, o.Processed, int64(n/2))
	<-done
	e.requireOnce(t, w, ids(n)...)
}
