package bus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

const (
	timerWebhook = "w1"
	timerLane    = "meeting-booked"
)

// schedule writes the timer of a delivery, whose body is its name.
func (e *env) schedule(t *testing.T, delivery, body string, at time.Time, msgID string) *jetstream.PubAck {
	t.Helper()
	msg := nats.NewMsg(bus.RetryTimerSubject("acme", timerWebhook, delivery))
	msg.Data = []byte(body)
	msg.Header.Set(bus.HeaderDeliveryID, delivery)
	msg.Header.Set(bus.HeaderAttempt, "3")
	msg.Header.Set(bus.HeaderTraceParent, "00-aa-bb-01")
	bus.ScheduleRetry(msg, at, bus.RetryDueSubject(timerLane, "acme", timerWebhook))
	ack, err := bus.Publish(newContext(t), e.js, msg, msgID)
	require.NoError(t, err)
	require.False(t, ack.Duplicate)
	return ack
}

// due is a timer that fired.
type due struct {
	body    string
	subject string
	header  nats.Header
	at      time.Time
}

// fired runs a consumer of due retries.
func (e *env) fired(t *testing.T) <-chan due {
	t.Helper()
	ch := make(chan due, 100)
	consumer := &bus.Consumer{
		JetStream: e.js, Stream: bus.StreamRetries, Config: e.config.RetryConsumer(timerLane), Pull: 10, Workers: 1, Logger: discard(),
		Handle: func(_ context.Context, msg *bus.Msg) {
			ch <- due{string(msg.Data()), msg.Subject(), msg.Headers(), time.Now()}
			msg.Done()
		},
	}
	run(t, consumer.Run)
	return ch
}

func TestTimerFiresAtItsTimeWithItsHeaders(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ch := e.fired(t)
	// Late within a second, and in another zone: what is written are neither whole seconds nor local time.
	at := time.Now().Add(1100 * time.Millisecond).Truncate(time.Second).Add(950 * time.Millisecond).In(time.FixedZone("", 5*3600))
	e.schedule(t, "d1", "body", at, "DELIVERIES:1")

	got := receive(t, ch)
	require.False(t, got.at.Before(at), "fired %s early", at.Sub(got.at))
	require.Less(t, got.at.Sub(at), 5*time.Second)
	require.Equal(t, "body", got.body)
	require.Equal(t, "retries.due.meeting-booked.acme.w1", got.subject)
	require.Equal(t, "d1", got.header.Get(bus.HeaderDeliveryID))
	require.Equal(t, "3", got.header.Get(bus.HeaderAttempt))
	require.Equal(t, "00-aa-bb-01", got.header.Get(bus.HeaderTraceParent))
	require.Eventually(t, func() bool { return e.stored(t) == 0 }, patience, tick, "a timer that fired is gone")
}

func TestTimerOfATimeThatHasPassedFiresAtOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ch := e.fired(t)
	e.schedule(t, "d1", "past", time.Now().Add(-time.Hour), "1")
	require.Equal(t, "past", receive(t, ch).body)
}

func TestTimerIsReplacedAndCanceledByItsSubject(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ch := e.fired(t)
	now := time.Now()
	// Each of these would fire before the last, which says when there is nothing more to come.
	first := e.schedule(t, "d1", "replaced", now.Add(1*time.Second), "DELIVERIES:1")
	e.schedule(t, "d2", "canceled", now.Add(1*time.Second), "DELIVERIES:2")
	e.schedule(t, "d1", "replacement", now.Add(1500*time.Millisecond), bus.ReplacementMsgID(bus.StreamRetries, first.Sequence))
	e.schedule(t, "d3", "last", now.Add(2*time.Second), "DELIVERIES:3")
	require.EqualValues(t, 3, e.stored(t), "one timer for each subject")

	retries, err := e.js.Stream(newContext(t), bus.StreamRetries)
	require.NoError(t, err)
	require.NoError(t, retries.Purge(newContext(t), jetstream.WithPurgeSubject(bus.RetryTimerSubject("acme", timerWebhook, "d2"))))

	require.Equal(t, "replacement", receive(t, ch).body)
	require.Equal(t, "last", receive(t, ch).body)
	require.Empty(t, ch)
}

func TestTimersOfAWebhookAreCanceledTogether(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, delivery := range []string{"d1", "d2", "d3"} {
		e.schedule(t, delivery, "x", time.Now().Add(time.Hour), delivery)
	}
	retries, err := e.js.Stream(newContext(t), bus.StreamRetries)
	require.NoError(t, err)
	require.NoError(t, retries.Purge(newContext(t), jetstream.WithPurgeSubject(bus.RetryTimersFilter("acme", "w2"))))
	require.EqualValues(t, 3, e.stored(t))
	require.NoError(t, retries.Purge(newContext(t), jetstream.WithPurgeSubject(bus.RetryTimersFilter("acme", timerWebhook))))
	require.Zero(t, e.stored(t))
}

func TestTimerSurvivesARestart(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ch := e.fired(t)
	at := time.Now().Add(time.Second)
	e.schedule(t, "d1", "kept", at, "1")
	e.server.Restart(t)
	got := receive(t, ch)
	require.Equal(t, "kept", got.body)
	require.False(t, got.at.Before(at))
}

// stored returns how many messages RETRIES has.
func (e *env) stored(t *testing.T) uint64 {
	t.Helper()
	s, err := e.js.Stream(newContext(t), bus.StreamRetries)
	require.NoError(t, err)
	return s.CachedInfo().State.Msgs
}

func TestScheduleIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 12, 0, 0, 123_456_789, time.FixedZone("", 3600))
	msg := nats.NewMsg("retries.at.acme.w1.d1")
	bus.ScheduleRetry(msg, at, "retries.due.meeting-booked.acme.w1")
	read, target, err := bus.RetrySchedule(msg.Header)
	require.NoError(t, err)
	require.True(t, at.Equal(read))
	require.Equal(t, "retries.due.meeting-booked.acme.w1", target)

	for _, schedule := range []string{"", "@at ", "@at tomorrow", "@every 1s", at.Format(time.RFC3339Nano)} {
		msg.Header.Set("Nats-Schedule", schedule)
		_, _, err := bus.RetrySchedule(msg.Header)
		require.Error(t, err, "%q", schedule)
	}
}
