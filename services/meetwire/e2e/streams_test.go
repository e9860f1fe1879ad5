package e2e_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// subjects returns how many messages a stream has on each subject that a filter selects.
func subjects(t *testing.T, stream jetstream.Stream, filter string) map[string]uint64 {
	t.Helper()
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(filter))
	require.NoError(t, err)
	return info.State.Subjects
}

// awaitReject waits for what was made of the event with a sequence of EVENTS.
func awaitReject(t *testing.T, o *tenant, sequence uint64) *jetstream.RawStreamMsg {
	t.Helper()
	stream, err := o.js.Stream(t.Context(), bus.StreamRejects)
	require.NoError(t, err)
	var found *jetstream.RawStreamMsg
	require.Eventually(t, func() bool {
		msg, err := stream.GetLastMsgForSubject(t.Context(), bus.RejectSubject(o.name))
		if err == nil && msg.Header.Get(bus.HeaderEventSequence) == strconv.FormatUint(sequence, 10) {
			found = msg
		}
		return found != nil
	}, patience, 10*time.Millisecond)
	return found
}
