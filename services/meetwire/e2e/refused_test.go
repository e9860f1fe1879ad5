package e2e_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

func testRejectsNATS(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	o.webhook(t, r, "", "meeting.booked")
	o.inForce(t)
	valid := o.document(t, "meeting.booked", "/scheduler", "x")
	for _, bad := range []struct{ name, trigger, body, reason, field string }{
		{"unknown trigger", "meeting.exploded", strings.ReplaceAll(valid, "meeting.booked", "meeting.exploded"), "unknown_trigger", "/type"},
		{"unknown custom trigger", "custom.made_up", strings.ReplaceAll(valid, "meeting.booked", "custom.made_up"), "unknown_trigger", "/type"},
		{"not a trigger at all", "UPPER", valid, "unknown_trigger", "/type"},
		{"invalid JSON", "meeting.booked", valid[:len(valid)-1], "json", ""},
		{"missing attribute", "meeting.booked", strings.Replace(valid, `"source"`, `"sauce"`, 1), "required", "/source"},
		{"257 KiB", "meeting.booked", valid[:len(valid)-1] + `,"pad":"` + strings.Repeat("x", 257<<10-len(valid)-9) + `"}`, "max_bytes", ""},
		{"another type", "meeting.canceled", valid, "value", "/type"},
		{"data against the schema", "meeting.booked", `{"specversion":"1.0","source":"/s","id":"1","type":"meeting.booked","data":{}}`, "schema", "/data"},
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
	o.promised(t, time.Now(), "a key is known", func(status int) bool { return status != http.StatusUnauthorized }, viewer, publisher)
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
	id := strings.Split(viewer, "_")[1]
	o.do(t, "DELETE", o.path("/apiKeys/"+id), "", nil)
	o.promised(t, time.Now(), "a revoked key is refused", func(status int) bool { return status == http.StatusUnauthorized }, viewer)
}

// promised waits until every service answers requests with some keys as it should after a change, which is promised for
// each request that is made more than a second after it.
func (o *tenant) promised(t *testing.T, changed time.Time, what string, right func(status int) bool, keys ...string) {
	t.Helper()
	for _, path := range []string{"/webhooks", "/events", "/deliveries"} { // of subscription, ingest and delivery
		for _, key := range keys {
			require.Eventually(t, func() bool {
				asked := time.Now()
				status, _ := o.call(t, key, "GET", o.path(path), "")
				return right(status) || !assert.Less(t, asked.Sub(changed), time.Second, "%s within a second: %s", what, path)
			}, patience, tick)
		}
	}
}
