package delivery_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/bus"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// The last attempt that there is succeeds, where one more failure would disable the webhook.
func TestServiceSucceedsOnTheVeryLastAttempt(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = &configv1.RetryPolicy{MaxRetries: 3, Delays: durations(50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond)}
	i.webhook.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: 4}
	i.respond(answers(500, 503, 500, 200))
	i.ready(t)
	id := i.publish(t, "bk_1")
	for range 4 {
		i.received(t)
	}
	i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 4)
	i.requireSettled(t)
	require.Zero(t, i.messages(t, bus.StreamDeadLetters))
	for n, attempt := range i.attempts(t, id) {
		require.EqualValues(t, n+1, attempt.GetNumber())
	}
	// What fails afterwards is counted anew: three more do not make seven.
	i.respond(answers(500, 500, 500, 200))
	other := i.publish(t, "bk_2")
	i.requireState(t, other, deliveryv1.Delivery_STATE_SUCCEEDED, 4)
	for _, report := range i.feed.reports() {
		require.NotEqual(t, configv1.ReportWebhookHealthRequest_LEVEL_DISABLE, report.GetLevel())
	}
}

// Attempts are counted on by whoever comes after: another process, and NATS started anew.
func TestServiceCountsAttemptsOverRestarts(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = every(time.Second, 2)
	i.respond(status(http.StatusInternalServerError))
	i.ready(t)
	id := i.publish(t, "bk_1")
	i.received(t)
	require.Eventually(t, func() bool { return i.made(t, id) > 0 }, patience, tick)
	require.NoError(t, i.stop())
	i.nats.Restart(t)
	i.service, i.address, i.stop = i.run(t)
	i.received(t)
	require.NoError(t, i.stop())
	i.service, i.address, i.stop = i.run(t)
	i.received(t)
	var state, attempts int
	require.Eventually(t, func() bool {
		return i.pool.QueryRow(t.Context(), "SELECT state, attempt_count FROM delivery.delivery WHERE id = $1", id).Scan(&state, &attempts) == nil &&
			state == int(deliveryv1.Delivery_STATE_DEAD_LETTERED)
	}, patience, tick)
	require.Equal(t, 3, attempts)
	i.requireSettled(t)
	require.EqualValues(t, 1, i.messages(t, bus.StreamDeadLetters))
	require.Empty(t, i.calls)
}

// Each reason for which a delivery is given up that needs no other test.
func TestServiceGivesUp(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = &configv1.RetryPolicy{MaxRetries: 1, Delays: durations(time.Hour), GiveUpAge: durationpb.New(time.Minute)}
	i.respond(status(http.StatusInternalServerError))

	// One message is given out again and again to workers that die with it.
	for _, name := range []string{bus.StreamEvents, bus.StreamDeliveries} { // of the event and of its delivery
		require.Eventually(t, func() bool {
			_, err := i.js.Stream(newContext(t), name)
			return err == nil
		}, patience, tick)
	}
	poison := i.delivery(t, "bk_poison", booked("bk_poison"))
	_, err := i.js.PublishMsg(newContext(t), poison)
	require.NoError(t, err)
	consumer, err := i.js.CreateOrUpdateConsumer(newContext(t), bus.StreamDeliveries, i.config.Streams.DeliverConsumer("meeting-booked"))
	require.NoError(t, err)
	for n := 0; n < 10; {
		batch, err := consumer.Fetch(1, jetstream.FetchMaxWait(patience))
		require.NoError(t, err)
		for msg := range batch.Messages() {
			n++
			require.NoError(t, msg.Nak())
		}
	}
	i.ready(t)
	old := i.publish(t, "bk_old")
	i.received(t)
	nonsense := i.delivery(t, "bk_nonsense", "no event")
	_, err = i.js.PublishMsg(newContext(t), nonsense)
	require.NoError(t, err)
	for reason, want := range map[string]struct {
		id       string
		attempts int32
	}{
		"poison":        {poison.Header.Get(bus.HeaderDeliveryID), 0},
		"gave_up_age":   {old, 1},
		"undeliverable": {nonsense.Header.Get(bus.HeaderDeliveryID), 1},
	} {
		require.Equal(t, reason, i.requireState(t, want.id, deliveryv1.Delivery_STATE_DEAD_LETTERED, want.attempts).GetReason())
	}
	i.requireSettled(t)
	require.EqualValues(t, 3, i.messages(t, bus.StreamDeadLetters))
	require.Empty(t, i.calls)
}

// Thousands of timers of a webhook that is disabled are dead letters within seconds, each once, whatever four workers
// do about it at the same time.
func TestServiceMovesThousandsOfTimersOfADisabledWebhook(t *testing.T) {
	t.Parallel()
	i := start(t)
	four(t, i)
	const timers = 2000
	template := i.delivery(t, "bk_0", booked("bk_0"))
	futures := make([]jetstream.PubAckFuture, timers)
	for n := range futures {
		id := bus.DeliveryID("acme", "/bookings", strconv.Itoa(n), hook)
		msg := *template
		msg.Subject, msg.Data = bus.RetryTimerSubject("acme", hook, id), nil
		msg.Header = map[string][]string{}
		for name, values := range template.Header {
			msg.Header[name] = values
		}
		msg.Header.Set(bus.HeaderDeliveryID, id)
		msg.Header.Set(bus.HeaderAttempt, "1")
		bus.ScheduleRetry(&msg, time.Now().Add(time.Hour), bus.RetryDueSubject("meeting-booked", "acme", hook))
		var err error
		futures[n], err = bus.PublishAsync(i.js, &msg, "")
		require.NoError(t, err)
	}
	for _, future := range futures {
		_, err := bus.Await(newContext(t), future)
		require.NoError(t, err)
	}
	require.EqualValues(t, timers, i.messages(t, bus.StreamRetries))

	began := time.Now()
	i.feed.change(i.with(func(w *configv1.Webhook) { w.Status = disabled }))
	require.Eventually(t, func() bool {
		return i.messages(t, bus.StreamRetries) == 0 && i.messages(t, bus.StreamDeadLetters) == timers
	}, patience, tick)
	t.Logf("%d timers are dead letters after %s", timers, time.Since(began))
	var recorded int
	require.Eventually(t, func() bool {
		return i.pool.QueryRow(t.Context(), "SELECT count(*) FROM delivery.delivery WHERE state = $1 AND reason = 'webhook_disabled'",
			int(deliveryv1.Delivery_STATE_DEAD_LETTERED)).Scan(&recorded) == nil && recorded == timers
	}, patience, tick, "%d of %d are recorded", recorded, timers)
	require.Empty(t, i.calls)
}

// Attempts that began before a webhook was disabled and enabled again fail when it is healthy: they say nothing of it.
func TestServiceDecidesNothingAboutALaterGeneration(t *testing.T) {
	t.Parallel()
	i := start(t)
	patient(i.webhook)
	i.webhook.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: 3}
	late := make(chan struct{})
	i.respond(func(w http.ResponseWriter) {
		<-late
		w.WriteHeader(http.StatusInternalServerError)
	})
	i.ready(t)
	var ids []string
	for n := range 6 {
		ids = append(ids, i.publish(t, fmt.Sprint("bk_", n)))
		i.received(t)
	}
	i.feed.change(i.with(func(w *configv1.Webhook) { w.Status = disabled }))
	i.feed.change(i.with(func(w *configv1.Webhook) { w.Status, w.Generation = active, 2 }))
	i.requireInForce(t)
	close(late)
	for _, id := range ids {
		i.requireState(t, id, deliveryv1.Delivery_STATE_PENDING, 1)
	}
	// A failure of the new generation, and one alone: what it is reported with shows what was counted.
	i.respond(status(http.StatusInternalServerError))
	fresh := i.publish(t, "bk_fresh")
	i.received(t)
	i.requireState(t, fresh, deliveryv1.Delivery_STATE_PENDING, 1)
	health, err := i.delivers.GetWebhookHealth(newContext(t), &deliveryv1.GetWebhookHealthRequest{Name: "organizations/acme/webhooks/" + hook + "/health"})
	require.NoError(t, err)
	require.EqualValues(t, 1, health.GetConsecutiveFailures())
	require.Empty(t, i.feed.reports())
}
