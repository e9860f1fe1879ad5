package delivery_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/delivery"
)

// hastened has the service not wait for its timers.
func hastened(i *installation) { i.prepare = (*delivery.Service).HastenTimers }

// What a receiver asks for is waited for: the next attempt comes then, and not before.
func TestServiceWaitsForRetryAfter(t *testing.T) {
	t.Parallel()
	const wait = 2 * time.Second
	for name, header := range map[string]func(now time.Time) (value string, at time.Time){
		"seconds": func(now time.Time) (string, time.Time) { return strconv.Itoa(int(wait.Seconds())), now.Add(wait) },
		"a date": func(now time.Time) (string, time.Time) {
			at := now.Add(wait).UTC().Truncate(time.Second)
			return at.Format(http.TimeFormat), at
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t)
			i.webhook.RetryPolicy = every(50*time.Millisecond, 1)
			var mu sync.Mutex
			var came []time.Time
			var asked time.Time
			i.respond(func(w http.ResponseWriter) {
				mu.Lock()
				defer mu.Unlock()
				now := time.Now().Round(0) // by the wall clock, as NATS fires timers
				if came = append(came, now); len(came) == 1 {
					var value string
					value, asked = header(now)
					w.Header().Set("Retry-After", value)
					w.WriteHeader(http.StatusTooManyRequests)
				}
			})
			i.ready(t)
			id := i.publish(t, "bk_1")
			i.received(t)
			i.received(t)
			i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 2)
			next := i.records(t)[0].GetNextAttemptTime().AsTime()
			mu.Lock()
			defer mu.Unlock()
			require.False(t, came[1].Before(asked), "it came %s too early", asked.Sub(came[1]))
			// It is counted from the end of the answer.
			require.WithinRange(t, next, asked, came[1])
		})
	}
}

// The preset of aXcelerate: each wait is twice as long as the one before, from a second on, and after the twentieth retry
// there is a dead letter. The times are those that it is to wait until; only then it does not wait.
func TestServiceRetriesTwentyTimesAsAxcelerateDoes(t *testing.T) {
	t.Parallel()
	const retries = 20
	i := start(t, hastened)
	known, ok := dialect.Lookup(dialect.Axcelerate)
	require.True(t, ok)
	i.webhook.RetryPolicy = &configv1.RetryPolicy{MaxRetries: retries, Delays: durations(known.Traits().Retry.Delays...)}
	i.respond(status(http.StatusInternalServerError))
	i.ready(t)
	id := i.publish(t, "bk_1")
	for range 1 + retries {
		i.received(t)
	}
	require.Equal(t, "attempts_exhausted", i.requireState(t, id, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1+retries).GetReason())
	i.requireSettled(t)
	require.EqualValues(t, 1, i.messages(t, bus.StreamDeadLetters))
	require.Empty(t, i.calls)

	// What was recorded of each attempt says when the next was to be made.
	attempts := i.attempts(t, id)
	require.Len(t, attempts, 1+retries)
	waits := make(map[time.Duration]bool)
	for _, record := range i.records(t) {
		if next := record.GetNextAttemptTime(); next != nil {
			ended := record.GetAttempt().GetStartTime().AsTime().Add(record.GetAttempt().GetDuration().AsDuration())
			waits[next.AsTime().Sub(ended).Round(10*time.Millisecond)] = true
		}
	}
	require.Len(t, waits, retries)
	for n := range retries {
		require.Contains(t, waits, time.Second<<n)
	}
}

// Nobody but the sweeper frees a timer that did not fire when it was due.
func TestServiceFreesStuckTimers(t *testing.T) {
	t.Parallel()
	i := start(t, hastened)
	patient(i.webhook)
	i.respond(answers(500, 200))
	i.ready(t)
	id := i.publish(t, "bk_1")
	i.received(t)
	i.received(t)
	i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 2)
	require.Positive(t, metric(t, i.metrics[0], "meetwire_delivery_timers_rewritten_total"))
	i.requireSettled(t)
}

// tunnel is a proxy that does CONNECT, whatever it is told.
func tunnel(w http.ResponseWriter, r *http.Request) {
	far, err := (&net.Dialer{Timeout: patience}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = far.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(far, buffered)
		_ = far.Close()
	})
	_, _ = io.Copy(near, far)
	_ = near.Close()
	both.Wait()
}

// A proxy of ours that is away for a while costs no delivery, though its webhook has no retries.
func TestServiceWaitsForItsProxy(t *testing.T) {
	t.Parallel()
	closed := listen(t)
	address := closed.Addr().String()
	require.NoError(t, closed.Close())
	i := start(t, hastened, func(i *installation) { i.config.EgressProxy = secret.New("http://" + address) })
	i.webhook.RetryPolicy = &configv1.RetryPolicy{}
	i.webhook.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: 2}
	i.ready(t)
	id := i.publish(t, "bk_1")
	require.Eventually(t, func() bool { return i.made(t, id) >= 3 }, patience, tick)
	require.Equal(t, deliveryv1.Delivery_STATE_PENDING, i.state(t, id))
	for _, attempt := range i.attempts(t, id) {
		require.Equal(t, "proxy", attempt.GetErrorClass())
	}

	var config net.ListenConfig
	listener, err := config.Listen(newContext(t), "tcp", address)
	require.NoError(t, err)
	proxy := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(tunnel), ReadHeaderTimeout: patience}}
	proxy.Start()
	t.Cleanup(proxy.Close)
	require.Equal(t, id, i.received(t).header.Get("webhook-id"))
	require.Eventually(t, func() bool { return i.state(t, id) == deliveryv1.Delivery_STATE_SUCCEEDED }, patience, tick)
	i.requireSettled(t)
	require.Zero(t, i.messages(t, bus.StreamDeadLetters))
	require.Empty(t, i.feed.reports())

	// What the receiver itself fails is still not repeated.
	i.respond(status(http.StatusInternalServerError))
	other := i.publish(t, "bk_2")
	i.received(t)
	require.Equal(t, "attempts_exhausted", i.requireState(t, other, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1).GetReason())
}

// A replay of what is older than the webhook's give-up age has all its retries; so has what ingest sends from the history.
func TestServiceCountsTheAgeOfAReplayAnew(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = every(100*time.Millisecond, 1)
	i.webhook.RetryPolicy.GiveUpAge = durationpb.New(time.Minute)
	i.respond(answers(500, 500, 200, 500, 200))
	i.ready(t)
	old := i.delivery(t, "bk_1", booked("bk_1"))
	old.Header.Set(bus.HeaderAcceptedAt, time.Now().Add(-48*time.Hour).UTC().Format(time.RFC3339Nano))
	id := old.Header.Get(bus.HeaderDeliveryID)
	_, err := i.js.PublishMsg(newContext(t), old)
	require.NoError(t, err)
	i.received(t)
	require.Equal(t, "gave_up_age", i.requireState(t, id, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1).GetReason())
	i.requireSettled(t) // its dead letter is stored
	_, err = i.letters.ReplayDeadLetter(newContext(t), &deliveryv1.ReplayDeadLetterRequest{Name: "organizations/acme/deadLetters/" + id})
	require.NoError(t, err)
	i.received(t)
	i.received(t)
	i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 3)

	past := i.delivery(t, "bk_2", booked("bk_2"))
	past.Subject = bus.DeliverySubject(bus.LaneBulk, "acme", hook)
	past.Header.Set(bus.HeaderAcceptedAt, old.Header.Get(bus.HeaderAcceptedAt))
	_, err = i.js.PublishMsg(newContext(t), past)
	require.NoError(t, err)
	i.received(t)
	i.received(t)
	i.requireState(t, past.Header.Get(bus.HeaderDeliveryID), deliveryv1.Delivery_STATE_SUCCEEDED, 2)
}

// What more waits for a webhook than may is a dead letter, and nothing is lost.
func TestServiceBuriesWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	i := start(t, func(i *installation) { i.prepare = func(s *delivery.Service) { s.LimitBacklog(100) } })
	i.webhook.Status = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED
	i.ready(t)
	const each, rounds = 250, 3 // what waits is counted after every 200, and what comes at the same time is not
	const events = rounds * each
	for range rounds {
		i.publishMany(t, "acme", hook, each)
		require.Eventually(t, func() bool { return i.messages(t, bus.StreamDeliveries) == 0 }, patience, tick)
	}
	var dead int
	require.Eventually(t, func() bool {
		dead = i.counted(t, deliveryv1.Delivery_STATE_DEAD_LETTERED, "backlog_full")
		return dead+i.counted(t, deliveryv1.Delivery_STATE_PENDING, "") == events && uint64(dead) == i.messages(t, bus.StreamDeadLetters)
	}, patience, tick, "each is one or the other")
	require.GreaterOrEqual(t, dead, each)
	require.Eventually(t, func() bool {
		return i.messages(t, bus.StreamRetries) == uint64(events-dead) &&
			dead == int(metric(t, i.metrics[0], "meetwire_delivery_dead_letters_total"))
	}, patience, tick)
	require.Empty(t, i.calls)
}

// Everything that waits for an organization is tried again at once, and nothing of another.
func TestServiceRetriesWhatWaitsForAnOrganization(t *testing.T) {
	t.Parallel()
	i := start(t)
	patient(i.webhook)
	i.run(t)
	receiver, url := newBusy(t, 0)
	second, foreign := i.another(t, url), i.another(t, url)
	second.RetryPolicy, foreign.RetryPolicy = i.webhook.GetRetryPolicy(), i.webhook.GetRetryPolicy()
	foreign.Organization = "other"
	const each = 4 // fewer than those after which it is left alone
	refused := listen(t)
	require.NoError(t, refused.Close())
	second.TargetUrl, foreign.TargetUrl = "http://"+refused.Addr().String(), "http://"+refused.Addr().String()
	i.feed.open(append(i.resources(),
		&configv1.Resource{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: "other", AllowHttp: true}}},
		&configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: second}},
		&configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: foreign}})...)
	i.readyWhenOpen(t)
	i.respond(status(http.StatusInternalServerError))
	ids := slices.Concat(i.publishMany(t, "acme", hook, each), i.publishMany(t, "acme", second.GetId(), each))
	i.publishMany(t, "other", foreign.GetId(), each)
	require.Eventually(t, func() bool {
		return i.messages(t, bus.StreamDeliveries) == 0 && i.messages(t, bus.StreamRetries) == 3*each
	}, patience, tick)

	working := []*configv1.Resource{}
	for _, w := range []*configv1.Webhook{second, foreign} {
		w.TargetUrl = url
		working = append(working, &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: w}})
	}
	i.feed.change(working...)
	i.respond(status(http.StatusNoContent))
	i.requireInForce(t)
	begun, err := i.delivers.RetryDeliveries(newContext(t), &deliveryv1.RetryDeliveriesRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	i.requireDone(t, begun, 2*each)
	for _, id := range ids {
		require.Eventually(t, func() bool { return i.state(t, id) == deliveryv1.Delivery_STATE_SUCCEEDED }, patience, tick)
	}
	require.Equal(t, each, receiver.count())
	require.Eventually(t, func() bool { return i.messages(t, bus.StreamRetries) == each }, patience, tick, "of the other organization all wait")
}

// requireDone waits until an operation has ended as it should.
func (i *installation) requireDone(t *testing.T, begun *operationv1.Operation, affected int64) {
	t.Helper()
	operations := operationv1.NewOperationServiceClient(i.api)
	require.Eventually(t, func() bool {
		now, err := operations.GetOperation(t.Context(), &operationv1.GetOperationRequest{Name: begun.GetName()})
		return err == nil && now.GetDone() && now.GetState() == operationv1.Operation_STATE_SUCCEEDED && now.GetAffectedCount() == affected
	}, patience, tick)
}

// What came for a webhook while it was paused is to be seen, though it was never tried.
func TestServiceShowsWhatWaitsForAPausedWebhook(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.Status = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED
	i.ready(t)
	id := i.publish(t, "bk_1")
	found := i.requireState(t, id, deliveryv1.Delivery_STATE_PENDING, 0)
	require.Nil(t, found.GetNextAttemptTime())
	listed, err := i.delivers.ListDeliveries(newContext(t), &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Len(t, listed.GetDeliveries(), 1)
	i.feed.change(&configv1.Resource{Resource: &configv1.Resource_DeletedWebhook{DeletedWebhook: hook}})
	require.Equal(t, "webhook_deleted", i.requireState(t, id, deliveryv1.Delivery_STATE_DROPPED, 0).GetReason(), "and so is what became of it")
	require.Empty(t, i.calls)
}
