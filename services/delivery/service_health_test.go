package delivery_test

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/bus"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

const disable = configv1.ReportWebhookHealthRequest_LEVEL_DISABLE

// disabling returns the reports that the webhook is to be disabled.
func (f *feed) disabling() (reports []*configv1.ReportWebhookHealthRequest) {
	for _, report := range f.reports() {
		if report.GetLevel() == disable {
			reports = append(reports, report)
		}
	}
	return reports
}

// health is how the webhook is.
func (i *installation) health(t *testing.T) *deliveryv1.WebhookHealth {
	t.Helper()
	health, err := i.delivers.GetWebhookHealth(newContext(t), &deliveryv1.GetWebhookHealthRequest{Name: "organizations/acme/webhooks/" + hook + "/health"})
	require.NoError(t, err)
	return health
}

// A webhook that had no success for a time is disabled, if three deliveries have failed meanwhile: fewer may be to blame
// themselves. What waits for it is then a dead letter.
func TestServiceDisablesAfterATimeWithoutSuccess(t *testing.T) {
	t.Parallel()
	const limit = 1500 * time.Millisecond
	i := start(t)
	patient(i.webhook)
	i.webhook.FailureThreshold = &configv1.FailureThreshold{WithoutSuccess: durationpb.New(limit)}
	i.ready(t)
	began := time.Now()
	two := i.failed(t, "bk_1", "bk_2")
	require.Eventually(t, func() bool {
		since := i.health(t).GetFailingSince()
		return since != nil && time.Since(since.AsTime()) > limit
	}, patience, tick)
	require.Empty(t, i.feed.disabling(), "two may be to blame themselves")

	third := i.publish(t, "bk_3")
	i.received(t)
	require.Eventually(t, func() bool { return len(i.feed.disabling()) == 1 }, patience, tick)
	report := i.feed.disabling()[0]
	require.Equal(t, "without_success", report.GetReason())
	require.Greater(t, time.Since(began), limit)
	i.feed.change(i.with(func(w *configv1.Webhook) { w.Status = disabled }))
	for _, id := range append(two, third) {
		require.Eventually(t, func() bool { return i.state(t, id) == deliveryv1.Delivery_STATE_DEAD_LETTERED }, patience, tick)
	}
	i.requireSettled(t)
	require.EqualValues(t, 3, i.messages(t, bus.StreamDeadLetters))
	require.Equal(t, 3, i.counted(t, deliveryv1.Delivery_STATE_DEAD_LETTERED, "webhook_disabled"))
}

// Whoever enables a webhook while it is being reported for what it did before loses nothing by that.
func TestServiceIsToldThatAReportCameTooLate(t *testing.T) {
	t.Parallel()
	i := start(t)
	patient(i.webhook)
	i.webhook.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: 3}
	reported, enabled := make(chan struct{}), make(chan struct{})
	told := sync.OnceFunc(func() { close(reported) }) // a report may be repeated
	i.feed.decide = func(report *configv1.ReportWebhookHealthRequest) bool {
		if report.GetLevel() != disable || report.GetGeneration() != 1 {
			return true
		}
		told()
		<-enabled
		return false // as subscription does with a generation that is over
	}
	i.ready(t)
	i.failed(t, "bk_1", "bk_2", "bk_3")
	<-reported
	i.feed.change(i.with(func(w *configv1.Webhook) { w.Generation = 2 }))
	i.requireInForce(t)
	close(enabled)

	// It goes on with what waits and what comes, and counts from the beginning.
	i.respond(answers(500, 500, 200, 500, 500, 500))
	fresh := []string{i.publish(t, "bk_4"), i.publish(t, "bk_5"), i.publish(t, "bk_6")}
	for range fresh {
		i.received(t)
	}
	require.Eventually(t, func() bool { return i.health(t).GetLastSuccessTime() != nil }, patience, tick)
	require.Eventually(t, func() bool { return i.messages(t, bus.StreamRetries) == 5 }, patience, tick, "nothing was taken away")
	require.Zero(t, i.messages(t, bus.StreamDeadLetters))
	require.Len(t, i.feed.disabling(), 1)
	for _, event := range []string{"bk_7", "bk_8", "bk_9"} {
		i.publish(t, event)
		i.received(t)
	}
	require.Eventually(t, func() bool { return len(i.feed.disabling()) == 2 }, patience, tick)
	require.EqualValues(t, 2, i.feed.disabling()[1].GetGeneration())
	require.EqualValues(t, 3, i.feed.disabling()[1].GetConsecutiveFailures())
}

// Four instances send at once, and now and then one succeeds: what counts is the order in which that was recorded.
func TestServiceCountsFailuresInTheOrderOfTheRecords(t *testing.T) {
	t.Parallel()
	const threshold, events = 5, 60
	i := start(t)
	i.calls = make(chan call, 10_000)
	i.webhook.RetryPolicy = &configv1.RetryPolicy{}
	i.webhook.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: threshold}
	var n atomic.Int64
	var down atomic.Bool
	i.respond(func(w http.ResponseWriter) {
		if n.Add(1)%4 != 0 || down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	four(t, i)
	// compare compares what is known with what was recorded.
	compare := func() (passed bool) {
		failures := 0
		for _, record := range i.records(t) {
			switch {
			case record.GetAttempt() == nil:
			case record.GetAttempt().GetErrorClass() == "":
				failures = 0
			default:
				if failures++; failures == threshold {
					passed = true
				}
			}
			if passed {
				break
			}
		}
		if passed {
			require.Eventually(t, func() bool { return len(i.feed.disabling()) == 1 }, patience, tick)
			require.EqualValues(t, threshold, i.feed.disabling()[0].GetConsecutiveFailures())
		} else {
			require.Empty(t, i.feed.disabling())
		}
		require.EqualValues(t, failures, i.health(t).GetConsecutiveFailures())
		return passed
	}
	i.publishMany(t, "acme", hook, events)
	require.Eventually(t, func() bool { return i.stored(t) == events }, patience, tick)
	if compare() {
		return // that many failures were recorded in a row all the same
	}
	down.Store(true)
	for n := range threshold {
		i.publish(t, "bk_"+time.Duration(n).String())
	}
	require.Eventually(t, func() bool { return len(i.feed.disabling()) > 0 }, patience, tick)
	require.True(t, compare())
}

// stored is how many attempts are recorded.
func (i *installation) stored(t *testing.T) (n int) {
	t.Helper()
	require.NoError(t, i.pool.QueryRow(newContext(t), "SELECT count(*) FROM delivery.attempt").Scan(&n))
	return n
}

// Whoever runs is told of dead letters that are about to expire.
func TestServiceAnnouncesWhatIsAboutToExpire(t *testing.T) {
	t.Parallel()
	i := start(t, func(i *installation) { i.config.Streams.DeadLettersMaxAge = 48 * time.Hour })
	i.respond(status(http.StatusInternalServerError))
	i.ready(t)
	id := i.publish(t, "bk_1")
	i.received(t)
	i.requireState(t, id, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1)
	require.NoError(t, i.stop())
	i.service, i.address, i.stop = i.run(t) // it looks when it begins, and then every hour
	require.Eventually(t, func() bool { return len(i.feed.announced()) > 0 }, patience, tick)
	told := i.feed.announced()[0]
	require.Equal(t, hook, told.GetWebhook())
	require.Equal(t, "expiring", told.GetReason())
	require.EqualValues(t, 1, told.GetCount())
}

// announced is what was told of dead letters that are about to expire.
func (f *feed) announced() []*configv1.ReportDeadLettersRequest_Count {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.expiring)
}
