package natsbus_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

const bulk1 = "deliveries.bulk.acme.w1"

// past returns a history of w1 that begins before and ends after everything that a test has published. The clock of
// the worker is ahead of the end.
func past() core.History {
	return core.History{
		Organization: "acme", Webhook: "w1", Start: time.Now().Add(-time.Minute), End: time.Now().Add(time.Minute), MaxEvents: 1000,
	}
}

func (e *env) history(t *testing.T, h core.History) core.Progress {
	t.Helper()
	progress, err := e.worker.FanOutHistory(newContext(t), h)
	require.NoError(t, err)
	return progress
}

// requireNoReaders asserts that what has read the history is gone.
func (e *env) requireNoReaders(t *testing.T) {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	consumers := stream.ListConsumers(newContext(t))
	for info := range consumers.Info() {
		require.NotEmpty(t, info.Config.Durable)
	}
	require.NoError(t, consumers.Err())
}

func TestWhatAPausedWebhookMissedIsFannedOutLater(t *testing.T) {
	t.Parallel()
	e := setup(t)
	paused := webhook("w1", "acme", "meeting.*", "custom.*")
	paused.GetWebhook().Status, paused.GetWebhook().Filter = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED, `event.id != "unwanted"`
	canceled := trigger("meeting.canceled", `{}`)
	canceled.GetTrigger().Operational = true
	e.configure(trigger("meeting.booked", `{"type":"object"}`), canceled, ownTrigger("custom.door.opened", `{}`), trigger("call.ended", `{}`),
		paused, webhook("w2", "acme", "meeting.booked"))

	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	trace := nats.Header{"Traceparent": {parent}, "Anything": {"x"}}
	first := e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), trace)
	e.publish(t, "events.beta.meeting.booked", event("/s", "2", "meeting.booked", `{}`), nil)
	e.publish(t, bookedSubject, event("/s", "unwanted", "meeting.booked", `{}`), nil)
	e.publish(t, bookedSubject, event("/s", "3", "meeting.booked", `[]`), nil)
	e.publish(t, "events.acme", `{}`, nil)
	e.publish(t, "events.acme.meeting.eaten", event("/s", "4", "meeting.eaten", `{}`), nil)
	e.publish(t, "events.acme.call.ended", event("/s", "5", "call.ended", `{}`), nil)
	e.publish(t, "events.acme.meeting.canceled", event("/s", "6", "meeting.canceled", `{}`), nil)
	proof := bus.OperationalToken(serviceToken, bus.EventMsgID("acme", bus.OperationalSource, "7"))
	e.publish(t, "events.acme.meeting.canceled", event(bus.OperationalSource, "7", "meeting.canceled", `{}`), nats.Header{bus.HeaderOperational: {proof}})
	last := e.publish(t, "events.acme.custom.door.opened", event("/s", "8", "custom.door.opened", `{}`), nil)

	h := past()
	require.Equal(t, core.Progress{After: sequence(t, last), Events: 9, Matched: 3, Done: true}, e.history(t, h))
	got := e.messages(t, bus.StreamDeliveries)
	require.Len(t, got, 3)
	for i, id := range []string{"1", "7", "8"} {
		require.Equal(t, bulk1, got[i].Subject)
		require.Equal(t, id, got[i].Header.Get(bus.HeaderEventID))
		require.Empty(t, got[i].Header.Get(bus.HeaderOperational))
	}
	want := header("w1", "/s", "1", first)
	want[bus.HeaderTraceParent] = []string{parent}
	require.Equal(t, want, got[0].Header, "the lane is all that differs from the live fan-out")

	// Again, and after resuming live: the same deliveries.
	e.history(t, h)
	paused.GetWebhook().Status = configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE
	e.configure(trigger("meeting.booked", `{"type":"object"}`), paused)
	e.run(t)
	e.requireSettled(t)
	require.Equal(t, 3, e.count(t, bus.StreamDeliveries))
	e.requireNoReaders(t)
}

func sequence(t *testing.T, at stored) uint64 {
	t.Helper()
	var n uint64
	_, err := fmt.Sscan(at.sequence, &n)
	require.NoError(t, err)
	return n
}

func TestHistoryIsFannedOutInParts(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const n = 205
	for i := range n {
		e.publish(t, bookedSubject, event("/s", fmt.Sprint(i), "meeting.booked", `{}`), nil)
		e.publish(t, "events.beta.meeting.booked", event("/s", fmt.Sprint(i), "meeting.booked", `{}`), nil)
	}
	h := past()
	h.MaxEvents = 100
	var parts []core.Progress
	for len(parts) == 0 || !parts[len(parts)-1].Done {
		part := e.history(t, h)
		h.After = part.After
		parts = append(parts, part)
	}
	require.Equal(t, []core.Progress{
		{After: 199, Events: 100, Matched: 100}, {After: 399, Events: 100, Matched: 100}, {After: 409, Events: 5, Matched: 5, Done: true},
	}, parts)
	require.Equal(t, n, e.count(t, bus.StreamDeliveries))
	require.Equal(t, core.Progress{After: 409, Done: true}, e.history(t, h), "there is nothing more")

	h.MaxEvents, h.After = n, 0
	require.Equal(t, core.Progress{After: 409, Events: n, Matched: n, Done: true}, e.history(t, h))
	require.Equal(t, n, e.count(t, bus.StreamDeliveries))
	e.requireNoReaders(t)
}

func TestHistoryKeepsToItsTimeRange(t *testing.T) {
	t.Parallel()
	e := setup(t)
	at := make([]time.Time, 5)
	for i := range at {
		at[i] = storedAt(t, e.publish(t, bookedSubject, event("/s", fmt.Sprint(i), "meeting.booked", `{}`), nil))
	}
	h := past()
	h.Start, h.End = at[1], at[3]
	require.Equal(t, core.Progress{After: 3, Events: 2, Matched: 2, Done: true}, e.history(t, h))
	got := e.messages(t, bus.StreamDeliveries)
	require.Len(t, got, 2)
	require.Equal(t, "1", got[0].Header.Get(bus.HeaderEventID))
	require.Equal(t, "2", got[1].Header.Get(bus.HeaderEventID))
	h.Start, h.End = at[4].Add(1), at[4].Add(2)
	require.Equal(t, core.Progress{Done: true}, e.history(t, h))

	// While the range is not over there may be more.
	now := e.worker.Now()
	e.worker.Now = func() time.Time { return now }
	h.Start, h.End = at[0], now.Add(20*time.Millisecond)
	require.Equal(t, core.Progress{After: 5, Events: 5, Matched: 5}, e.history(t, h))
	h.After = 5
	require.Equal(t, core.Progress{After: 5}, e.history(t, h))
	now = h.End
	require.Equal(t, core.Progress{After: 5, Done: true}, e.history(t, h))

	h.End = now.Add(time.Hour)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.worker.FanOutHistory(ctx, h)
	require.ErrorIs(t, err, context.Canceled)
}

func storedAt(t *testing.T, s stored) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, s.at)
	require.NoError(t, err)
	return at
}

func TestHistoryLeavesOutWhatIsOlderThanItsTrigger(t *testing.T) {
	t.Parallel()
	e := setup(t)
	before := storedAt(t, e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil))
	young := trigger("meeting.booked", `{}`)
	young.GetTrigger().CreateTime = timestamppb.New(before.Add(core.ConfigurationDelay + 1))
	e.configure(young, webhook("w1", "acme", "meeting.booked"))
	e.publish(t, bookedSubject, event("/s", "2", "meeting.booked", `{}`), nil)
	require.Equal(t, core.Progress{After: 2, Events: 2, Matched: 1, Done: true}, e.history(t, past()))
	require.Equal(t, "2", e.bySubject(t, bus.StreamDeliveries)[bulk1].Header.Get(bus.HeaderEventID))
}

func TestHistoryCountsFiltersThatCannotTell(t *testing.T) {
	t.Parallel()
	e := setup(t)
	w := webhook("w1", "acme", "meeting.booked")
	w.GetWebhook().Filter = `event.data.price > 1`
	e.configure(trigger("meeting.booked", `{}`), w)
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	require.Equal(t, core.Progress{After: 1, Events: 1, Done: true}, e.history(t, past()))
	require.EqualValues(t, 1, e.metrics.filters.Load())
}

func TestFullDeliveriesEndAPartOfTheHistory(t *testing.T) {
	t.Parallel()
	e := setup(t)
	stream, err := e.js.Stream(newContext(t), bus.StreamDeliveries)
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	config.MaxBytes = 2000
	_, err = e.js.UpdateStream(newContext(t), config)
	require.NoError(t, err)
	for i := range 10 {
		e.publish(t, bookedSubject, event("/s", fmt.Sprint(i), "meeting.booked", `{}`), nil)
	}
	_, err = e.worker.FanOutHistory(newContext(t), past())
	require.True(t, fault.Is(err, fault.ResourceExhausted), "%v", err)
	e.requireNoReaders(t)

	config.MaxBytes = 64 << 20
	_, err = e.js.UpdateStream(newContext(t), config)
	require.NoError(t, err)
	require.Equal(t, core.Progress{After: 10, Events: 10, Matched: 10, Done: true}, e.history(t, past()))
	require.Equal(t, 10, e.count(t, bus.StreamDeliveries), "what was in is not in twice")
}

func TestOrganizationIsPurged(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.run(t)
	for i := range 3 {
		e.publish(t, bookedSubject, event("/s", fmt.Sprint(i), "meeting.booked", `{}`), nil)
		e.publish(t, "events.acme.meeting.eaten", fmt.Sprint(i), nil)
		e.publish(t, "events.acme", fmt.Sprint(i), nil)
		e.publish(t, "events.beta.meeting.booked", fmt.Sprint(i), nil)
	}
	e.requireSettled(t)
	require.Equal(t, 9, e.count(t, bus.StreamRejects))
	for _, want := range []int64{24, 0} { // of EVENTS nine, of REJECTS six, of FANOUTS nine
		n, err := e.worker.PurgeOrganization(newContext(t), "acme")
		require.NoError(t, err)
		require.Equal(t, want, n)
		require.Equal(t, 3, e.count(t, bus.StreamEvents), "what is another's stays")
		require.Equal(t, 3, e.count(t, bus.StreamRejects))
		require.Equal(t, 3, e.count(t, bus.StreamFanOuts))
	}
	for _, name := range []string{bus.StreamEvents, bus.StreamRejects, bus.StreamFanOuts} {
		stream, err := e.js.Stream(newContext(t), name)
		require.NoError(t, err)
		info, err := stream.Info(newContext(t), jetstream.WithSubjectFilter(bus.AnyRest))
		require.NoError(t, err)
		require.Len(t, info.State.Subjects, 1)
		for subject := range info.State.Subjects {
			require.Contains(t, subject, "beta")
		}
	}
}

func TestHistoryAndPurgeWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.server.Shutdown()
	require.Eventually(t, func() bool { return !e.conn.IsConnected() }, patience, tick)
	_, err := e.worker.FanOutHistory(newContext(t), past())
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	_, err = e.worker.PurgeOrganization(newContext(t), "acme")
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}
