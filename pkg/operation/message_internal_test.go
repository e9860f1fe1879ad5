package operation

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

func TestErrorOfAnOperation(t *testing.T) {
	t.Parallel()
	for state, want := range map[State]codes.Code{
		Running: codes.Unavailable, Failed: codes.FailedPrecondition,
	} {
		message := Message(Operation{ID: "1", State: state, ErrorReason: "STREAM_FULL", ErrorMessage: "100% full"})
		s := status.FromProto(message.GetError())
		require.Equal(t, want, s.Code())
		require.Equal(t, "100% full", s.Message())
		require.Len(t, s.Details(), 1)
		info, ok := s.Details()[0].(*errdetails.ErrorInfo)
		require.True(t, ok)
		require.Equal(t, "STREAM_FULL", info.GetReason())
		require.Equal(t, "meetwire", info.GetDomain())
		require.Equal(t, state == Failed, message.GetDone())
	}
	message := Message(Operation{ID: "1", Organization: "acme", State: Canceled})
	require.Equal(t, "organizations/acme/operations/1", message.GetName())
	require.Equal(t, operationv1.Operation_STATE_CANCELED, message.GetState())
	require.Nil(t, message.GetError())
	require.Equal(t, operationv1.Operation_STATE_UNSPECIFIED, stateMessage("melted"))
}
