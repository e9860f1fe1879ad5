package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/lifecycle"
)

func TestMessagesAreGivenOutOnceAndKnowWhereTheyComeFrom(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const n = 500
	for i := range n {
		e.publish(t, bookedSubject, fmt.Sprint(i))
	}
	e.publish(t, "events.acme.meeting.canceled", "of another lane")

	var seen counter
	type seenMessage struct {
		stream, id           string
		sequence, deliveries uint64
		stored               time.Time
	}
	first := make(chan seenMessage, n)
	consumer := e.consumer(func(_ context.Context, msg *bus.Msg) {
		seen.add(string(msg.Data()))
		first <- seenMessage{msg.Stream, msg.ID(), msg.Sequence, msg.Deliveries, msg.Stored}
		msg.Done()
	})
	// Two processes share the work.
	one, other := run(t, consumer.Run), run(t, consumer.Run)
	for range n {
		got := receive(t, first)
		require.Equal(t, bus.StreamEvents, got.stream)
		require.EqualValues(t, 1, got.deliveries)
		require.Equal(t, fmt.Sprintf("EVENTS:%d", got.sequence), got.id)
		require.WithinDuration(t, time.Now(), got.stored, time.Minute)
	}
	e.requireSettled(t)
	require.NoError(t, one.stop(t))
	require.NoError(t, other.stop(t))
	require.Equal(t, n, seen.different())
	require.Equal(t, 1, seen.most())
}

// gate returns a channel that is closed by open, or before the test cleans up.
func gate(t *testing.T) (closed <-chan struct{}, open func()) {
	t.Helper()
	ch := make(chan struct{})
	open = sync.OnceFunc(func() { close(ch) })
	context.AfterFunc(t.Context(), open)
	return ch, open
}

// delivered is one time that a message was given out.
type delivered struct {
	deliveries uint64
	at         time.Time
}

// again answers the first delivery of a message with answer, and returns both deliveries. Nothing but the answer
// brings a message back within the test.
func again(t *testing.T, answer func(*bus.Msg)) (first, second delivered) {
	t.Helper()
	e := setup(t)
	ch := make(chan delivered, 10)
	consumer := e.consumer(func(_ context.Context, msg *bus.Msg) {
		ch <- delivered{msg.Deliveries, time.Now()}
		if msg.Deliveries == 1 {
			answer(msg)
			return
		}
		msg.Settle(nil)
	})
	run(t, consumer.Run)
	e.publish(t, bookedSubject, "x")
	first, second = receive(t, ch), receive(t, ch)
	e.requireSettled(t)
	require.Empty(t, ch)
	require.EqualValues(t, 1, first.deliveries)
	require.EqualValues(t, 2, second.deliveries)
	return first, second
}

func TestReturnedMessageComesAgainAtOnce(t *testing.T) {
	t.Parallel()
	again(t, (*bus.Msg).Return)
}

func TestMessageForLaterComesAgainAfterTheDelay(t *testing.T) {
	t.Parallel()
	const delay = 700 * time.Millisecond
	first, second := again(t, func(msg *bus.Msg) { msg.Later(delay) })
	require.GreaterOrEqual(t, second.at.Sub(first.at), delay)
}

func TestFailedMessageComesAgain(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"an error": errors.New("broken"), "a fault": fault.New(fault.Unavailable, "STREAM_UNAVAILABLE", "not available"),
		"a fault that stays": fault.Invalid(fault.Field{Path: "event", Message: "is wrong"}),
		"an interruption":    fmt.Errorf("publish: %w", context.Canceled), "a deadline": context.DeadlineExceeded,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			again(t, func(msg *bus.Msg) { msg.Settle(err) })
		})
	}
}

func TestFailuresWaitLongerEachTime(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ch := make(chan delivered, 10)
	run(t, e.consumer(func(_ context.Context, msg *bus.Msg) {
		ch <- delivered{msg.Deliveries, time.Now()}
		if msg.Deliveries == 4 {
			msg.Done()
			return
		}
		msg.Settle(errors.New("broken"))
	}).Run)
	e.publish(t, bookedSubject, "x")
	last := receive(t, ch)
	for _, least := range []time.Duration{200, 400, 800} {
		next := receive(t, ch)
		require.GreaterOrEqual(t, next.at.Sub(last.at), least*time.Millisecond)
		last = next
	}
	e.requireSettled(t)
}

func TestPanicOfAHandlerEndsNothing(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var good, bad atomic.Int32
	running := run(t, e.consumer(func(_ context.Context, msg *bus.Msg) {
		if string(msg.Data()) == "bad" {
			bad.Add(1)
			panic("at the worst moment")
		}
		good.Add(1)
		msg.Done()
	}).Run)
	e.publish(t, bookedSubject, "bad")
	for range 20 {
		e.publish(t, bookedSubject, "good")
	}
	require.Eventually(t, func() bool { return good.Load() == 20 && e.pending(t) == 1 }, patience, tick)
	require.EqualValues(t, 1, bad.Load(), "it waits before it comes again")
	require.NoError(t, running.stop(t))
}

func TestSlowMessageIsNotGivenOutTwice(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.config.AckWait = time.Second
	var given atomic.Int32
	release, open := gate(t)
	consumer := e.consumer(func(_ context.Context, msg *bus.Msg) {
		given.Add(1)
		<-release
		msg.Done()
	})
	run(t, consumer.Run)
	for range 3 {
		e.publish(t, bookedSubject, "x")
	}
	require.Eventually(t, func() bool { return given.Load() == 3 }, patience, tick)
	run(t, consumer.Run) // would be given what nobody seems to work on
	require.Never(t, func() bool { return given.Load() != 3 }, 2500*time.Millisecond, 50*time.Millisecond)
	open()
	e.requireSettled(t)
	require.EqualValues(t, 3, given.Load())
}

// ackPending returns how many messages of bookedSubject have been given out and not settled.
func (e *env) ackPending(t *testing.T) int {
	t.Helper()
	consumer, err := e.js.Consumer(newContext(t), bus.StreamEvents, "ingest-meeting-booked")
	require.NoError(t, err)
	return consumer.CachedInfo().NumAckPending
}

func TestStopReturnsWhatWasNotBegunAndWaitsForWhatWas(t *testing.T) {
	t.Parallel()
	e := setup(t)
	begun := make(chan string, 10)
	release, open := gate(t)
	var contextWas error
	first := e.consumer(func(ctx context.Context, msg *bus.Msg) {
		begun <- string(msg.Data())
		<-release
		contextWas = ctx.Err()
		msg.Done()
	})
	first.Workers = 1
	for i := range 5 {
		e.publish(t, bookedSubject, fmt.Sprint(i))
	}
	stopping := run(t, first.Run)
	working := receive(t, begun)
	require.Eventually(t, func() bool { return e.ackPending(t) == 5 }, patience, tick)
	stopping.cancel()

	// The others are somebody else's at once, long before their time to be settled is over.
	var others counter
	second := run(t, e.consumer(func(_ context.Context, msg *bus.Msg) {
		others.add(string(msg.Data()))
		msg.Done()
	}).Run)
	require.Eventually(t, func() bool { return others.different() == 4 && e.ackPending(t) == 1 }, patience, tick)
	require.Zero(t, others.counts[working])
	select {
	case <-stopping.done:
		require.Fail(t, "it did not wait for what was begun")
	default:
	}
	open()
	require.NoError(t, stopping.wait(t))
	require.NoError(t, contextWas, "what is in flight may finish")
	e.requireSettled(t)
	require.NoError(t, second.stop(t))
	require.Equal(t, 1, others.most())
}

func TestStopWaitsForMessagesThatWereHandedOn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	handed := make(chan *bus.Msg, 1)
	stopping := run(t, e.consumer(func(_ context.Context, msg *bus.Msg) { handed <- msg }).Run)
	e.publish(t, bookedSubject, "x")
	msg := receive(t, handed)
	stopping.cancel()
	require.Never(t, func() bool {
		select {
		case <-stopping.done:
			return true
		default:
			return false
		}
	}, 200*time.Millisecond, tick)
	msg.Done()
	require.NoError(t, stopping.wait(t))
	e.requireSettled(t)
}

func TestStopGivesUpAfterTheGracePeriod(t *testing.T) {
	t.Parallel()
	e := setup(t)
	handed := make(chan struct{}, 1)
	group := lifecycle.NewGroup(discard(), 200*time.Millisecond)
	group.Add("consumer", e.consumer(func(context.Context, *bus.Msg) { handed <- struct{}{} }).Run)
	stopping := run(t, group.Run)
	e.publish(t, bookedSubject, "never settled")
	receive(t, handed)
	err := stopping.stop(t)
	require.ErrorIs(t, err, lifecycle.ErrGraceExceeded)
	require.ErrorContains(t, err, "stop with 1 messages in work")
}

func TestRefusedConsumerFailsAtOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	// A work queue gives every message to one consumer only.
	_, err := e.js.CreateConsumer(newContext(t), bus.StreamDeliveries, jetstream.ConsumerConfig{
		Durable: "other", FilterSubject: "deliveries.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	require.NoError(t, err)
	consumer := e.consumer(nil)
	consumer.Stream, consumer.Config = bus.StreamDeliveries, e.config.DeliverConsumer("meeting-booked")
	err = run(t, consumer.Run).wait(t)
	require.ErrorContains(t, err, "consume deliver-meeting-booked")
	var api *jetstream.APIError
	require.ErrorAs(t, err, &api)
}

func TestClosedConnectionFails(t *testing.T) {
	t.Parallel()
	e := setup(t)
	handled := make(chan struct{}, 1)
	running := run(t, e.consumer(func(_ context.Context, msg *bus.Msg) {
		msg.Done()
		handled <- struct{}{}
	}).Run)
	e.publish(t, bookedSubject, "x")
	receive(t, handled)
	e.conn.Close()
	require.ErrorIs(t, running.wait(t), jetstream.ErrConnectionClosed)
}

// A consumer that is made later than others begins where it is told to, and stays where it began whatever it is told
// afterwards.
func TestConsumerBeginsAtItsStart(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.publish(t, bookedSubject, "before")
	stream, err := e.js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	before, err := stream.GetLastMsgForSubject(newContext(t), bookedSubject)
	require.NoError(t, err)
	start := before.Time.Add(1) // what is stored within a nanosecond does not matter here
	e.publish(t, bookedSubject, "after 1")

	got := make(chan string, 10)
	consume := func(start time.Time) *running {
		consumer := e.consumer(func(_ context.Context, msg *bus.Msg) {
			got <- string(msg.Data())
			msg.Done()
		})
		consumer.Config = e.config.IngestConsumer("meeting.booked", start)
		return run(t, consumer.Run)
	}
	first := consume(start)
	require.Equal(t, "after 1", receive(t, got))
	e.requireSettled(t)
	require.NoError(t, first.stop(t))
	for i, start := range []time.Time{start.Add(time.Hour), {}, start.Add(-time.Hour)} {
		again := consume(start)
		body := fmt.Sprint("again ", i)
		e.publish(t, bookedSubject, body)
		require.Equal(t, body, receive(t, got))
		e.requireSettled(t)
		require.NoError(t, again.stop(t))
	}
	require.Empty(t, got)
}
