package bus

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func TestAnswersOfABatchFollowEachOther(t *testing.T) {
	t.Parallel()
	after := func(last string) nats.Header { return nats.Header{jetstream.LastSequenceHeader: {last}} }
	require.NoError(t, follows(after("0"), 0), "the first")
	require.NoError(t, follows(after("17"), 17))
	require.NoError(t, follows(nats.Header{}, 17), "a server that does not tell")
	require.ErrorIs(t, follows(after("18"), 17), errBatch, "one is missing")
	require.ErrorIs(t, follows(after("3"), 0), errBatch, "the first are missing")
}
