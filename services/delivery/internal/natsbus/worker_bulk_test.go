package natsbus

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// slow is an endpoint that takes a while for each answer, counted from when it begins to answer at all, and notes what
// came.
type slow struct {
	*endpoint
	took    time.Duration
	answers chan struct{} // closed when it begins to

	noted sync.Mutex
	bulk  int // attempts of the lane bulk
	live  int // how many of them had begun when the first live one did; -1: it has not
}

const liveEvent = `{"type": "meeting.booked", "data": {"live": true}}`

func (s *slow) Send(ctx context.Context, request core.Request) (core.Attempt, error) {
	s.noted.Lock()
	if string(request.Body) == liveEvent {
		s.live = s.bulk
	} else {
		s.bulk++
	}
	s.noted.Unlock()
	select {
	case <-s.answers:
	case <-ctx.Done():
		return core.Attempt{}, ctx.Err()
	}
	select {
	case <-time.After(s.took):
		return core.Attempt{ID: uuid.NewString(), StartedAt: time.Now(), Duration: s.took, Request: request}, nil
	case <-ctx.Done():
		return core.Attempt{}, ctx.Err()
	}
}

func (s *slow) seen() (bulk, live int) {
	s.noted.Lock()
	defer s.noted.Unlock()
	return s.bulk, s.live
}

func TestALiveDeliveryGoesBeforeAReplayOfThousands(t *testing.T) {
	t.Parallel()
	require.Equal(t, bus.LaneBulk, core.LaneBulk)
	const replayed = 5000
	e := setup(t)
	ctx, sequence := newContext(t), e.publishEvent(t, event)
	for range replayed {
		one := task()
		one.Lane, one.EventSequence = bus.LaneBulk, sequence
		msg := nats.NewMsg(bus.DeliverySubject(one.Lane, one.Organization, one.Webhook))
		msg.Header, msg.Data = encode(one), one.Event
		_, err := bus.PublishAsync(e.js, msg, one.Delivery)
		require.NoError(t, err)
	}
	select {
	case <-e.js.PublishAsyncComplete():
	case <-ctx.Done():
		require.NoError(t, ctx.Err())
	}
	require.Equal(t, replayed, e.count(t, bus.StreamDeliveries, "deliveries.bulk.>"))

	s := &slow{endpoint: new(endpoint), took: 20 * time.Millisecond, answers: make(chan struct{}), live: -1}
	s.change("", 2, time.Second, false)
	slots := core.NewSlots(8, time.Now)
	engine := e.engine(s.endpoint, e.queue, slots, time.Now)
	engine.Sender = s
	e.workWith(t, engine)

	// Most of it has been deferred, so slots are reserved for it as far ahead as it will take.
	require.Eventually(t, func() bool {
		slots.Sweep()
		return e.count(t, bus.StreamDeliveries, "deliveries.bulk.>") < replayed/10
	}, patience, tick)
	one := task()
	one.Event, one.EventSequence = []byte(liveEvent), e.publishEvent(t, liveEvent)
	begun, _ := s.seen()
	require.Equal(t, 4, begun, "half of the slots")
	close(s.answers)
	e.publish(t, one)
	require.Eventually(t, func() bool {
		_, live := s.seen()
		return live >= 0
	}, patience, tick)
	_, before := s.seen()
	require.Less(t, before, replayed/2, "most of the replay comes later")
}
