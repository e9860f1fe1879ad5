package natsbus_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
)

func TestEventIsReadFromTheStream(t *testing.T) {
	t.Parallel()
	e := setup(t)
	events := &natsbus.Events{JetStream: e.js}
	at := e.publish(t, bookedSubject, `{"a":1}`, nats.Header{"ce-id": {"1"}})
	kept, err := events.Event(newContext(t), 1)
	require.NoError(t, err)
	require.EqualValues(t, 1, kept.Sequence)
	require.Equal(t, "acme", kept.Organization)
	require.Equal(t, "meeting.booked", kept.Trigger)
	require.JSONEq(t, `{"a":1}`, string(kept.Body))
	require.Equal(t, []string{"1"}, kept.Header["ce-id"])
	require.Equal(t, storedTime(t, at).AsTime(), kept.Accepted)

	stream, err := e.js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	require.NoError(t, stream.SecureDeleteMsg(newContext(t), 1))
	for _, sequence := range []uint64{0, 1, 2, 1<<63 - 1} {
		_, err = events.Event(newContext(t), sequence)
		require.True(t, fault.Is(err, fault.NotFound), "%d: %v", sequence, err)
	}
	e.server.Shutdown()
	_, err = events.Event(newContext(t), 1)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}

// A replica that has not caught up misses what the leader has: only the leader is believed.
func TestLeaderIsAskedAfterAMiss(t *testing.T) {
	t.Parallel()
	e := setup(t)
	at := e.publish(t, bookedSubject, `{"a":1}`, nats.Header{"ce-id": {"1"}})
	js := e.lagging(t)
	stream, err := js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	_, err = stream.GetMsg(newContext(t), 1)
	require.ErrorIs(t, err, jetstream.ErrMsgNotFound)

	events := &natsbus.Events{JetStream: js}
	kept, err := events.Event(newContext(t), 1)
	require.NoError(t, err)
	require.Equal(t, "meeting.booked", kept.Trigger)
	require.JSONEq(t, `{"a":1}`, string(kept.Body))
	require.Equal(t, []string{"1"}, kept.Header["ce-id"])
	require.Equal(t, storedTime(t, at).AsTime(), kept.Accepted)
	_, err = events.Event(newContext(t), 2)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}

// Nor is an event without a lane lost because the replica that was asked for it has not got it yet.
func TestEventWithoutALaneIsKeptAlsoAfterAMiss(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.worker.JetStream = e.lagging(t)
	e.run(t)
	body := event("/s", "1", "meeting.eaten", `{}`)
	e.publish(t, "events.acme.meeting.eaten", body, nil)
	e.requireSettled(t)
	reject := e.bySubject(t, bus.StreamRejects)["rejects.acme"]
	require.NotNil(t, reject)
	require.Equal(t, body, string(reject.Data))
}

// lagging returns a JetStream whose direct gets are answered by a replica that has nothing yet.
func (e *env) lagging(t *testing.T) jetstream.JetStream {
	t.Helper()
	const prefix = "lagging"
	// What concerns consumers goes to the server as it is, which answers to the one who has asked.
	const consumers = ".CONSUMER."
	_, err := e.conn.Subscribe(prefix+consumers+">", func(question *nats.Msg) {
		_ = e.conn.PublishRequest("$JS.API"+strings.TrimPrefix(question.Subject, prefix), question.Reply, question.Data)
	})
	require.NoError(t, err)
	for subject, answer := range map[string]func(*nats.Msg) (*nats.Msg, error){
		prefix + ".STREAM.INFO.EVENTS": func(question *nats.Msg) (*nats.Msg, error) {
			return e.conn.Request("$JS.API.STREAM.INFO.EVENTS", question.Data, patience)
		},
		prefix + ".DIRECT.GET.EVENTS": func(*nats.Msg) (*nats.Msg, error) {
			return &nats.Msg{Header: nats.Header{"Status": {"404"}, "Description": {"Message Not Found"}}}, nil
		},
	} {
		_, err := e.conn.Subscribe(subject, func(question *nats.Msg) {
			if reply, err := answer(question); err == nil {
				_ = question.RespondMsg(&nats.Msg{Header: reply.Header, Data: reply.Data})
			}
		})
		require.NoError(t, err)
	}
	js, err := jetstream.NewWithAPIPrefix(e.conn, prefix)
	require.NoError(t, err)
	return js
}
