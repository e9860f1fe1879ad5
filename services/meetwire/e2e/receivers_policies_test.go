package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// testDefaultPolicies reads what a new webhook of each dialect begins with, in an organization that has not allowed
// http.
func testDefaultPolicies(t *testing.T, i *installation) {
	o := i.tenant(t)
	o.do(t, "POST", o.path("/signingSecret:generate"), "{}", nil)
	status, answer := i.call(t, i.key, "PATCH", o.path("?updateMask=allowHttp"), `{"allowHttp":false}`)
	require.Equal(t, http.StatusOK, status, answer)
	const fiveDays = "432000s"
	for dialect, want := range map[string]struct {
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
	} {
		var created struct {
			SecretSource     string
			RetryPolicy      struct{ Preset string }
			FailureThreshold struct {
				ConsecutiveFailures int
				WithoutSuccess      string
				Off                 bool
			}
		}
		create := func(url string) (int, string) {
			return o.call(t, o.key, "POST", o.path("/webhooks"), fmt.Sprintf(
				`{"displayName":"Test","targetUrl":%q,"triggers":["meeting.booked"],"dialect":%q}`, url, dialect))
		}
		o.do(t, "POST", o.path("/webhooks"), fmt.Sprintf(
			`{"displayName":"Test","targetUrl":"https://example.com/","triggers":["meeting.booked"],"dialect":%q}`, dialect), &created)
		require.Equal(t, want.preset, created.RetryPolicy.Preset, dialect)
		require.Equal(t, want.consecutive, created.FailureThreshold.ConsecutiveFailures, dialect)
		require.Equal(t, want.withoutSuccess, created.FailureThreshold.WithoutSuccess, dialect)
		require.Equal(t, want.off, created.FailureThreshold.Off, dialect)
		require.Equal(t, want.source, created.SecretSource, dialect)

		status, answer := create("http://example.com/")
		if want.http {
			require.Equal(t, http.StatusOK, status, "%s: %s", dialect, answer)
		} else {
			require.Equal(t, http.StatusBadRequest, status, dialect)
			require.Contains(t, answer, "target_url", dialect)
		}
		status, answer = create("example.com/hook")
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
	for _, dialect := range []string{"standard", "cloudevents", "ace", "avoma", "orufy", "harmonizely", "axcelerate"} {
		own := secret
		if dialect == "standard" || dialect == "cloudevents" {
			own = key
		}
		hooks[dialect] = o.dialectWebhook(t, dialect, r.server.URL, own, "", "meeting.booked")
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
	fail("standard", "cloudevents", "ace", "avoma", "orufy", "harmonizely", "axcelerate")
	for _, dialect := range []string{"standard", "cloudevents", "avoma", "orufy", "harmonizely"} {
		disabled(dialect, "gone")
	}
	// A failure like others, of which the second in a row is one too many for ACE.
	require.Equal(t, "STATUS_ACTIVE", stateOf("ace"))
	fail("ace", "axcelerate")
	disabled("ace", "consecutive_failures")
	fail("axcelerate")
	require.Equal(t, "STATUS_ACTIVE", stateOf("axcelerate"))
}
