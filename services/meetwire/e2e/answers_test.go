package e2e_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// testAnswers looks at what receivers have answered as REST shows it: as text where it is text, else in base64.
func testAnswers(t *testing.T, i *installation) {
	const most = 64 << 10
	long := "x" + strings.Repeat("é", most) // cut within a character
	o := i.tenant(t)
	hooks := map[string]attempt{} // by name, with what is wanted of its attempt
	for says, want := range map[string]attempt{
		`{"problem":"no such rö…m"}`: {ResponseText: `{"problem":"no such rö…m"}`},
		"":                           {},
		"\x1f\x8b\x08\x00\xff":       {ResponseBody: []byte("\x1f\x8b\x08\x00\xff")},
		long:                         {ResponseText: long[:most-1], ResponseTruncated: true},
	} {
		hooks[o.webhook(t, newReceiver(t).saying(says), "", "meeting.booked").Name] = want
	}
	o.inForce(t)
	id := uuid.NewString()
	o.publish(t, "meeting.booked", "/scheduler", id)
	for name, want := range hooks {
		requireAnswer := func(got attempt) {
			t.Helper()
			require.Equal(t, 200, got.StatusCode)
			require.Equal(t, want.ResponseText, got.ResponseText)
			require.Equal(t, want.ResponseBody, got.ResponseBody)
			require.Equal(t, want.ResponseTruncated, got.ResponseTruncated)
			require.Contains(t, got.RequestText, `"meeting.booked"`)
			require.Empty(t, got.RequestBody)
		}
		var found []delivery
		require.Eventually(t, func() bool {
			found = o.deliveries(t, fmt.Sprintf("event_id = %q AND webhook = %q AND state = STATE_SUCCEEDED", id, name))
			return len(found) == 1
		}, patience, tick)
		attempts := o.attempts(t, found[0])
		require.Len(t, attempts, 1)
		requireAnswer(attempts[0])
		var tested struct{ Attempt attempt }
		o.do(t, "POST", o.path("/webhooks:test"), fmt.Sprintf(`{"webhook":{"name":%q}}`, name), &tested)
		requireAnswer(tested.Attempt)
	}
}
