package natsbus

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// putAlien publishes a message that is not ours.
func (e *environment) putAlien(t *testing.T, subject string, header nats.Header) {
	t.Helper()
	msg := nats.NewMsg(subject)
	for name, values := range header {
		msg.Header[name] = values
	}
	msg.Data = []byte("just text")
	_, err := bus.Publish(newContext(t), e.js, msg, nats.NewInbox())
	require.NoError(t, err)
}

func TestAlienDeadLetterHidesNoOther(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, dead := newContext(t), task()
	e.putAlien(t, bus.DeadLetterSubject("meeting-booked", "acme", hook, "alien"), nil)
	undated := task()
	e.putAlien(t, bus.DeadLetterSubject("meeting-booked", "acme", hook, undated.Delivery), encode(undated))
	e.bury(t, dead)

	page, err := e.letters.List(ctx, Selection{Organization: "acme"}, 1, 0, 10)
	require.NoError(t, err)
	require.Len(t, page.Letters, 1)
	require.Equal(t, dead.Delivery, page.Letters[0].Task.Delivery)
	for _, delivery := range []string{"alien", undated.Delivery} {
		_, err = e.letters.Get(ctx, "acme", delivery)
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	}
}

func TestEventZeroDoesNotExist(t *testing.T) {
	t.Parallel()
	e := setup(t)
	_, err := e.queue.Event(newContext(t), 0)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
}
