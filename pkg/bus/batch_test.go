package bus_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

func TestBatchReader(t *testing.T) {
	t.Parallel()
	js := setup(t).js
	reader := &bus.BatchReader{JetStream: js, Stream: bus.StreamRejects}
	none, err := reader.Batch(t.Context(), "rejects.acme", 1, 10)
	require.NoError(t, err)
	require.Empty(t, none)

	before := time.Now().Add(-time.Minute)
	for i := range 25 {
		msg := nats.NewMsg(bus.RejectSubject([]string{"acme", "beta"}[i%2]))
		msg.Data = []byte(fmt.Sprint(i))
		msg.Header.Set("Meetwire-Reason", fmt.Sprint("reason ", i))
		_, err := js.PublishMsg(t.Context(), msg)
		require.NoError(t, err)
	}
	var found []string
	for from := uint64(1); ; {
		batch, err := reader.Batch(t.Context(), "rejects.acme", from, 5)
		require.NoError(t, err)
		if len(batch) == 0 {
			break
		}
		require.LessOrEqual(t, len(batch), 5)
		for _, msg := range batch {
			require.Equal(t, "rejects.acme", msg.Subject)
			require.Equal(t, "reason "+string(msg.Data), msg.Header.Get("Meetwire-Reason"))
			require.True(t, msg.Stored.After(before))
			require.Equal(t, time.UTC, msg.Stored.Location())
			require.GreaterOrEqual(t, msg.Sequence, from)
			from = msg.Sequence + 1
			found = append(found, string(msg.Data))
		}
	}
	require.Equal(t, strings.Fields("0 2 4 6 8 10 12 14 16 18 20 22 24"), found)

	last, err := reader.Last(t.Context(), []string{"rejects.acme", "rejects.beta", "rejects.nobody"})
	require.NoError(t, err)
	require.Len(t, last, 2)
	bySubject := map[string]string{}
	for _, msg := range last {
		bySubject[msg.Subject] = string(msg.Data)
	}
	require.Equal(t, map[string]string{"rejects.acme": "24", "rejects.beta": "23"}, bySubject)
}

// What is in a batch is in memory at once, however large the messages are.
func TestBatchesAreBounded(t *testing.T) {
	t.Parallel()
	js := setup(t).js
	for range 30 {
		_, err := js.Publish(t.Context(), "rejects.acme", make([]byte, 512<<10))
		require.NoError(t, err)
	}
	reader := &bus.BatchReader{JetStream: js, Stream: bus.StreamRejects}
	seen := 0
	for from := uint64(1); ; {
		batch, err := reader.Batch(t.Context(), "rejects.>", from, 1000)
		require.NoError(t, err)
		if len(batch) == 0 {
			break
		}
		require.Less(t, len(batch), 20)
		seen += len(batch)
		from = batch[len(batch)-1].Sequence + 1
	}
	require.Equal(t, 30, seen)
}

func TestBatchesOfNoStream(t *testing.T) {
	t.Parallel()
	reader := &bus.BatchReader{JetStream: setup(t).js, Stream: "NOWHERE"}
	_, err := reader.Batch(t.Context(), ">", 1, 1)
	require.Error(t, err)
}
