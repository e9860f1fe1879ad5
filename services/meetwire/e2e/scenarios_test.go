package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
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
	require.Equal(t, got.body, string(attempts[0].RequestBody))
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
	o.webhook(t, r, `,"timeout":"1s","retryPolicy":{"maxRetries":0}`, "meeting.canceled")
	o.inForce(t)
	id := uuid.NewString()
	o.publish(t, "meeting.canceled", "/scheduler", id)

	d := o.awaitState(t, id, "STATE_DEAD_LETTERED")
	attempts := o.attempts(t, d)
	require.Len(t, attempts, 1)
	require.Equal(t, "timeout", attempts[0].ErrorClass)
	require.Zero(t, attempts[0].StatusCode)
	require.Contains(t, attempts[0].ErrorMessage, "1s")
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
	d := o.awaitState(t, id, "STATE_DEAD_LETTERED")
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
		require.Less(t, time.Since(began), time.Second, "not in force within a second")
	}
}

func testConfiguration(t *testing.T, i *installation) {
	o := i.tenant(t)
	first, second, after := newReceiver(t), newReceiver(t), newReceiver(t)
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
	booked := second.count()
	o.publish(t, "meeting.booked", "/scheduler", uuid.NewString())
	within(t, o, second, "contact.updated")
	require.NotContains(t, bodies(second.requests()[booked:]), `"type":"meeting.booked"`, "a trigger that is not asked for any more")

	// Deleted: nothing any more. Another webhook shows when the events have passed.
	o.webhook(t, after, "", "contact.updated", "meeting.booked")
	within(t, o, after, "contact.updated")
	o.do(t, "DELETE", "/v1/"+h.Name, "", nil)
	status, _ := o.call(t, o.key, "GET", "/v1/"+h.Name, "")
	require.Equal(t, 404, status)
	deadline := time.Now().Add(time.Second)
	stopped := -1
	for stopped != second.count() {
		// Two events in a row that only the other webhook gets.
		require.True(t, time.Now().Before(deadline), "a deleted webhook is still called after a second")
		stopped = second.count()
		for range 2 {
			before := after.count()
			o.publish(t, "contact.updated", "/scheduler", uuid.NewString())
			after.await(t, before+1)
		}
	}
}

func bodies(requests []request) string {
	var all strings.Builder
	for _, r := range requests {
		all.WriteString(r.body)
	}
	return all.String()
}

func testPause(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t).answering(func(n int, _ *http.Request) int {
		if n == 1 {
			return 500
		}
		return 200
	})
	h := o.webhook(t, r, `,"retryPolicy":{"maxRetries":3,"firstDelay":"1s"}`, "meeting.booked")
	o.inForce(t)
	id := uuid.NewString()
	o.publish(t, "meeting.booked", "/scheduler", id)
	r.await(t, 1)
	o.do(t, "PATCH", "/v1/"+h.Name+"?updateMask=status", `{"status":"STATUS_PAUSED"}`, nil)
	o.inForce(t)

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
	o.do(t, "PATCH", "/v1/"+h.Name+"?updateMask=status", `{"status":"STATUS_ACTIVE"}`, nil)
	resumed := time.Now()
	d := o.awaitState(t, id, "STATE_SUCCEEDED")
	require.Less(t, time.Since(resumed), 5*time.Second)
	require.Equal(t, 2, d.AttemptCount)
	require.Empty(t, o.deliveries(t, fmt.Sprintf("event_id = %q", missed)), "what happens while it is paused is not sent")
}

func testRejectsNATS(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	o.webhook(t, r, "", "meeting.booked")
	o.inForce(t)
	valid := o.document(t, "meeting.booked", "/scheduler", "x")
	for _, bad := range []struct{ name, trigger, body, reason, field string }{
		{"unknown trigger", "meeting.exploded", strings.ReplaceAll(valid, "meeting.booked", "meeting.exploded"), "unknown_trigger", "event.type"},
		{"unknown custom trigger", "custom.made_up", strings.ReplaceAll(valid, "meeting.booked", "custom.made_up"), "unknown_trigger", "event.type"},
		{"not a trigger at all", "UPPER", valid, "unknown_trigger", "event.type"},
		{"invalid JSON", "meeting.booked", valid[:len(valid)-1], "json", "event"},
		{"missing attribute", "meeting.booked", strings.Replace(valid, `"source"`, `"sauce"`, 1), "required", "event.source"},
		{"257 KiB", "meeting.booked", valid[:len(valid)-1] + `,"pad":"` + strings.Repeat("x", 257<<10-len(valid)-9) + `"}`, "max_bytes", "event"},
		{"another type", "meeting.canceled", valid, "value", "event.type"},
		{"data against the schema", "meeting.booked", `{"specversion":"1.0","source":"/s","id":"1","type":"meeting.booked","data":{}}`, "schema", "event.data"},
	} {
		ack := o.publishRaw(t, bad.trigger, uuid.NewString(), bad.body)
		reject := awaitReject(t, o, ack.Sequence)
		require.Equal(t, bad.reason, reject.Header.Get(bus.HeaderReason), bad.name)
		require.Equal(t, bad.field, reject.Header.Get(bus.HeaderField), bad.name)
		require.NotEmpty(t, reject.Header.Get(bus.HeaderDetail), bad.name)
		require.Equal(t, bad.body, string(reject.Data), bad.name)
	}
	require.Zero(t, r.count())
}

func testRejectsREST(t *testing.T, i *installation) {
	o := i.tenant(t)
	valid := o.document(t, "meeting.booked", "/scheduler", "x")
	for _, bad := range []struct{ name, body, field, text string }{
		{"unknown trigger", strings.ReplaceAll(valid, "meeting.booked", "meeting.exploded"), "event.type", "trigger"},
		{"invalid JSON", valid[:len(valid)-1], "event", "JSON"},
		{"empty", "", "event", ""},
		{"missing attribute", strings.Replace(valid, `"id"`, `"ID"`, 1), "event.id", "required"},
		{"257 KiB", valid[:len(valid)-1] + `,"pad":"` + strings.Repeat("x", 257<<10-len(valid)-9) + `"}`, "event", "262144"},
		{"data against the schema", `{"specversion":"1.0","source":"/s","id":"1","type":"meeting.booked","data":{}}`, "event.data", ""},
	} {
		status, body := o.call(t, o.key, "POST", o.path("/events"), bad.body)
		require.Equal(t, 400, status, "%s: %s", bad.name, body)
		var answer struct {
			Code    int
			Message string
			Details []struct {
				Type            string `json:"@type"`
				Reason          string
				FieldViolations []struct{ Field, Description string }
			}
		}
		require.NoError(t, json.Unmarshal([]byte(body), &answer), bad.name)
		require.Equal(t, 3, answer.Code, bad.name)
		var fields []string
		for _, detail := range answer.Details {
			for _, violation := range detail.FieldViolations {
				fields = append(fields, violation.Field)
				require.Contains(t, violation.Description, bad.text, bad.name)
			}
		}
		require.Contains(t, fields, bad.field, "%s: %s", bad.name, body)
	}
	var accepted struct {
		Sequence string
		ID       string `json:"id"`
	}
	status, body := o.call(t, o.key, "POST", o.path("/events"), valid)
	require.Equal(t, 202, status, body)
	require.NoError(t, json.Unmarshal([]byte(body), &accepted))
	require.Equal(t, "x", accepted.ID)
	sequence, err := strconv.ParseUint(accepted.Sequence, 10, 64)
	require.NoError(t, err)
	stream, err := o.js.Stream(t.Context(), bus.StreamEvents)
	require.NoError(t, err)
	stored, err := stream.GetMsg(t.Context(), sequence)
	require.NoError(t, err)
	require.Equal(t, valid, string(stored.Data), "byte for byte")
}

func testAccess(t *testing.T, i *installation) {
	o, other := i.tenant(t), i.tenant(t)
	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.booked")
	viewer, publisher := o.newKey(t, "ROLE_VIEWER"), o.newKey(t, "ROLE_PUBLISHER")
	require.Eventually(t, func() bool {
		status, _ := o.call(t, viewer, "GET", o.path("/deliveries"), "")
		return status == 200
	}, time.Second, 5*time.Millisecond, "a key is known within a second")
	paths := map[string][2]string{
		"subscription": {"GET", "/v1/" + h.Name},
		"ingest":       {"POST", o.path("/events")},
		"delivery":     {"GET", o.path("/deliveries")},
		"dead letters": {"GET", o.path("/deadLetters")},
	}
	wrong := o.key[:len(o.key)-1] + map[bool]string{true: "A", false: "B"}[o.key[len(o.key)-1] != 'A']
	for service, p := range paths {
		for name, c := range map[string]struct {
			key    string
			status int
		}{
			"no key": {"", 401}, "a wrong key": {wrong, 401}, "no key at all": {"nonsense", 401},
			"another organization's key": {other.key, 403},
		} {
			status, body := o.call(t, c.key, p[0], p[1], "")
			require.Equal(t, c.status, status, "%s, %s: %s", service, name, body)
		}
	}
	for _, c := range []struct {
		key, method, path string
		status            int
	}{
		{viewer, "GET", "/v1/" + h.Name, 200},
		{viewer, "DELETE", "/v1/" + h.Name, 403},
		{viewer, "POST", o.path("/events"), 403},
		{publisher, "GET", "/v1/" + h.Name, 403},
		{publisher, "GET", o.path("/deliveries"), 403},
		{o.key, "GET", other.path("/webhooks/" + h.id()), 403},
		{other.key, "GET", other.path("/webhooks/" + h.id()), 404}, // another organization's webhook under one's own name
		{o.key, "POST", "/v1/organizations?organization_id=x", 403},
		{i.key, "GET", "/v1/" + h.Name, 200},
	} {
		status, body := o.call(t, c.key, c.method, c.path, "{}")
		require.Equal(t, c.status, status, "%s %s: %s", c.method, c.path, body)
	}
	// A revoked key is refused within a second, by every service.
	id := strings.Split(viewer, "_")[1]
	o.do(t, "DELETE", o.path("/apiKeys/"+id), "", nil)
	require.Eventually(t, func() bool {
		status, _ := o.call(t, viewer, "GET", o.path("/deliveries"), "")
		return status == 401
	}, time.Second, 5*time.Millisecond)
}

// TestUpStopsAndFindsItsDataAgain stops `meetwire up` and starts it again.
func TestUpStopsAndFindsItsDataAgain(t *testing.T) {
	t.Parallel()
	folder := dataFolder(t)
	first := up(t, folder, "--demo")
	p := first.processes["meetwire"]
	require.Eventually(t, func() bool { return strings.Contains(p.output.String(), "Ctrl-C stops it") }, patience, 20*time.Millisecond, p.output)
	output := p.output.String()
	require.Equal(t, 6, strings.Count(output, "verified"), output)
	require.NotContains(t, output, "WRONG")
	require.Equal(t, 2, strings.Count(output, "  500  "), output)
	began := time.Now()
	p.end(t, syscall.SIGINT)
	require.Less(t, time.Since(began), 10*time.Second)
	require.Equal(t, 0, p.cmd.ProcessState.ExitCode(), p.output)

	second := up(t, folder)
	status, body := second.call(t, second.key, "GET", "/v1/organizations/demo/deliveries?filter=state%3DSTATE_SUCCEEDED", "")
	require.Equal(t, 200, status, body)
	require.Equal(t, 4, strings.Count(body, "STATE_SUCCEEDED"), body)
	// The key of the first run is not one any more.
	status, body = second.call(t, first.key, "GET", "/v1/organizations/demo", "")
	require.Equal(t, 401, status, body)
}

// TestKilledServicesLoseNothing kills ingest, and then delivery, in the middle of 2,000 events. The ledger compares
// what was published with what arrived.
func TestKilledServicesLoseNothing(t *testing.T) {
	t.Parallel()
	const events = 2000
	for _, victim := range []string{"ingest", "delivery"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			i := processesOf(t)
			o := i.tenant(t)
			r := newReceiver(t)
			o.webhook(t, r, "", "meeting.booked")
			o.inForce(t)
			var killed sync.Once
			for n := range events {
				o.publish(t, "meeting.booked", "/scheduler", "e"+strconv.Itoa(n))
				if r.count() > events/4 || n == events/2 {
					killed.Do(func() { i.kill(t, victim); i.restart(t, victim) })
				}
			}
			ledger := func() (arrived map[string]int) {
				arrived = make(map[string]int, events)
				for _, request := range r.requests() {
					arrived[request.header.Get("webhook-id")]++
				}
				return arrived
			}
			require.Eventually(t, func() bool { return len(ledger()) == events }, patience, 100*time.Millisecond,
				"%d of %d deliveries arrived", len(ledger()), events)
			duplicates := r.count() - events
			t.Logf("%s killed: %d events published, %d deliveries arrived, %d duplicates", victim, events, len(ledger()), duplicates)
			for n := range 10 {
				id := bus.DeliveryID(o.name, "/scheduler", "e"+strconv.Itoa(n*events/10), hookOf(t, o))
				require.Contains(t, ledger(), id)
			}
			if victim == "ingest" {
				require.Zero(t, duplicates, "a repeated fan-out is recognized")
			} else {
				// At most what was being sent, or sent and not yet acknowledged, when it died.
				require.LessOrEqual(t, duplicates, 1000)
			}
		})
	}
}

func hookOf(t *testing.T, o *tenant) string {
	t.Helper()
	var list struct{ Webhooks []hook }
	o.do(t, "GET", o.path("/webhooks"), "", &list)
	for _, h := range list.Webhooks {
		return h.id()
	}
	require.Fail(t, "no webhook")
	return ""
}
