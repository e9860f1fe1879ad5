package rpc

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

const watchConfig = "/meetwire.config.v1.ConfigService/WatchConfig"

// setupStream returns an interceptor and a stream of a service that sends one message that is not valid, and
// then messages that are.
func setupStream(t *testing.T) (*interceptor, *fakeStream) {
	t.Helper()
	metrics, err := newServerMetrics(prometheus.NewRegistry())
	require.NoError(t, err)
	validator, err := protovalidate.New()
	require.NoError(t, err)
	around := &interceptor{
		logger: slog.New(slog.DiscardHandler), metrics: metrics, gate: newGate(nil, secret.New("token")), validator: validator,
	}
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer token"))
	return around, &fakeStream{ctx: ctx}
}

type fakeStream struct {
	grpc.ServerStream
	ctx      context.Context // a stream is asked for its context
	received int
}

func (s *fakeStream) Context() context.Context { return s.ctx }

func (s *fakeStream) RecvMsg(message any) error {
	s.received++
	if request, ok := message.(*configv1.WatchConfigRequest); ok && s.received == 1 {
		request.AfterRevision = -1
	}
	return nil
}

// A handler that goes on after a message was refused gets nothing more, and its success is none.
func TestRefusalOfAMessageLasts(t *testing.T) {
	t.Parallel()
	around, stream := setupStream(t)
	err := around.stream(nil, stream, &grpc.StreamServerInfo{FullMethod: watchConfig}, func(_ any, checked grpc.ServerStream) error {
		for range 3 {
			require.Error(t, checked.RecvMsg(&configv1.WatchConfigRequest{}))
		}
		return nil
	})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.Equal(t, 1, stream.received)
}

func TestStreamOfMessagesThatAreValid(t *testing.T) {
	t.Parallel()
	around, stream := setupStream(t)
	stream.received = 1
	err := around.stream(nil, stream, &grpc.StreamServerInfo{FullMethod: watchConfig}, func(_ any, checked grpc.ServerStream) error {
		return errors.Join(checked.RecvMsg(&configv1.WatchConfigRequest{}), checked.RecvMsg(&emptypb.Empty{}))
	})
	require.NoError(t, err)
	err = around.stream(nil, stream, &grpc.StreamServerInfo{FullMethod: watchConfig}, func(_ any, checked grpc.ServerStream) error {
		return checked.RecvMsg(new(string)) // no protobuf message
	})
	require.Equal(t, codes.Internal, status.Code(err))
}
