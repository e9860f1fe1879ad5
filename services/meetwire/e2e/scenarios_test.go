package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// TestSeparateProcesses runs every scenario on four processes.
func TestSeparateProcesses(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	t.Run("scenarios", func(t *testing.T) { scenarios(t, i) })
}

// TestMeetwireUp runs every scenario on one process.
func TestMeetwireUp(t *testing.T) {
	t.Parallel()
	i := up(t, dataFolder(t))
	t.Run("scenarios", func(t *testing.T) { scenarios(t, i) })
}

func scenarios(t *testing.T, i *installation) {
	for name, scenario := range map[string]func(*testing.T, *installation){
		"an event becomes a verified delivery":      testVerifiedDelivery,
		"answers of receivers can be read":          testAnswers,
		"a failing receiver is tried again":         testRetries,
		"a receiver that never answers times out":   testTimeout,
		"a receiver that always fails":              testDeadLetter,
		"the same event twice is delivered once":    testDuplicates,
		"one id in two organizations and sources":   testIdentity,
		"changes are in force within a second":      testConfiguration,
		"a paused webhook":                          testPause,
		"what cannot be accepted over NATS is kept": testRejectsNATS,
		"what cannot be accepted over REST":         testRejectsREST,
		"keys":                                      testAccess,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario(t, i)
		})
	}
}

func testVerifiedDelivery(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.booked")
	o.inForce(t)
	id := uuid.NewString()
	published := o.publish(t, "meeting.booked", "/scheduler", id)

	got := r.await(t, 1)[0]
	require.True(t, got.verified)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.NotEmpty(t, got.header.Get("Meetwire-Event-Sequence"))
	var sent, document map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(got.body), &sent))
	require.NoError(t, json.Unmarshal([]byte(published), &document))
	require.JSONEq(t, `"meeting.booked"`, string(sent["type"]))
	require.JSONEq(t, string(document["time"]), string(sent["timestamp"]))
	require.JSONEq(t, string(document["data"]), string(sent["data"]))

	d := o.awaitState(t, id, "STATE_SUCCEEDED")
	require.Equal(t, h.Name, d.Webhook)
	require.Equal(t, "/scheduler", d.EventSource)
	require.Equal(t, 1, d.AttemptCount)
	require.True(t, strings.HasSuffix(d.Name, "/"+got.header.Get("webhook-id")))
	attempts := o.attempts(t, d)
	require.Len(t, attempts, 1)
	require.Equal(t, 200, attempts[0].StatusCode)
	require.Equal(t, got.body, attempts[0].RequestText)
}

func testRetries(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t).answering(func(n int, _ *http.Request) int {
		if n <= 2 {
			return 500
		}
		return 200
	})
	o.webhook(t, r, `,"retryPolicy":{"maxRetries":5,"firstDelay":"0.3s","factor":2}`, "meeting.booked")
	o.inForce(t)
	id := uuid.NewString()
	o.publish(t, "meeting.booked", "/scheduler", id)

	d := o.awaitState(t, id, "STATE_SUCCEEDED")
	got := r.requests()
	require.Len(t, got, 3)
	for n, request := range got {
		require.True(t, request.verified, "request %d", n)
		require.Equal(t, got[0].header.Get("webhook-id"), request.header.Get("webhook-id"))
	}
	require.GreaterOrEqual(t, got[1].at.Sub(got[0].at), 300*time.Millisecond)
	require.GreaterOrEqual(t, got[2].at.Sub(got[1].at), 600*time.Millisecond)
	attempts := o.attempts(t, d)
	require.Len(t, attempts, 3)
	for n, status := range []int{500, 500, 200} {
		require.Equal(t, n+1, attempts[n].Number)
		require.Equal(t, status, attempts[n].StatusCode)
	}
	require.NotEmpty(t, attempts[0].NextAttemptTime)
	require.Empty(t, attempts[2].NextAttemptTime)
}

func testTimeout(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t).answering(func(_ int, request *http.Request) int {
		<-request.Context().Done() // until the sender hangs up
		return 200
	})
	h := o.webhook(t, r, `,"timeout":"1s","retryPolicy":{"maxRetries":0}`, "meeting.canceled")
	o.inForce(t)
	id := uuid.NewString()
	o.publish(t, "meeting.canceled", "/scheduler", id)

	d := o.awaitState(t, id, "STATE_DEAD_LETTERED")
	attempts := o.attempts(t, d)
	require.Len(t, attempts, 1)
	require.Equal(t, "timeout", attempts[0].ErrorClass)
	require.Zero(t, attempts[0].StatusCode)
	require.Contains(t, attempts[0].ErrorMessage, "1s")
	var flow flow
	require.Eventually(t, func() bool { flow = o.health(t, h).Flow; return flow.TimedOut }, patience, tick)
	average, err := time.ParseDuration(flow.AverageDuration)
	require.NoError(t, err)
	require.GreaterOrEqual(t, average, time.Second)
}

func testDeadLetter(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t).answering(func(int, *http.Request) int { return 503 })
	h := o.webhook(t, r, `,"retryPolicy":{"maxRetries":1,"firstDelay":"0.1s"}`, "meeting.booked")
	o.inForce(t)
	id := uuid.NewString()
	published := o.publish(t, "meeting.booked", "/scheduler", id)

	var letter struct {
		Name, Webhook, Reason, Event string
		EventID                      string `json:"eventId"`
		AttemptCount                 int
	}
	d := o.awaitLetter(t, id)
	require.Equal(t, "attempts_exhausted", d.Reason)
	name := strings.Replace(d.Name, "/deliveries/", "/deadLetters/", 1)
	o.do(t, "GET", "/v1/"+name, "", &letter)
	require.Equal(t, published, letter.Event, "byte for byte")
	require.Equal(t, "attempts_exhausted", letter.Reason)
	require.Equal(t, h.Name, letter.Webhook)
	require.Equal(t, id, letter.EventID)
	require.Equal(t, 2, letter.AttemptCount)
	var list struct {
		DeadLetters []struct{ Name, Event string }
	}
	o.do(t, "GET", o.path("/deadLetters"), "", &list)
	require.Len(t, list.DeadLetters, 1)
	require.Equal(t, name, list.DeadLetters[0].Name)
	require.Empty(t, list.DeadLetters[0].Event)

	// Replayed within the dedup window, it fails again and becomes a dead letter again; the next replay succeeds.
	o.do(t, "POST", "/v1/"+name+":replay", "{}", nil)
	require.Len(t, r.await(t, 4), 4)
	require.Eventually(t, func() bool {
		status, body := o.call(t, o.key, "GET", "/v1/"+name, "")
		return status == 200 && strings.Contains(body, `"attemptCount":4`)
	}, patience, 10*time.Millisecond)
	r.answering(func(int, *http.Request) int { return 200 })
	o.do(t, "POST", "/v1/"+name+":replay", "{}", nil)
	d = o.awaitState(t, id, "STATE_SUCCEEDED")
	require.Equal(t, 5, d.AttemptCount)
	status, body := o.call(t, o.key, "GET", "/v1/"+name, "")
	require.Equal(t, 404, status, body)
	ids := map[string]bool{}
	for _, request := range r.requests() {
		ids[request.header.Get("webhook-id")] = true
	}
	require.Len(t, ids, 1)
	require.Equal(t, 5, r.count())
}

func testDuplicates(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	o.webhook(t, r, "", "meeting.booked", "meeting.rescheduled")
	o.inForce(t)
	id := uuid.NewString()
	document := o.document(t, "meeting.booked", "/scheduler", id)
	first := o.publishRaw(t, "meeting.booked", bus.EventMsgID(o.name, "/scheduler", id), document)
	second := o.publishRaw(t, "meeting.booked", bus.EventMsgID(o.name, "/scheduler", id), document)
	require.False(t, first.Duplicate)
	require.True(t, second.Duplicate)
	// Without a message id, EVENTS keeps both; the deliveries have the same id all the same.
	third, err := o.js.Publish(t.Context(), bus.EventSubject(o.name, "meeting.booked"), []byte(document))
	require.NoError(t, err)
	require.False(t, third.Duplicate)
	var over struct{ Duplicate bool }
	o.do(t, "POST", o.path("/events"), document, &over)
	require.True(t, over.Duplicate)
	// What comes after all of them shows that none of them is still on its way.
	last := uuid.NewString()
	o.publish(t, "meeting.booked", "/scheduler", last)
	o.awaitState(t, last, "STATE_SUCCEEDED")
	o.awaitState(t, id, "STATE_SUCCEEDED")
	require.Equal(t, 2, r.count())
	require.Len(t, o.deliveries(t, fmt.Sprintf("event_id = %q", id)), 1)
}

func testIdentity(t *testing.T, i *installation) {
	r := newReceiver(t)
	first, second := i.tenant(t), i.tenant(t)
	id := uuid.NewString()
	for _, o := range []*tenant{first, second} {
		o.webhook(t, r, "", "meeting.booked")
		o.inForce(t)
		o.publish(t, "meeting.booked", "/scheduler", id)
		o.publish(t, "meeting.booked", "/importer", id)
	}
	r.await(t, 4)
	for _, o := range []*tenant{first, second} {
		require.Eventually(t, func() bool {
			return len(o.deliveries(t, fmt.Sprintf("event_id = %q AND state = STATE_SUCCEEDED", id))) == 2
		}, patience, 10*time.Millisecond)
		require.Len(t, o.deliveries(t, fmt.Sprintf(`event_id = %q AND event_source = "/importer"`, id)), 1)
	}
	ids := map[string]bool{}
	for _, request := range r.requests() {
		ids[request.header.Get("webhook-id")] = true
	}
	require.Len(t, ids, 4)
}

// within publishes events until one arrives at the receiver, which must be within a second.
func within(t *testing.T, o *tenant, r *receiver, trigger string) {
	t.Helper()
	began, before := time.Now(), r.count()
	for r.count() == before {
		o.publish(t, trigger, "/scheduler", uuid.NewString())
		r.wait(time.Now().Add(20 * time.Millisecond))
		require.True(t, r.count() > before || time.Since(began) < time.Second, "not in force within a second")
	}
}

func testConfiguration(t *testing.T, i *installation) {
	o := i.tenant(t)
	first, second, after := newReceiver(t), newReceiver(t), newReceiver(t)
	o.inForce(t) // from here on nothing of the organization's has to be started any more
	h := o.webhook(t, first, "", "meeting.booked")
	within(t, o, first, "meeting.booked")

	// Changed: another URL, another secret.
	secret := h.Secret[:len("whsec_")] + strings.Repeat("QUJD", 8)
	second.trust(t, secret)
	o.do(t, "PATCH", "/v1/"+h.Name+"?updateMask=targetUrl,secret", fmt.Sprintf(`{"targetUrl":%q,"secret":%q}`, second.server.URL, secret), nil)
	within(t, o, second, "meeting.booked")
	require.True(t, second.requests()[0].verified)
	require.True(t, slices.ContainsFunc(first.requests(), func(r request) bool { return r.verified }))

	// Changed: another trigger. The old one is no longer asked for.
	o.do(t, "PATCH", "/v1/"+h.Name+"?updateMask=triggers", `{"triggers":["contact.updated"]}`, nil)
	within(t, o, second, "contact.updated")
	id := uuid.NewString()
	o.publish(t, "meeting.booked", "/scheduler", id)
	within(t, o, second, "contact.updated")
	unwanted := bus.DeliveryID(o.name, "/scheduler", id, h.id())
	require.Zero(t, second.arrived()[unwanted], "a trigger that is not asked for any more")

	// Deleted: nothing any more. Another webhook shows when the events have passed.
	o.webhook(t, after, "", "contact.updated", "meeting.booked")
	within(t, o, after, "contact.updated")
	o.do(t, "DELETE", "/v1/"+h.Name, "", nil)
	status, _ := o.call(t, o.key, "GET", "/v1/"+h.Name, "")
	require.Equal(t, 404, status)
	deleted := time.Now()
	stopped := -1
	for stopped != second.count() {
		// Two events in a row that only the other webhook gets.
		require.True(t, time.Now().Before(deleted.Add(patience)), "a deleted webhook is still called")
		stopped = second.count()
		for range 2 {
			before := after.count()
			o.publish(t, "contact.updated", "/scheduler", uuid.NewString())
			after.await(t, before+1)
		}
	}
	for _, request := range second.requests() {
		require.Less(t, request.at.Sub(deleted), time.Second, "a deleted webhook is still called after a second")
	}
}

func testPause(t *testing.T, i *installation) {
	o := i.tenant(t)
	// The first attempt ends when the webhook is paused, so that the retry finds it paused.
	paused := make(chan struct{})
	release := sync.OnceFunc(func() { close(paused) })
	r := newReceiver(t).answering(func(n int, _ *http.Request) int {
		if n == 1 {
			<-paused
			return 500
		}
		return 200
	})
	t.Cleanup(release) // before the receiver is closed, which waits for its requests
	h := o.webhook(t, r, `,"retryPolicy":{"maxRetries":3,"firstDelay":"1s"}`, "meeting.booked")
	o.inForce(t)
	id := uuid.NewString()
	o.publish(t, "meeting.booked", "/scheduler", id)
	r.await(t, 1)
	o.do(t, "PATCH", "/v1/"+h.Name+"?updateMask=status", `{"status":"STATUS_PAUSED"}`, nil)
	o.inForce(t)
	release()

	// The retry that comes due while the webhook is paused is parked, and sent when it is resumed.
	parked := bus.RetryTimersFilter(o.name, h.id())
	stream, err := o.js.Stream(t.Context(), bus.StreamRetries)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for subject := range subjects(t, stream, parked) {
			msg, err := stream.GetLastMsgForSubject(t.Context(), subject)
			return err == nil && msg.Header.Get(bus.HeaderParked) != ""
		}
		return false
	}, patience, 10*time.Millisecond)
	require.Equal(t, 1, r.count())
	missed := uuid.NewString()
	o.publish(t, "meeting.booked", "/scheduler", missed)
	var matching struct{ SkippedCount string }
	require.Eventually(t, func() bool {
		o.do(t, "GET", "/v1/"+h.Name+"/matching", "", &matching)
		return matching.SkippedCount == "1"
	}, patience, tick)
	o.do(t, "PATCH", "/v1/"+h.Name+"?updateMask=status", `{"status":"STATUS_ACTIVE"}`, nil)
	d := o.awaitState(t, id, "STATE_SUCCEEDED")
	require.Equal(t, 2, d.AttemptCount)
	require.Empty(t, o.deliveries(t, fmt.Sprintf("event_id = %q", missed)), "what happens while it is paused is not sent")
}
