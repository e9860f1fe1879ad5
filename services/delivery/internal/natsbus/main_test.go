package natsbus

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what should be there at once; tick is how often it looks.
const (
	patience = 30 * time.Second
	tick     = 5 * time.Millisecond
)

const (
	hook      = "11111111-1111-4111-8111-111111111111"
	otherHook = "22222222-2222-4222-8222-222222222222"
	event     = `{"type": "meeting.booked", "data": {"n": 1}}`
)

// environment is a NATS with the streams, and what delivery does with it.
type environment struct {
	server  *natstest.Server
	js      jetstream.JetStream
	config  bus.Config
	queue   *Queue
	letters *DeadLetters
	deleted map[string]bool        // webhooks
	status  map[string]core.Status // of the others; active when it is not said
}

// configured has every webhook of acme that was not deleted.
type configured struct{ *environment }

func (c configured) Webhook(id string) (*core.Webhook, bool) {
	if c.deleted[id] {
		return nil, false
	}
	return &core.Webhook{ID: id, Organization: "acme", Status: c.status[id]}, true
}

func (configured) WaitFor(context.Context, int64) error { return errors.New("there is no newer one") }

func (configured) Revision() int64 { return 4 }

func (configured) HasOrganization(id string) bool { return id == "acme" }

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func setup(t *testing.T) *environment {
	t.Helper()
	return setupWith(t)
}

func setupWith(t testing.TB) *environment {
	t.Helper()
	return setupOn(t, natstest.Start(t), bus.DefaultConfig())
}

func setupOn(t testing.TB, server *natstest.Server, config bus.Config) *environment {
	t.Helper()
	ctx := t.Context()
	e := &environment{server: server, config: config, deleted: make(map[string]bool), status: make(map[string]core.Status)}
	conn, _ := e.server.Connect(t)
	var err error
	e.js, err = bus.JetStream(conn)
	require.NoError(t, err)
	require.NoError(t, bus.EnsureStreams(ctx, e.js, e.config, discard()))
	e.queue, err = NewQueue(ctx, e.js, e.js, e.config, discard(), time.Now)
	require.NoError(t, err)
	e.letters, err = NewDeadLetters(ctx, e.js, e.queue, configured{e}, time.Now, uuid.NewString)
	require.NoError(t, err)
	return e
}

// task is a delivery of an event that EVENTS stored a moment ago.
func task() *core.Task {
	return &core.Task{
		Delivery: uuid.NewString(), Organization: "acme", Webhook: hook, Lane: "meeting-booked", Trigger: "meeting.booked",
		EventSource: "/bookings", EventID: "bk_1", EventSequence: 7, ConfigRevision: 3,
		AcceptedAt: time.Now().UTC(), TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Event: []byte(event),
	}
}

// requireTask asserts that two tasks are the same. Of one with attempts it goes without saying that it was recorded.
func requireTask(t *testing.T, want, got *core.Task) {
	t.Helper()
	require.True(t, want.AcceptedAt.Equal(got.AcceptedAt), "%s, %s", want.AcceptedAt, got.AcceptedAt)
	w, g := *want, *got
	w.AcceptedAt, g.AcceptedAt = time.Time{}, time.Time{}
	w.Recorded = w.Recorded || w.Attempts > 0
	require.Equal(t, w, g)
}

func (e *environment) stream(t *testing.T, name string) jetstream.Stream {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), name)
	require.NoError(t, err)
	return stream
}

// count is how many messages a stream has on the subjects of a filter.
func (e *environment) count(t *testing.T, stream, filter string) int {
	t.Helper()
	info, err := e.stream(t, stream).Info(newContext(t), jetstream.WithSubjectFilter(filter))
	require.NoError(t, err)
	n := 0
	for _, messages := range info.State.Subjects {
		n += int(messages)
	}
	return n
}

// timer returns the message that waits for a delivery.
func (e *environment) timer(t *testing.T, task *core.Task) *jetstream.RawStreamMsg {
	t.Helper()
	subject := bus.RetryTimerSubject(task.Organization, task.Webhook, task.Delivery)
	msg, err := e.stream(t, bus.StreamRetries).GetLastMsgForSubject(newContext(t), subject)
	require.NoError(t, err)
	require.Equal(t, 1, e.count(t, bus.StreamRetries, subject), "a delivery has one timer")
	return msg
}

// message is a message that was taken from a durable consumer.
type message struct {
	jetstream.Msg
	task *core.Task
	id   string
}

// next takes the next message of a durable consumer, and leaves it unacknowledged.
func (e *environment) next(t *testing.T, stream string, config jetstream.ConsumerConfig) message {
	t.Helper()
	ctx := newContext(t)
	consumer, err := e.js.CreateOrUpdateConsumer(ctx, stream, config)
	require.NoError(t, err)
	msg, err := consumer.Next(jetstream.FetchMaxWait(patience))
	require.NoError(t, err)
	work, err := bus.ParseWorkSubject(msg.Subject())
	require.NoError(t, err)
	task, err := decode(msg.Headers(), work.Lane, msg.Data())
	require.NoError(t, err)
	require.Equal(t, work.Organization, task.Organization)
	require.Equal(t, work.Webhook, task.Webhook)
	meta, err := msg.Metadata()
	require.NoError(t, err)
	return message{Msg: msg, task: task, id: bus.ReplacementMsgID(stream, meta.Sequence.Stream)}
}

// due takes the next delivery of a lane that waited long enough.
func (e *environment) due(t *testing.T, lane string) message {
	t.Helper()
	return e.next(t, bus.StreamRetries, e.config.RetryConsumer(lane))
}

// delivery takes the next delivery of a lane that is tried for the first time, in this run.
func (e *environment) delivery(t *testing.T, lane string) message {
	t.Helper()
	return e.next(t, bus.StreamDeliveries, e.config.DeliverConsumer(lane))
}

// publish puts a delivery where ingest puts it.
func (e *environment) publish(t *testing.T, task *core.Task) {
	t.Helper()
	msg := nats.NewMsg(bus.DeliverySubject(task.Lane, task.Organization, task.Webhook))
	msg.Header, msg.Data = encode(task), task.Event
	_, err := bus.Publish(newContext(t), e.js, msg, task.Delivery)
	require.NoError(t, err)
}

// publishEvent stores an event and returns its sequence.
func (e *environment) publishEvent(t *testing.T, body string) uint64 {
	t.Helper()
	ack, err := e.js.Publish(newContext(t), bus.EventSubject("acme", "meeting.booked"), []byte(body))
	require.NoError(t, err)
	return ack.Sequence
}

// records returns everything that was recorded, in its order.
func (e *environment) records(t *testing.T) []*deliveryv1.Record {
	t.Helper()
	ctx := newContext(t)
	stream := e.stream(t, bus.StreamRecords)
	info, err := stream.Info(ctx)
	require.NoError(t, err)
	var all []*deliveryv1.Record
	for sequence := max(info.State.FirstSeq, 1); sequence <= info.State.LastSeq; sequence++ {
		msg, err := stream.GetMsg(ctx, sequence)
		require.NoError(t, err)
		record := new(deliveryv1.Record)
		require.NoError(t, proto.Unmarshal(msg.Data, record))
		require.Equal(t, bus.RecordSubject(record.GetOrganization(), record.GetWebhook()), msg.Subject)
		all = append(all, record)
	}
	return all
}
