package natsbus

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// future is a publish that is acknowledged when the test says so.
type future struct {
	ok     chan *jetstream.PubAck
	failed chan error
}

func newFuture() *future {
	return &future{ok: make(chan *jetstream.PubAck, 1), failed: make(chan error, 1)}
}

func (f *future) Ok() <-chan *jetstream.PubAck { return f.ok }
func (f *future) Err() <-chan error            { return f.failed }
func (f *future) Msg() *nats.Msg               { return nil }

func TestOneEventHasFewDeliveriesOnTheirWay(t *testing.T) {
	t.Parallel()
	over, end := context.WithCancel(t.Context())
	end()
	for size, most := range map[int]int{0: windowMessages, 1 << 10: windowMessages, 64 << 10: 16, 256 << 10: 4, 2 << 20: 1} {
		way, sent := newWindow(size), make([]*future, 0, most+1)
		add := func(ctx context.Context) error {
			sent = append(sent, newFuture())
			return way.add(ctx, sent[len(sent)-1])
		}
		for range most - 1 {
			require.NoError(t, add(over), "there is room, nothing is waited for")
		}
		require.ErrorIs(t, add(over), context.Canceled, "%d bytes: the oldest is waited for", size)

		sent[0].ok <- &jetstream.PubAck{}
		sent = append(sent, newFuture())
		require.NoError(t, way.add(t.Context(), sent[len(sent)-1]))
		require.LessOrEqual(t, len(way.futures), most)
	}
}

func TestWhatCannotBeStoredEndsTheFanOut(t *testing.T) {
	t.Parallel()
	way, lost := newWindow(windowBytes), newFuture()
	lost.failed <- nats.ErrConnectionClosed
	require.ErrorIs(t, way.add(t.Context(), lost), nats.ErrConnectionClosed)
}
