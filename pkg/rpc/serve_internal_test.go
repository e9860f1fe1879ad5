package rpc

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// A handler that does not notice that it was cut off does not keep the process from ending.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	entered, leave, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
	server := grpc.NewServer(grpc.UnaryInterceptor(func(context.Context, any, *grpc.UnaryServerInfo, grpc.UnaryHandler) (any, error) {
		defer close(left)
		close(entered)
		<-leave
		return &healthv1.HealthCheckResponse{}, nil
	}))
	healthv1.RegisterHealthServer(server, healthv1.UnimplementedHealthServer{})
	require.Nil(t, healthOf(server), "it was not made by NewServer")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	called := make(chan error, 1)
	go func() {
		_, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
		called <- err
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, stop(ctx, server, time.Millisecond), errStuck)
	require.Error(t, <-called)

	close(leave)
	<-left
	require.NoError(t, <-served)
	require.NoError(t, conn.Close())
}

// The answer of a probe is for everybody who asks meanwhile, so it does not depend on who asked first.
func TestHealthDoesNotDependOnWhoAsks(t *testing.T) {
	t.Parallel()
	h := newHealth(func(ctx context.Context) error { return ctx.Err() })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, h.status(gone))
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, h.status(t.Context()))
	h.stop()
	h.stop()
	require.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, h.status(t.Context()))
}
