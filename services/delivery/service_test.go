package delivery_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/bus"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// ready opens the feed and waits until deliveries can be made.
func (i *installation) ready(t *testing.T) {
	t.Helper()
	i.feed.open(i.resources()...)
	i.readyWhenOpen(t)
}

func (i *installation) readyWhenOpen(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := i.js.Consumer(t.Context(), bus.StreamDeliveries, "deliver-meeting-booked")
		return err == nil && i.service.Ready(t.Context()) == nil
	}, patience, tick)
}

// requireState waits until the API shows a delivery in a state.
func (i *installation) requireState(t *testing.T, id string, state deliveryv1.Delivery_State, attempts int32) *deliveryv1.Delivery {
	t.Helper()
	var found *deliveryv1.Delivery
	require.Eventually(t, func() bool {
		var err error
		found, err = i.delivers.GetDelivery(t.Context(), &deliveryv1.GetDeliveryRequest{Name: "organizations/acme/deliveries/" + id})
		return err == nil && found.GetState() == state
	}, patience, tick, "%s", state)
	require.Equal(t, attempts, found.GetAttemptCount())
	return found
}

// requireInForce waits until every change so far is in force: a key of a later one is then known.
func (i *installation) requireInForce(t *testing.T) {
	t.Helper()
	key, bearer := newKey(t)
	i.feed.change(&configv1.Resource{Resource: &configv1.Resource_ApiKey{ApiKey: key}})
	deliveries := deliveryv1.NewDeliveryServiceClient(dial(t, i.address, bearer))
	require.Eventually(t, func() bool {
		_, err := deliveries.ListDeliveries(t.Context(), &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme"})
		return err == nil
	}, patience, tick)
}

// messages is how many messages a stream has.
func (i *installation) messages(t *testing.T, name string) uint64 {
	t.Helper()
	stream, err := i.js.Stream(newContext(t), name)
	require.NoError(t, err)
	return stream.CachedInfo().State.Msgs
}

func TestServiceIsReadyWhenItKnowsItsConfiguration(t *testing.T) {
	t.Parallel()
	i := start(t)
	require.ErrorContains(t, i.service.Ready(t.Context()), "configuration")
	_, err := i.delivers.GetDelivery(newContext(t), &deliveryv1.GetDeliveryRequest{
		Name: "organizations/acme/deliveries/" + bus.DeliveryID("acme", "/bookings", "bk_1", hook),
	})
	require.Equal(t, codes.Unavailable, grpcstatus.Code(err), "no key can be checked yet: %v", err)

	i.ready(t)
	i.nats.Shutdown()
	require.Eventually(t, func() bool { return i.service.Ready(t.Context()) != nil }, patience, tick)
	require.ErrorContains(t, i.service.Ready(t.Context()), "nats")
	i.nats.Restart(t)
	require.Eventually(t, func() bool { return i.service.Ready(t.Context()) == nil }, patience, tick)
}

func TestServiceDeliversGivesUpAndReplays(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.respond(status(http.StatusInternalServerError))
	i.ready(t)
	id := i.publish(t, "bk_1")
	first := i.received(t)
	require.Equal(t, id, first.header.Get("webhook-id"))
	require.Contains(t, first.data, `"data":{"id":"bk_1"}`)
	i.requireState(t, id, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1)
	i.requireSettled(t) // its dead letter is stored

	name := "organizations/acme/deadLetters/" + id
	letter, err := i.letters.GetDeadLetter(newContext(t), &deliveryv1.GetDeadLetterRequest{Name: name})
	require.NoError(t, err)
	require.Equal(t, "attempts_exhausted", letter.GetReason())
	require.Contains(t, letter.GetEvent(), `"id":"bk_1"`)

	i.respond(status(http.StatusOK))
	_, err = i.letters.ReplayDeadLetter(newContext(t), &deliveryv1.ReplayDeadLetterRequest{Name: name})
	require.NoError(t, err)
	require.Equal(t, id, i.received(t).header.Get("webhook-id"), "a replay is the same delivery to its receiver")
	i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 2)
	_, err = i.letters.GetDeadLetter(newContext(t), &deliveryv1.GetDeadLetterRequest{Name: name})
	require.Equal(t, codes.NotFound, grpcstatus.Code(err))

	attempts, err := i.delivers.ListAttempts(newContext(t), &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/" + id})
	require.NoError(t, err)
	require.Len(t, attempts.GetAttempts(), 2)
	require.EqualValues(t, http.StatusInternalServerError, attempts.GetAttempts()[0].GetStatusCode())
	require.EqualValues(t, http.StatusOK, attempts.GetAttempts()[1].GetStatusCode())
	require.Empty(t, i.calls)
}

func TestServiceParksWhilePausedAndResumes(t *testing.T) {
	t.Parallel()
	i := start(t)
	resumed := proto.CloneOf(i.webhook)
	i.webhook.Status = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED
	i.ready(t)
	id := i.publish(t, "bk_1")
	require.Eventually(t, func() bool {
		return i.messages(t, bus.StreamDeliveries) == 0 && i.messages(t, bus.StreamRetries) == 1
	}, patience, tick)
	require.Empty(t, i.calls)

	i.feed.change(&configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: resumed}})
	require.Equal(t, id, i.received(t).header.Get("webhook-id"))
	i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 1)
	i.requireSettled(t)
}

func TestServiceDropsWhatIsForADeletedWebhook(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.respond(status(http.StatusInternalServerError))
	i.ready(t)
	dead := i.publish(t, "bk_1")
	i.received(t)
	i.requireState(t, dead, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1)

	i.feed.change(&configv1.Resource{Resource: &configv1.Resource_DeletedWebhook{DeletedWebhook: hook}})
	i.requireInForce(t)
	name := "organizations/acme/deadLetters/" + dead
	_, err := i.letters.ReplayDeadLetter(newContext(t), &deliveryv1.ReplayDeadLetterRequest{Name: name})
	require.Equal(t, codes.FailedPrecondition, grpcstatus.Code(err), "%v", err)
	_, err = i.letters.GetDeadLetter(newContext(t), &deliveryv1.GetDeadLetterRequest{Name: name})
	require.NoError(t, err, "it is kept")
	id := i.publish(t, "bk_2")
	require.Equal(t, "webhook_deleted", i.requireState(t, id, deliveryv1.Delivery_STATE_DROPPED, 0).GetReason())
}

func TestServiceFinishesWhatIsInFlightWhenItStops(t *testing.T) {
	t.Parallel()
	i := start(t)
	answer := make(chan struct{})
	i.respond(func(w http.ResponseWriter) {
		<-answer
		w.WriteHeader(http.StatusOK)
	})
	i.ready(t)
	id := i.publish(t, "bk_1")
	i.received(t)
	stopped := make(chan error, 1)
	go func() { stopped <- i.stop() }()
	// The API is the first to go: then the stop is under way.
	require.Eventually(t, func() bool {
		_, err := i.delivers.GetDelivery(t.Context(), &deliveryv1.GetDeliveryRequest{Name: "organizations/acme/deliveries/" + id})
		return grpcstatus.Code(err) == codes.Unavailable
	}, patience, tick)
	require.Empty(t, stopped, "an attempt is in flight")
	close(answer)
	select {
	case err := <-stopped:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "it does not stop")
	}
	require.Eventually(t, func() bool { return i.messages(t, bus.StreamDeliveries) == 0 }, patience, tick, "it was acknowledged")
	var state int16
	require.NoError(t, i.pool.QueryRow(newContext(t), "SELECT state FROM delivery.delivery WHERE id = $1", id).Scan(&state))
	require.EqualValues(t, deliveryv1.Delivery_STATE_SUCCEEDED, state, "and written down")
	require.Empty(t, i.calls)
}
