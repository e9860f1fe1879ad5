package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

func testOrganizationDeletion(t *testing.T, i *installation) {
	o := i.tenant(t)
	o.populate(t)
	var operation struct{ Name string }
	status, answer := i.call(t, i.key, "DELETE", "/v1/organizations/"+o.name, "")
	require.Equal(t, http.StatusOK, status, answer)
	require.NoError(t, json.Unmarshal([]byte(answer), &operation))
	require.Eventually(t, func() bool {
		status, _ := i.call(t, o.key, "GET", o.path("/webhooks"), "")
		other, _ := i.call(t, o.key, "GET", o.path("/deliveries"), "")
		return status == http.StatusUnauthorized && other == http.StatusUnauthorized
	}, patience, 5*time.Millisecond, "its keys are refused")
	require.Eventually(t, func() bool {
		_, answer := i.call(t, i.key, "GET", "/v1/"+operation.Name, "")
		var now struct{ State string }
		require.NoError(t, json.Unmarshal([]byte(answer), &now), answer)
		return now.State == "STATE_SUCCEEDED"
	}, 3*patience, tick, "it waits until no attempt can be under way any more")
	for _, name := range []string{bus.StreamEvents, bus.StreamDeliveries, bus.StreamRetries, bus.StreamDeadLetters, bus.StreamRecords, bus.StreamRejects, bus.StreamFanOuts} {
		stream, err := i.js.Stream(t.Context(), name)
		require.NoError(t, err)
		for subject := range subjects(t, stream, ">") {
			require.NotContains(t, strings.Split(subject, "."), o.name)
		}
	}
	for _, table := range []string{
		"subscription.webhook", "subscription.team", "subscription.trigger", "subscription.api_key", "subscription.outbox",
		"subscription.mail", "delivery.delivery", "delivery.attempt", "delivery.webhook_health", "ingest.event", "ingest.webhook_matching",
	} {
		require.NotContains(t, i.dump(t, table), o.name, table)
	}
	status, answer = i.call(t, i.key, "POST", "/v1/organizations?organization_id="+o.name, `{"displayName":"Again"}`)
	require.Equal(t, http.StatusConflict, status, answer)
}

// Plaintext that must not be found anywhere.
const (
	plainHeader = "header-value-that-nobody-may-find-5512"
	plainSecret = "whsec_bm9ib2R5LW1heS1maW5kLXRoaXMtc2VjcmV0LTU1MTI="
)

// testNoSecretAnywhere comes after the others, whose traces it looks at too.
func testNoSecretAnywhere(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t).answering(func(n int, _ *http.Request) int {
		if n == 1 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	h := &hook{}
	o.do(t, "POST", o.path("/webhooks"), fmt.Sprintf(
		`{"displayName":"x","targetUrl":%q,"triggers":["meeting.booked"],"secret":%q,"headers":[{"name":"X-Key","value":%q}],"retryPolicy":{"maxRetries":2,"firstDelay":"0.1s"}}`,
		r.server.URL, plainSecret, plainHeader), h)
	o.do(t, "POST", "/v1/"+h.Name+":rotateSecret", `{}`, nil)
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "1")
	o.awaitState(t, "1", "STATE_SUCCEEDED")
	require.Equal(t, plainHeader, r.requests()[0].header.Get("X-Key"))

	everything := map[string]string{"the database": i.dump(t)}
	for name, p := range i.processes {
		everything["the log of "+name] = p.output.String()
	}
	for _, name := range []string{bus.StreamEvents, bus.StreamDeliveries, bus.StreamRetries, bus.StreamDeadLetters, bus.StreamRecords, bus.StreamRejects, bus.StreamFanOuts} {
		everything["stream "+name] = i.streamText(t, name)
	}
	require.Contains(t, everything["the database"], h.id(), "it was looked into")
	require.Contains(t, everything["stream "+bus.StreamRecords], h.id(), "it was looked into")
	for where, text := range everything {
		for _, plain := range []string{plainHeader, plainSecret, strings.TrimPrefix(plainSecret, "whsec_"), o.key, i.key, serviceToken} {
			require.NotContains(t, text, plain, where)
		}
	}
}

// dump returns tables as text, all of Meetwire's when none is named. What is binary is shown as what it may hide.
func (i *installation) dump(t *testing.T, tables ...string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), i.database.Reveal())
	require.NoError(t, err)
	defer conn.Close(t.Context())
	if len(tables) == 0 {
		rows, err := conn.Query(t.Context(), `SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('subscription', 'ingest', 'delivery')`)
		require.NoError(t, err)
		tables, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
	}
	var all strings.Builder
	for _, table := range tables {
		rows, err := conn.Query(t.Context(), "SELECT * FROM "+table)
		require.NoError(t, err)
		for rows.Next() {
			for _, value := range rows.RawValues() {
				all.Write(value)
				all.WriteByte('\n')
			}
			values, err := rows.Values()
			require.NoError(t, err)
			fmt.Fprintf(&all, "%v\n", values)
		}
		require.NoError(t, rows.Err())
	}
	return all.String()
}

// streamText returns everything that a stream has.
func (i *installation) streamText(t *testing.T, name string) string {
	t.Helper()
	stream, err := i.js.Stream(t.Context(), name)
	require.NoError(t, err)
	state := stream.CachedInfo().State
	var all strings.Builder
	for sequence := state.FirstSeq; sequence <= state.LastSeq && sequence > 0; sequence++ {
		msg, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			require.ErrorIs(t, err, jetstream.ErrMsgNotFound)
			continue
		}
		fmt.Fprintf(&all, "%s\n%v\n%s\n", msg.Subject, msg.Header, msg.Data)
	}
	return all.String()
}
