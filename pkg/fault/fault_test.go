package fault_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
)

func TestFaultIsFoundThroughWhatIsWrappedAroundIt(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection to 10.0.0.1 refused")
	inner := fault.Wrap(fault.Unavailable, "AWAY", cause, "try %s", "later")
	err := fmt.Errorf("write: %w", inner)
	require.Equal(t, inner, fault.From(err))
	require.Equal(t, fault.Unavailable, fault.KindOf(err))
	require.True(t, fault.Is(err, fault.Unavailable))
	require.False(t, fault.Is(err, fault.Internal))
	require.ErrorIs(t, err, cause)
	require.Equal(t, "try later", inner.Message, "what a caller is told does not have the cause")
	require.Equal(t, "try later: connection to 10.0.0.1 refused", inner.Error(), "what is logged does")
}

func TestWhatNobodyClassifiedIsInternalAndShowsNothing(t *testing.T) {
	t.Parallel()
	cause := errors.New("secret detail")
	f := fault.From(cause)
	require.Equal(t, fault.Internal, f.Kind)
	require.Equal(t, "internal error", f.Message)
	require.ErrorIs(t, f, cause)
	require.False(t, fault.Is(cause, fault.Internal), "it is not a fault itself")
	require.False(t, fault.Is(nil, fault.Internal))
	require.Equal(t, fault.Internal, fault.Kind(0), "the zero kind shows nothing either")
}

func TestInvalidNamesItsFirstField(t *testing.T) {
	t.Parallel()
	f := fault.Invalid(
		fault.Field{Path: "webhook.target_url", Rule: "max_length", Message: "must be at most 2048 characters"},
		fault.Field{Path: "webhook.triggers", Rule: "required", Message: "is required"},
	)
	require.Equal(t, fault.InvalidArgument, f.Kind)
	require.Equal(t, "webhook.target_url: must be at most 2048 characters", f.Message)
	require.Len(t, f.Fields, 2)
	require.Equal(t, "invalid request", fault.Invalid().Message)
}
