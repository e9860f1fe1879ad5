package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// deadLetter is as REST shows it.
type deadLetter struct {
	Name, Webhook, Trigger, Reason, Event string
	DeadLetterTime, ExpireTime            time.Time
	EventID                               string `json:"eventId"`
	AttemptCount                          int
	Attempts                              []attempt
}

// deadLetters lists those that a filter selects, page by page.
func (o *tenant) deadLetters(t *testing.T, key, parent, filter string) (all []deadLetter) {
	t.Helper()
	for token := ""; ; {
		var page struct {
			DeadLetters   []deadLetter
			NextPageToken string
		}
		status, body := o.call(t, key, "GET", "/v1/"+parent+"/deadLetters?pageSize=3&filter="+url.QueryEscape(filter)+"&pageToken="+url.QueryEscape(token), "")
		require.Equal(t, http.StatusOK, status, body)
		require.NoError(t, json.Unmarshal([]byte(body), &page))
		all = append(all, page.DeadLetters...)
		if token = page.NextPageToken; token == "" {
			return all
		}
	}
}

// switched is a receiver that can be broken.
func switched(t *testing.T) (*receiver, *atomic.Bool) {
	t.Helper()
	broken := new(atomic.Bool)
	broken.Store(true)
	return newReceiver(t).answering(func(int, *http.Request) int {
		if broken.Load() {
			return http.StatusBadGateway
		}
		return http.StatusOK
	}), broken
}

func TestDeadLettersAreReplayedAndPurged(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	o, other := i.tenant(t), i.tenant(t)
	r, broken := switched(t)
	h := o.webhook(t, r, `,"retryPolicy":{"maxRetries":0}`, "meeting.booked")
	o.inForce(t)
	const events = 4 // fewer than it takes to open a breaker
	began := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	for n := range events {
		o.publish(t, "meeting.booked", "/dead", "d"+strconv.Itoa(n))
	}
	for n := range events {
		o.awaitLetter(t, "d"+strconv.Itoa(n))
	}
	mine := "organizations/" + o.name

	// They are found by what they are.
	for filter, want := range map[string]int{
		"": events, `webhook = "` + h.Name + `"`: events, `trigger = "meeting.booked" AND reason = "attempts_exhausted"`: events,
		`reason = "poison"`: 0, `event_id = "d2"`: 1, `dead_letter_time >= "` + began + `"`: events, `dead_letter_time < "` + began + `"`: 0,
	} {
		require.Len(t, o.deadLetters(t, o.key, mine, filter), want, filter)
	}
	all := o.deadLetters(t, i.key, "organizations/-", `webhook = "`+h.Name+`"`)
	require.Len(t, all, events)
	require.True(t, strings.HasPrefix(all[0].Name, mine+"/deadLetters/"), "each has the name of its own organization")
	status, body := o.call(t, o.key, "GET", "/v1/organizations/-/deadLetters", "")
	require.Equal(t, http.StatusForbidden, status, body)
	first := o.deadLetters(t, o.key, mine, `event_id = "d0"`)[0]
	var letter deadLetter
	o.do(t, "GET", "/v1/"+first.Name, "", &letter)
	require.Len(t, letter.Attempts, 1)
	require.Equal(t, http.StatusBadGateway, letter.Attempts[0].StatusCode)
	require.NotEmpty(t, letter.Event)
	require.WithinDuration(t, letter.DeadLetterTime.Add(30*24*time.Hour), letter.ExpireTime, time.Minute)
	foreign := strings.Replace(first.Name, o.name, other.name, 1)
	for _, action := range []string{"", ":replay"} {
		method := map[string]string{"": "GET", ":replay": "POST"}[action]
		status, body = o.call(t, other.key, method, "/v1/"+foreign+action, map[string]string{":replay": "{}"}[action])
		require.Equal(t, http.StatusNotFound, status, body)
	}

	// A dry run counts; a replay that fails again makes dead letters again, with all that has happened to them.
	dry := o.awaitOperation(t, o.begin(t, o.path("/deadLetters:replay"), `{"dryRun":true}`).Name, "STATE_SUCCEEDED")
	require.Equal(t, events, dry.affected(t))
	require.Equal(t, events, r.count())
	o.awaitOperation(t, o.begin(t, o.path("/deadLetters:replay"), `{"filter":"event_id = d0"}`).Name, "STATE_SUCCEEDED")
	r.await(t, events+1)
	require.Eventually(t, func() bool {
		again := o.deadLetters(t, o.key, mine, `event_id = "d0"`)
		return len(again) == 1 && again[0].AttemptCount == 2
	}, patience, tick)
	require.Eventually(t, func() bool {
		o.do(t, "GET", "/v1/"+first.Name, "", &letter)
		return len(letter.Attempts) == 2
	}, patience, tick, "with its history")

	broken.Store(false)
	run := o.awaitOperation(t, o.begin(t, o.path("/deadLetters:replay"), `{"filter":"event_id = d0","requestId":"`+uuid.NewString()+`"}`).Name, "STATE_SUCCEEDED")
	require.Equal(t, 1, run.affected(t))
	o.awaitState(t, "d0", "STATE_SUCCEEDED")
	o.do(t, "POST", "/v1/"+o.deadLetters(t, o.key, mine, `event_id = "d1"`)[0].Name+":replay", `{}`, nil)
	o.awaitState(t, "d1", "STATE_SUCCEEDED")
	for id, n := range r.arrived() {
		require.LessOrEqual(t, n, 3, "%s: the same webhook-id", id)
	}
	require.Len(t, r.arrived(), events)

	// What is to go for good is asked for twice.
	require.Len(t, o.deadLetters(t, o.key, mine, ""), 2)
	counted := o.awaitOperation(t, o.begin(t, o.path("/deadLetters:purge"), `{"filter":"*"}`).Name, "STATE_SUCCEEDED")
	require.Equal(t, 2, counted.affected(t))
	require.Len(t, o.deadLetters(t, o.key, mine, ""), 2)
	purged := o.awaitOperation(t, o.begin(t, o.path("/deadLetters:purge"), `{"filter":"event_id = d2","force":true}`).Name, "STATE_SUCCEEDED")
	require.Equal(t, 1, purged.affected(t))
	require.Len(t, o.deadLetters(t, o.key, mine, ""), 1)
	require.Equal(t, "purged", o.awaitState(t, "d2", "STATE_DROPPED").Reason)

	// An operator acts on all organizations.
	code, body := i.call(t, i.key, "POST", "/v1/organizations/-/deadLetters:replay", fmt.Sprintf(`{"filter":"webhook = \"%s\""}`, h.Name))
	require.Equal(t, http.StatusOK, code, body)
	o.awaitState(t, "d3", "STATE_SUCCEEDED")
	require.Eventually(t, func() bool { return len(o.deadLetters(t, o.key, mine, "")) == 0 }, patience, tick)

	var log struct {
		AuditLogEntries []struct{ Action, Resource string }
	}
	o.do(t, "GET", o.path("/auditLogEntries?pageSize=100"), "", &log)
	done := make(map[string]int)
	for _, entry := range log.AuditLogEntries {
		done[entry.Action]++
	}
	require.Equal(t, []int{4, 2}, []int{done["replay"], done["purge"]}, "%v", done)
}

func TestKilledDeliveryGoesOnWithItsReplay(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	o := i.tenant(t)
	gone := new(atomic.Bool)
	gone.Store(true)
	r := newReceiver(t).answering(func(int, *http.Request) int {
		if gone.Load() {
			return http.StatusGone
		}
		return http.StatusOK
	})
	h := o.webhook(t, r, "", "meeting.booked")
	o.inForce(t)
	o.publish(t, "meeting.booked", "/replay", "first")
	require.Eventually(t, func() bool {
		var now hook
		o.do(t, "GET", "/v1/"+h.Name, "", &now)
		return now.Status == "STATUS_DISABLED"
	}, patience, tick)
	const events = 150
	for n := range events {
		o.publish(t, "meeting.booked", "/replay", "r"+strconv.Itoa(n))
	}
	filter := `reason = "webhook_disabled"`
	mine := "organizations/" + o.name
	require.Eventually(t, func() bool { return len(o.deadLetters(t, o.key, mine, filter)) >= events }, patience, 5*tick)
	skipped := o.awaitOperation(t, o.begin(t, o.path("/deadLetters:replay"), `{}`).Name, "STATE_SUCCEEDED")
	require.Zero(t, skipped.affected(t), "while its webhook is disabled a dead letter stays one")
	require.GreaterOrEqual(t, number(t, skipped.SkippedCount), events)

	gone.Store(false)
	o.do(t, "POST", "/v1/"+h.Name+":enable", "{}", nil)
	o.inForce(t)
	before, failed := r.count(), r.arrived()
	const rate = 30
	begun := o.begin(t, o.path("/deadLetters:replay"), fmt.Sprintf(`{"rate":%d}`, rate))
	r.await(t, before+2*events/3)
	i.kill(t, "delivery")
	i.restart(t, "delivery")
	o.awaitOperation(t, begun.Name, "STATE_SUCCEEDED")
	succeeded := fmt.Sprintf("webhook = %q AND state = STATE_SUCCEEDED", h.Name)
	require.Eventually(t, func() bool { return len(o.deliveries(t, succeeded)) >= events }, patience, 5*tick)
	require.Empty(t, o.deadLetters(t, o.key, mine, ""))
	require.GreaterOrEqual(t, len(r.arrived()), events, "nothing is lost")
	twice := 0
	for id, n := range r.arrived() {
		if n-failed[id] > 1 {
			twice++
		}
	}
	require.LessOrEqual(t, twice, 2*rate, "only what was under way is sent twice: that of the last second, or of two")
}

func TestWhatWaitsIsTriedCanceledAndSentAgain(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	o, other := i.tenant(t), i.tenant(t)
	r, broken := switched(t)
	h := o.webhook(t, r, `,"retryPolicy":{"maxRetries":3,"firstDelay":"3600s"}`, "meeting.booked")
	o.inForce(t)
	const events = 4
	waiting := make([]delivery, events)
	for n := range waiting {
		o.publish(t, "meeting.booked", "/wait", "w"+strconv.Itoa(n))
	}
	for n := range waiting {
		waiting[n] = o.awaitState(t, "w"+strconv.Itoa(n), "STATE_PENDING")
	}
	var timers struct {
		Timers []struct {
			Delivery     string
			DueTime      time.Time
			AttemptCount int
		}
	}
	list := func() int {
		timers.Timers = nil // JSON leaves out an empty list
		o.do(t, "GET", "/v1/"+h.Name+"/timers", "", &timers)
		return len(timers.Timers)
	}
	require.Eventually(t, func() bool { return list() == events }, patience, tick)
	require.WithinDuration(t, time.Now().Add(time.Hour), timers.Timers[0].DueTime, 15*time.Minute)
	require.Equal(t, 1, timers.Timers[0].AttemptCount)
	act := func(d delivery, action string) (int, string) {
		return o.call(t, o.key, "POST", "/v1/"+d.Name+":"+action, `{}`)
	}

	// One is tried now, and fails; another is canceled.
	status, body := act(waiting[0], "retry")
	require.Equal(t, http.StatusOK, status, body)
	require.Eventually(t, func() bool { return len(o.attempts(t, waiting[0])) == 2 }, patience, tick)
	status, body = act(waiting[1], "cancel")
	require.Equal(t, http.StatusOK, status, body)
	require.Equal(t, "canceled", o.awaitState(t, "w1", "STATE_DROPPED").Reason)
	for _, action := range []string{"cancel", "retry"} {
		status, body = act(waiting[1], action)
		require.Equal(t, http.StatusBadRequest, status, body)
		require.Contains(t, body, "NOT_WAITING")
		foreign := strings.Replace(waiting[2].Name, o.name, other.name, 1)
		status, body = o.call(t, other.key, "POST", "/v1/"+foreign+":"+action, `{}`)
		require.Equal(t, http.StatusNotFound, status, body)
	}
	require.Eventually(t, func() bool { return list() == events-1 }, patience, tick)

	// All that waits is tried now.
	broken.Store(false)
	dry := o.awaitOperation(t, o.begin(t, o.path("/deliveries:retry"), `{"dryRun":true}`).Name, "STATE_SUCCEEDED")
	require.Equal(t, events-1, dry.affected(t))
	run := o.awaitOperation(t, o.begin(t, o.path("/deliveries:retry"), fmt.Sprintf(`{"webhook":%q}`, h.Name)).Name, "STATE_SUCCEEDED")
	require.Equal(t, events-1, run.affected(t))
	for _, n := range []string{"w0", "w2", "w3"} {
		o.awaitState(t, n, "STATE_SUCCEEDED")
	}
	require.Equal(t, 0, list())

	// Whatever has become of it, it can be sent again: once for a request.
	arrived := r.count()
	id := waiting[2].Name[strings.LastIndex(waiting[2].Name, "/")+1:]
	request := fmt.Sprintf(`{"requestId":%q}`, uuid.NewString())
	for range 3 {
		status, body = o.call(t, o.key, "POST", "/v1/"+waiting[2].Name+":resend", request)
		require.Equal(t, http.StatusOK, status, body)
	}
	status, body = act(waiting[1], "resend") // the one that was canceled
	require.Equal(t, http.StatusOK, status, body)
	o.awaitState(t, "w1", "STATE_SUCCEEDED")
	require.Eventually(t, func() bool { return len(o.attempts(t, waiting[2])) == 3 }, patience, tick)
	require.Equal(t, arrived+2, r.count())
	require.Equal(t, 3, r.arrived()[id], "under the same webhook-id")
	o.do(t, "POST", "/v1/"+h.Name+":pause", "{}", nil)
	require.Eventually(t, func() bool {
		status, body = act(waiting[2], "resend")
		return status == http.StatusBadRequest
	}, patience, tick)
	require.Contains(t, body, "WEBHOOK_NOT_ACTIVE")
	status, body = o.call(t, o.key, "POST", o.path("/deliveries/"+uuid.NewString()+":resend"), `{}`)
	require.Equal(t, http.StatusNotFound, status, body)
}

func TestTestsAreNoDeliveries(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	o := i.tenant(t)
	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.booked")
	require.NotEmpty(t, h.Secret)
	o.inForce(t)
	var answer struct{ Attempt attempt }
	o.do(t, "POST", o.path("/webhooks:test"), fmt.Sprintf(`{"webhook":{"name":%q}}`, h.Name), &answer)
	require.Equal(t, http.StatusOK, answer.Attempt.StatusCode)
	got := r.await(t, 1)[0]
	require.True(t, got.verified, "signed as its deliveries are")
	require.True(t, strings.HasPrefix(got.header.Get("webhook-id"), "test_"))
	require.Equal(t, got.body, answer.Attempt.RequestText)

	unsaved := func(to string) string {
		return fmt.Sprintf(`{"webhook":{"displayName":"New","targetUrl":%q,"triggers":["meeting.*"]},"trigger":"meeting.canceled"}`, to)
	}
	o.do(t, "POST", o.path("/webhooks:test"), unsaved(r.server.URL), &answer)
	require.Contains(t, r.await(t, 2)[1].body, "meeting.canceled")
	answer.Attempt = attempt{}
	o.do(t, "POST", o.path("/webhooks:test"), unsaved("http://127.0.0.1:1/"), &answer)
	require.Equal(t, "connect", answer.Attempt.ErrorClass)
	status, body := o.call(t, o.key, "POST", o.path("/webhooks:test"), unsaved("ftp://example.com/"))
	require.Equal(t, http.StatusBadRequest, status, body)
	other := i.tenant(t)
	status, body = o.call(t, other.key, "POST", other.path("/webhooks:test"), fmt.Sprintf(`{"webhook":{"name":%q}}`, h.Name))
	require.Equal(t, http.StatusBadRequest, status, body)
	foreign := strings.Replace(h.Name, o.name, other.name, 1)
	status, body = o.call(t, other.key, "POST", other.path("/webhooks:test"), fmt.Sprintf(`{"webhook":{"name":%q}}`, foreign))
	require.Equal(t, http.StatusNotFound, status, body)

	// The same with commands.
	operator := newOperator(t, i, o.name)
	require.Contains(t, operator.ok(t, "", "webhooks", "test", h.id()), "200")
	require.Contains(t, operator.ok(t, "", "webhooks", "test", "--url", r.server.URL, "--dialect", "cloudevents"), "200")
	require.Contains(t, operator.fails(t, 2, "webhooks", "test"), "--url")
	require.Len(t, r.await(t, 4), 4)

	// Whatever was recorded by now comes before what is recorded of this one.
	o.publish(t, "meeting.booked", "/after", "real")
	o.awaitState(t, "real", "STATE_SUCCEEDED")
	require.Len(t, o.deliveries(t, `webhook = "`+h.Name+`"`), 1, "nothing is recorded of tests")
	var list struct{ Attempts []attempt }
	o.do(t, "GET", o.path("/deliveries/-/attempts?filter="+url.QueryEscape(`webhook = "`+h.Name+`"`)), "", &list)
	require.Len(t, list.Attempts, 1)
}
