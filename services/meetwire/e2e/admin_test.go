package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/webhook"
)

// TestAdministration runs what administrators do on four processes.
func TestAdministration(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	t.Run("all", func(t *testing.T) {
		for name, scenario := range map[string]func(*testing.T, *installation){
			"filter, scope and event types":         testMatching,
			"a group of triggers":                   testGroups,
			"an organization's own trigger":         testOwnTrigger,
			"each dialect":                          testDialects,
			"custom headers":                        testHeaders,
			"rotation of a secret":                  testRotation,
			"the organization's secret":             testOrganizationSecret,
			"disabled after failures, then enabled": testDisabling,
			"gone":                                  testGone,
			"resumed with what was missed":          testMissed,
			"deleted with what waits":               testDeletion,
			"a plan without webhooks":               testPlan,
			"operational triggers are ours":         testReserved,
			"an organization is deleted":            testOrganizationDeletion,
			"every method, every role":              testEveryMethod,
			"ids of another organization":           testForeignIDs,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scenario(t, i)
			})
		}
	})
	t.Run("no secret is anywhere", func(t *testing.T) { testNoSecretAnywhere(t, i) })
}

// publishWith publishes an event with further attributes, JSON members with a comma in front of each.
func (o *tenant) publishWith(t *testing.T, trigger, id, attributes string) {
	t.Helper()
	document := fmt.Sprintf(`{"specversion":"1.0","source":"/e2e","id":%q,"type":%q,"time":"2026-01-31T12:00:00Z","data":%s%s}`,
		id, trigger, o.sample(t, trigger), attributes)
	o.publishRaw(t, trigger, bus.EventMsgID(o.name, "/e2e", id), document)
}

// settled waits until a webhook that asks for everything has got an event: what is before it in the stream has then
// been matched for all.
func (o *tenant) delivered(t *testing.T, trigger string) (await func(ids ...string)) {
	t.Helper()
	r := newReceiver(t)
	o.webhook(t, r, "", trigger)
	return func(ids ...string) {
		require.Eventually(t, func() bool {
			for _, id := range ids {
				if len(o.deliveries(t, fmt.Sprintf("event_id = %q AND state = STATE_SUCCEEDED", id))) == 0 {
					return false
				}
			}
			return r.count() >= len(ids)
		}, patience, tick)
	}
}

// eventsOf returns the ids of the events that a webhook got deliveries of.
func (o *tenant) eventsOf(t *testing.T, h *hook) []string {
	t.Helper()
	var ids []string
	for _, d := range o.deliveries(t, fmt.Sprintf("webhook = %q", h.Name)) {
		ids = append(ids, d.EventID)
	}
	slices.Sort(ids)
	return ids
}

func testMatching(t *testing.T, i *installation) {
	o := i.tenant(t)
	o.do(t, "POST", o.path("/teams?team_id=sales"), `{"displayName":"Sales"}`, nil)
	o.do(t, "POST", o.path("/teams?team_id=support"), `{"displayName":"Support"}`, nil)
	r := newReceiver(t)
	sales := o.webhook(t, r, fmt.Sprintf(`,"teams":["organizations/%s/teams/sales"]`, o.name), "meeting.booked")
	demos := o.webhook(t, r, `,"eventTypes":["demo"]`, "meeting.booked")
	filtered := o.webhook(t, r, `,"filter":"event.id == 'b'"`, "meeting.booked")
	await := o.delivered(t, "meeting.booked")
	o.inForce(t)
	o.publishWith(t, "meeting.booked", "a", `,"mwteams":"support,sales","mweventtype":"demo"`)
	o.publishWith(t, "meeting.booked", "b", `,"mwteams":"support","mweventtype":"intro"`)
	o.publishWith(t, "meeting.booked", "c", "")
	await("a", "b", "c")
	r.await(t, 3)
	for h, want := range map[*hook][]string{sales: {"a"}, demos: {"a"}, filtered: {"b"}} {
		require.Eventually(t, func() bool { return slices.Equal(want, o.eventsOf(t, h)) }, patience, tick)
	}
	require.Equal(t, 3, r.count())
}

func testGroups(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.*")
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "a")
	o.publish(t, "meeting.canceled", "/s", "b")
	o.publish(t, "contact.updated", "/s", "c")
	o.publish(t, "meeting.booked", "/s", "d")
	r.await(t, 3)
	require.Eventually(t, func() bool { return slices.Equal([]string{"a", "b", "d"}, o.eventsOf(t, h)) }, patience, tick)
}

func testOwnTrigger(t *testing.T, i *installation) {
	o, other := i.tenant(t), i.tenant(t)
	schema := `{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}`
	body, err := json.Marshal(map[string]string{"displayName": "Counted", "schema": schema, "sample": `{"n":1}`})
	require.NoError(t, err)
	o.do(t, "POST", o.path("/triggers?trigger_id=custom.counted"), string(body), nil)
	code, answer := i.call(t, other.key, "GET", other.path("/triggers/custom.counted"), "")
	require.Equal(t, http.StatusNotFound, code, answer)

	r := newReceiver(t)
	o.webhook(t, r, "", "custom.*")
	o.inForce(t)
	o.do(t, "POST", o.path("/events"), `{"specversion":"1.0","source":"/s","id":"1","type":"custom.counted","data":{"n":7}}`, nil)
	require.Contains(t, r.await(t, 1)[0].body, `{"n":7}`)
	code, answer = i.call(t, o.key, "POST", o.path("/events"), `{"specversion":"1.0","source":"/s","id":"2","type":"custom.counted","data":{"n":"x"}}`)
	require.Equal(t, http.StatusBadRequest, code)
	require.Contains(t, answer, "/n")
	code, answer = i.call(t, other.key, "POST", other.path("/events"), `{"specversion":"1.0","source":"/s","id":"1","type":"custom.counted","data":{"n":7}}`)
	require.Equal(t, http.StatusBadRequest, code, "it is not theirs: %s", answer)
}

func testDialects(t *testing.T, i *installation) {
	o := i.tenant(t)
	o.do(t, "POST", o.path("/signingSecret:generate"), `{}`, nil)
	receivers, hooks := map[string]*receiver{}, map[string]*hook{}
	plain := slices.DeleteFunc(dialect.Names(), func(name string) bool {
		d, _ := dialect.Lookup(name)
		return d.Traits().HTTPSOnly // TestReceivers has receivers with TLS
	})
	for _, dialect := range plain {
		r, h := newReceiver(t), &hook{}
		o.do(t, "POST", o.path("/webhooks"), fmt.Sprintf(
			`{"displayName":%q,"targetUrl":%q,"triggers":["meeting.booked"],"dialect":%q,"secretSource":"SECRET_SOURCE_OWN"}`,
			dialect, r.server.URL, dialect), h)
		receivers[dialect], hooks[dialect] = r, h
		require.Equal(t, dialect, h.Dialect)
	}
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "1")
	for dialect, r := range receivers {
		got := r.await(t, 1)[0]
		if hooks[dialect].Secret == "" {
			continue // none is required, and none was given
		}
		verifier, err := webhook.NewDialectVerifier(dialect, []string{hooks[dialect].Secret})
		require.NoError(t, err)
		require.NoError(t, verifier.Verify(got.header, []byte(got.body)), dialect)
		require.Error(t, verifier.Verify(got.header, []byte(got.body+" ")), dialect)

		var preview struct{ Method, URL, Body string }
		o.do(t, "POST", o.path("/webhooks:preview"), fmt.Sprintf(`{"webhook":{"name":%q}}`, hooks[dialect].Name), &preview)
		require.Equal(t, "POST", preview.Method)
		require.True(t, json.Valid([]byte(preview.Body)), preview.Body)
	}
	require.Equal(t, "Harmonizely", receivers["harmonizely"].requests()[0].header.Get("User-Agent"))
}

func testHeaders(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	h := o.webhook(t, r, fmt.Sprintf(`,"headers":[{"name":"X-Api-Key","value":%q}]`, plainHeader), "meeting.booked")
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "1")
	require.Equal(t, plainHeader, r.await(t, 1)[0].header.Get("X-Api-Key"))
	_, answer := i.call(t, o.key, "GET", "/v1/"+h.Name, "")
	require.Contains(t, answer, "X-Api-Key")
	require.NotContains(t, answer, plainHeader)
	// One who sends back what was read does not lose the value.
	o.do(t, "PATCH", "/v1/"+h.Name+"?updateMask=headers,displayName", `{"displayName":"New","headers":[{"name":"X-Api-Key"}]}`, nil)
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "2")
	require.Equal(t, plainHeader, r.await(t, 2)[1].header.Get("X-Api-Key"))
	d := o.awaitState(t, "2", "STATE_SUCCEEDED")
	_, answer = i.call(t, o.key, "GET", "/v1/"+d.Name+"/attempts", "")
	require.NotContains(t, answer, plainHeader)
}

// verifies reports whether a request is signed with a secret.
func verifies(t *testing.T, secret string, r request) bool {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	return verifier.Verify([]byte(r.body), r.header) == nil
}

func testRotation(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.booked")
	rotated := &hook{}
	o.do(t, "POST", "/v1/"+h.Name+":rotateSecret", `{"gracePeriod":"3600s"}`, rotated)
	require.NotEqual(t, h.Secret, rotated.Secret)
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "1")
	got := r.await(t, 1)[0]
	require.True(t, verifies(t, h.Secret, got) && verifies(t, rotated.Secret, got), "both sign")

	var revealed struct{ Secrets []string }
	o.do(t, "POST", "/v1/"+h.Name+":revealSecret", `{}`, &revealed)
	require.Equal(t, []string{rotated.Secret, h.Secret}, revealed.Secrets)
	o.do(t, "POST", "/v1/"+h.Name+":activateSecret", `{}`, nil)
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "2")
	got = r.await(t, 2)[1]
	require.True(t, verifies(t, rotated.Secret, got))
	require.False(t, verifies(t, h.Secret, got))
	_, log := i.call(t, o.key, "GET", o.path("/auditLogEntries?filter=resource%3D%22"+strings.ReplaceAll(h.Name, "/", "%2F")+"%22"), "")
	for _, action := range []string{"create", "rotate", "reveal", "activate"} {
		require.Contains(t, log, `"`+action+`"`)
	}
	require.NotContains(t, log, "whsec_")
}

func testOrganizationSecret(t *testing.T, i *installation) {
	o := i.tenant(t)
	body := func(r *receiver) string {
		return fmt.Sprintf(`{"displayName":"x","targetUrl":%q,"triggers":["meeting.booked"],"secretSource":"SECRET_SOURCE_ORGANIZATION"}`, r.server.URL)
	}
	r := newReceiver(t)
	code, answer := i.call(t, o.key, "POST", o.path("/webhooks"), body(r))
	require.Equal(t, http.StatusBadRequest, code, "there is none yet: %s", answer)
	var secret struct{ Secret string }
	o.do(t, "POST", o.path("/signingSecret:generate"), `{}`, &secret)
	o.do(t, "POST", o.path("/webhooks"), body(r), nil)
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "1")
	require.True(t, verifies(t, secret.Secret, r.await(t, 1)[0]))
	first := secret.Secret
	o.do(t, "POST", o.path("/signingSecret:regenerate"), `{"gracePeriod":"0s"}`, &secret)
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "2")
	got := r.await(t, 2)[1]
	require.True(t, verifies(t, secret.Secret, got))
	require.False(t, verifies(t, first, got))
}

func testDisabling(t *testing.T, i *installation) {
	o := i.tenant(t)
	operations := newReceiver(t)
	o.webhook(t, operations, "", "webhook.disabled", "webhook.enabled")
	address := o.name + "@example.com"
	failing := newReceiver(t).answering(func(int, *http.Request) int { return http.StatusInternalServerError })
	h := o.webhook(t, failing, fmt.Sprintf(
		`,"retryPolicy":{"maxRetries":20,"firstDelay":"0.1s","factor":1.5},"failureThreshold":{"consecutiveFailures":6},"alertEmails":[%q]`, address),
		"meeting.booked")
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "1")
	var now hook
	require.Eventually(t, func() bool {
		o.do(t, "GET", "/v1/"+h.Name, "", &now)
		return now.Status == "STATUS_DISABLED"
	}, patience, tick)
	require.Equal(t, "consecutive_failures", now.StatusReason)
	require.Equal(t, "webhook_disabled", o.awaitState(t, "1", "STATE_DEAD_LETTERED").Reason, "what waits is given up")
	o.publish(t, "meeting.booked", "/s", "2")
	require.Equal(t, "webhook_disabled", o.awaitState(t, "2", "STATE_DEAD_LETTERED").Reason, "and what comes")

	require.Contains(t, operations.await(t, 1)[0].body, h.id())
	require.Contains(t, operations.requests()[0].body, `"webhook.disabled"`)
	require.Eventually(t, func() bool { return len(i.mails.to(address, "")) >= 3 }, patience, tick)
	for _, subject := range []string{"] Failing:", "] Still failing:", "] Disabled:"} {
		require.Len(t, i.mails.to(address, subject), 1, "%v", i.mails.to(address, ""))
	}
	_, log := i.call(t, o.key, "GET", o.path("/auditLogEntries?filter=action%3D%22disable%22"), "")
	require.Equal(t, 1, strings.Count(log, `"disable"`), log)

	failing.answering(func(int, *http.Request) int { return http.StatusOK })
	o.do(t, "POST", "/v1/"+h.Name+":enable", "{}", &now)
	require.Equal(t, "STATUS_ACTIVE", now.Status)
	require.Equal(t, "2", now.Generation)
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "3")
	o.awaitState(t, "3", "STATE_SUCCEEDED")
	require.Contains(t, operations.await(t, 2)[1].body, `"webhook.enabled"`)
}

func testGone(t *testing.T, i *installation) {
	o := i.tenant(t)
	h := o.webhook(t, newReceiver(t).answering(func(int, *http.Request) int { return http.StatusGone }), "", "meeting.booked")
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "1")
	var now hook
	require.Eventually(t, func() bool {
		o.do(t, "GET", "/v1/"+h.Name, "", &now)
		return now.Status == "STATUS_DISABLED" && now.StatusReason == "gone"
	}, patience, tick)
	o.awaitState(t, "1", "STATE_DEAD_LETTERED")
}

func testMissed(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.booked")
	await := o.delivered(t, "meeting.booked")
	o.do(t, "POST", "/v1/"+h.Name+":pause", "{}", nil)
	o.inForce(t)
	var ids []string
	for range 20 {
		ids = append(ids, uuid.NewString())
		o.publish(t, "meeting.booked", "/s", ids[len(ids)-1])
	}
	await(ids...)
	require.Zero(t, r.count())
	var resumed struct{ Operation struct{ Name string } }
	o.do(t, "POST", "/v1/"+h.Name+":resume", `{"sendMissed":true}`, &resumed)
	r.await(t, 20)
	require.Eventually(t, func() bool {
		var operation struct{ Done bool }
		o.do(t, "GET", "/v1/"+resumed.Operation.Name, "", &operation)
		return operation.Done
	}, patience, tick)
	slices.Sort(ids)
	require.Eventually(t, func() bool { return slices.Equal(ids, o.eventsOf(t, h)) }, patience, tick)
	require.Equal(t, 20, r.count(), "none twice")
}

func testDeletion(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t).answering(func(int, *http.Request) int { return http.StatusInternalServerError })
	h := o.webhook(t, r, `,"retryPolicy":{"maxRetries":3,"firstDelay":"3600s"}`, "meeting.booked")
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "1")
	r.await(t, 1)
	timers := bus.RetryTimersFilter(o.name, h.id())
	stream, err := o.js.Stream(t.Context(), bus.StreamRetries)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(subjects(t, stream, timers)) == 1 }, patience, tick)
	o.do(t, "DELETE", "/v1/"+h.Name, "", nil)
	require.Eventually(t, func() bool { return len(subjects(t, stream, timers)) == 0 }, patience, tick, "its timers are canceled")
	o.publish(t, "meeting.booked", "/s", "2")
	o.inForce(t)
	require.Equal(t, 1, r.count())
	require.Eventually(t, func() bool { return len(o.deliveries(t, fmt.Sprintf("event_id = %q", "1"))) == 1 }, patience, tick, "its records stay")
}

func testPlan(t *testing.T, i *installation) {
	o := i.tenant(t)
	status, answer := i.call(t, i.key, "PATCH", "/v1/organizations/"+o.name+"?updateMask=plan", `{"plan":"plans/startup"}`)
	require.Equal(t, http.StatusOK, status, answer)
	status, answer = i.call(t, o.key, "POST", o.path("/webhooks"), `{"displayName":"x","targetUrl":"https://example.com/","triggers":["meeting.booked"]}`)
	require.Equal(t, http.StatusBadRequest, status)
	require.Contains(t, answer, "startup")
	require.Contains(t, answer, "PLAN_LIMIT")
	o.publish(t, "meeting.booked", "/s", "1") // is kept
	status, answer = i.call(t, o.key, "PATCH", "/v1/organizations/"+o.name+"?updateMask=plan", `{"plan":"plans/enterprise"}`)
	require.Equal(t, http.StatusForbidden, status, "for operators: %s", answer)
}

func testReserved(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	o.webhook(t, r, "", "webhook.deleted")
	o.inForce(t)
	document := o.document(t, "webhook.deleted", "//meetwire/subscription", "forged")
	status, answer := i.call(t, o.key, "POST", o.path("/events"), document)
	require.Equal(t, http.StatusForbidden, status, answer)
	o.publishRaw(t, "webhook.deleted", bus.EventMsgID(o.name, "//meetwire/subscription", "forged"), document)
	// inForce deletes a webhook, which is one of these events, and a true one.
	o.inForce(t)
	for _, got := range r.await(t, 1) {
		require.NotContains(t, got.header.Get("webhook-id"), "forged")
		require.NotContains(t, got.body, o.sample(t, "webhook.deleted"))
	}
}
