package natsbus_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
)

// clock is a time that tests move.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(c.offset.Load()))
}

func (c *clock) move(d time.Duration) { c.offset.Add(int64(d)) }

// backlogs returns what counts dead letters, and counts them until the test ends.
func (e *env) backlogs(t *testing.T, limit int) (*natsbus.Backlogs, *clock) {
	t.Helper()
	c := &clock{}
	b := natsbus.NewBacklogs(e.js, limit, slog.New(slog.DiscardHandler), c.now)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = b.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return b, c
}

// deadLetters publishes dead letters of a webhook.
func (e *env) deadLetters(t *testing.T, organization, webhook string, n int) {
	t.Helper()
	for i := range n {
		subject := bus.DeadLetterSubject([]string{"bulk", "meeting-booked"}[i%2], organization, webhook, fmt.Sprint("d", i))
		_, err := bus.Publish(newContext(t), e.js, nats.NewMsg(subject), subject)
		require.NoError(t, err)
	}
}

func TestDisabledWebhookMissesWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.deadLetters(t, "acme", "w1", 5)
	e.deadLetters(t, "acme", "w2", 4)
	e.deadLetters(t, "beta", "w3", 9)
	b, c := e.backlogs(t, 5)
	// Nothing is known at first, and nobody waits for it to be.
	require.False(t, b.Full("acme", "w1"))
	require.False(t, b.Full("acme", "w2"))
	require.False(t, b.Full("acme", "w3"), "the dead letters are another organization's")
	require.Eventually(t, func() bool { return b.Full("acme", "w1") }, patience, tick)
	require.False(t, b.Full("acme", "w3"))
	c.move(10 * time.Second) // all are counted by then, whenever the first count was
	require.Eventually(t, func() bool { return b.Full("acme", "w2") }, patience, tick, "one more fills it")

	// Once they are gone, it gets events again.
	stream, err := e.js.Stream(newContext(t), bus.StreamDeadLetters)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(newContext(t)))
	require.True(t, b.Full("acme", "w1"), "it is counted now and then only")
	c.move(10 * time.Second)
	require.Eventually(t, func() bool { return !b.Full("acme", "w1") }, patience, tick)
}

func TestWhatAnInstanceAddsCountsAtOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	// It does not run: nothing is ever counted.
	b := natsbus.NewBacklogs(e.js, 3, slog.New(slog.DiscardHandler), time.Now)
	for range 4 {
		require.False(t, b.IsFull("acme", "w1"), "who asks adds nothing")
	}
	for range 3 {
		require.False(t, b.Full("acme", "w1"))
	}
	for range 3 {
		require.True(t, b.Full("acme", "w1"))
		require.True(t, b.IsFull("acme", "w1"))
	}
	require.False(t, b.Full("acme", "w2"))
}

func TestCountersOfDeadLettersDoNotStay(t *testing.T) {
	t.Parallel()
	e := setup(t)
	b, c := e.backlogs(t, 1)
	e.deadLetters(t, "acme", "w1", 1)
	for range 3 {
		require.Eventually(t, func() bool { return b.Full("acme", "w1") }, patience, tick)
		c.move(10 * time.Second)
	}
	stream, err := e.js.Stream(newContext(t), bus.StreamDeadLetters)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n := 0
		list := stream.ListConsumers(newContext(t))
		for range list.Info() {
			n++
		}
		return list.Err() == nil && n == 0
	}, patience, tick)
}

// What a disabled webhook misses is remembered as what a paused one does.
func TestFullWebhookIsSkipped(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.deadLetters(t, "acme", "full", 2)
	b, _ := e.backlogs(t, 2)
	e.worker.Index.SetBacklog(b)
	e.configure(trigger("meeting.booked", `{}`), status("full", disabled, ""), status("good", active, ""))
	require.Eventually(t, func() bool { return b.Full("acme", "full") }, patience, tick)
	e.run(t)
	e.publish(t, bookedSubject, event("/s", "1", "meeting.booked", `{}`), nil)
	e.requireSettled(t)
	require.Equal(t, []string{"deliveries.meeting-booked.acme.good"}, subjects(e.messages(t, bus.StreamDeliveries)))
	note := e.notes(t)["fanout:1"]
	require.EqualValues(t, 1, note.GetMatchedCount())
	require.EqualValues(t, 1, note.GetSkippedCount())
	require.Equal(t, "full", note.GetSkips()[0].GetWebhook())
	require.EqualValues(t, 4, note.GetSkips()[0].GetGeneration())
}

func subjects(messages []*jetstream.RawStreamMsg) (all []string) {
	for _, msg := range messages {
		all = append(all, msg.Subject)
	}
	return all
}
