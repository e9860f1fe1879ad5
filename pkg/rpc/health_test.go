package rpc_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
)

// setupHealth returns a server that is healthy while the switch is on, a client without a credential, and how
// often the server has been asked.
func setupHealth(t *testing.T) (w *world, client healthv1.HealthClient, healthy *atomic.Bool, asked *atomic.Int32) {
	t.Helper()
	healthy, asked = &atomic.Bool{}, &atomic.Int32{}
	healthy.Store(true)
	w = setup(t, func(c *rpc.ServerConfig) {
		c.Health = func(ctx context.Context) error {
			asked.Add(1)
			if _, limited := ctx.Deadline(); !limited {
				return errors.New("a probe needs a deadline")
			}
			if !healthy.Load() {
				return errors.New("postgres: dial db.internal")
			}
			return nil
		}
	})
	return w, healthv1.NewHealthClient(w.conn), healthy, asked
}

func TestHealthFollowsTheService(t *testing.T) {
	t.Parallel()
	_, client, healthy, _ := setupHealth(t)
	serves := func(service string) bool {
		response, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		return response.GetStatus() == healthv1.HealthCheckResponse_SERVING
	}
	require.True(t, serves(""))
	require.True(t, serves("meetwire.subscription.v1.WebhookService"))
	healthy.Store(false)
	require.Eventually(t, func() bool { return !serves("") }, 10*time.Second, 10*time.Millisecond)
	require.False(t, serves("meetwire.subscription.v1.WebhookService"))
	healthy.Store(true)
	require.Eventually(t, func() bool { return serves("") }, 10*time.Second, 10*time.Millisecond)

	_, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "nothing"})
	requireFault(t, err, fault.NotFound, "SERVICE_NOT_FOUND")

	list, err := client.List(t.Context(), &healthv1.HealthListRequest{})
	require.NoError(t, err)
	for _, service := range []string{"", "meetwire.subscription.v1.WebhookService", "grpc.health.v1.Health"} {
		require.Equal(t, healthv1.HealthCheckResponse_SERVING, list.GetStatuses()[service].GetStatus(), service)
	}
}

// Anyone may ask, so asking often must not reach the database each time.
func TestHealthIsAskedSeldom(t *testing.T) {
	t.Parallel()
	_, client, _, asked := setupHealth(t)
	began := time.Now()
	for range 200 {
		_, err := client.Check(t.Context(), &healthv1.HealthCheckRequest{})
		require.NoError(t, err)
	}
	require.LessOrEqual(t, int(asked.Load()), 1+int(time.Since(began)/time.Second))
}

func TestHealthWatch(t *testing.T) {
	t.Parallel()
	w, client, healthy, _ := setupHealth(t)
	watch := func(service string) func() healthv1.HealthCheckResponse_ServingStatus {
		stream, err := client.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		require.NoError(t, err)
		return func() healthv1.HealthCheckResponse_ServingStatus {
			response, err := stream.Recv()
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				return -1
			}
			return response.GetStatus()
		}
	}
	next, nothing := watch(""), watch("nothing")
	require.Equal(t, healthv1.HealthCheckResponse_SERVICE_UNKNOWN, nothing())
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, next())
	healthy.Store(false)
	require.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, next())
	healthy.Store(true)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, next())

	// A server that stops says so and does not wait for those who watch.
	began := time.Now()
	require.NoError(t, w.stop())
	require.Less(t, time.Since(began), 10*time.Second)
	require.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, next())
	require.EqualValues(t, -1, next())
	require.EqualValues(t, -1, nothing())
	require.Empty(t, w.log.lines(t))
}

func TestHealthWithoutAProbe(t *testing.T) {
	t.Parallel()
	w := setup(t)
	response, err := healthv1.NewHealthClient(w.conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, response.GetStatus())
}
