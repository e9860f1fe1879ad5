package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// awaits calls an operation until its answer has some texts, and keeps that answer.
func (e *examples) awaits(t *testing.T, id, path string, texts ...string) map[string]any {
	t.Helper()
	status, answer := 0, ""
	require.Eventually(t, func() bool {
		status, answer = e.installation.call(t, e.key, "GET", path, "")
		return status == http.StatusOK && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(answer, text) })
	}, patience, tick, "%s never had %s", path, texts)
	return e.keep(t, id, status, answer)
}

// first returns the path of the first item of a list.
func first(list map[string]any, collection string) string {
	return fmt.Sprint("/v1/", list[collection].([]any)[0].(map[string]any)["name"])
}

// history looks at what was published, and sends it again.
func (e *examples) history(t *testing.T, hook *hook) {
	t.Helper()
	event := `{"specversion":"1.0","source":"/shop","id":%q,"subject":"o_1","type":"custom.order.paid","data":{"id":"o_1"}}`
	e.call(t, "EventService_PublishEvents", "POST", e.path("/events:batchPublish"),
		"["+fmt.Sprintf(event, "evt_2")+","+fmt.Sprintf(event, "")+"]")
	listed := e.awaits(t, "EventService_ListEvents", e.path("/events?filter="+url.QueryEscape(`id = "evt_2"`)), "evt_2", "matchedCount")
	one := first(listed, "events")
	name := strings.TrimPrefix(one, "/v1/")
	e.call(t, "EventService_GetEvent", "GET", one, "")
	e.awaits(t, "EventService_GetEventOutcome", one+"/outcome", "deliveredCount", "deadCount")
	e.call(t, "EventService_ExplainEvent", "POST", e.path("/events:explain"), fmt.Sprintf(`{"name":%q,"webhook":%q}`, name, hook.Name))
	e.call(t, "EventService_GetWebhookMatching", "GET", "/v1/"+hook.Name+"/matching", "")
	e.call(t, "EventService_ReplayEvent", "POST", one+":replay", fmt.Sprintf(`{"webhook":%q}`, hook.Name))
	e.call(t, "EventService_ReplayEvents", "POST", e.path("/events:replay"), `{"startTime":"2026-01-01T00:00:00Z","subject":"o_1","dryRun":true}`)
	e.call(t, "EventService_BackfillWebhook", "POST", "/v1/"+hook.Name+":backfill", `{"startTime":"2026-01-01T00:00:00Z","dryRun":true}`)
	e.call(t, "EventService_EraseEvents", "POST", e.path("/events:erase"), fmt.Sprintf(`{"names":[%q],"dryRun":true}`, name))

	msg := nats.NewMsg(bus.EventSubject(e.name, "custom.order.paid"))
	msg.Data = []byte(strings.Replace(fmt.Sprintf(event, "evt_3"), `"/shop"`, `7`, 1))
	_, err := e.js.PublishMsg(t.Context(), msg)
	require.NoError(t, err)
	reject := first(e.awaits(t, "RejectService_ListRejects", e.path("/rejects"), "/source"), "rejects")
	e.call(t, "RejectService_GetReject", "GET", reject, "")
	e.call(t, "RejectService_ResubmitReject", "POST", reject+":resubmit", fmt.Sprintf(`{"event":%q}`, fmt.Sprintf(event, "evt_3")))
}

// actions do something with deliveries: one that has succeeded, and one that waits for a retry.
func (e *examples) actions(t *testing.T, hook *hook, succeeded string) {
	t.Helper()
	e.call(t, "WebhookService_TestWebhook", "POST", e.path("/webhooks:test"), fmt.Sprintf(`{"webhook":{"name":%q},"trigger":"custom.order.paid"}`, hook.Name))
	e.call(t, "DeliveryService_ResendDelivery", "POST", succeeded+":resend", "{}")
	e.awaits(t, "DeliveryService_ListWebhookStatistics", "/v1/"+hook.Name+"/statistics", "successCount")
	e.call(t, "DeliveryService_RetryDeliveries", "POST", e.path("/deliveries:retry"), `{"dryRun":true}`)
	e.call(t, "DeadLetterService_ReplayDeadLetters", "POST", e.path("/deadLetters:replay"), `{"dryRun":true}`)
	e.call(t, "DeadLetterService_PurgeDeadLetters", "POST", e.path("/deadLetters:purge"), `{"filter":"*"}`)

	bad := newReceiver(t).answering(func(int, *http.Request) int { return http.StatusInternalServerError })
	waiting := e.webhook(t, bad, `,"retryPolicy":{"maxRetries":3,"firstDelay":"3600s"}`, "contact.updated")
	e.inForce(t)
	e.publish(t, "contact.updated", "/shop", "evt_waits")
	timers := "/v1/" + waiting.Name + "/timers"
	timer := e.awaits(t, "DeliveryService_ListTimers", timers, "evt_waits")["timers"].([]any)[0].(map[string]any)
	delivery := fmt.Sprint("/v1/", timer["delivery"])
	e.call(t, "DeliveryService_RetryDelivery", "POST", delivery+":retry", "{}")
	e.awaits(t, "DeliveryService_ListTimers", timers, `"attemptCount":2`)
	e.call(t, "DeliveryService_CancelDelivery", "POST", delivery+":cancel", "{}")
}
