package e2e_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
)

// testDefaultPolicies reads what a new webhook of each dialect begins with, and where it may point: first in an
// organization that allows http, then in the same one when it does not.
func testDefaultPolicies(t *testing.T, i *installation) {
	o := i.tenant(t)
	o.do(t, "POST", o.path("/signingSecret:generate"), "{}", nil)
	create := func(dialect, url string) (int, string) {
		return o.call(t, o.key, "POST", o.path("/webhooks"), fmt.Sprintf(
			`{"displayName":"Test","targetUrl":%q,"triggers":["meeting.booked"],"dialect":%q}`, url, dialect))
	}
	for _, name := range dialect.Names() {
		status, answer := create(name, "http://example.com/")
		if name == "avoma" {
			require.Equal(t, http.StatusBadRequest, status, "its page has only https")
			require.Contains(t, answer, "the dialect does not allow http")
			continue
		}
		require.Equal(t, http.StatusOK, status, "%s: %s", name, answer)
	}
	status, answer := i.call(t, i.key, "PATCH", o.path("?updateMask=allowHttp,webhookDefaults"),
		`{"allowHttp":false,"webhookDefaults":{"alertEmails":["ops@example.com"]}}`)
	require.Equal(t, http.StatusOK, status, answer)
	const fiveDays = "432000s"
	policies := map[string]struct {
		preset, withoutSuccess, source string
		consecutive                    int
		off, http                      bool
	}{
		"standard":    {preset: "PRESET_STANDARD", withoutSuccess: fiveDays, source: "SECRET_SOURCE_OWN"},
		"cloudevents": {preset: "PRESET_STANDARD", withoutSuccess: fiveDays, source: "SECRET_SOURCE_OWN"},
		"ace":         {preset: "PRESET_STANDARD", consecutive: 2, source: "SECRET_SOURCE_OWN", http: true},
		"avoma":       {preset: "PRESET_STANDARD", withoutSuccess: fiveDays, source: "SECRET_SOURCE_ORGANIZATION"},
		"orufy":       {preset: "PRESET_STANDARD", withoutSuccess: fiveDays, source: "SECRET_SOURCE_OWN"},
		"harmonizely": {preset: "PRESET_STANDARD", withoutSuccess: fiveDays, source: "SECRET_SOURCE_OWN"},
		"axcelerate":  {preset: "PRESET_EXPONENTIAL", off: true, source: "SECRET_SOURCE_OWN"},
	}
	require.ElementsMatch(t, dialect.Names(), slices.Collect(maps.Keys(policies)))
	for dialect, want := range policies {
		var created struct {
			SecretSource     string
			AlertEmails      []string
			RetryPolicy      struct{ Preset string }
			FailureThreshold struct {
				ConsecutiveFailures int
				WithoutSuccess      string
				Off                 bool
			}
		}
		o.do(t, "POST", o.path("/webhooks"), fmt.Sprintf(
			`{"displayName":"Test","targetUrl":"https://example.com/","triggers":["meeting.booked"],"dialect":%q}`, dialect), &created)
		require.Equal(t, want.preset, created.RetryPolicy.Preset, dialect)
		require.Equal(t, want.consecutive, created.FailureThreshold.ConsecutiveFailures, dialect)
		require.Equal(t, want.withoutSuccess, created.FailureThreshold.WithoutSuccess, dialect)
		require.Equal(t, want.off, created.FailureThreshold.Off, dialect)
		require.Equal(t, want.source, created.SecretSource, dialect)
		require.Equal(t, []string{"ops@example.com"}, created.AlertEmails, "%s: who is told when it is disabled", dialect)

		status, answer := create(dialect, "http://example.com/")
		if want.http {
			require.Equal(t, http.StatusOK, status, "%s: %s", dialect, answer)
		} else {
			require.Equal(t, http.StatusBadRequest, status, dialect)
			require.Contains(t, answer, "target_url", dialect)
		}
		status, answer = create(dialect, "example.com/hook")
		require.Equal(t, http.StatusBadRequest, status, "%s: the protocol belongs to the URL", dialect)
		require.Contains(t, answer, "target_url", dialect)
	}
}

// testGoneInEveryDialect holds that a receiver that is gone for good ends its webhook at once, but in the dialects whose pages know
// of no such answer.
func testGoneInEveryDialect(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t).answering(func(int, *http.Request) int { return http.StatusGone })
	secret, _ := text(t, o)
	key, _ := symmetric(t, o)
	hooks := map[string]*hook{}
	for _, name := range dialect.Names() {
		own := secret
		if d, _ := dialect.Lookup(name); d.Traits().Secret.Keyed {
			own = key
		}
		hooks[name] = o.dialectWebhook(t, name, serve(t, r, name), own, "", "meeting.booked")
	}
	o.settle(t)
	fail := func(dialects ...string) {
		t.Helper()
		id := uuid.NewString()
		o.publish(t, "meeting.booked", receiversSource, id)
		for _, dialect := range dialects {
			o.outcome(t, hooks[dialect], id, "STATE_DEAD_LETTERED", http.StatusGone)
		}
	}
	stateOf := func(dialect string) string {
		var h hook
		o.do(t, "GET", "/v1/"+hooks[dialect].Name, "", &h)
		return strings.TrimSpace(h.Status + " " + h.StatusReason)
	}
	disabled := func(dialect, reason string) {
		t.Helper()
		require.Eventually(t, func() bool { return stateOf(dialect) == "STATUS_DISABLED "+reason }, patience, tick,
			"%s: %s", dialect, reason)
	}
	fail(dialect.Names()...)
	gone := []string{"standard", "cloudevents", "avoma", "orufy", "harmonizely"}
	require.ElementsMatch(t, dialect.Names(), append([]string{"ace", "axcelerate"}, gone...))
	for _, dialect := range gone {
		disabled(dialect, "gone")
	}
	// A failure like others, of which the second in a row is one too many for ACE.
	require.Equal(t, "STATUS_ACTIVE", stateOf("ace"))
	fail("ace", "axcelerate")
	disabled("ace", "consecutive_failures")
	fail("axcelerate")
	require.Equal(t, "STATUS_ACTIVE", stateOf("axcelerate"))
}
