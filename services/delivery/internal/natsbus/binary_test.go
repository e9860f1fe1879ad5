package natsbus

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// An event in the binary mode of CloudEvents is in EVENTS as its data, with attributes in headers. What is sent is the
// document, in retries too.
func TestEventsInBinaryModeAreReadAsDocuments(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ack, err := e.js.PublishMsg(ctx, &nats.Msg{
		Subject: bus.EventSubject("acme", "meeting.booked"), Data: []byte(`{"n":1}`),
		Header: nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {"%E4%BC%9A"}, "ce-source": {"/s"}, "ce-type": {"meeting.booked"},
			"Content-Type": {"application/json"}, "Traceparent": {trace},
		},
	})
	require.NoError(t, err)
	const want = `{"datacontenttype":"application/json","id":"会","source":"/s","specversion":"1.0","type":"meeting.booked","data":{"n":1}}`
	got, err := e.queue.Event(ctx, ack.Sequence)
	require.NoError(t, err)
	require.Equal(t, want, string(got)) //nolint:testifylint // byte for byte
	for _, read := range []func(context.Context, uint64) (storedEvent, error){e.queue.events.read, e.queue.events.readFromLeader} {
		whole, err := read(ctx, ack.Sequence)
		require.NoError(t, err)
		require.Equal(t, storedEvent{document: []byte(want), traceParent: trace}, whole, "with the trace, in whichever case its header is written")
	}
}

// Ingest accepts no such event. If there is one all the same it is kept as it is.
func TestEventThatIsNoDocumentIsReadAsItIs(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	ack, err := e.js.PublishMsg(ctx, &nats.Msg{
		Subject: bus.EventSubject("acme", "meeting.booked"), Data: []byte(`{`), Header: nats.Header{"ce-specversion": {"1.0"}},
	})
	require.NoError(t, err)
	got, err := e.queue.Event(ctx, ack.Sequence)
	require.NoError(t, err)
	require.Equal(t, `{`, string(got))
	whole, err := e.queue.events.readFromLeader(ctx, ack.Sequence)
	require.NoError(t, err)
	require.Equal(t, `{`, string(whole.document))
}
