package cli

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

const delivery = "0198a1b2-c3d4-5e5f-8a6b-0c1d2e3f4a5b"

// Bodies are shown as text where they are text, and machines get what the API has.
func TestBodiesOfAttempts(t *testing.T) {
	t.Parallel()
	const answer = `{"attempts":[
		{"number":1,"statusCode":422,"requestHeaders":[{"name":"A","value":"b"}],"requestText":"{\"a\":\"ü\"}\nend","responseText":"no\u001b[2J"},
		{"number":2,"statusCode":200,"requestText":"again","responseHeaders":[{"name":"C","value":"d"}],"responseBody":"H4sIAA=="},
		{"number":3,"statusCode":204}],"nextPageToken":"more"}`
	url, calls := server(t, http.StatusOK, answer)
	run := func(output string, bodies bool) string {
		t.Helper()
		c := newConsole(t, url, "", output)
		require.NoError(t, (&deliveriesAttempts{deliveryArg: deliveryArg{delivery}, Bodies: bodies}).Run(c.Session))
		return c.out.String()
	}
	require.Equal(t, `attempt  1
status   422

--- request
A: b

{"a":"ü"}
end

--- answer

no`+"\uFFFD"+`[2J
attempt  2
status   200

--- request

again

--- answer
C: d

4 bytes that are no text
attempt  3
status   204

more: --page-token more
`, run("table", true))
	require.Contains(t, (*calls)[0].uri, "/v1/organizations/acme/deliveries/"+delivery+"/attempts")
	brief := run("table", false)
	require.NotContains(t, brief, "again")
	require.Contains(t, brief, "--page-token more")
	for _, bodies := range []bool{false, true} {
		require.Contains(t, run("json", bodies), `"responseText": "no\u001b[2J"`)
		require.Contains(t, run("json", bodies), `"responseBody": "H4sIAA=="`)
		require.Contains(t, run("yaml", bodies), `responseText: "no\e[2J"`)
		require.Contains(t, run("yaml", bodies), "requestText: again\n")
	}
}

func TestHealthShowsHowAWebhookIsTreated(t *testing.T) {
	t.Parallel()
	show := func(answer string) string {
		t.Helper()
		url, _ := server(t, http.StatusOK, answer)
		c := newConsole(t, url, "", "table")
		require.NoError(t, (&webhooksHealth{one{Webhook: delivery}}).Run(c.Session))
		return c.out.String()
	}
	require.Equal(t, `failures in a row                3
waiting for a retry              9
attempts under way               4
replays among them               1
waiting in line                  7
replays among those              5
given back for a moment          6
at once                          8
per second                       12.5
an attempt takes                 250ms
last attempt timed out           yes
breaker                          open
next probe                       2027-01-31T12:00:00Z
slots promised until             2027-01-31T12:00:01Z
slots promised to replays until  2027-01-31T12:01:00Z
workers                          2
generation                       1
`, show(`{"generation":"1","consecutiveFailures":"3","waitingCount":"9","flow":{
		"activeCount":4,"bulkActiveCount":1,"waitingCount":7,"bulkWaitingCount":5,"lentCount":6,"concurrency":8,"rateLimit":12.5,
		"averageDuration":"0.250s","timedOut":true,"breaker":"BREAKER_OPEN","probeTime":"2027-01-31T12:00:00Z",
		"reservedUntil":"2027-01-31T12:00:01Z","bulkReservedUntil":"2027-01-31T12:01:00Z","workerCount":2}}`))
	require.Contains(t, show(`{"generation":"1","flow":{"concurrency":8}}`), "timed out  no")
	require.Equal(t, "generation  1\n", show(`{"generation":"1"}`), "nothing is known of what was not told")
}
