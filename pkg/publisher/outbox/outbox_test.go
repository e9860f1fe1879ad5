package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/publisher"
	"github.com/meetwire/meetwire/pkg/publisher/outbox"
)

func TestWhatIsCommittedIsPublished(t *testing.T) {
	t.Parallel()
	e := setup(t, jetstream.StreamConfig{})
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	whole := publisher.Event{
		Organization: "acme", Trigger: "meeting.booked", Source: "/booking", ID: "b-1:Ärger", Subject: "b-1",
		Time:       time.Date(2026, 3, 1, 10, 0, 0, 250_000_000, time.FixedZone("", 3600)),
		Data:       json.RawMessage(`{"amount":12345678901234567890.10,"nothing":"\u0000"}`),
		Extensions: map[string]string{publisher.ExtensionTeams: "sales"},
	}
	failed := errors.New("rolled back")
	require.ErrorIs(t, pgx.BeginFunc(newContext(t), e.pool, func(tx pgx.Tx) error {
		require.NoError(t, outbox.Write(newContext(t), tx, booked("acme", "never")))
		return failed
	}), failed)
	require.NoError(t, pgx.BeginFunc(newContext(t), e.pool, func(tx pgx.Tx) error {
		wrong := whole
		wrong.Trigger = "meeting"
		var field *publisher.FieldError
		require.ErrorAs(t, outbox.Write(newContext(t), tx, wrong), &field)
		require.Equal(t, "type", field.Field)
		wrong = whole
		wrong.Source = ""
		require.ErrorAs(t, outbox.Write(newContext(t), tx, wrong), &field)
		require.Equal(t, "source", field.Field)
		wrong = whole
		wrong.Data = strings.Repeat("x", publisher.MaxEventBytes)
		require.ErrorAs(t, outbox.Write(newContext(t), tx, wrong), &field)
		require.Equal(t, "max_bytes", field.Rule)
		// The transaction goes on as if nothing had been.
		return outbox.Write(trace.ContextWithSpanContext(newContext(t), span), tx, whole)
	}))
	e.write(t, publisher.Event{Organization: "acme", Trigger: "meeting.booked", Source: "/booking", Data: 1})

	start(t, e.relay(t, e.js))
	e.awaitEmpty(t)
	all := published(t, e.js)
	require.Len(t, all, 2)
	want := `{"specversion":"1.0","id":"b-1:Ärger","source":"/booking","type":"meeting.booked","subject":"b-1",` +
		`"time":"2026-03-01T09:00:00.25Z","datacontenttype":"application/json","mwteams":"sales",` +
		`"data":{"amount":12345678901234567890.10,"nothing":"\u0000"}}`
	require.Equal(t, []byte(want), all[0].Data) // to the byte
	require.Equal(t, "00-01000000000000000000000000000000-0200000000000000-01", all[0].Header.Get(bus.HeaderTraceParent))
	require.Equal(t, bus.EventMsgID("acme", "/booking", "b-1:Ärger"), all[0].Header.Get(jetstream.MsgIDHeader))
	var filled struct {
		ID   string
		Time time.Time
	}
	require.NoError(t, json.Unmarshal(all[1].Data, &filled))
	require.NotEmpty(t, filled.ID)
	require.False(t, filled.Time.IsZero())
	require.Empty(t, e.log.String())
}

func TestRelayWaitsForServersThatAreAway(t *testing.T) {
	t.Parallel()
	database := pgtest.Server(t)
	config, err := pgxpool.ParseConfig(database.URL().Reveal())
	require.NoError(t, err)
	e := &env{server: natstest.Start(t), log: &syncBuffer{}}
	e.pool, err = pgxpool.NewWithConfig(newContext(t), config)
	require.NoError(t, err)
	t.Cleanup(e.pool.Close)
	require.NoError(t, migrate(newContext(t), e.pool))
	_, e.js = e.server.Connect(t)
	createEvents(t, e.js, jetstream.StreamConfig{})
	start(t, e.relay(t, e.js))

	e.write(t, booked("acme", "1"))
	e.awaitEmpty(t)
	e.server.Shutdown()
	e.write(t, booked("acme", "2"))
	e.write(t, booked("acme", "3"))
	e.server.Restart(t)
	e.awaitEmpty(t)
	pgtest.Restart(t, database)
	require.Eventually(t, func() bool { return e.pool.Ping(newContext(t)) == nil }, patience, poll)
	e.write(t, booked("acme", "4"))
	e.awaitEmpty(t)
	require.Equal(t, []string{"1", "2", "3", "4"}, ids(t, e.js, "acme"))
	require.Contains(t, e.log.String(), "outbox cannot be relayed")
}

func TestWhatIsRefusedForGoodIsParked(t *testing.T) {
	t.Parallel()
	e := setup(t, jetstream.StreamConfig{MaxMsgSize: 1000})
	large := booked("acme", "large")
	large.Data = strings.Repeat("x", 2000)
	e.write(t, booked("acme", "1"))
	e.write(t, large)
	e.write(t, booked("acme", "2"))
	start(t, e.relay(t, e.js))

	require.Eventually(t, func() bool { return e.waiting(t) == 1 }, patience, poll)
	require.Equal(t, []string{"1", "2"}, ids(t, e.js, "acme"))
	var id, reason string
	require.NoError(t, e.pool.QueryRow(newContext(t),
		`SELECT id, error FROM meetwire_outbox WHERE parked_at IS NOT NULL`).Scan(&id, &reason))
	require.Equal(t, "large", id)
	require.Contains(t, reason, "larger than the stream takes")
	require.Contains(t, e.log.String(), "level=ERROR")
	require.Contains(t, e.log.String(), "is parked")

	// The limit is raised, and the event tried again.
	createEvents(t, e.js, jetstream.StreamConfig{MaxMsgSize: 10_000})
	_, err := e.pool.Exec(newContext(t), `UPDATE meetwire_outbox SET parked_at = NULL`)
	require.NoError(t, err)
	e.awaitEmpty(t)
	require.Equal(t, []string{"1", "2", "large"}, ids(t, e.js, "acme"))
}

func TestAnOrganizationThatIsHeldUpHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	e := &env{pool: pgtest.Database(t, "outbox", migrate), log: &syncBuffer{}}
	e.server = natstest.StartWith(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "all", Password: "for-this-test"},
			{Username: "one", Password: "for-this-test", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{"events.acme.>"}},
			}},
		}
	})
	connect := func(user string) jetstream.JetStream {
		conn, err := nats.Connect(e.server.URL(), nats.UserInfo(user, "for-this-test"),
			nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		require.NoError(t, err)
		t.Cleanup(conn.Close)
		js, err := jetstream.New(conn)
		require.NoError(t, err)
		return js
	}
	e.js = connect("all")
	createEvents(t, e.js, jetstream.StreamConfig{})
	for range 15 { // more than a batch
		e.write(t, booked("globex", ""))
	}
	e.write(t, booked("acme", "1"))
	stop := start(t, e.relay(t, connect("one")))
	require.Eventually(t, func() bool { return e.waiting(t) == 15 }, patience, poll)
	require.Equal(t, []string{"1"}, ids(t, e.js, "acme"))
	require.Eventually(t, func() bool {
		return strings.Contains(e.log.String(), "may not publish to events.globex")
	}, patience, poll)
	stop()

	start(t, e.relay(t, e.js))
	e.awaitEmpty(t)
	require.Len(t, ids(t, e.js, "globex"), 15)
}

func TestNotificationsWakeTheRelay(t *testing.T) {
	t.Parallel()
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			e := setup(t, jetstream.StreamConfig{})
			config := e.pool.Config()
			config.ConnConfig.DefaultQueryExecMode = mode
			var err error
			e.pool, err = pgxpool.NewWithConfig(newContext(t), config)
			require.NoError(t, err)
			t.Cleanup(e.pool.Close)
			relay := e.relay(t, e.js)
			relay.Poll = time.Hour
			stop := start(t, relay)
			for _, id := range []string{"1", "2", "3"} { // the second at the latest comes while it waits
				event := booked("acme", id)
				event.Extensions = map[string]string{publisher.ExtensionTeams: "sales"}
				e.write(t, event)
				e.awaitEmpty(t)
			}
			require.Equal(t, []string{"1", "2", "3"}, ids(t, e.js, "acme"))
			stop()
		})
	}
}

func TestTablesAreQuoted(t *testing.T) {
	t.Parallel()
	e := setup(t, jetstream.StreamConfig{})
	_, err := e.pool.Exec(newContext(t), `CREATE SCHEMA "My ""Schema"`)
	require.NoError(t, err)
	const table outbox.Table = `My "Schema.Out; DROP TABLE x`
	for range 2 {
		require.NoError(t, table.Migrate(newContext(t), e.pool))
	}
	require.NoError(t, pgx.BeginFunc(newContext(t), e.pool, func(tx pgx.Tx) error {
		return table.Write(newContext(t), tx, booked("acme", "1"))
	}))
	relay := e.relay(t, e.js)
	relay.Table = table
	start(t, relay)
	require.Eventually(t, func() bool { return e.sequence() == 1 }, patience, poll)

	for _, wrong := range []outbox.Table{"", ".", "a.", ".b", "a.b.c", "a\x00", outbox.Table(strings.Repeat("x", 64))} {
		_, err := wrong.DDL()
		require.ErrorContains(t, err, "the name of an outbox", wrong)
		require.Error(t, wrong.Migrate(newContext(t), e.pool))
		require.Error(t, wrong.Write(newContext(t), nil, booked("acme", "1")))
	}
}

func TestRelaySaysWhenItCannotGoOn(t *testing.T) {
	t.Parallel()
	e := setup(t, jetstream.StreamConfig{})
	require.ErrorContains(t, (&outbox.Relay{}).Run(newContext(t)), "needs a Pool and a Publisher")
	relay := e.relay(t, e.js)
	relay.Batch = -1
	require.ErrorContains(t, relay.Run(newContext(t)), "negative")
	relay = e.relay(t, e.js)
	relay.Table = "a.b.c"
	require.ErrorContains(t, relay.Run(newContext(t)), "the name of an outbox")

	relay = e.relay(t, e.js)
	require.NoError(t, relay.Publisher.Close(newContext(t)))
	e.write(t, booked("acme", "1"))
	require.ErrorIs(t, relay.Run(newContext(t)), publisher.ErrClosed)
	require.Equal(t, 1, e.waiting(t))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, e.relay(t, e.js).Run(ended))
}
