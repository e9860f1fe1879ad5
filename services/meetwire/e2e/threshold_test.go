package e2e_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// fourWorkers is an installation with four processes of delivery, which know each other.
func fourWorkers(t *testing.T) *installation {
	t.Helper()
	i := processesOf(t)
	first := i.processes["delivery"]
	for n := 2; n <= 4; n++ {
		p := &process{path: first.path, env: append([]string{"MEETWIRE_GRPC_ADDR=" + freeAddress(t)}, first.env[1:]...)}
		i.processes["delivery"+strconv.Itoa(n)] = p
		p.start(t)
	}
	o := i.tenant(t)
	h := o.webhook(t, newReceiver(t), "", "contact.updated")
	o.inForce(t)
	n := 0
	require.Eventually(t, func() bool {
		n++
		o.publish(t, "contact.updated", "/warm-up", strconv.Itoa(n))
		return o.health(t, h).Flow.WorkerCount == 4
	}, patience, tick, "the workers do not know each other")
	return i
}

// health is how the deliveries of a webhook have gone. JSON has 64-bit integers as text.
type health struct {
	Generation, ConsecutiveFailures string
	Flow                            flow
}

// flow is how a worker treats a webhook.
type flow struct {
	WorkerCount     int
	TimedOut        bool
	AverageDuration string
}

// health returns that of a webhook, empty while there is none.
func (o *tenant) health(t *testing.T, h *hook) (now health) {
	t.Helper()
	o.do(t, "GET", "/v1/"+h.Name+"/health", "", &now)
	return now
}

// status returns a webhook's.
func (o *tenant) status(t *testing.T, h *hook) string {
	t.Helper()
	var now hook
	o.do(t, "GET", "/v1/"+h.Name, "", &now)
	return strings.TrimSpace(strings.TrimPrefix(now.Status, "STATUS_") + " " + now.StatusReason)
}

// TestFourWorkersDisableAWebhookOnce holds that a webhook is disabled after exactly as many failures as it is configured
// with, and that this is told once, while four workers make its attempts.
func TestFourWorkersDisableAWebhookOnce(t *testing.T) {
	t.Parallel()
	i := fourWorkers(t)
	t.Run("all", func(t *testing.T) {
		for name, scenario := range map[string]func(*testing.T, *installation){
			"after seven failures":     testExactThreshold,
			"ACE, after two":           testThresholdOfACE,
			"gone, after one":          testGoneAtOnce,
			"the preset of aXcelerate": testDoublingDelays,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scenario(t, i)
			})
		}
	})
}

// fails publishes events, all at once, and waits until each delivery of a webhook that does not answer well has ended.
func (o *tenant) fails(t *testing.T, h *hook, prefix string, n int) {
	t.Helper()
	for k := range n {
		o.publish(t, "meeting.booked", "/s", prefix+strconv.Itoa(k))
	}
	require.Eventually(t, func() bool {
		ended := 0
		for _, d := range o.deliveries(t, fmt.Sprintf("webhook = %q AND state = STATE_DEAD_LETTERED", h.Name)) {
			if strings.HasPrefix(d.EventID, prefix) {
				ended++
			}
		}
		return ended == n
	}, patience, tick, "each delivery is a dead letter")
}

// requireDisabledOnce enables a webhook that has been disabled, and then looks what that has been told to.
func (o *tenant) requireDisabledOnce(t *testing.T, h *hook, operations *receiver, address, reason string, failures int) {
	t.Helper()
	require.Eventually(t, func() bool { return o.status(t, h) == "DISABLED "+reason }, patience, tick, "%s", o.status(t, h))
	require.Equal(t, strconv.Itoa(failures), o.health(t, h).ConsecutiveFailures, "what led to it")
	told := func(trigger string) (bodies []string) {
		for _, request := range operations.requests() {
			if strings.Contains(request.body, `"`+trigger+`"`) && strings.Contains(request.body, h.id()) {
				bodies = append(bodies, request.body)
			}
		}
		return bodies
	}
	require.Eventually(t, func() bool {
		return len(told("webhook.disabled")) > 0 && len(o.mails.to(address, "] Disabled:")) > 0
	}, patience, tick)
	o.do(t, "POST", "/v1/"+h.Name+":enable", "{}", nil)
	require.Eventually(t, func() bool { return len(told("webhook.enabled")) > 0 }, patience, tick)

	require.Len(t, told("webhook.disabled"), 1)
	require.Contains(t, told("webhook.disabled")[0], fmt.Sprintf(`"consecutive_failures":%d`, failures))
	events, err := o.js.Stream(t.Context(), bus.StreamEvents)
	require.NoError(t, err)
	disabling := bus.EventSubject(o.name, "webhook.disabled")
	require.EqualValues(t, 1, subjects(t, events, disabling)[disabling], "one event")
	require.Len(t, o.mails.to(address, "] Disabled:"), 1, "one e-mail")
	_, log := o.call(t, o.key, "GET", o.path("/auditLogEntries?filter=action%3D%22disable%22"), "")
	require.Equal(t, 1, strings.Count(log, `"disable"`), "one row in the audit log: %s", log)
}

// watched makes a webhook that always fails, and one that is told what becomes of it.
func watched(t *testing.T, o *tenant, answer int, more string) (failing, operations *receiver, h *hook, address string) {
	t.Helper()
	operations = newReceiver(t)
	o.webhook(t, operations, "", "webhook.disabled", "webhook.enabled")
	failing = newReceiver(t).answering(func(int, *http.Request) int { return answer })
	address, h = o.name+"@example.com", &hook{}
	o.do(t, "POST", o.path("/webhooks"), fmt.Sprintf(
		`{"displayName":"Test","targetUrl":%q,"triggers":["meeting.booked"],"retryPolicy":{"maxRetries":0},"alertEmails":[%q]%s}`,
		failing.server.URL, address, more), h)
	o.inForce(t)
	return failing, operations, h, address
}

func testExactThreshold(t *testing.T, i *installation) {
	o := i.tenant(t)
	const threshold = 7
	failing, operations, h, address := watched(t, o, http.StatusInternalServerError,
		fmt.Sprintf(`,"failureThreshold":{"consecutiveFailures":%d}`, threshold))
	// One failure less changes nothing, and after a success it is counted anew.
	o.fails(t, h, "a", threshold-1)
	require.Equal(t, strconv.Itoa(threshold-1), o.health(t, h).ConsecutiveFailures)
	failing.answering(func(int, *http.Request) int { return http.StatusOK })
	o.publish(t, "meeting.booked", "/s", "good")
	require.Eventually(t, func() bool {
		return len(o.deliveries(t, fmt.Sprintf("webhook = %q AND state = STATE_SUCCEEDED", h.Name))) == 1
	}, patience, tick)
	failing.answering(func(int, *http.Request) int { return http.StatusInternalServerError })
	o.fails(t, h, "b", threshold-1)
	require.Equal(t, strconv.Itoa(threshold-1), o.health(t, h).ConsecutiveFailures)
	require.Equal(t, "ACTIVE", o.status(t, h))
	require.Zero(t, operations.count())
	// Many at once on all workers: the seventh decides, and none is lost.
	o.fails(t, h, "c", 60)
	o.requireDisabledOnce(t, h, operations, address, "consecutive_failures", threshold)
}

func testThresholdOfACE(t *testing.T, i *installation) {
	o := i.tenant(t)
	_, operations, h, address := watched(t, o, http.StatusBadGateway, `,"dialect":"ace","secretSource":"SECRET_SOURCE_OWN"`)
	o.fails(t, h, "a", 1)
	require.Equal(t, "1", o.health(t, h).ConsecutiveFailures)
	require.Equal(t, "ACTIVE", o.status(t, h))
	o.fails(t, h, "b", 10)
	o.requireDisabledOnce(t, h, operations, address, "consecutive_failures", 2)
}

func testGoneAtOnce(t *testing.T, i *installation) {
	o := i.tenant(t)
	_, operations, h, address := watched(t, o, http.StatusGone, "")
	o.fails(t, h, "a", 10)
	o.requireDisabledOnce(t, h, operations, address, "gone", 1)
}

// testDoublingDelays waits for the first of aXcelerate's twenty retries: 1, 2 and 4 seconds.
func testDoublingDelays(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t).answering(func(n int, _ *http.Request) int {
		if n <= 3 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	o.do(t, "POST", o.path("/webhooks"), fmt.Sprintf(
		`{"displayName":"Test","targetUrl":%q,"triggers":["meeting.booked"],"dialect":"axcelerate","secretSource":"SECRET_SOURCE_OWN"}`, r.server.URL), nil)
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "1")
	require.Equal(t, 4, o.awaitState(t, "1", "STATE_SUCCEEDED").AttemptCount)
	got := r.requests()
	require.Len(t, got, 4)
	for n, least := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
		require.GreaterOrEqual(t, got[n+1].at.Sub(got[n].at), least)
		require.Less(t, got[n+1].at.Sub(got[n].at), 2*least+10*time.Second, "the next delay is another")
	}
}
