package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// examplesFile has an answer to each operation of the REST interface. The gateway shows them in /openapi.json.
const examplesFile = "../../../proto/openapi/examples.json"

// example is an answer.
type example struct {
	Status int `json:"status"`
	Body   any `json:"body"`
}

// examples collects the answers of an installation.
type examples struct {
	*tenant
	got map[string]example
	ids map[string]string // what stands for the ids that were met
}

// TestExamples calls every method of REST that answers something, and compares the answers with the examples that
// document them.
func TestExamples(t *testing.T) {
	t.Parallel()
	i := up(t, dataFolder(t))
	e := &examples{tenant: &tenant{installation: i, name: "acme", key: i.key}, got: map[string]example{}, ids: map[string]string{}}
	e.organizations(t)
	e.triggers(t)
	e.secrets(t)
	hook := e.webhooks(t)
	e.operations(t, hook)
	e.deliveries(t)
	e.rest(t)

	documented := e.operationsWithAnswers(t)
	require.Equal(t, documented, slices.Sorted(maps.Keys(e.got)), "every operation that answers something is called here")
	if *update {
		text, err := json.MarshalIndent(e.got, "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(examplesFile, append(text, '\n'), 0o600))
		return
	}
	text, err := os.ReadFile(examplesFile)
	require.NoError(t, err)
	var written map[string]example
	require.NoError(t, json.Unmarshal(text, &written))
	require.Equal(t, documented, slices.Sorted(maps.Keys(written)), "run the test with -update")
	for id, want := range written {
		require.Equal(t, want.Status, e.got[id].Status, id)
		require.Equal(t, shape(want.Body), shape(e.got[id].Body), "%s answers in another form: run the test with -update", id)
	}
}

// passing are fields that are there or not as it happens: how far an operation is by now, what an attempt on a
// connection that is used again does not have, and whether an attempt ends before or after its record is seen.
var passing = []string{ //nolint:gochecknoglobals // never changed
	"processedCount", "affectedCount", "totalCount", "skippedCount", "dnsDuration", "connectDuration",
	"activeCount", "averageDuration",
}

// shape says which fields there are, and of which types; for a list, which there are in any of its items.
func shape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		fields := map[string]any{}
		for name, value := range v {
			if !slices.Contains(passing, name) {
				fields[name] = shape(value)
			}
		}
		return fields
	case []any:
		all := map[string]any{}
		for _, item := range v {
			fields, ok := shape(item).(map[string]any)
			if !ok {
				return []any{shape(item)}
			}
			maps.Copy(all, fields)
		}
		return []any{all}
	default:
		return fmt.Sprintf("%T", v)
	}
}

// call calls an operation, which must succeed, and keeps its answer.
func (e *examples) call(t *testing.T, id, method, path, body string) map[string]any {
	t.Helper()
	status, text := e.installation.call(t, e.key, method, path, body)
	require.Less(t, status, 300, "%s: %s", id, text)
	return e.keep(t, id, status, text)
}

// keep keeps the answer of an operation, the first one.
func (e *examples) keep(t *testing.T, id string, status int, text string) map[string]any {
	t.Helper()
	var answer map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &answer), text)
	if _, known := e.got[id]; !known {
		var copied map[string]any // the answer stays as it is
		require.NoError(t, json.Unmarshal([]byte(text), &copied))
		e.got[id] = example{Status: status, Body: e.normalized("", copied)}
	}
	return answer
}

// maxEntries is how many entries of the catalogue its example has: they are long.
const maxEntries = 1

// normalized puts what is the same each time in the place of ids, times and the like.
func (e *examples) normalized(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			v[key] = e.normalized(key, v[key])
		}
	case []any:
		for i := range v {
			v[i] = e.normalized(name, v[i])
		}
		if name == "entries" {
			return v[:maxEntries]
		}
		return v
	case string:
		if name == "etag" {
			return "8b1f6c02"
		}
		if strings.HasSuffix(name, "Body") {
			if decoded, err := base64.StdEncoding.DecodeString(v); err == nil {
				return base64.StdEncoding.EncodeToString([]byte(e.text(string(decoded))))
			}
		}
		return e.text(v)
	}
	return v
}

var (
	uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	// fixed are the other texts that differ from run to run.
	fixed = []struct{ pattern, to string }{ //nolint:gochecknoglobals // never changed
		{`^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`, "2027-01-31T12:00:00Z"},
		{`("(?:timestamp|created_at)":")20[^"]*Z`, "${1}2027-01-31T12:00:00Z"},
		{`^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 20\d\d [0-9:]{8} GMT$`, "Sun, 31 Jan 2027 12:00:00 GMT"},
		{`^1[789]\d{8}$`, "1801310400"},
		{`^00-[0-9a-f]{32}-[0-9a-f]{16}-\d\d$`, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		{`^\d+\.\d+s$`, "0.012s"},
		{`mwk_[a-z0-9]{16}_[A-Za-z0-9_-]{43}`, "mwk_0123456789abcdef_" + strings.Repeat("x", 43)},
		{`apiKeys/[a-z0-9]{16}`, "apiKeys/0123456789abcdef"},
		{`whsec_[A-Za-z0-9+/=]+`, "whsec_TWVldHdpcmUtZXhhbXBsZS1rZXktMjQtYg=="},
		{`^[A-Za-z0-9_-]{43}$`, "k3y-" + strings.Repeat("x", 39)},
		{`v1,[A-Za-z0-9+/=]{44}`, "v1," + strings.Repeat("A", 43) + "="},
		{`http://127\.0\.0\.1:\d+`, "https://receiver.example.com"},
		{`127\.0\.0\.1(:\d+)?`, "192.0.2.10"},
	}
)

func (e *examples) text(v string) string {
	v = uuids.ReplaceAllStringFunc(v, func(id string) string {
		if e.ids[id] == "" {
			e.ids[id] = fmt.Sprintf("7d9e3b10-52c4-4f6a-8e21-%012d", len(e.ids)+1)
		}
		return e.ids[id]
	})
	for _, f := range fixed {
		v = regexp.MustCompile(f.pattern).ReplaceAllString(v, f.to)
	}
	return v
}

// operationsWithAnswers returns the ids of the operations that answer more than {}.
func (e *examples) operationsWithAnswers(t *testing.T) []string {
	t.Helper()
	status, text := e.installation.call(t, "", "GET", "/openapi.json", "")
	require.Equal(t, http.StatusOK, status)
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Responses   map[string]struct {
				Schema map[string]any `json:"schema"`
			} `json:"responses"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &document))
	var ids []string
	for _, operations := range document.Paths {
		for _, operation := range operations {
			for status, response := range operation.Responses {
				if strings.HasPrefix(status, "2") && response.Schema["$ref"] != nil {
					ids = append(ids, operation.OperationID)
				}
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (e *examples) organizations(t *testing.T) {
	t.Helper()
	e.call(t, "OrganizationService_CreateOrganization", "POST", "/v1/organizations?organizationId=acme",
		`{"displayName":"Acme Inc.","plan":"plans/enterprise","allowHttp":true}`)
	e.call(t, "OrganizationService_UpdateOrganization", "PATCH", "/v1/organizations/acme?updateMask=client_id,ingest_quota",
		`{"clientId":"4711","ingestQuota":{"eventsPerSecond":100,"burst":200}}`)
	e.call(t, "OrganizationService_GetOrganization", "GET", "/v1/organizations/acme", "")
	e.call(t, "OrganizationService_ListOrganizations", "GET", "/v1/organizations", "")
	e.call(t, "PlanService_ListPlans", "GET", "/v1/plans", "")
	e.call(t, "PlanService_GetPlan", "GET", "/v1/plans/organization", "")
	e.call(t, "TeamService_CreateTeam", "POST", e.path("/teams?teamId=sales"), `{"displayName":"Sales"}`)
	e.call(t, "TeamService_UpdateTeam", "PATCH", e.path("/teams/sales?updateMask=display_name"), `{"displayName":"Sales and support"}`)
	e.call(t, "TeamService_GetTeam", "GET", e.path("/teams/sales"), "")
	e.call(t, "TeamService_ListTeams", "GET", e.path("/teams"), "")
	key := e.call(t, "ApiKeyService_CreateApiKey", "POST", e.path("/apiKeys"), `{"displayName":"Deployment","role":"ROLE_ADMIN","expireTime":"2100-01-01T00:00:00Z"}`)
	e.call(t, "ApiKeyService_GetApiKey", "GET", fmt.Sprint("/v1/", key["name"]), "")
	e.call(t, "ApiKeyService_ListApiKeys", "GET", e.path("/apiKeys"), "")
}

func (e *examples) triggers(t *testing.T) {
	t.Helper()
	created, err := json.Marshal(map[string]string{
		"displayName": "Order paid", "description": "Somebody has paid an order.", "group": "Orders", "sample": `{"id":"o_1"}`,
		"schema": `{"type":"object","required":["id"],"properties":{"id":{"type":"string","description":"Id of the order."}}}`,
	})
	require.NoError(t, err)
	e.call(t, "TriggerService_CreateTrigger", "POST", e.path("/triggers?triggerId=custom.order.paid"), string(created))
	trigger := e.path("/triggers/custom.order.paid")
	e.call(t, "TriggerService_UpdateTrigger", "PATCH", trigger+"?updateMask=schema_mode", `{"schemaMode":"SCHEMA_MODE_WARN"}`)
	e.call(t, "TriggerService_GetTrigger", "GET", trigger, "")
	e.call(t, "TriggerService_ListTriggers", "GET", e.path("/triggers?pageSize=1&filter="+url.QueryEscape(`group="Orders"`)), "")
	e.call(t, "TriggerService_GetTriggerSample", "GET", trigger+":sample?dialect=ace", "")
	e.call(t, "TriggerService_GetTriggerSchema", "GET", trigger+":schema?dialect=ace", "")
	e.page(t, e.call(t, "TriggerService_ListCatalogue", "GET", "/v1/catalogue?dialect=standard", ""))
}

// page looks for all of the catalogue on the page for people who write receivers, which needs no key.
func (e *examples) page(t *testing.T, catalogue map[string]any) {
	t.Helper()
	for _, dialect := range catalogue["dialects"].([]any) {
		status, page := e.installation.call(t, "", "GET", fmt.Sprint("/docs/webhooks?dialect=", dialect), "")
		require.Equal(t, http.StatusOK, status, page)
		for _, entry := range catalogue["entries"].([]any) {
			trigger := fmt.Sprint(entry.(map[string]any)["trigger"])
			_, section, found := strings.Cut(page, `<section id="`+trigger+`"`)
			require.True(t, found, "%s in %s", trigger, dialect)
			section, _, _ = strings.Cut(section, "</section>")
			require.NotContains(t, section, "Nothing is laid down", "%s in %s", trigger, dialect)
			require.NotContains(t, section, "more fields than are shown", "%s in %s", trigger, dialect)
			require.NotContains(t, section, "<td></td>", "a field of %s in %s is not described", trigger, dialect)
		}
		require.NotContains(t, page, "custom.order.paid", "an organization's own triggers are nobody else's business")
	}
}

func (e *examples) secrets(t *testing.T) {
	t.Helper()
	secret := e.path("/signingSecret")
	e.call(t, "SigningSecretService_GenerateSigningSecret", "POST", secret+":generate", "{}")
	e.call(t, "SigningSecretService_GetSigningSecret", "GET", secret, "")
	e.call(t, "SigningSecretService_RegenerateSigningSecret", "POST", secret+":regenerate", `{"gracePeriod":"3600s"}`)
	e.call(t, "SigningSecretService_RevealSigningSecret", "POST", secret+":reveal", "{}")
	e.call(t, "SigningSecretService_ActivateSigningSecret", "POST", secret+":activate", "{}")
}

// webhooks returns the path of one.
func (e *examples) webhooks(t *testing.T) string {
	t.Helper()
	created := e.call(t, "WebhookService_CreateWebhook", "POST", e.path("/webhooks"), `{
		"displayName":"Calendar","description":"Keeps the calendar of the sales team up to date.","targetUrl":"https://example.com/webhooks",
		"triggers":["meeting.*"],"teams":["organizations/acme/teams/sales"],"filter":"event.data.id != ''",
		"headers":[{"name":"X-Token","value":"sesame"}],"alertEmails":["ops@example.com"],"metadata":{"stage":"production"},"rateLimit":20}`)
	name := fmt.Sprint(created["name"])
	path := "/v1/" + name
	e.call(t, "WebhookService_GetWebhook", "GET", path, "")
	e.call(t, "WebhookService_ListWebhooks", "GET", e.path("/webhooks"), "")
	e.call(t, "WebhookService_BatchGetWebhooks", "GET", e.path("/webhooks:batchGet?names="+name), "")
	e.call(t, "WebhookService_UpdateWebhook", "PATCH", path+"?updateMask=timeout,retry_policy.preset", `{"timeout":"10s","retryPolicy":{"preset":"PRESET_NONE"}}`)
	e.call(t, "WebhookService_PauseWebhook", "POST", path+":pause", "{}")
	e.call(t, "WebhookService_ResumeWebhook", "POST", path+":resume", `{"sendMissed":true}`)
	e.call(t, "WebhookService_EnableWebhook", "POST", path+":enable", "{}")
	e.call(t, "WebhookService_RotateWebhookSecret", "POST", path+":rotateSecret", `{"gracePeriod":"3600s"}`)
	e.call(t, "WebhookService_RevealWebhookSecret", "POST", path+":revealSecret", "{}")
	e.call(t, "WebhookService_ActivateWebhookSecret", "POST", path+":activateSecret", "{}")
	e.call(t, "WebhookService_PreviewWebhook", "POST", e.path("/webhooks:preview"), `{"webhook":{"displayName":"Preview",
		"targetUrl":"https://example.com/webhooks","triggers":["custom.order.paid"],"dialect":"ace","secret":"s3cr3t"}}`)
	e.call(t, "WebhookService_CheckDuplicateWebhooks", "POST", e.path("/webhooks:checkDuplicates"),
		`{"targetUrl":"https://example.com/webhooks","triggers":["meeting.booked"]}`)
	return path
}

// operations awaits the end of the one that resuming has begun.
func (e *examples) operations(t *testing.T, hook string) {
	t.Helper()
	resumed := func() string {
		e.do(t, "POST", hook+":pause", "{}", nil)
		var answer struct{ Operation struct{ Name string } }
		e.do(t, "POST", hook+":resume", `{"sendMissed":true}`, &answer)
		return "/v1/" + answer.Operation.Name
	}
	path := ""
	ended := func() bool {
		var operation struct{ Done bool }
		e.do(t, "GET", path, "", &operation)
		return operation.Done
	}
	// It may have ended before it is canceled: then another one is begun.
	require.Eventually(t, func() bool {
		path = resumed()
		return e.tryCancel(t, path)
	}, patience, tick)
	require.Eventually(t, ended, patience, tick)
	e.call(t, "OperationService_GetOperation", "GET", path, "")
	e.call(t, "OperationService_ListOperations", "GET", e.path("/operations"), "")
	e.call(t, "OperationService_ResumeOperation", "POST", path+":resume", "{}")
	e.call(t, "KeysetService_ReencryptSecrets", "POST", "/v1/keyset:reencrypt", "{}")
}

// tryCancel cancels an operation, unless it has ended.
func (e *examples) tryCancel(t *testing.T, path string) bool {
	t.Helper()
	status, text := e.installation.call(t, e.key, "POST", path+":cancel", "{}")
	if status != http.StatusOK {
		return false
	}
	e.keep(t, "OperationService_CancelOperation", status, text)
	return true
}

// deliveries sends an event to a receiver that takes it, and to one that does not.
func (e *examples) deliveries(t *testing.T) {
	t.Helper()
	good := newReceiver(t).saying(`{"received":true}`)
	bad := newReceiver(t).saying("no room").answering(func(int, *http.Request) int { return http.StatusInternalServerError })
	taking := e.webhook(t, good, "", "custom.order.paid")
	failing := e.webhook(t, bad, `,"retryPolicy":{"preset":"PRESET_NONE"}`, "custom.order.paid")
	e.inForce(t)
	document := `{"specversion":"1.0","source":"/shop","id":"evt_1","type":"custom.order.paid","data":{"id":"o_1"}}`
	e.call(t, "EventService_PublishEvent", "POST", e.path("/events"), document)
	require.Eventually(t, func() bool {
		_, delivered := e.installation.call(t, e.key, "GET", e.path("/deliveries?filter="+url.QueryEscape("event_id = \"evt_1\" AND state = STATE_SUCCEEDED")), "")
		_, dead := e.installation.call(t, e.key, "GET", e.path("/deadLetters"), "")
		_, health := e.installation.call(t, e.key, "GET", "/v1/"+failing.Name+"/health", "")
		return strings.Contains(delivered, "evt_1") && strings.Contains(dead, "evt_1") && strings.Contains(health, "onsecutive")
	}, patience, tick)
	e.call(t, "DeliveryService_GetWebhookHealth", "GET", "/v1/"+failing.Name+"/health", "")
	listed := e.call(t, "DeliveryService_ListDeliveries", "GET", e.path("/deliveries?filter="+url.QueryEscape(`event_id = "evt_1" AND state = STATE_SUCCEEDED`)), "")
	one := fmt.Sprint("/v1/", listed["deliveries"].([]any)[0].(map[string]any)["name"])
	e.call(t, "DeliveryService_GetDelivery", "GET", one, "")
	e.call(t, "DeliveryService_ListAttempts", "GET", one+"/attempts", "")
	dead := e.call(t, "DeadLetterService_ListDeadLetters", "GET", e.path("/deadLetters"), "")
	letter := fmt.Sprint("/v1/", dead["deadLetters"].([]any)[0].(map[string]any)["name"])
	e.call(t, "DeadLetterService_GetDeadLetter", "GET", letter, "")
	e.call(t, "DeadLetterService_ReplayDeadLetter", "POST", letter+":replay", "{}")
	e.history(t, taking)
	e.actions(t, taking, one)
}

func (e *examples) rest(t *testing.T) {
	t.Helper()
	e.call(t, "AuditService_ListAuditLogEntries", "GET", e.path("/auditLogEntries?pageSize=1&filter="+url.QueryEscape(`action="update"`)), "")
	e.do(t, "POST", "/v1/organizations?organizationId=beta", `{"displayName":"Beta"}`, nil)
	e.call(t, "OrganizationService_DeleteOrganization", "DELETE", "/v1/organizations/beta", "")
}
