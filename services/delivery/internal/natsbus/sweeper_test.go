package natsbus

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// sweeping is a sweeper whose clock goes ahead.
type sweeping struct {
	*Sweeper
	rewritten atomic.Int64
}

func (e *environment) sweeper(ahead time.Duration) *sweeping {
	s := new(sweeping)
	s.Sweeper = &Sweeper{
		Queue: e.queue, Logger: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Now().Add(ahead) },
		Active: func() bool { return true }, Rewritten: func() { s.rewritten.Add(1) },
	}
	return s
}

// fill stores messages until the server has no room any more, and returns what makes room again.
func (e *environment) fill(t *testing.T) (free func()) {
	t.Helper()
	ctx := newContext(t)
	_, err := e.js.CreateStream(ctx, jetstream.StreamConfig{Name: "JUNK", Subjects: []string{"junk"}})
	require.NoError(t, err)
	body := make([]byte, 512<<10)
	for err == nil {
		_, err = e.js.Publish(ctx, "junk", body)
	}
	var refused *jetstream.APIError
	require.ErrorAs(t, err, &refused)
	return func() { require.NoError(t, e.js.DeleteStream(newContext(t), "JUNK")) }
}

func TestSweeperFreesATimerThatFiredWhileTheStorageWasFull(t *testing.T) {
	t.Parallel()
	config := bus.DefaultConfig()
	config.DeliveriesMaxBytes = 1 << 20 // what a stream may take is reserved
	e := setupOn(t, natstest.StartWith(t, func(o *server.Options) { o.JetStreamMaxStore = 8 << 20 }), config)
	stuck := task()
	stuck.Event, stuck.Attempts, stuck.SlotAt = nil, 2, time.Now().Add(-time.Minute).UTC()
	due := time.Now().Add(2 * time.Second)
	require.NoError(t, e.queue.Schedule(newContext(t), stuck, due, false, "DELIVERIES:1"))
	free := e.fill(t)
	require.Less(t, time.Now(), due.Add(time.Minute))
	// The server fires a quarter of a second after the time at the latest, and fails.
	require.Eventually(t, func() bool { return time.Since(due) > 2*time.Second }, patience, tick)
	require.NotNil(t, e.timer(t, stuck))

	// While there is no room the sweeper cannot help, and comes back to it.
	s := e.sweeper(2 * time.Minute)
	require.Error(t, s.Sweep(newContext(t)))
	free()
	require.NotNil(t, e.timer(t, stuck), "nobody tries it again by itself")
	require.NoError(t, s.Sweep(newContext(t)))
	require.EqualValues(t, 1, s.rewritten.Load())
	fired := e.due(t, "meeting-booked")
	require.True(t, stuck.SlotAt.Equal(fired.task.SlotAt))
	fired.task.SlotAt = stuck.SlotAt
	requireTask(t, stuck, fired.task)
	require.Zero(t, e.count(t, bus.StreamRetries, "retries.at.>"))
}

func TestSweeperLeavesWhatIsNotOverdue(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	now := time.Now()
	schedule := func(in time.Duration) *core.Task {
		one := task()
		require.NoError(t, e.queue.Schedule(ctx, one, now.Add(in), false, uuid.NewString()))
		return one
	}
	late, soon, replaced := schedule(time.Hour), schedule(3*time.Hour), schedule(time.Hour)
	e.putAlien(t, "retries.at.acme."+hook+".alien", nil)
	e.putAlien(t, "retries.due.other.acme."+hook, nil)

	s := e.sweeper(30 * time.Minute) // it reads them, and none is due
	require.NoError(t, s.Sweep(ctx))
	require.Zero(t, s.rewritten.Load())
	require.NoError(t, e.queue.Schedule(ctx, replaced, now.Add(3*time.Hour), false, uuid.NewString()))

	s.Now = func() time.Time { return now.Add(2 * time.Hour) }
	require.NoError(t, s.Sweep(ctx))
	require.Equal(t, late.Delivery, e.due(t, "meeting-booked").task.Delivery)
	require.NoError(t, s.Sweep(ctx))
	require.EqualValues(t, 1, s.rewritten.Load())
	for _, waits := range []*core.Task{soon, replaced} {
		at, _, err := bus.RetrySchedule(e.timer(t, waits).Header)
		require.NoError(t, err)
		require.True(t, at.Equal(now.Add(3*time.Hour)))
	}
}

func TestSweepersDoNoHarmToEachOther(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	const timers = 700 // more than one batch
	for i := range timers {
		one := task()
		require.NoError(t, e.queue.Schedule(ctx, one, time.Now().Add(time.Hour), i%2 == 0, "DELIVERIES:"+strconv.Itoa(i)))
	}
	errs := make(chan error, 3)
	for range cap(errs) {
		s := e.sweeper(2 * time.Hour)
		go func() { errs <- s.Sweep(ctx) }()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	require.Eventually(t, func() bool {
		return e.count(t, bus.StreamRetries, "retries.at.>") == 0 &&
			int(e.stream(t, bus.StreamRetries).CachedInfo().State.Msgs) == timers
	}, patience, tick, "each has fired once")
}

func TestSweeperForgetsAStreamThatWasMadeAnew(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	s := e.sweeper(30 * time.Minute)
	for range 3 {
		require.NoError(t, e.queue.Schedule(ctx, task(), time.Now().Add(time.Hour), false, uuid.NewString()))
	}
	require.NoError(t, s.Sweep(ctx))
	require.NoError(t, e.js.DeleteStream(ctx, bus.StreamRetries))
	require.NoError(t, bus.EnsureStreams(ctx, e.js, e.config, discard()))
	require.NoError(t, e.queue.Schedule(ctx, task(), time.Now().Add(time.Hour), false, uuid.NewString()))
	s.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	require.NoError(t, s.Sweep(ctx))
	require.EqualValues(t, 1, s.rewritten.Load())
}

func TestBacklogIsCountedAndBounded(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	counted := 0
	e.queue.backlogs.limit = 1000
	count := e.queue.backlogs.count
	e.queue.backlogs.count = func(ctx context.Context, organization, webhook string) (int, error) {
		counted++
		return count(ctx, organization, webhook)
	}
	other := task()
	other.Webhook = otherHook
	require.NoError(t, e.queue.Schedule(ctx, other, time.Now().Add(time.Hour), false, uuid.NewString()))
	set := 0
	var err error
	for ; err == nil; set++ {
		err = e.queue.Schedule(ctx, task(), time.Now().Add(time.Hour), false, uuid.NewString())
	}
	require.ErrorIs(t, err, core.ErrBacklogFull)
	require.GreaterOrEqual(t, set, 1000)
	require.LessOrEqual(t, set, 1000+minBacklogStep)
	require.Less(t, counted, 10)
	n, err := e.queue.CountTimers(ctx, "acme", hook)
	require.NoError(t, err)
	require.Equal(t, set-1, n)
	require.NoError(t, e.queue.Schedule(ctx, other, time.Now().Add(time.Hour), false, uuid.NewString()), "it is another webhook")

	// When there is room again that is seen after a moment.
	require.NoError(t, e.queue.CancelTimers(ctx, "acme", hook))
	n, err = e.queue.CountTimers(ctx, "acme", hook)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Eventually(t, func() bool {
		return e.queue.Schedule(ctx, task(), time.Now().Add(time.Hour), false, uuid.NewString()) == nil
	}, patience, tick)
}

func TestBacklogOfReplaysLeavesRoomForLiveDeliveries(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	e.queue.backlogs.limit = 2000
	schedule := func(lane string) error {
		one := task()
		one.Lane = lane
		return e.queue.Schedule(ctx, one, time.Now().Add(time.Hour), false, uuid.NewString())
	}
	fill := func(lane string) int {
		for set := 0; ; set++ {
			if err := schedule(lane); err != nil {
				require.ErrorIs(t, err, core.ErrBacklogFull)
				return set
			}
		}
	}
	bulk := fill(core.LaneBulk)
	require.GreaterOrEqual(t, bulk, 1000)
	require.LessOrEqual(t, bulk, 1000+minBacklogStep)
	live := fill("meeting-booked")
	require.GreaterOrEqual(t, bulk+live, 2000)
	require.LessOrEqual(t, bulk+live, 2000+2*minBacklogStep)
	require.ErrorIs(t, schedule(core.LaneBulk), core.ErrBacklogFull)
}

func TestBacklogThatCannotBeCountedIsNotFull(t *testing.T) {
	t.Parallel()
	now := time.Now()
	b := &backlogs{limit: 300, logger: discard(), now: func() time.Time { return now }, all: make(map[string]*backlog), pruned: now,
		count: func(context.Context, string, string) (int, error) { return 0, errors.New("NATS is away") }}
	for range 1000 {
		require.False(t, b.full(newContext(t), "acme", hook, false))
	}
	require.Len(t, b.all, 1)
	now = now.Add(2 * backlogMemory)
	require.False(t, b.full(newContext(t), "acme", otherHook, false))
	require.Len(t, b.all, 1, "what is not used is forgotten")
}
