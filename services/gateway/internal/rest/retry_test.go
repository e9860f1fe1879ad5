package rest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
)

func TestClientsAreToldWhenToTryAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for after, want := range map[time.Duration]string{
		0: "", time.Millisecond: "1", time.Second: "1", 1001 * time.Millisecond: "2", 90 * time.Second: "90",
	} {
		e.subscription.answers(func(proto.Message) (proto.Message, error) {
			exhausted := fault.New(fault.ResourceExhausted, "THE_REASON", "the message")
			exhausted.RetryAfter = after
			return nil, rpc.Status(exhausted).Err()
		})
		got := e.do(t, "GET", webhooksPath, "")
		requireFailure(t, got, 429, 8, "THE_REASON")
		require.Equal(t, want, got.header.Get("Retry-After"))
	}
}
